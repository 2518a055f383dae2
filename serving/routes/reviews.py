"""The review queue over HTTP: looking, and taking cases away to review them elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from serving.problems import documented
from serving.reviewing import local, masked, note, sent, served
from serving.routes.body import JsonRoute
from serving.routes.predictions import caller_of
from serving.routes.review_schemas import (
    MOST_LISTED,
    ClaimIn,
    FiltersIn,
    FindIn,
    LeaseOut,
    ReviewOut,
    ReviewsOut,
    SearchIn,
)
from serving.service import InService, Service, needs
from serving.store.review_order import Filters, Queued

router = APIRouter(prefix="/v1", tags=["reviews"], route_class=JsonRoute, dependencies=[needs("review")])


class QueueQuery(FiltersIn):
    """Filters and page, as they stand in a URL."""

    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="At most so many")] = 50
    offset: Annotated[int, Query(ge=0, le=100_000, description="Leave out so many of the first")] = 0


@router.get("/reviews", summary="Cases that wait for a person", responses=documented(401, 403, 422, 500, 503))
async def find_all(request: Request, service: InService, query: Annotated[QueueQuery, Query()]) -> ReviewsOut:
    """The next case first: what costs most if it is wrong, and tells most that is new.

    Looking takes nothing away: take cases with `POST /v1/reviews:claim`. To search for words, which do not belong
    in a URL, use `POST /v1/reviews:search`.
    """
    filters = SearchIn(**query.model_dump(exclude={"limit", "offset"}))
    return await _found(request, service, filters, query.limit, query.offset)


@router.post(
    "/reviews:search",
    summary="Cases that wait, by their words",
    responses=documented(400, 401, 403, 408, 413, 415, 422, 500, 503),
)
async def search(request: Request, body: FindIn, service: InService) -> ReviewsOut:
    """As `GET /v1/reviews`, and by a stretch of the complaint: two Chinese characters, a word, or more."""
    return await _found(request, service, body.filters, body.limit, body.offset)


@router.post(
    "/reviews:claim",
    summary="Take the next cases",
    responses=documented(400, 401, 403, 408, 413, 415, 422, 500, 503),
)
async def claim(request: Request, body: ClaimIn, service: InService) -> ReviewsOut:
    """Cases that are nobody else's until their leases run out; two people never get the same one.

    Say what is right by `POST /v1/predictions/{id}/corrections`, for each head that is not auto: that ends the
    case's wait. What the claimant has already is not given again.
    """
    now, filters = datetime.now(UTC), _filters(service, body.filters)

    def take() -> ReviewsOut:
        leases = service.store.claim(body.actor, filters, limit=body.limit, minutes=body.minutes, now=now)
        page = service.store.queue(filters, now=now, actor=body.actor, limit=1)
        lines = service.store.queued([one.prediction_id for one in leases])
        note(service, body.actor, "claim", {"by": caller_of(request)}, lines, now)
        return ReviewsOut(waiting=page.waiting, reviews=[_told(one, now) for one in lines])

    return await service.stored(take)


async def _found(request: Request, service: Service, filters: SearchIn, limit: int, offset: int) -> ReviewsOut:
    now, narrow = datetime.now(UTC), _filters(service, filters)
    asked = filters.model_dump(mode="json", exclude_none=True) | (
        {"text": masked(filters.text)} if filters.text else {}
    )

    def look() -> ReviewsOut:
        page = service.store.queue(narrow, now=now, limit=limit, offset=offset)
        note(service, caller_of(request), "list", {"filters": asked}, page.items, now)
        return ReviewsOut(waiting=page.waiting, reviews=[_told(one, now) for one in page.items])

    return await service.stored(look)


def _filters(service: Service, asked: SearchIn) -> Filters:
    times = {"since": local(service, asked.since), "until": local(service, asked.until)}
    return served(service, Filters(**asked.model_dump() | times))


def _told(one: Queued, now: datetime) -> ReviewOut:
    complaint = sent(one.request)
    fields = {name: getattr(one, name) for name in ReviewOut.model_fields if hasattr(one, name)}
    fields["channel"] = masked(one.channel)
    lease = None
    if one.lease_actor is not None and one.lease_until is not None and one.lease_until > now:
        lease = LeaseOut(actor=one.lease_actor, until=one.lease_until)
    fields["labels"] = {head: answered.label for head, answered in one.heads.items()}
    return ReviewOut(**fields, title=masked(complaint.title), text=masked(complaint.text) or "", lease=lease)
