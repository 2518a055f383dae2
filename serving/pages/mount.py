"""The pages' place in the application: who may come in, and a framework that is loaded when the first one does.

NiceGUI costs a second and 30 MB to import. A service that only answers callers never pays for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cache
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.pages import sign_in
from serving.pages.plain import page

AT = "/review"
# The framework's own files: versioned by its paths, the same for everybody.
_FRAMEWORK = "/_nicegui"
_FOREVER = "public, max-age=31536000, immutable"
# Nothing comes from elsewhere. NiceGUI's templates are compiled in the browser: that needs eval and inline scripts.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self' ws: wss:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'self'; object-src 'none'"
)
_PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

Host = AbstractAsyncContextManager[ASGIApp]


class Pages:
    """The ASGI application under /review; one a process, for NiceGUI is one a process."""

    def __init__(self, load: Callable[[], Callable[[], Host]] | None = None) -> None:
        """`load` imports the framework and returns what opens it; it runs in a thread, at the first visit."""
        self._load = load or _load
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._host: ASGIApp | None = None
        self._doors = Router(sign_in.routes)

    async def close(self) -> None:
        """Stop what the first visit started."""
        await self._stack.aclose()
        self._host = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hold one websocket."""
        if not installed():
            await _missing(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        scope = dict(scope)  # the framework writes into it, and the log goes by what stands there now
        scope["service"] = scope["app"].state.service
        if path.startswith(("/sign-", "/assets/")):
            self._begin()
            await self._doors(scope, receive, _with(send, _headers(path)))
            return
        if scope["type"] == "http" and not path.startswith(_FRAMEWORK):
            found = await sign_in.person(Request(scope))
            if found is None:
                wanted = quote(path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""))
                await RedirectResponse(f"{sign_in.DOOR}?next={wanted}", 303)(scope, receive, send)
                return
            scope["person"], scope["token"] = found
        host = await self._open()
        await host(scope, receive, _with(send, _headers(path)))

    def _begin(self) -> None:
        """Start loading while somebody types a password."""
        if self._host is None and not self._opening.locked():
            task = asyncio.ensure_future(self._open())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _open(self) -> ASGIApp:
        async with self._opening:
            if self._host is None:
                opener = await asyncio.get_running_loop().run_in_executor(None, self._load)
                self._host = await self._stack.enter_async_context(opener())
            return self._host


@cache
def installed() -> bool:
    """Whether the extra `pages` is there."""
    return find_spec("nicegui") is not None and find_spec("argon2") is not None


def _load() -> Callable[[], Host]:
    from serving.pages.host import opened

    return opened


def _headers(path: str) -> dict[str, str]:
    if path.startswith((f"{_FRAMEWORK}/", "/assets/")):
        return {"Cache-Control": _FOREVER if path.startswith(_FRAMEWORK) else "no-cache"}
    return _PRIVATE


def _with(send: Send, headers: dict[str, str]) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            found = MutableHeaders(scope=message)
            for name, value in headers.items():
                found[name] = value
        await send(message)

    return sent


async def _missing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1013})
        return
    text = page(
        "分析员页面未安装",
        "<h1>分析员页面未安装</h1><p>接口照常工作。要使用页面，请在服务所在的环境中执行：</p>"
        "<pre>pip install 'jianwei[pages]'</pre><p>然后重新启动服务。</p>",
    )
    response: Any = Response(text, 503, media_type="text/html")
    await response(scope, receive, send)
