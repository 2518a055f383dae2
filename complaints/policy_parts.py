"""The parts of a risk policy: what each field means, and what may stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from complaints.keywords import Word
from complaints.records import Level
from complaints.worktime import Term

LEVELS: tuple[Level, ...] = ("low", "medium", "high")
Dimension = Literal["business", "financial", "reputation", "compliance"]
DIMENSIONS: tuple[Dimension, ...] = ("business", "financial", "reputation", "compliance")
LOWEST, HIGHEST = 1.0, 10.0
# Points of a matrix cell lie in its band, so that a high cell always weighs more than a medium one.
BANDS: dict[Level, tuple[float, float]] = {"low": (1.0, 3.0), "medium": (4.0, 6.0), "high": (7.0, 10.0)}
# Owner of an action: whoever the model names, by this head's label.
BY_HEAD = "@"

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Points = Annotated[float, Field(ge=LOWEST, le=HIGHEST)]
Positive = Annotated[float, Field(gt=0)]


class Data(BaseModel):
    """Frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rule(Data):
    """Any one of its conditions makes a rule apply; it then moves the index, and cells and upgrades may name it."""

    code: Code
    name: Text
    keywords: tuple[Word, ...] = ()
    not_in: tuple[Word, ...] = Field((), description="Phrases in which a keyword means something else")
    done: bool = Field(False, description="Leave out what is only intended: 要发微博 is not yet public")
    labels: dict[str, tuple[str, ...]] = Field({}, description="Head -> labels, a parent standing for its leaves")
    channels: tuple[str, ...] = ()
    vip: bool = False
    verified: bool = False
    public: bool = Field(False, description="The caller says that it is public already")
    followers: int | None = Field(None, gt=0, description="At least this many, as told by caller or text")
    reach: int | None = Field(None, gt=0, description="Seen by at least this many, as the text says")
    people: int | None = Field(None, gt=0, description="More than this many people or households in the text")
    amount: Positive | None = Field(None, description="More than this many yuan in the text")
    complaints: int | None = Field(None, gt=1, description="This customer's n-th complaint on the subject")
    burst: int | None = Field(None, gt=0, description="At least this many near-identical complaints in a burst")
    all: tuple[Code, ...] = Field((), description="Applies where all of these earlier rules do")
    any: tuple[Code, ...] = Field((), description="Applies where any of these earlier rules does")
    index: float = Field(0.0, ge=0, le=HIGHEST, description="Added to the propagation index; facts never lower it")

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        conditions = self.model_dump(exclude={"code", "name", "not_in", "done", "index"})
        if not any(conditions.values()):
            raise ValueError(
                f"rule {self.code!r} never applies: give it keywords, labels, channels or another condition"
            )
        return self


class Observing(Data):
    """How observed reads, reposts, comments and likes become an index, and how much they are believed."""

    reads: float = Field(ge=0, description="What one read counts")
    reposts: float = Field(ge=0)
    comments: float = Field(ge=0)
    likes: float = Field(ge=0)
    full: Positive = Field(description="Weighted count that stands for index 10; 0 stands for 1, logarithmic between")
    deviation: Positive = Field(description="How far the count misses the index, in points of the index")
    unexplained: Positive = Field(description="How far text and context miss what comes to be, in points of the index")
    silence: float = Field(ge=0, le=1, description="How much it is believed, at most, that a matter goes no further")
    half_life: Positive = Field(description="Hours after which half of the spreading is over")
    noteworthy: Points = Field(description="From this index on an observation never lowers the prior")


class Completeness(Data):
    """A complaint that can be checked is believed and passed on: time, place, amount, evidence."""

    index: float = Field(ge=0, le=3, description="Added where everything is there; a share of it otherwise")
    elements: dict[Text, tuple[Word, ...]] = Field(min_length=1, description="Element -> words of which one shows it")


class Spreading(Data):
    """Where the propagation index starts, and how it is updated."""

    head: str = Field(description="The head that predicts propagation")
    anchors: dict[str, Points] = Field(description="Label of that head -> the index it stands for")
    narrowest: float = Field(0.5, gt=0, le=5, description="Half-width that an interval has at least")
    saturation: Positive = Field(8.0, description="Pushes add up to a share of what is left to 10; larger pushes less")
    completeness: Completeness
    observing: Observing


class Cell(Data):
    """One level of one dimension: its criterion for people, and the rules that meet it with their points."""

    criterion: Text
    when: dict[Code, Points] = {}


class Row(Data):
    """One dimension of the matrix."""

    name: Text
    low: Cell
    medium: Cell
    high: Cell


class Bounds(Data):
    """Scores from which a level holds."""

    medium: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.medium < self.high:
            raise ValueError(f"medium {self.medium:g} must be below high {self.high:g}")
        return self


class Fuzzy(Data):
    """Weights of the factors from expert rounds, and the bounds of the weighted grade (1 low to 3 high)."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(description="Dimension or propagation -> weight")
    peaks: tuple[Points, Points, Points] = Field(description="Points at which a factor is wholly low, medium, high")
    bounds: Bounds


class Scoring(Data):
    """How the factors become a level."""

    method: Literal["sum", "fuzzy"]
    sum: Bounds = Field(description="Impact (worst dimension, 1–10) plus propagation index (1–10)")
    fuzzy: Fuzzy


class Upgrade(Data):
    """What lifts a level beyond its score: by one step, or to at least a level."""

    code: Code
    name: Text
    when: tuple[Code, ...] = Field(min_length=1, description="Any of these rules")
    step: bool = False
    least: Level | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.step == (self.least is not None):
            raise ValueError(f"upgrade {self.code!r}: give it either step: true or least: LEVEL")
        return self


class Severity(Data):
    """Severity of a level and its terms."""

    severity: Literal["normal", "serious", "urgent"]
    name: Text
    respond: Term
    resolve: Term
    complex: Term | None = Field(None, description="Resolution term of a complex case; null: complexity is no excuse")


class Action(Data):
    """One thing to do, by whom, within which term."""

    what: Text
    owner: Text = Field(description="Who, or @HEAD: the label that this head predicted")
    within: Term


class Check(Data):
    """One question of the compliance checklist, and the rules that make a breach suspected."""

    code: Code
    question: Text
    when: tuple[Code, ...] = Field(min_length=1)


class History(Data):
    """What counts as one customer's earlier complaint on the same subject."""

    days: int = Field(gt=0, le=3660)
    parent: bool = Field(True, description="The same parent category is the same subject; else the same label")


class Burst(Data):
    """When near-identical complaints are a burst."""

    head: str = Field(description="Head whose label issues have in common")
    similarity: float = Field(gt=0, le=1, description="Least cosine of two complaints about one issue")
    window_minutes: int = Field(gt=0, le=10080)
    count: int = Field(gt=1, description="That many in the window are a burst, whatever is usual")
    growth: float = Field(gt=1, description="Or so many times the seasonal baseline …")
    least: int = Field(gt=1, description="… from this count on …")
    significance: float = Field(gt=0, lt=1, description="… with at most this chance of it being chance")
    baseline_days: int = Field(gt=0, le=366, description="How many days back the baseline looks")
    baseline_least: int = Field(gt=0, description="Days of history without which growth is not judged")
    cooldown_minutes: int = Field(gt=0, le=100_000, description="Quiet time after which a new burst may be told")


def worst(levels: Mapping[str, Level] | list[Level]) -> Level:
    """The gravest of some levels; low where there is none."""
    values = levels.values() if isinstance(levels, Mapping) else levels
    return LEVELS[max((LEVELS.index(level) for level in values), default=0)]
