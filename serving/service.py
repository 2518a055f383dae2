"""What one running application holds, handed to its routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from starlette.requests import Request

from complaints.errors import Overloaded
from serving.admission import Admission
from serving.champion import Snapshot, Source
from serving.metrics import Metrics
from serving.models import Opened
from serving.policies import Policies
from serving.problems import CallerGone
from serving.scopes import Forbidden, Scope
from serving.settings import Settings
from serving.shadow import Shadow
from serving.store.queries import Store
from serving.workers import Workers

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one application; `threads` are for the database, so that no query holds up the event loop.

    `turns` are for the texts of batches, `workers.shared` at a time, so that they leave room to single ones;
    `passwords` is one thread with a short queue. `salt` is the key of customer hashes; `models` opens the registry,
    None where the service was given none.
    """

    settings: Settings
    source: Source
    policies: Policies
    store: Store
    salt: str
    admission: Admission
    turns: asyncio.Semaphore
    workers: Workers
    passwords: Workers
    metrics: Metrics
    threads: ThreadPoolExecutor
    shadow: Shadow
    models: Opened | None

    def model(self, request: Request) -> Snapshot:
        """The model for this request, noted for its line in the log; raises NotReady."""
        snapshot = self.source.current()
        request.state.model_version = snapshot.version
        return snapshot

    async def stored(self, query: Callable[[], Result]) -> Result:
        """Run a query of the store beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, query)

    async def checked(self, deed: Callable[[], Result]) -> Result:
        """Run what checks or makes a password, its queries included, where it holds up no other query.

        Raises Overloaded at once where too many wait.
        """
        return await asyncio.wrap_future(self.passwords.submit(deed))


async def answer(request: Request, future: Future[Result] | asyncio.Future[Result], timeout: float | None) -> Result:
    """Wait for a worker as long as the caller does; raises Overloaded after `timeout` seconds, CallerGone before.

    Either way the future is cancelled, so that a job nobody waits for gives its place in the queue away.
    """
    result = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_gone(request))
    both: set[asyncio.Future[Any]] = {result, gone}
    try:
        await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise CallerGone
        raise Overloaded(f"there was no answer within {timeout:g} s: try again in a moment")
    finally:
        result.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _service(request: Request) -> Service:  # async: FastAPI would run a plain function in a thread
    return request.app.state.service  # type: ignore[no-any-return]


InService = Annotated[Service, Depends(_service)]


def needs(*scopes: Scope) -> Any:
    """A route's dependency: the caller's key has one of these scopes, or Forbidden names them."""

    async def check(request: Request) -> None:
        held: Collection[Scope] = request.state.scopes
        if not any(one in held for one in scopes):
            raise Forbidden(f"this key may not do that: it needs the scope {' or '.join(scopes)}")

    return Depends(check)
