"""One complaint or many in, predictions out; stored before they are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Header
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from complaints.errors import InvalidInput
from complaints.predictor import Reading
from complaints.records import Context, Prediction, Risk
from serving.assessing import Assessment, read
from serving.champion import Snapshot
from serving.problems import TooLarge, documented, problem_of
from serving.routes.body import JsonRoute
from serving.routes.schemas import LONGEST_TEXT, BatchIn, BatchOut, ComplaintIn, PredictionOut
from serving.service import InService, Service, answer, needs
from serving.store.queries import Key, Outcome, Stored, new_id

Result = TypeVar("Result")

router = APIRouter(prefix="/v1", tags=["predictions"], route_class=JsonRoute)

# Seconds that the texts before a batch may take: with its own it is answered within the minute that most clients wait.
BATCH_PATIENCE = 30.0
# So much of the hash of a caller's key is kept with what they send: enough to tell callers apart.
_CALLER = 16

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Any text of your own. Within 24 hours the same key with the same body gets the stored answer",
    ),
]


@router.post(
    "/predictions",
    summary="Predict one complaint",
    response_model=PredictionOut,
    dependencies=[needs("predict")],
    responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 500, 503),
)
async def predict(
    request: Request, body: ComplaintIn, service: InService, idempotency_key: IdempotencyKey = None
) -> Response:
    """Says what a complaint is about, who must act, how grave it is, and how sure we are of each.

    The prediction is on disk before it is answered. Within the service's time limit there is an answer or a 503.
    """
    received = _Clock()
    key = await idempotency_key_of(request, idempotency_key)
    with service.admission.enter(service.settings.timeout) as answered:
        if key is not None and (kept := await service.stored(lambda: service.store.recall(key))) is not None:
            return _json(kept)
        snapshot = service.model(request)
        _check(snapshot, body)
        future = service.workers.submit(lambda: _run(service, snapshot, body, received))
        done = await answer(request, future, service.settings.timeout)
        sent = await _save(request, service, snapshot, [done], lambda rows: rows[0].response, key)
        answered()
    return _json(sent)


@router.post(
    "/predictions:batch",
    summary="Predict up to 256 complaints",
    response_model=BatchOut,
    response_model_exclude_none=True,
    dependencies=[needs("predict")],
    responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 500, 503),
)
async def predict_batch(
    request: Request, body: BatchIn, service: InService, idempotency_key: IdempotencyKey = None
) -> Response:
    """Every item gets a status of its own, and a prediction or a problem; one model answers them all.

    All predictions of a batch are stored together before it is answered, or none is. Too many requests at once
    refuse the whole batch with 503 before any of it is answered.
    """
    received = _Clock()
    key = await idempotency_key_of(request, idempotency_key)
    with service.admission.enter(BATCH_PATIENCE, len(body.items)) as answered:
        if key is not None and (kept := await service.stored(lambda: service.store.recall(key))) is not None:
            return _json(kept)
        snapshot = service.model(request)
        service.workers.check_room()
        service.metrics.batch(len(body.items))
        own = asyncio.Semaphore(service.workers.shared)  # with one of its own none takes all turns before the next

        async def one(item: object) -> _Done | InvalidInput | RequestValidationError:
            try:
                single = ComplaintIn.model_validate(item)
                _check(snapshot, single)
            except ValidationError as error:
                return RequestValidationError(error.errors())
            except InvalidInput as error:
                return error
            async with own, service.turns:
                job = service.workers.submit(lambda: _run(service, snapshot, single, received), sure=True)
                done = await asyncio.wrap_future(job)
            answered()
            return done

        results = await _all_or_none(request, [one(item) for item in body.items])

        def text(rows: Sequence[Stored]) -> str:
            told = iter(rows)
            items = [
                f'{{"status":200,"prediction":{next(told).response}}}'
                if isinstance(result, _Done)
                else _refused(request, result)
                for result in results
            ]
            return f'{{"items":[{",".join(items)}]}}'

        done = [result for result in results if isinstance(result, _Done)]
        sent = await _save(request, service, snapshot, done, text, key)
    return _json(sent)


@router.get(
    "/predictions/{prediction_id}",
    summary="A prediction that was given",
    response_model=PredictionOut,
    dependencies=[needs("predict", "review")],
    responses=documented(401, 403, 404, 500, 503),
)
async def find(prediction_id: str, service: InService) -> Response:
    """The same bytes that were answered; later models and corrections do not change them."""
    return _json(await service.stored(lambda: service.store.response(prediction_id)))


class _Clock:
    """When a request came in, for people and for measuring."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)
        self._started = time.perf_counter()

    def ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 1)


async def idempotency_key_of(request: Request, sent: str | None) -> Key | None:
    """The key as it is stored: hashed with the caller's, so that callers share none; the body hashed with its path."""
    if sent is None:
        return None
    body = sha256(request.url.path.encode() + b"\0" + await request.body())
    return Key(sha256(request.state.caller + b"\0" + sent.encode()).hexdigest(), body.hexdigest())


def caller_of(request: Request) -> str:
    """Who asks, as the audit log has it: as much of their key's hash as tells them from others."""
    return f"key {request.state.caller.hex()[:8] or '-'}"


def _check(snapshot: Snapshot, body: ComplaintIn) -> None:
    if len(body.text) > LONGEST_TEXT:
        raise TooLarge(f"the text has {len(body.text)} characters; {LONGEST_TEXT} are read at most")
    known = snapshot.predictor.taxonomy.heads
    if unknown := [head for head in body.options.heads or () if head not in known]:
        raise InvalidInput(f"no head {', '.join(unknown)}: this model has {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class _Done:
    """One complaint that the model has answered, and how long that took from its arrival."""

    body: ComplaintIn
    received: _Clock
    assessment: Assessment
    ms: float


def _run(service: Service, snapshot: Snapshot, body: ComplaintIn, received: _Clock) -> _Done:
    options, predictor = body.options, snapshot.predictor
    heads = options.heads if options.heads is not None else list(predictor.taxonomy.heads)

    def told(reading: Reading, risk: Risk) -> Prediction:
        return predictor.answer(reading, heads, explain=options.explain, risk=risk)

    assessment = read(snapshot, service.policies, body.complaint(received.at), told, options.top_k)
    return _Done(body, received, assessment, received.ms())


async def _save(
    request: Request,
    service: Service,
    snapshot: Snapshot,
    done: Sequence[_Done],
    text: Callable[[Sequence[Stored]], str],
    key: Key | None,
) -> str:
    """Put complaints into their context and on disk, count them, and return what to answer."""

    def settle(at: int, context: Context) -> Outcome:
        one = done[at].assessment
        prediction = one.settle(context)
        stored = _stored(request, snapshot, done[at], prediction)
        return Outcome(stored, prediction.risk, one.department, one.ruling.identity, one.ruling.arm)

    caller = request.state.caller.hex()[:_CALLER] or None
    drafts = [replace(one.assessment.draft, caller=caller) for one in done]
    policy = service.policies.control.policy
    sent, outcomes = await service.stored(
        lambda: service.store.save_assessed(
            drafts,
            settle,
            text,
            policy=policy,
            salt=service.salt,
            key=key,
            audit_share=service.settings.audit_share,
        )
    )
    for outcome in outcomes:
        service.metrics.decisions(outcome.stored.heads)
        service.metrics.risk(outcome.risk.level, outcome.arm)
    for one, outcome in zip(done, outcomes, strict=bool(outcomes)):  # none for an answer that was stored before
        service.shadow.offer(outcome.stored.id, one.assessment.reading.complaint)
    return sent


def _stored(request: Request, snapshot: Snapshot, done: _Done, prediction: Prediction) -> Stored:
    body, ruling = done.body, done.assessment.ruling
    now = datetime.now(UTC)
    prediction_id = new_id(now)
    taxonomy = snapshot.predictor.taxonomy.version
    response = {
        "id": prediction_id,
        "ticket_id": body.ticket_id,
        "model": {"name": snapshot.name, "version": snapshot.version, "alias": snapshot.alias},
        "taxonomy_version": taxonomy,
        "policy_version": ruling.identity,
        **prediction.model_dump(),
        "latency_ms": done.ms,
    }
    # What was missing was filled in, so that the answer can be computed again.
    asked = body.model_dump() | {"created_at": body.created_at or done.received.at}
    return Stored(
        id=prediction_id,
        created_at=now,
        ticket_id=body.ticket_id,
        request=orjson.dumps(asked).decode(),
        response=orjson.dumps(response).decode(),
        model_name=snapshot.name,
        model_version=snapshot.version,
        bundle_digest=snapshot.digest,
        taxonomy_version=taxonomy,
        policy_version=ruling.identity,
        request_id=request.state.request_id,
        heads=prediction.heads,
    )


async def _all_or_none(request: Request, jobs: list[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Results in order; the first error, or the caller's hanging up, cancels what still waits."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await answer(request, asyncio.gather(*tasks), None)
    finally:
        for task in tasks:
            task.cancel()


def _refused(request: Request, error: Exception) -> str:
    problem = problem_of(error, request.state.request_id)
    return orjson.dumps({"status": problem.status, "problem": problem.model_dump()}).decode()


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
