"""What people, and closed tickets, say of predictions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from complaints.records import Correction
from serving.problems import documented
from serving.reviewing import check_labels, local, masked
from serving.routes.body import JsonRoute
from serving.routes.predictions import IdempotencyKey, caller_of, idempotency_key_of
from serving.routes.review_schemas import CorrectionIn, CorrectionOut, CorrectionsOut
from serving.routes.risk_schemas import Name
from serving.routes.schemas import Moment
from serving.service import InService, needs
from serving.store.review_words import Said, Word

router = APIRouter(prefix="/v1", tags=["corrections"], route_class=JsonRoute)
LINES = "application/x-ndjson"


@router.post(
    "/predictions/{prediction_id}/corrections",
    status_code=201,
    summary="Say what is right",
    response_model=CorrectionOut,
    dependencies=[needs("review")],
    responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503),
)
async def correct(
    request: Request,
    prediction_id: str,
    body: CorrectionIn,
    service: InService,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The prediction stays as it was; the word is kept beside it, on disk before it is answered.

    What the same actor said of the head just before is not kept twice. Labels are those of the model that answers
    now. Once every head that is not auto has an explicit word, the case waits no longer for a review; words of who has
    not claimed it may leave it waiting. While another person has the case, explicit words are refused; words read off
    closed tickets are not.
    """
    key = await idempotency_key_of(request, idempotency_key)
    if key is not None and (kept := await service.stored(lambda: service.store.recall(key))) is not None:
        return Response(kept, 201, media_type="application/json")
    taxonomy = service.model(request).predictor.taxonomy
    now, caller = datetime.now(UTC), caller_of(request)
    word = Word(body.head, body.label, body.actor, body.note, body.kind, taxonomy.version)

    def keep() -> str:
        service.store.response(prediction_id)  # NotFound comes before what is wrong with the word
        check_labels(taxonomy, {body.head: body.label})
        share = service.settings.second_share
        return service.store.correct(prediction_id, word, now=now, key=key, answer=_json, second_share=share, by=caller)

    return Response(await service.stored(keep), 201, media_type="application/json")


@router.get(
    "/predictions/{prediction_id}/corrections",
    summary="All that was said of a prediction",
    dependencies=[needs("review")],
    responses=documented(401, 403, 404, 500, 503),
)
async def find(prediction_id: str, service: InService) -> CorrectionsOut:
    """The oldest first; words that were taken back are listed too."""
    said = await service.stored(lambda: service.store.words(prediction_id))
    return CorrectionsOut(corrections=[_told(one) for one in said])


@router.delete(
    "/corrections/{correction_id}",
    summary="Take a word back",
    dependencies=[needs("review")],
    responses=documented(401, 403, 404, 409, 422, 500, 503),
)
async def withdraw(
    request: Request, correction_id: str, service: InService, actor: Annotated[Name, Query(description="Who said it")]
) -> CorrectionOut:
    """It stays listed with the time at which it was taken back, and counts no longer; a second time changes nothing.

    Only who said it can take it back.
    """
    now, caller = datetime.now(UTC), caller_of(request)
    return _told(await service.stored(lambda: service.store.withdraw(correction_id, actor, now=now, by=caller)))


@router.get(
    "/corrections/export",
    summary="Corrections to train on",
    response_class=StreamingResponse,
    dependencies=[needs("export")],
    responses=documented(401, 403, 422, 500, 503)
    | {200: {"description": "One correction a line, personal data masked", "content": {LINES: {}}}},
)
async def export(
    request: Request,
    service: InService,
    since: Annotated[Moment | None, Query(description="Given at this time or later")] = None,
    kind: Annotated[
        Literal["explicit", "implicit"] | None, Query(description="Only these; all where not given")
    ] = None,
    model: Annotated[str | None, Query(description="Only on answers of this model; all where not given")] = None,
) -> StreamingResponse:
    """The file that `jianwei train --corrections` reads: words that stand, in the order in which they were given."""
    start = local(service, since)
    kinds = ("explicit", "implicit") if kind is None else (kind,)
    caller = caller_of(request)
    detail: dict[str, object] = {"since": start, "kinds": kinds, "model": model}
    await service.stored(lambda: service.store.log(caller, "export", "corrections", detail, datetime.now(UTC)))

    def lines() -> Iterator[bytes]:
        for one in service.store.export(start, kinds=kinds, model=model):
            yield _line(one)

    return StreamingResponse(lines(), media_type=LINES)


def _line(one: Correction) -> bytes:
    return one.model_dump_json().encode() + b"\n"


def _json(said: Said) -> str:
    return _told(said).model_dump_json()


def _told(said: Said) -> CorrectionOut:
    fields = {name: getattr(said, name) for name in CorrectionOut.model_fields}
    return CorrectionOut(**fields | {"note": masked(said.note)})
