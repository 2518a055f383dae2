"""What the model can answer with, and which model it is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from complaints.taxonomy import Head
from serving.problems import documented
from serving.routes.schemas import CalibrationOut, HeadOut, LabelOut, ServedOut, TaxonomyOut
from serving.service import InService

router = APIRouter(prefix="/v1", tags=["model"])


@router.get("/taxonomy", summary="Heads and labels", responses=documented(401, 500, 503))
async def taxonomy(request: Request, service: InService) -> TaxonomyOut:
    """The labels of the model that answers now, with their names, and the responsibility table if there is one."""
    found = service.model(request).predictor.taxonomy
    return TaxonomyOut(
        name=found.name,
        title=found.title,
        version=found.version,
        heads=[
            HeadOut(id=name, name=head.name, kind=head.kind, labels=_labels(head)) for name, head in found.heads.items()
        ],
        responsibility=found.responsibility,
    )


@router.get("/model", summary="The model that answers now", responses=documented(401, 500, 503))
async def model(request: Request, service: InService) -> ServedOut:
    """Its version, where it comes from, from which confidence it acts alone, and how it did on its test data."""
    snapshot = service.model(request)
    predictor = snapshot.predictor
    manifest = predictor.bundle.manifest
    return ServedOut(
        name=snapshot.name,
        version=snapshot.version,
        alias=snapshot.alias,
        digest=snapshot.digest,
        policy_version=service.policies.control.identity,
        manifest=manifest,
        calibration={
            name: CalibrationOut(
                precision_target=head.precision_target, coverage=head.coverage, thresholds=head.thresholds
            )
            for name, head in predictor.calibration.heads.items()
        },
        metrics=manifest.metrics,
    )


def _labels(head: Head) -> list[LabelOut]:
    return [
        LabelOut(id=label, name=name, parent=head.parent(label) if label in head.ids else None, leaf=label in head.ids)
        for label, name in head.names.items()
    ]
