"""`create_app`: where settings become a running service. The only place where its parts are put together."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from complaints.errors import JianweiError
from serving.admission import Admission
from serving.champion import Champion, First, Source
from serving.gate import OPEN, Gate
from serving.metrics import Metrics
from serving.models import Opened
from serving.pages.mount import AT, Pages
from serving.policies import Policies
from serving.problems import Problem, handle
from serving.routes import alerts, corrections, health, predictions, reviews, risks, shadow, taxonomy
from serving.routes.body import Bodies
from serving.scopes import parse_key
from serving.service import Service
from serving.settings import Settings
from serving.shadow import Shadow
from serving.store.queries import Store
from serving.workers import Workers

# Connections and threads for the database: SQLite writes one at a time, PostgreSQL waits for the network.
DATABASE_THREADS = 8
# Passwords that may wait, at some 30 ms each, for the one thread that checks them: however many try, argon2's memory is
# needed once, and no more than one core. Anybody may try: those beyond are sent away unchecked.
PASSWORDS = 10
# Seconds that callers have when the service is told to stop: one who sends half a body would hold it up for ever.
GRACE = 10

ABOUT = """\
One complaint in: what it is about, who must act, how the customer feels, how far it may spread, and how sure we are.

Every answer names the model, the taxonomy and the policy that gave it, and is stored before it is sent.
Every error is a problem document (RFC 9457). Text travels in bodies, never in URLs, and never into logs.
"""


def create_app(
    settings: Settings,
    predictor_source: Source | None = None,
    models: Opened | None = None,
    first: First | None = None,
) -> FastAPI:
    """The service as an ASGI application; the registry's champion answers unless another source is given.

    `models` opens the registry for those who promote and roll back; without it only the champion is followed. `first`
    is what answers where there is no registry yet.

    Nothing is opened before the application starts. Run it in one process a host: its threads use all cores.
    """
    keys = dict(parse_key(key.get_secret_value()) for key in settings.api_keys)
    workers: Workers | None = None
    metrics = Metrics(lambda: workers.depth if workers is not None else 0)
    pages = Pages()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal workers
        store = Store(settings.database)
        policies = Policies(settings, store)
        key = settings.customer_key
        salt = key.get_secret_value() if key is not None else store.salt()
        workers = Workers(settings.workers, settings.queue)
        threads = ThreadPoolExecutor(DATABASE_THREADS, "database")
        passwords = Workers(1, PASSWORDS)
        policy = policies.control.policy
        source = predictor_source if predictor_source is not None else Champion(settings, policy, first)
        source.start()
        policies.start()
        cores = workers
        beside = Shadow(source, store, settings.shadow_share, lambda: cores.load >= cores.threads)
        app.state.service = Service(
            settings,
            source,
            policies,
            store,
            salt,
            Admission(workers.shared),
            asyncio.Semaphore(workers.shared),
            workers,
            passwords,
            metrics,
            threads,
            beside,
            models,
        )
        try:
            yield
        finally:
            await pages.close()
            source.stop()
            policies.stop()
            beside.close()
            workers.close()
            passwords.close()
            threads.shutdown()
            store.close()

    app = FastAPI(title="jianwei", version="1", description=ABOUT, lifespan=lifespan, redoc_url=None)
    app.state.bodies = Bodies()
    app.include_router(predictions.router)
    app.include_router(risks.router)
    app.include_router(alerts.router)
    app.include_router(reviews.router)
    app.include_router(corrections.router)
    app.include_router(taxonomy.router)
    app.include_router(shadow.router)
    app.include_router(health.router)
    app.mount(AT, pages)
    for error in (JianweiError, HTTPException, RequestValidationError):
        app.add_exception_handler(error, handle)
    app.add_middleware(Gate, keys=keys, metrics=metrics)
    app.openapi = lambda: _openapi(app, secured=bool(keys))  # type: ignore[method-assign]
    log_as_json()
    return app


def listen(app: FastAPI, host: str, port: int) -> None:
    """Serve an application until the process is told to stop; callers then have GRACE seconds to come to their end."""
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE)


def log_as_json() -> None:
    """One JSON object a line on stderr, for everything that goes through structlog."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str).decode()),
        ],
        # Looked up at every line: a stream that is replaced later is found.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _openapi(app: FastAPI, *, secured: bool) -> dict[str, Any]:
    """FastAPI's document, with the shape of problems and with who needs a key."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        parts = document.setdefault("components", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        parts.setdefault("schemas", {}).update(problem.pop("$defs", {}) | {"Problem": problem})
        for leftover in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(leftover, None)
        for methods in document["paths"].values():
            for operation in methods.values():
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    del operation["responses"]["422"]  # FastAPI adds it to every path with a parameter
        if secured:
            parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key"}}
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in OPEN else [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema
