"""Bursts of near-identical complaints, for a person to accept or reject."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from serving.problems import documented
from serving.reviewing import masked
from serving.routes.body import JsonRoute
from serving.routes.predictions import IdempotencyKey, idempotency_key_of
from serving.routes.risk_schemas import AlertOut, AlertsOut, AlertWithMembersOut, DecisionIn, MemberOut
from serving.service import InService, Service, needs
from serving.store.risks import Decided

router = APIRouter(prefix="/v1", tags=["alerts"], route_class=JsonRoute)

# Members that are listed: enough to see what it is about, and to telephone every one of them.
MOST_MEMBERS = 1000


@router.get(
    "/alerts",
    summary="Bursts of near-identical complaints",
    dependencies=[needs("predict", "review")],
    responses=documented(401, 403, 422, 500, 503),
)
async def find_all(
    service: InService,
    status: Annotated[
        Literal["open", "accepted", "rejected"] | None, Query(description="Only these; all where not given")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many")] = 50,
) -> AlertsOut:
    """The newest first. One alert a burst: it grows with its complaints and is raised again only after a quiet time."""
    found = await service.stored(lambda: service.store.alerts(status, None, limit))
    return AlertsOut(alerts=[AlertOut(**_told(one)) for one in found])


@router.get(
    "/alerts/{alert_id}",
    summary="One burst and its complaints",
    dependencies=[needs("predict", "review")],
    responses=documented(401, 403, 404, 500, 503),
)
async def find(alert_id: str, service: InService) -> AlertWithMembersOut:
    """The alert as it stands, with its first complaints."""
    return await service.stored(lambda: _with_members(service, alert_id))


@router.post(
    "/alerts/{alert_id}/decision",
    status_code=201,
    summary="Accept or reject a burst",
    response_model=AlertWithMembersOut,
    dependencies=[needs("review")],
    responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503),
)
async def decide(
    request: Request,
    alert_id: str,
    body: DecisionIn,
    service: InService,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A person decides once; the same decision again changes nothing.

    Complaints of a rejected burst are no longer assessed as part of one.
    """
    now, key = datetime.now(UTC), await idempotency_key_of(request, idempotency_key)

    def keep() -> None:
        status: Literal["accepted", "rejected"] = "accepted" if body.accept else "rejected"
        service.store.decide(alert_id, status, body.actor, body.note, now, key)

    def tell() -> str:
        return _with_members(service, alert_id).model_dump_json()

    sent = await service.stored(lambda: service.store.once(key, keep, tell))
    return Response(sent, 201, media_type="application/json")


def _with_members(service: Service, alert_id: str) -> AlertWithMembersOut:
    found, members = service.store.alert(alert_id, MOST_MEMBERS)
    return AlertWithMembersOut(
        **_told(found),
        first_members=[MemberOut(prediction_id=one, ticket_id=ticket, at=at) for one, ticket, at in members],
    )


def _told(one: Decided) -> dict[str, object]:
    alert = asdict(one.alert)
    growth = one.alert.growth
    alert["growth"] = growth if growth is not None and math.isfinite(growth) else None
    rest = {"decided_by": one.decided_by, "decided_at": one.decided_at, "note": masked(one.note)}
    return {name: value for name, value in alert.items() if name != "issue_id"} | rest | {"policy_version": one.policy}
