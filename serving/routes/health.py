"""Is it alive, is it ready, and how is it doing."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from complaints.errors import NotReady
from serving.problems import documented
from serving.routes.schemas import HealthOut
from serving.service import InService

router = APIRouter(tags=["health"])


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Is the process alive", responses=documented(500))
async def live() -> HealthOut:
    """Answers as long as the process does; restart it when this fails."""
    return HealthOut(status="ok")


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="Can it answer", responses=documented(500, 503))
async def ready(request: Request, service: InService) -> HealthOut:
    """A model is loaded and the database answers; send requests elsewhere while this is 503."""
    service.model(request)
    await service.stored(service.store.ping)
    return HealthOut(status="ok")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses=documented(401, 500)
    | {200: {"description": "Prometheus' text format", "content": {CONTENT_TYPE_LATEST.partition(";")[0]: {}}}},
)
async def metrics(service: InService) -> Response:
    """Requests by route, method and status; latency; batch sizes; queue depth; decisions; the model."""
    try:
        snapshot = service.source.current()
    except NotReady:
        return Response(service.metrics.render(None), media_type=CONTENT_TYPE_LATEST)
    predictor = snapshot.predictor
    labels = {
        "name": snapshot.name,
        "version": snapshot.version,
        "digest": snapshot.digest,
        "taxonomy_version": predictor.taxonomy.version,
        "policy_version": service.policies.control.identity,
    }
    return Response(service.metrics.render(labels), media_type=CONTENT_TYPE_LATEST)
