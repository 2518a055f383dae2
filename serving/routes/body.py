"""Reading a JSON body: its media type, its size while it comes in, and JSON that is really JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.problems import CallerGone, MalformedJson, TooLarge, TooSlow, WrongMediaType

LARGEST_BODY = 8 * 1024 * 1024
# A caller who sends more than is read is let finish up to here, for most clients read no answer before that.
LARGEST_DRAINED = 8 * LARGEST_BODY
# Seconds without a further byte after which a body is given up.
PATIENCE = 30.0


class JsonRequest(Request):
    """A request whose body is read up to LARGEST_BODY bytes and must be application/json."""

    async def body(self) -> bytes:
        """The whole body; raises TooLarge, whether or not its length was announced, and WrongMediaType.

        Raises TooSlow where it stops coming, and CallerGone where nobody is there to send it.
        """
        if not hasattr(self, "_body"):
            self._body = await self._read()
            if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise WrongMediaType("send Content-Type: application/json")
        return self._body

    async def json(self) -> Any:
        """The body as JSON; raises MalformedJson, for NaN and lone surrogates too, which JSON does not have."""
        if not hasattr(self, "_json"):
            try:
                self._json = orjson.loads(await self.body())
            except orjson.JSONDecodeError as error:
                # Line and column, but not what stands there.
                raise MalformedJson(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
        return self._json

    async def _read(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        announced = self.headers.get("content-length", "")
        refused = announced.isdigit() and int(announced) > LARGEST_BODY
        clock = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                async for chunk in self.stream():
                    patience.reschedule(clock.time() + PATIENCE)
                    size += len(chunk)
                    refused = refused or size > LARGEST_BODY
                    if refused:
                        chunks.clear()
                        if size > LARGEST_DRAINED:
                            break
                    else:
                        chunks.append(chunk)
        except TimeoutError:
            raise TooSlow(f"the body stopped coming: nothing for {PATIENCE:g} s") from None
        except ClientDisconnect:
            raise CallerGone from None
        if refused:
            raise TooLarge(f"the body is larger than {LARGEST_BODY // 2**20} MiB: send fewer items at once")
        return b"".join(chunks)


class JsonRoute(APIRoute):
    """A route whose body, where it has one, comes through JsonRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given our request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            if self.body_field is not None:
                await request.json()  # now: FastAPI would make a bare 400 of everything that this may raise
            return await handler(request)

        return handle
