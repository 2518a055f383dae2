"""After the answer: what was observed, what a person says, and the risk as it stands now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from complaints.records import Observation
from serving.policies import Refusal, Ruling
from serving.problems import documented
from serving.reviewing import masked
from serving.routes.body import JsonRoute
from serving.routes.predictions import IdempotencyKey, caller_of, idempotency_key_of
from serving.routes.risk_schemas import (
    ObservationIn,
    ObservationOut,
    PoliciesOut,
    PolicyUsedOut,
    RefusalOut,
    RiskOut,
    RulingOut,
    VerdictIn,
    VerdictOut,
)
from serving.service import InService, Service, needs
from serving.standing import Standing, risk_now
from serving.store.keys import Key
from serving.store.risks import Verdict

router = APIRouter(prefix="/v1", tags=["risk"], route_class=JsonRoute)


@router.get(
    "/predictions/{prediction_id}/risk",
    summary="A risk as it stands now",
    dependencies=[needs("predict", "review")],
    responses=documented(401, 403, 404, 500, 503),
)
async def find(prediction_id: str, service: InService) -> RiskOut:
    """Assessed again from what the model said then, by the policy in force now and all that was observed since."""
    return await service.stored(lambda: _told(risk_now(service, prediction_id)))


@router.post(
    "/predictions/{prediction_id}/observations",
    status_code=201,
    summary="Report what was seen in public",
    response_model=RiskOut,
    dependencies=[needs("predict")],
    responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503),
)
async def observe(
    request: Request,
    prediction_id: str,
    body: ObservationIn,
    service: InService,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Reads, reposts, comments and likes so far move the propagation index; the new risk is answered.

    The more is seen, the higher the index; little seen after a long time lowers it. The prediction that was given
    stays as it was.
    """
    now, key = datetime.now(UTC), await idempotency_key_of(request, idempotency_key)

    def keep() -> None:
        calendar = service.policies.control.policy.calendar
        at = calendar.local(body.at) if body.at is not None else now
        counts = body.model_dump(include={"reads", "reposts", "comments", "likes"})
        service.store.observe(prediction_id, Observation(at=at or now, **counts), body.actor, now, key)

    return await _once(service, prediction_id, key, keep)


@router.post(
    "/predictions/{prediction_id}/risk",
    status_code=201,
    summary="Confirm or overrule a suggested level",
    response_model=RiskOut,
    dependencies=[needs("review")],
    responses=documented(400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503),
)
async def judge(
    request: Request,
    prediction_id: str,
    body: VerdictIn,
    service: InService,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The level is a suggestion until a person confirms it. Every verdict is kept; the last one holds."""
    now, key = datetime.now(UTC), await idempotency_key_of(request, idempotency_key)

    def keep() -> None:
        before = risk_now(service, prediction_id)
        verdict = Verdict(before.risk.level, body.level, before.ruling.identity, body.actor, body.note, now)
        service.store.judge(prediction_id, verdict, key, by=caller_of(request))

    return await _once(service, prediction_id, key, keep)


@router.get("/policy", summary="The policies that assess risks", responses=documented(401, 500, 503))
async def policy(request: Request, service: InService) -> PoliciesOut:
    """The policy in force and the one on trial; and why a changed file did not come into force, if it did not."""
    policies, taxonomy = service.policies, service.model(request).predictor.taxonomy

    def told(ruling: Ruling) -> RulingOut:
        refusal: Refusal | None = policies.refusals.get(ruling.arm)
        return RulingOut(
            name=ruling.policy.name,
            version=ruling.identity,
            digest=ruling.policy.digest,
            since=ruling.since,
            refused=RefusalOut(**asdict(refusal)) if refusal is not None else None,
            unfit=ruling.policy.unfit(taxonomy),
        )

    return PoliciesOut(
        control=told(policies.control),
        pilot=told(policies.pilot) if policies.pilot is not None else None,
        pilot_share=service.settings.pilot_share,
        pilot_lines=list(service.settings.pilot_lines),
    )


async def _once(service: Service, prediction_id: str, key: Key | None, keep: Callable[[], None]) -> Response:
    """Do it, or have done it under this key; the risk after it is answered."""

    def tell() -> str:
        return _told(risk_now(service, prediction_id)).model_dump_json()

    sent = await service.stored(lambda: service.store.once(key, keep, tell))
    return Response(sent, 201, media_type="application/json")


def _told(now: Standing) -> RiskOut:
    stored = now.stored
    return RiskOut(
        prediction_id=stored.prediction_id,
        ticket_id=stored.ticket_id,
        policy=PolicyUsedOut(name=now.ruling.policy.name, version=now.ruling.identity, arm=now.ruling.arm),
        level=now.level,
        decided=bool(stored.verdicts),
        given=stored.level,
        alike_before=stored.context.alike_before,
        burst=stored.context.burst,
        risk=now.risk,
        observations=[ObservationOut(**one.model_dump()) for one in stored.observations],
        verdicts=[
            VerdictOut(
                suggested=one.suggested,
                level=one.level,
                confirmed=one.level == one.suggested,
                policy_version=one.policy,
                actor=one.actor,
                note=masked(one.note),
                given_at=one.given_at,
            )
            for one in stored.verdicts
        ],
    )
