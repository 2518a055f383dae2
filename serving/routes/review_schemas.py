"""What comes in and goes out over HTTP about the review queue and people's words."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from complaints.records import Decision, Level
from serving.routes.risk_schemas import Name, Note
from serving.routes.schemas import Moment, Whole, _In

Narrow = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\u0000-\u001f\u007f]*$")]
ReviewReason = Literal[
    "below_threshold",
    "heads_conflict",
    "too_long",
    "out_of_scope",
    "not_chinese",
    "empty_after_cleaning",
    "high_risk",
]
# A page that a person looks through, and the most that one person takes away at once.
MOST_LISTED, MOST_CLAIMED = 200, 50


class FiltersIn(_In):
    """What the queue is narrowed to."""

    head: Narrow | None = Field(None, description="Cases in which this head is not auto, or has `label`")
    label: Narrow | None = Field(None, description="Cases of this label; a parent stands for its leaves")
    level: Level | None = Field(None, description="Level of risk when it was answered")
    department: Narrow | None = Field(None, description="Label of the department in charge")
    channel: Narrow | None = Field(None, description="Where it came in, as it was sent or as it is shown")
    since: Moment | None = Field(None, description="Complaints from this time on")
    until: Moment | None = Field(None, description="Complaints before this time")
    model_version: Narrow | None = Field(None, description="Answered by this version")
    reason: ReviewReason | None = Field(None, description="Why it waits")


class SearchIn(FiltersIn):
    """What the queue is narrowed to, words of the complaint included."""

    text: Annotated[str, Field(min_length=2, max_length=200, pattern=r"^[^\u0000-\u001f\u007f]*$")] | None = Field(
        None, description="A stretch of the complaint, two characters or more", examples=["不制冷"]
    )


class FindIn(_In):
    """Which lines of the queue."""

    filters: SearchIn = Field(SearchIn(), description="What the queue is narrowed to")
    limit: Whole = Field(50, ge=1, le=MOST_LISTED, description="At most so many")
    offset: Whole = Field(0, ge=0, le=100_000, description="Leave out so many of the first")


class ClaimIn(_In):
    """Who wants how many cases, and for how long."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"actor": "王芳", "limit": 5, "minutes": 30, "filters": {"level": "high"}}]}
    )

    actor: Name = Field(description="Who reviews them", examples=["王芳"])
    limit: Whole = Field(1, ge=1, le=MOST_CLAIMED, description="At most so many")
    minutes: Annotated[float, Field(gt=0, le=1440, strict=True)] = Field(
        15.0, description="After so long they are free for others again"
    )
    filters: SearchIn = Field(SearchIn(), description="What the queue is narrowed to")


class CorrectionIn(_In):
    """One label for one head."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"head": "category", "label": "quality.defect", "actor": "王芳", "note": "客户寄回后确认故障"}]
        }
    )

    head: Narrow = Field(description="A head of the prediction", examples=["category"])
    label: Narrow = Field(description="What is right; the predicted label to confirm it", examples=["quality.defect"])
    actor: Name = Field(description="Who says so", examples=["王芳"])
    note: Note | None = Field(None, description="Why")
    kind: Literal["explicit", "implicit"] = Field(
        "explicit", description="explicit: a person said so; implicit: read off a closed ticket"
    )


class LeaseOut(BaseModel):
    """Who is on a case."""

    actor: str = Field(description="Who has it")
    until: datetime = Field(description="When it is free for others again")


class ReviewOut(BaseModel):
    """One case of the queue."""

    prediction_id: str = Field(description="Its prediction")
    ticket_id: str | None = Field(description="As it was sent")
    at: datetime = Field(description="When the complaint came in")
    entered_at: datetime = Field(description="When it entered the queue")
    title: str | None = Field(description="Subject line, personal data masked")
    text: str = Field(description="The complaint, personal data masked")
    channel: str | None = Field(description="Where it came in, personal data masked")
    level: Level = Field(description="Level of risk when it was answered")
    department: str | None = Field(description="Label of the department in charge")
    model_version: str = Field(description="Version that answered")
    priority: float = Field(description="What is to be expected from acting on it unseen; high comes first")
    labels: dict[str, str] = Field(description="Head -> what was answered")
    lease: LeaseOut | None = Field(description="Who is on it; null: nobody")


class ReviewsOut(BaseModel):
    """Cases, the next one first."""

    waiting: int = Field(description="Cases that wait, of these filters")
    reviews: list[ReviewOut] = Field(description="Some of them")


class CorrectionOut(BaseModel):
    """A word as it is kept, beside what the model had said."""

    id: str = Field(description="To take it back by")
    prediction_id: str = Field(description="The prediction, which stays as it was")
    head: str = Field(description="Which question")
    label: str = Field(description="What is right, by this word")
    predicted: str = Field(description="What the model said")
    decision: Decision = Field(description="What was to be done with it")
    confidence: float = Field(description="The model's, 0 to 1")
    kind: Literal["explicit", "implicit"] = Field(description="Said by a person, or read off a closed ticket")
    actor: str = Field(description="Who said so")
    note: str | None = Field(description="Why, personal data masked")
    given_at: datetime = Field(description="When")
    taxonomy_version: str = Field(description="Version of the labels that holds this one")
    withdrawn_at: datetime | None = Field(description="When it was taken back; null: it stands")


class CorrectionsOut(BaseModel):
    """All words on a prediction."""

    corrections: list[CorrectionOut] = Field(description="The oldest first; of those that stand the last holds")
