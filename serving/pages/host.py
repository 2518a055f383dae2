"""NiceGUI, set up once a process and opened by the application that is visited.

NiceGUI keeps one application and its pages in module variables: importing this room registers them, and no other
file of the service imports it before the first visit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import FastAPI
from nicegui import app, ui
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from serving.pages import case, models, people, quality, queue
from serving.pages.plain import page

# Seconds for which a browser that lost its connection may come back and find its page as it was.
RECONNECT = 20.0

PAGES = (queue, case, quality, models, people)


@asynccontextmanager
async def opened() -> AsyncIterator[ASGIApp]:
    """The pages as an ASGI application, for as long as the context is open."""
    host = _host()
    async with host.router.lifespan_context(host):
        yield host


@cache
def _host() -> FastAPI:
    app.add_exception_handler(404, _nothing_there)  # in the place of the framework's own, which is in English
    host = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.run_with(
        host,
        title="见微",
        language="zh-CN",
        dark=False,
        tailwind=False,  # a stylesheet of our own instead of 400 KB of script
        reconnect_timeout=RECONNECT,
        binding_refresh_interval=None,  # nothing is bound: no loop that runs ten times a second
        show_welcome_message=False,
    )
    return host


async def _nothing_there(_request: Request, _error: Exception) -> Response:
    back = '<p>地址可能写错了，或这一页已经没有了。</p><p><a href="/review/">回到队列</a></p>'
    return HTMLResponse(page("没有这一页", f"<h1>没有这一页</h1>{back}"), 404)
