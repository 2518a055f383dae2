"""What travels: a complaint in, a prediction out, a person's correction."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Decision = Literal["auto", "suggest", "review"]
Reason = Literal["below_threshold", "heads_conflict", "too_long", "out_of_scope", "not_chinese", "empty_after_cleaning"]
Level = Literal["low", "medium", "high"]
Short = Annotated[str, StringConstraints(max_length=200)]
LONGEST_TITLE = 1000
# What is no date, in quotes or not: it would be read as seconds since 1970.
BARE_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)", re.ASCII)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Customer(_Record):
    """Who complains, as far as the caller knows."""

    id: Short | None = Field(None, description="The caller's customer number")
    vip: bool = Field(False, description="A customer whom the company treats with priority")
    verified: bool = Field(False, description="The account is verified by its platform")
    followers: int | None = Field(None, ge=0, description="Followers on the customer's largest public account")


class Complaint(_Record):
    """One complaint with its context; only `text` is needed."""

    text: str = Field(description="What the customer said, as it came in")
    title: str | None = Field(None, max_length=LONGEST_TITLE, description="Subject line; read before the text")
    ticket_id: Short | None = Field(None, description="The caller's ticket number; comes back in the answer")
    channel: Short | None = Field(None, description="Where it came in: app, phone, social …")
    created_at: datetime | None = Field(None, description="When it came in; deadlines count from here")
    customer: Customer = Customer()
    region: Short | None = None
    product: Short | None = None
    business_line: Short | None = Field(None, description="Unit of the company; pilots of a policy go by it")
    public: bool = Field(False, description="The caller knows that the matter is public already")
    complex: bool = Field(False, description="Needs an inspection or several departments: the longer term applies")


class Observation(_Record):
    """What was seen of a matter in public at one time; counts are totals so far, None where not looked at."""

    at: datetime = Field(description="When it was seen; one without a time zone is in the policy's")
    reads: int | None = Field(None, ge=0, description="Reads or views")
    reposts: int | None = Field(None, ge=0, description="Reposts or shares")
    comments: int | None = Field(None, ge=0)
    likes: int | None = Field(None, ge=0)


class Context(_Record):
    """What the service knows beyond the complaint itself."""

    alike_before: int = Field(0, ge=0, description="Earlier complaints of this customer on this subject")
    burst: int = Field(0, ge=0, description="Near-identical complaints in the current burst, this one included")
    observations: tuple[Observation, ...] = ()


class Scored(_Record):
    """A label and the model's calibrated confidence in it."""

    label: str
    confidence: float = Field(ge=0, le=1)


class HeadPrediction(_Record):
    """What one head says, and whether it may be acted upon.

    `auto`: confidence reached the class's threshold. `suggest`: it did not, but `prediction_set` is short
    enough for a person to choose from. `review`: a person must read it; `reason` says why. A hierarchical head
    that is sure of the parent alone answers `auto` with the parent's id as label.
    """

    decision: Decision = Field(description="auto: apply it; suggest: let a person choose; review: let a person read")
    label: str = Field(description="Label id of the taxonomy; of a parent where only the parent is sure")
    name: str = Field(description="The label's Chinese name")
    confidence: float = Field(ge=0, le=1, description="Calibrated probability that the label is right")
    threshold: float | None = Field(description="Confidence from which this label is auto; null: never yet shown safe")
    reason: Reason | None = Field(None, description="Why it is not auto")
    prediction_set: tuple[str, ...] = Field(description="Labels that hold the right one with the promised coverage")
    top_k: tuple[Scored, ...] = Field(description="The most likely labels, best first")


class ReasonNote(_Record):
    """One thing that raised the risk: a stable code, a Chinese sentence, where it stands and what it weighs."""

    code: str = Field(description="Stable; a rule, cell, upgrade or score of the policy")
    detail: str = Field(description="For people, in Chinese")
    field: Literal["title", "text"] | None = Field(None, description="Where the words stand; null: not in the text")
    start: int | None = Field(None, ge=0, description="First character in that field as sent")
    end: int | None = Field(None, ge=0, description="One past the last character")
    weight: float = Field(0.0, description="How far it pushes the propagation index; the policy's `index`")
    points: float = Field(0.0, description="The most points that it gives in the matrix, or the score's value")


class Propagation(_Record):
    """How far the matter may spread: the model's label, and an index that context and observations have moved."""

    label: str | None = Field(description="The propagation head's label; null where the model has no such head")
    index: float = Field(ge=1, le=10, description="1 stays private, 10 is or will be public")
    interval: tuple[float, float] = Field(description="Where the index lies with about 80 % probability")
    observed: bool = Field(False, description="Whether observations moved it: then it is a posterior, else a prior")


class RiskMatrix(_Record):
    """Four dimensions of risk, each low, medium or high (high is bad)."""

    business: Level
    financial: Level
    reputation: Level
    compliance: Level


class Score(_Record):
    """How the level was reached, before upgrades."""

    method: Literal["sum", "fuzzy"] = Field(description="Single-factor sum, or fuzzy comprehensive evaluation")
    value: float = Field(description="Compared with the policy's bounds; high is bad")
    parts: dict[str, float] = Field(description="Factor -> its points, 1 to 10")
    membership: dict[Level, float] | None = Field(None, description="Fuzzy: degree to which each level applies")
    level: Level


class ChecklistItem(_Record):
    """One question of the compliance checklist."""

    code: str
    question: str
    suspected: bool = Field(description="True: something in the complaint speaks for a breach; false: nothing seen")
    detail: str | None = Field(None, description="What speaks for it")


class Task(_Record):
    """One thing to do: what, by whom, by when."""

    what: str
    owner: str = Field(description="Who does it, in Chinese; the responsible department by its name")
    due: datetime | None = Field(description="Null where created_at was not given")


class Risk(_Record):
    """Suggested level, deadlines and actions, for a person to confirm."""

    level: Level
    severity: Literal["normal", "serious", "urgent"] = Field(description="一般 / 严重 / 紧急")
    propagation: Propagation
    matrix: RiskMatrix
    criteria: dict[str, str] = Field({}, description="Dimension -> the criterion of the cell it fell into")
    score: Score | None = Field(None, description="The working; null in answers of earlier versions")
    upgraded_from: Level | None = Field(None, description="The score's level, where an upgrade raised it")
    reasons: tuple[ReasonNote, ...]
    checklist: tuple[ChecklistItem, ...] = Field((), description="Service agreement, industry standard, privacy …")
    actions: tuple[str, ...]
    tasks: tuple[Task, ...] = Field((), description="The actions with owners and deadlines")
    respond_by: datetime | None = Field(description="First answer due; null where created_at was not given")
    resolve_by: datetime | None
    notes: tuple[str, ...] = Field((), description="What a person should know of this assessment, in Chinese")


class Evidence(_Record):
    """A stretch of the caller's own text that speaks for a head's label."""

    head: str
    start: int = Field(ge=0, description="First character in the text as sent")
    end: int = Field(ge=0, description="One past the last character")
    weight: float = Field(ge=0, le=1, description="Share of all that speaks for the answer which this stretch says")


class Similar(_Record):
    """An example that the model was trained on and reads much like this text; only texts that may be shown are kept."""

    text: str
    labels: dict[str, str] = Field(description="Head -> label id, as given by the labeller")
    similarity: float = Field(ge=-1, le=1, description="Inner product of the two vectors; 1 is the same reading")


class Prediction(_Record):
    """Everything that can be said of one complaint; the same complaint and versions give the same prediction."""

    heads: dict[str, HeadPrediction]
    risk: Risk
    evidence: tuple[Evidence, ...] = ()
    similar: tuple[Similar, ...] = ()
    warnings: tuple[Literal["truncated"], ...] = ()


class Correction(_Record):
    """A person's word on one head of one prediction, which stays as it was; the last word of a prediction holds.

    `accepted` is a word too: the label is the predicted one.
    """

    id: str
    prediction_id: str
    text: str = Field(description="Of the complaint, personal data masked")
    title: str | None = None
    channel: Short | None = None
    head: str
    label: str = Field(description="The right label, in the person's opinion; a leaf or a parent")
    predicted: str = Field(description="What the model said")
    decision: Decision = Field(description="What was to be done with it")
    confidence: float = Field(ge=0, le=1)
    kind: Literal["explicit", "implicit"] = Field(description="Said by a person, or read off a closed ticket")
    audit: bool = Field(False, description="Drawn at random among auto decisions, so it may be counted without bias")
    actor: Short
    note: Annotated[str, StringConstraints(max_length=2000)] | None = None
    given_at: datetime = Field(description="When it was said; a file's time without a time zone is UTC")
    model_name: str = Field("", description="Empty where a file was made by hand: then it counts for any model")
    model_version: str
    taxonomy_version: str
