"""What comes in and what goes out over HTTP; the parts in the middle are `complaints.records`.

In-schemas are narrower than the records they become: what a database or a date cannot hold is refused here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, Strict

from complaints.bundle import Manifest
from complaints.records import BARE_NUMBER, LONGEST_TITLE, Complaint, Customer, Evidence, HeadPrediction, Risk, Similar
from complaints.taxonomy import Responsibility
from serving.problems import Problem

LONGEST_TEXT = 100_000
LARGEST_BATCH = 256
# Deadlines are counted from the date, and some hours before the year 1 or after 9999 there is no date.
YEARS = (1970, 2200)

EXAMPLE_IN: dict[str, Any] = {
    "ticket_id": "T1",
    "text": "上周买的空调不制冷，报修三次没人上门，再不处理我就去微博曝光！",
    "title": "空调不制冷",
    "channel": "app",
    "created_at": "2026-03-01T09:30:00+08:00",
    "customer": {"id": "C42", "vip": False, "followers": 120},
    "region": "上海",
    "product": "空调",
    "options": {"top_k": 3, "explain": False},
}
EXAMPLE_OUT: dict[str, Any] = {
    "id": "pred_01jnkq6v3c8w5t2m9x4r7y0zab",
    "ticket_id": "T1",
    "model": {"name": "consumer", "version": "17", "alias": "champion"},
    "taxonomy_version": "1.0.0",
    "policy_version": "2.0.0",
    "heads": {
        "category": {
            "decision": "auto",
            "label": "quality.defect",
            "name": "产品质量/功能故障",
            "confidence": 0.93,
            "threshold": 0.88,
            "reason": None,
            "prediction_set": ["quality.defect"],
            "top_k": [
                {"label": "quality.defect", "confidence": 0.93},
                {"label": "aftersales.poor", "confidence": 0.04},
            ],
        }
    },
    "risk": {
        "level": "high",
        "severity": "urgent",
        "propagation": {"label": "high", "index": 8.2, "interval": [6.5, 9.4]},
        "matrix": {"business": "medium", "financial": "low", "reputation": "high", "compliance": "medium"},
        "criteria": {
            "business": "二十人以上，或有安全隐患、食品药品问题、违约跑路、集中爆发",
            "financial": "一万元以下",
            "reputation": "动人的话题已经公开或扬言公开；有影响的人公开指控；媒体介入；模型判断传播风险高",
            "compliance": "假冒、虚假宣传、霸王条款、违约、诉讼、报警、找监管",
        },
        "score": {
            "method": "sum",
            "value": 16.2,
            "parts": {"business": 5, "financial": 2, "reputation": 8, "compliance": 5, "propagation": 8.2},
            "membership": None,
            "level": "high",
        },
        "upgraded_from": None,
        "reasons": [
            {
                "code": "public",
                "detail": "公开或扬言公开：曝光",
                "field": "text",
                "start": 28,
                "end": 30,
                "weight": 1.5,
                "points": 5,
            }
        ],
        "checklist": [
            {
                "code": "standard",
                "question": "是否违反行业标准或强制性规定（质量、安全、食品）",
                "suspected": False,
                "detail": None,
            }
        ],
        "actions": ["1 小时内成立专项小组"],
        "tasks": [{"what": "成立专项小组", "owner": "值班负责人", "due": "2026-03-01T10:30:00+08:00"}],
        "respond_by": "2026-03-01T09:40:00+08:00",
        "resolve_by": "2026-03-01T11:30:00+08:00",
        "notes": [],
    },
    "evidence": [{"head": "category", "start": 5, "end": 8, "weight": 0.41}],
    "similar": [],
    "warnings": [],
    "latency_ms": 12.4,
}


def _written(value: object) -> object:
    if not isinstance(value, str) or BARE_NUMBER.fullmatch(value):
        raise ValueError("write it in ISO 8601, as text: 2026-03-01T09:30:00+08:00")
    return value


def _near(value: datetime) -> datetime:
    if not YEARS[0] <= value.year < YEARS[1]:
        raise ValueError(f"the year must be {YEARS[0]} to {YEARS[1] - 1}")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("write it as a whole number")
    return value


Short = Annotated[str, Field(max_length=200)]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, BeforeValidator(_number)]  # not Strict: to JSON, 3.0 is a whole number
Moment = Annotated[datetime, BeforeValidator(_written), AfterValidator(_near)]


class _In(BaseModel):
    # A misspelt field that were ignored would be an answer to another question.
    model_config = ConfigDict(extra="forbid", frozen=True)


class CustomerIn(_In):
    """Who complains, as far as the caller knows."""

    id: Short | None = Field(None, description="The caller's customer number", examples=["C42"])
    vip: Flag = Field(False, description="A customer whom the company treats with priority")
    verified: Flag = Field(False, description="The account is verified by its platform")
    # Bounds after a validator, or beside `None`, stand in the document as `ge` and `le`, which say nothing there.
    followers: Annotated[int, Field(ge=0, le=10_000_000_000), BeforeValidator(_number)] | None = Field(
        None, description="Followers on the customer's largest public account", examples=[120]
    )


class OptionsIn(_In):
    """What the answer should hold."""

    heads: Annotated[list[Short], Field(min_length=1, max_length=100)] | None = Field(
        None, description="Heads to answer with; all of them where not given", examples=[["category"]]
    )
    top_k: Whole = Field(3, ge=1, le=20, description="Most likely labels to list, a head")
    explain: Flag = Field(
        False,
        description="Add the stretches of text that speak for each answer, and the nearest known examples; takes "
        "about twice as long",
    )


class ComplaintIn(_In):
    """One complaint with its context; only `text` is needed."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_IN]})

    text: str = Field(
        min_length=1,
        description="What the customer said, as it came in. Longer ones are refused with 413",
        json_schema_extra={"maxLength": LONGEST_TEXT},
    )
    title: str | None = Field(None, max_length=LONGEST_TITLE, description="Subject line; read before the text")
    ticket_id: Annotated[Short, Field(pattern=r"^[^\u0000-\u001f\u007f]*$")] | None = Field(
        None, description="The caller's ticket number, without control characters; comes back in the answer"
    )
    channel: Short | None = Field(None, description="Where it came in: app, phone, social …")
    created_at: Moment | None = Field(
        None,
        description="When it came in, ISO 8601, year 1970 to 2199; in the policy's time zone where none is given. "
        "Deadlines count from here. The time of receipt where missing",
    )
    customer: CustomerIn = Field(CustomerIn(), description="Who complains")
    region: Short | None = Field(None, description="Where the customer is")
    product: Short | None = Field(None, description="What it is about, as the caller calls it")
    business_line: Short | None = Field(
        None, description="Unit of the company; pilots of a policy go by it", examples=["家电"]
    )
    public: Flag = Field(False, description="You know that the matter is public already")
    complex: Flag = Field(False, description="Needs an inspection or several departments: the longer term applies")
    options: OptionsIn = Field(OptionsIn(), description="What the answer should hold")

    def complaint(self, received: datetime) -> Complaint:
        """The record that the model reads; `received` stands in for a missing created_at."""
        # The fields were checked here, and more narrowly: no need to check them twice.
        values = {name: getattr(self, name) for name in _PLAIN}
        customer = Customer.model_construct(**self.customer.__dict__)
        return Complaint.model_construct(**values, customer=customer, created_at=self.created_at or received)


_PLAIN = ("text", "title", "ticket_id", "channel", "region", "product", "business_line", "public", "complex")


class BatchIn(_In):
    """Up to 256 complaints. Each is checked on its own, so that one bad item does not spoil the rest."""

    items: Annotated[list[SkipValidation[ComplaintIn]], Field(min_length=1, max_length=LARGEST_BATCH)] = Field(
        description="The complaints", examples=[[EXAMPLE_IN]]
    )


class ModelOut(BaseModel):
    """The model that gave an answer."""

    name: str = Field(description="Registered name")
    version: str = Field(description="Registered version")
    alias: str | None = Field(description="The alias under which it served; null for a bundle without a registry")


class PredictionOut(BaseModel):
    """A prediction as it was given and stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_OUT]})

    id: str = Field(description="Under which it can be asked for again; ids sort by time")
    ticket_id: str | None = Field(description="As it was sent")
    model: ModelOut = Field(description="Who says so")
    taxonomy_version: str = Field(description="Version of the labels")
    policy_version: str = Field(description="Version of the risk policy; with a mark where another file used it first")
    heads: dict[str, HeadPrediction] = Field(description="Head -> what it says, and whether it may be acted upon")
    risk: Risk = Field(description="How grave, how far it may spread, and what to do by when")
    evidence: list[Evidence] = Field(
        description="Stretches of the text that speak for an answer; where `explain` was asked"
    )
    similar: list[Similar] = Field(
        description="Known examples that the model reads much like this text; where `explain` was asked"
    )
    warnings: list[str] = Field(description="`truncated`: the end, or the middle, of the text was not read")
    latency_ms: float = Field(description="From the request's arrival until the model had answered")


class ItemOut(BaseModel):
    """What became of one item of a batch: a prediction or a problem."""

    status: int = Field(description="The HTTP status that it would have had alone")
    prediction: PredictionOut | None = Field(None, description="Where status is 200")
    problem: Problem | None = Field(None, description="Where it is not")


class BatchOut(BaseModel):
    """One entry an item, in the order of the request."""

    items: list[ItemOut] = Field(description="What became of each item")


class LabelOut(BaseModel):
    """A label."""

    id: str = Field(description="Stable; what travels")
    name: str = Field(description="For people")
    parent: str | None = Field(description="Id of its parent; null outside hierarchical heads and for parents")
    leaf: bool = Field(
        description="Whether the model can answer with it directly; parents are answered when only they are sure"
    )


class HeadOut(BaseModel):
    """One question that the model answers."""

    id: str = Field(description="As in `heads` of a prediction")
    name: str = Field(description="For people")
    kind: str = Field(description="flat, hierarchical or ordinal", examples=["hierarchical"])
    labels: list[LabelOut] = Field(description="In the model's order; ordinal heads from the first to the last")


class TaxonomyOut(BaseModel):
    """Heads, labels, and who may own what."""

    name: str = Field(description="The taxonomy's name")
    title: str = Field(description="For people")
    version: str = Field(description="Changes whenever labels do")
    heads: list[HeadOut] = Field(description="In the model's order")
    responsibility: Responsibility | None = Field(description="Which labels of `head` may go with which of `given`")


class CalibrationOut(BaseModel):
    """What one head promises."""

    precision_target: float = Field(description="Promised share of right answers among auto")
    coverage: float = Field(description="Promised share of prediction sets that hold the right label")
    thresholds: dict[str, float | None] = Field(description="Label -> confidence from which it is auto; null: never")


class ServedOut(ModelOut):
    """The model that answers now."""

    digest: str = Field(description="sha256 of the bundle's manifest: its identity")
    policy_version: str = Field(description="Version of the risk policy beside it")
    manifest: Manifest = Field(description="Where it comes from")
    calibration: dict[str, CalibrationOut] = Field(description="Head -> what it promises")
    metrics: dict[str, float] = Field(description="How it did on its test data")


class HealthOut(BaseModel):
    """All is well."""

    status: str = Field(description="ok", examples=["ok"])
