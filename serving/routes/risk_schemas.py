"""What comes in and goes out over HTTP about risks after they were assessed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from complaints.records import Level, Risk
from serving.routes.schemas import Moment, _In, _number

# The database's whole numbers end there, and no matter in the world was read more often.
MOST = 10**15
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\u0000-\u001f\u007f]*$")]
Note = Annotated[str, Field(max_length=2000, pattern=r"^[^\u0000]*$")]
# Not of Whole: bounds after a validator stand in the document as `ge` and `le`, which say nothing there.
Count = Annotated[int, Field(ge=0, le=MOST), BeforeValidator(_number)]


_COUNTS = ("reads", "reposts", "comments", "likes")
_A_COUNT: JsonDict = {"type": "integer", "minimum": 0, "maximum": MOST}


class ObservationIn(_In):
    """What was seen of a matter in public; counts are totals so far. Give at least one."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name], "properties": {name: _A_COUNT}} for name in _COUNTS],
            "examples": [{"at": "2026-03-01T12:00:00+08:00", "reads": 12000, "reposts": 85, "comments": 230}],
        }
    )

    at: Moment | None = Field(None, description="When it was seen, ISO 8601; the time of receipt where missing")
    reads: Count | None = Field(None, description="Reads or views", examples=[12000])
    reposts: Count | None = Field(None, description="Reposts or shares", examples=[85])
    comments: Count | None = Field(None, description="Comments", examples=[230])
    likes: Count | None = Field(None, description="Likes", examples=[640])
    actor: Name | None = Field(None, description="Who saw it", examples=["舆情组"])

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if all(getattr(self, name) is None for name in _COUNTS):
            raise ValueError(f"give at least one of {', '.join(_COUNTS)}")
        return self


class VerdictIn(_In):
    """A person's word on the suggested level."""

    level: Level = Field(description="The level that holds; the suggested one to confirm it")
    actor: Name = Field(description="Who says so", examples=["王芳"])
    note: Note | None = Field(None, description="Why; wanted where the suggestion is overruled")


class DecisionIn(_In):
    """A person's word on an alert."""

    accept: Annotated[bool, Field(strict=True)] = Field(description="true: it is a burst; false: it is none")
    actor: Name = Field(description="Who says so", examples=["王芳"])
    note: Note | None = Field(None, description="Why")


class ObservationOut(BaseModel):
    """An observation as it is kept."""

    at: datetime = Field(description="When it was seen")
    reads: int | None = Field(description="Reads or views")
    reposts: int | None = Field(description="Reposts or shares")
    comments: int | None = Field(description="Comments")
    likes: int | None = Field(description="Likes")


class VerdictOut(BaseModel):
    """A person's word as it is kept."""

    suggested: Level = Field(description="What was suggested then")
    level: Level = Field(description="What the person said")
    confirmed: bool = Field(description="Whether the two are the same; else the suggestion was overruled")
    policy_version: str = Field(description="The policy that suggested it")
    actor: str = Field(description="Who said so")
    note: str | None = Field(description="Why, personal data masked")
    given_at: datetime = Field(description="When")


class PolicyUsedOut(BaseModel):
    """The policy that assessed a risk."""

    name: str = Field(description="The policy's name")
    version: str = Field(description="Its version; with a mark where another file used the same version first")
    arm: str = Field(description="control: the policy in force; pilot: one on trial", examples=["control"])


class RiskOut(BaseModel):
    """A risk as it stands now: the answer that was given stays as it was, this is assessed again."""

    prediction_id: str = Field(description="Whose risk")
    ticket_id: str | None = Field(description="As it was sent")
    policy: PolicyUsedOut = Field(description="The policy that assesses it now")
    level: Level = Field(description="The level that holds: a person's last word, else the suggestion")
    decided: bool = Field(description="Whether a person has confirmed or overruled it")
    given: Level = Field(description="The level in the answer that was given")
    alike_before: int = Field(description="Earlier complaints of this customer on this subject")
    burst: int = Field(description="Complaints in the burst that it belongs to; 0 outside bursts")
    risk: Risk = Field(description="The suggestion now, by all that was observed")
    observations: list[ObservationOut] = Field(description="By time")
    verdicts: list[VerdictOut] = Field(description="By time; the last one holds")


class AlertOut(BaseModel):
    """A burst of near-identical complaints."""

    id: str = Field(description="Its name; the same complaints in the same order give the same one")
    status: Literal["open", "accepted", "rejected"] = Field(description="open until a person decides")
    category: str = Field(description="Label, of the parent where there is one")
    product: str = Field(description="As issues are told apart by: without case and spaces; empty where none was given")
    reason: Literal["count", "growth"] = Field(description="So many in the window, or so many times the baseline")
    since: datetime = Field(description="First complaint of the window that raised it")
    opened_at: datetime = Field(description="The complaint that raised it")
    last_at: datetime = Field(description="The last complaint at which the window was still unusual")
    members: int = Field(description="Complaints in it so far")
    count: int = Field(description="Complaints in the window when it was raised")
    expected: float | None = Field(description="What the seasonal baseline expects in a window; null: not known")
    growth: float | None = Field(description="count / expected; null where nothing was expected or known")
    p: float | None = Field(description="Chance of so many if all were as usual; null: not judged")
    policy_version: str = Field(description="The policy that raised it")
    decided_by: str | None = Field(description="Who accepted or rejected it")
    decided_at: datetime | None = Field(description="When")
    note: str | None = Field(description="Why, personal data masked")


class MemberOut(BaseModel):
    """One complaint of a burst."""

    prediction_id: str = Field(description="Its prediction")
    ticket_id: str | None = Field(description="As it was sent")
    at: datetime = Field(description="When it came in")


class AlertWithMembersOut(AlertOut):
    """An alert and its complaints."""

    first_members: list[MemberOut] = Field(description="Up to 1,000 complaints of it, by time")


class AlertsOut(BaseModel):
    """Alerts, the newest first."""

    alerts: list[AlertOut] = Field(description="As many as asked for")


class RefusalOut(BaseModel):
    """A changed policy file that did not come into force."""

    reason: str = Field(description="Line, field and what to do")
    at: datetime = Field(description="When it was read")


class RulingOut(BaseModel):
    """A policy and whether its file was changed since to one that cannot be used."""

    name: str = Field(description="The policy's name")
    version: str = Field(description="As answers name it")
    digest: str = Field(description="sha256 of its text")
    since: datetime = Field(description="In force in this process since")
    refused: RefusalOut | None = Field(description="Its file as it is now, where that is not valid; else null")
    unfit: list[str] = Field(description="Heads and labels that it names and the model's taxonomy lacks")


class PoliciesOut(BaseModel):
    """The policy in force, and the one on trial."""

    control: RulingOut = Field(description="In force")
    pilot: RulingOut | None = Field(description="On trial; null where none is")
    pilot_share: float = Field(description="Share of business lines on trial")
    pilot_lines: list[str] = Field(description="Business lines that are surely on trial")
