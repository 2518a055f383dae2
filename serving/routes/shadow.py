"""How the challenger's answers differ from those that were given."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from serving.problems import documented
from serving.service import InService, needs

router = APIRouter(prefix="/v1", tags=["model"])


class AgreementOut(BaseModel):
    """One head on all traffic that the challenger answered in shadow."""

    head: str = Field(description="Head of the taxonomy")
    answers: int = Field(description="Predictions that both answered")
    same: int = Field(description="Of them with the same label")
    auto: int = Field(description="That were decided alone by the model that answered")
    shadow_auto: int = Field(description="That the challenger would decide alone")


class DisagreementOut(BaseModel):
    """One answer, and what the challenger would have said."""

    prediction_id: str = Field(description="Of the answer that was given")
    at: datetime = Field(description="When it was given")
    head: str = Field(description="Head of the taxonomy")
    label: str = Field(description="Label that was given")
    decision: str = Field(description="auto, suggest or review, as it was given")
    confidence: float = Field(description="From 0 to 1, high is sure")
    shadow_label: str = Field(description="Label that the challenger would have given")
    shadow_decision: str = Field(description="And its decision")
    shadow_confidence: float = Field(description="And its confidence")


class ShadowOut(BaseModel):
    """A version in shadow; `version` is null where none has answered yet."""

    name: str = Field(description="Registered model")
    version: str | None = Field(description="The challenger's version")
    champion: str = Field(description="The version that answers now; with its answers alone the challenger is compared")
    heads: list[AgreementOut] = Field(description="Agreement by head")
    disagreements: list[DisagreementOut] = Field(description="Answers that differ, the newest first")


@router.get(
    "/shadow",
    summary="The challenger beside the model that answers",
    dependencies=[needs("review", "admin")],
    responses=documented(401, 403, 422, 500, 503),
)
async def shadow(
    service: InService,
    version: Annotated[
        str | None, Query(pattern="^[0-9]{1,9}$", description="The challenger, or the last one, where not given")
    ] = None,
    head: Annotated[str | None, Query(max_length=120, description="Disagreements of this head alone")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Disagreements, at most so many")] = 50,
) -> ShadowOut:
    """How often it says the same, and where it does not, the newest first. Nothing of this was told to callers.

    Answers that an earlier version gave are left out: against another champion the challenger starts anew.
    """
    return await service.stored(lambda: _told(service, version, head, limit))


def _told(service: InService, version: str | None, head: str | None, limit: int) -> ShadowOut:
    name, challenger = service.settings.model, service.source.challenger()
    champion = service.source.current().version
    which = version or (challenger.version if challenger is not None else service.store.newest_shadow(name))
    if which is None or (head is not None and "\0" in head):  # PostgreSQL refuses U+0000, and no head has it
        return ShadowOut(name=name, version=which, champion=champion, heads=[], disagreements=[])
    store = service.store
    return ShadowOut(
        name=name,
        version=which,
        champion=champion,
        heads=[AgreementOut(**asdict(one)) for one in store.shadow_agreement(name, which, champion)],
        disagreements=[
            DisagreementOut(**asdict(one)) for one in store.disagreements(name, which, champion, head, limit)
        ],
    )
