"""Reading a JSON body: its media type, its size while it comes in, and JSON that is really JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from complaints.errors import Overloaded
from serving.problems import CallerGone, MalformedJson, TooLarge, TooSlow, WrongMediaType

LARGEST_BODY = 8 * 1024 * 1024
# A caller who sends more than is read is let finish up to here, for most clients read no answer before that.
LARGEST_DRAINED = 8 * LARGEST_BODY
# Bytes of bodies that all callers together may have in memory; what is parsed from them takes some times that.
MOST_HELD = 256 * 1024 * 1024
# Seconds without a further byte after which a body is given up.
PATIENCE = 30.0


class Bodies:
    """Counts the bytes of the bodies that an application has in memory; for one thread."""

    def __init__(self) -> None:
        self._held = 0

    def hold(self, size: int) -> None:
        """Count so many bytes more; raises Overloaded where they are more than MOST_HELD in all."""
        if self._held + size > MOST_HELD:
            raise Overloaded(f"{MOST_HELD // 2**20} MiB of requests are waiting already: try again in a moment")
        self._held += size

    def release(self, size: int) -> None:
        """Count so many bytes less."""
        self._held -= size


class JsonRequest(Request):
    """A request whose body is read up to LARGEST_BODY bytes and must be application/json.

    Its bytes count among those held until `release`.
    """

    _held = 0

    async def body(self) -> bytes:
        """The whole body; raises TooLarge, whether or not its length was announced, and WrongMediaType.

        Raises TooSlow where it stops coming, CallerGone where nobody is there to send it, and Overloaded where too many
        others are held.
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

    def release(self) -> None:
        """The body is needed no more."""
        self.app.state.bodies.release(self._held)
        self._held = 0

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
                        self.release()
                        if size > LARGEST_DRAINED:
                            break
                    else:
                        self.app.state.bodies.hold(len(chunk))
                        self._held += len(chunk)
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
            try:
                if self.body_field is not None:
                    await request.json()  # now: FastAPI would make a bare 400 of everything that this may raise
                return await handler(request)
            finally:
                request.release()

        return handle
