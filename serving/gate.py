"""What every request passes on its way in and out: an id, the key, and one line in the log.

Plain ASGI, for it runs on every request and the usual middleware class costs more than all that it does here.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
import traceback
from collections.abc import Mapping
from hashlib import sha256

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import scopes
from serving.metrics import Metrics
from serving.problems import Unauthorised, response_of

# What a load balancer and a person reading the documentation may see without a key.
OPEN = frozenset({"/health/live", "/health/ready", "/docs", "/openapi.json"})
# People sign in there with a name and a password (serving/pages); a browser sends no API key.
PEOPLE = "/review"
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()


class Gate:
    """The outermost layer. `keys` are API keys and their scopes; without any the door is open; settings allow
    that on loopback only.

    Sets `request.state.request_id`, `request.state.caller`, sha256 of the key, empty where none is needed, and
    `request.state.scopes`.
    """

    def __init__(self, app: ASGIApp, keys: Mapping[str, frozenset[scopes.Scope]], metrics: Metrics) -> None:
        self._app = app
        self._keys = {sha256(key.encode()).digest(): allowed for key, allowed in keys.items()}
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; answer 401 and 500 itself."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else secrets.token_hex(16)
        state = scope.setdefault("state", {})
        state["request_id"], state["caller"], state["scopes"] = request_id, b"", scopes.EVERY

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            if self._keys and not _open(scope["path"]):
                state["caller"] = self._known(headers.get("authorization", ""))
                state["scopes"] = self._keys[state["caller"]]
            await self._app(scope, receive, answer)
        except Unauthorised as error:
            await response_of(error, request_id)(scope, receive, answer)
        except Exception as error:
            # Where, but not what: the text of an unforeseen error may quote the complaint.
            log.error("unexpected", request_id=request_id, error=type(error).__name__, where=_where(error))
            if status:
                raise  # the answer has begun: all that can be done is to break it off
            await response_of(error, request_id)(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "(none)")
            method = scope["method"] if scope["method"] in _METHODS else "(other)"
            self._metrics.request(method, route, status, seconds)
            log.info(
                "request",
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                request_id=request_id,
                model_version=state.get("model_version"),
            )

    def _known(self, authorization: str) -> bytes:
        scheme, _, key = authorization.partition(" ")
        digest = sha256(key.strip().encode()).digest()
        # Every key is compared, in constant time: neither which nor how far it matched can be timed.
        matches = [hmac.compare_digest(digest, one) for one in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorised("send `Authorization: Bearer KEY` with one of the keys in JIANWEI_API_KEYS")
        return digest


def _open(path: str) -> bool:
    return path in OPEN or path == PEOPLE or path.startswith(f"{PEOPLE}/")


def _where(error: BaseException) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-5:]]
