"""The risk policy as data: what a manager may change, checked when it is read.

Every number, keyword, criterion, term and sentence of the risk assessment stands in a policy file; `complaints.risk`
only applies it. A policy that does not hold together is refused with file, line, field and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from complaints.documents import Misplaced, parse_document, read_document
from complaints.errors import PolicyError
from complaints.keywords import Grammar, Word
from complaints.records import Level
from complaints.taxonomy import Taxonomy
from complaints.worktime import Calendar, Term

PACKAGED = resources.files("complaints") / "policies"
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


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rule(_Data):
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


class Observing(_Data):
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


class Completeness(_Data):
    """A complaint that can be checked is believed and passed on: time, place, amount, evidence."""

    index: float = Field(ge=0, le=3, description="Added where everything is there; a share of it otherwise")
    elements: dict[Text, tuple[Word, ...]] = Field(min_length=1, description="Element -> words of which one shows it")


class Spreading(_Data):
    """Where the propagation index starts, and how it is updated."""

    head: str = Field(description="The head that predicts propagation")
    anchors: dict[str, Points] = Field(description="Label of that head -> the index it stands for")
    narrowest: float = Field(0.5, gt=0, le=5, description="Half-width that an interval has at least")
    saturation: Positive = Field(8.0, description="Pushes add up to a share of what is left to 10; larger pushes less")
    completeness: Completeness
    observing: Observing


class Cell(_Data):
    """One level of one dimension: its criterion for people, and the rules that meet it with their points."""

    criterion: Text
    when: dict[Code, Points] = {}


class Row(_Data):
    """One dimension of the matrix."""

    name: Text
    low: Cell
    medium: Cell
    high: Cell


class Bounds(_Data):
    """Scores from which a level holds."""

    medium: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.medium < self.high:
            raise ValueError(f"medium {self.medium:g} must be below high {self.high:g}")
        return self


class Fuzzy(_Data):
    """Weights of the factors from expert rounds, and the bounds of the weighted grade (1 low to 3 high)."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(description="Dimension or propagation -> weight")
    peaks: tuple[Points, Points, Points] = Field(description="Points at which a factor is wholly low, medium, high")
    bounds: Bounds


class Scoring(_Data):
    """How the factors become a level."""

    method: Literal["sum", "fuzzy"]
    sum: Bounds = Field(description="Impact (worst dimension, 1–10) plus propagation index (1–10)")
    fuzzy: Fuzzy


class Upgrade(_Data):
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


class Severity(_Data):
    """Severity of a level and its terms."""

    severity: Literal["normal", "serious", "urgent"]
    name: Text
    respond: Term
    resolve: Term
    complex: Term | None = Field(None, description="Resolution term of a complex case; null: complexity is no excuse")


class Action(_Data):
    """One thing to do, by whom, within which term."""

    what: Text
    owner: Text = Field(description="Who, or @HEAD: the label that this head predicted")
    within: Term


class Check(_Data):
    """One question of the compliance checklist, and the rules that make a breach suspected."""

    code: Code
    question: Text
    when: tuple[Code, ...] = Field(min_length=1)


class History(_Data):
    """What counts as one customer's earlier complaint on the same subject."""

    days: int = Field(gt=0, le=3660)
    parent: bool = Field(True, description="The same parent category is the same subject; else the same label")


class Burst(_Data):
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


class Policy(_Data):
    """A risk policy, as in `policies/default.yaml`."""

    name: Text
    version: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    calendar: Calendar
    label_confidence: float = Field(ge=0, le=1, description="A predicted label below this confidence meets no rule")
    language: Grammar
    propagation: Spreading
    rules: tuple[Rule, ...]
    matrix: dict[Dimension, Row]
    scoring: Scoring
    upgrades: tuple[Upgrade, ...] = ()
    severities: dict[Level, Severity]
    actions: dict[Level, tuple[Action, ...]]
    checklist: tuple[Check, ...] = ()
    history: History
    burst: Burst
    _text: str = PrivateAttr("")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for field, have, need in (
            ("severities", self.severities, LEVELS),
            ("actions", self.actions, LEVELS),
            ("matrix", self.matrix, DIMENSIONS),
        ):
            if missing := [one for one in need if one not in have]:
                raise Misplaced((field,), f"lacks {', '.join(missing)}")
        known: set[str] = set()
        for at, rule in enumerate(self.rules):
            for field in ("all", "any"):
                self._known(getattr(rule, field), known, ("rules", at, field), "an earlier rule")
            if rule.code in known:
                raise Misplaced(("rules", at, "code"), f"{rule.code!r} is used twice: give one of them another code")
            known.add(rule.code)
        for place, codes in self._references():
            self._known(codes, known, place, "a rule")
        self._check_numbers()
        return self

    def _references(self) -> Iterator[tuple[tuple[str | int, ...], tuple[str, ...]]]:
        for dimension, row in self.matrix.items():
            for level in LEVELS:
                yield ("matrix", dimension, level, "when"), tuple(getattr(row, level).when)
        for at, upgrade in enumerate(self.upgrades):
            yield ("upgrades", at, "when"), upgrade.when
        for at, check in enumerate(self.checklist):
            yield ("checklist", at, "when"), check.when

    @staticmethod
    def _known(codes: tuple[str, ...], known: set[str], place: tuple[str | int, ...], what: str) -> None:
        for code in codes:
            if code not in known:
                raise Misplaced(place, f"{code!r} is not the code of {what}: correct it, or write that rule first")

    def _check_numbers(self) -> None:
        for dimension, row in self.matrix.items():
            for level in LEVELS:
                low, high = BANDS[level]
                for code, points in getattr(row, level).when.items():
                    if not low <= points <= high:
                        raise Misplaced(
                            ("matrix", dimension, level, "when", code),
                            f"{points:g} points: a {level} cell has {low:g} to {high:g}",
                        )
        terms = [self.severities[level] for level in LEVELS]
        if len({one.severity for one in terms}) != len(LEVELS):
            raise Misplaced(("severities",), "two levels have the same severity: give each its own")
        factors = {*DIMENSIONS, "propagation"}
        weights = self.scoring.fuzzy.weights
        if set(weights) != factors or not sum(weights.values()) > 0:
            raise Misplaced(
                ("scoring", "fuzzy", "weights"), f"must weigh {', '.join(sorted(factors))}, not all of them 0"
            )
        peaks = self.scoring.fuzzy.peaks
        if not peaks[0] < peaks[1] < peaks[2]:
            raise Misplaced(("scoring", "fuzzy", "peaks"), "must rise from low to high")

    @property
    def digest(self) -> str:
        """sha256 of the file's text: two files of one version that differ are told apart by it."""
        return sha256((self._text or self.model_dump_json()).encode()).hexdigest()

    @property
    def text(self) -> str:
        """The YAML it was read from; empty for a policy that was not read from text."""
        return self._text

    def cell(self, dimension: Dimension, level: Level) -> Cell:
        """One cell of the matrix."""
        cell: Cell = getattr(self.matrix[dimension], level)
        return cell

    def unfit(self, taxonomy: Taxonomy) -> list[str]:
        """Heads and labels that the policy names and a taxonomy lacks: there its rules never apply."""
        named: list[tuple[str, str, tuple[str, ...]]] = [
            (f"rules.{rule.code}", head, labels) for rule in self.rules for head, labels in rule.labels.items()
        ]
        named.append(("propagation.anchors", self.propagation.head, tuple(self.propagation.anchors)))
        named.append(("burst.head", self.burst.head, ()))
        faults = []
        for place, head, labels in named:
            if head not in taxonomy.heads:
                faults.append(f"{place}: taxonomy {taxonomy.name} has no head {head!r}")
            else:
                names = taxonomy.heads[head].names
                faults += [f"{place}: head {head} has no label {label!r}" for label in labels if label not in names]
        return faults

    @classmethod
    def load(cls, source: str | Path = "default") -> Policy:
        """Read a policy file, or the packaged one of that name; raises PolicyError with line, field and remedy."""
        path, packaged = Path(source), PACKAGED / f"{source}.yaml"
        if not path.exists() and path.suffix == "" and packaged.is_file():
            return cls.parse(packaged.read_text(encoding="utf-8"), f"{source} (packaged)")
        return read_document(cls, path, PolicyError, "copy the packaged default.yaml and change it", cls.parse)

    @classmethod
    def parse(cls, text: str, origin: str = "policy") -> Policy:
        """Read a policy from YAML text; `origin` is named in errors. Raises PolicyError."""
        policy = parse_document(cls, text, origin, PolicyError)
        policy._text = text
        return policy


def worst(levels: Mapping[str, Level] | list[Level]) -> Level:
    """The gravest of some levels; low where there is none."""
    values = levels.values() if isinstance(levels, Mapping) else levels
    return LEVELS[max((LEVELS.index(level) for level in values), default=0)]
