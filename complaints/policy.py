"""The risk policy as data: what a manager may change, checked when it is read.

Every number, keyword, criterion, term and sentence of the risk assessment stands in a policy file; `complaints.risk`
only applies it. A policy that does not hold together is refused with file, line, field and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from complaints.documents import Misplaced, parse_document, read_document
from complaints.errors import PolicyError
from complaints.keywords import Grammar
from complaints.policy_parts import (
    BANDS,
    BY_HEAD,
    DIMENSIONS,
    HIGHEST,
    LEVELS,
    LOWEST,
    Action,
    Bounds,
    Burst,
    Cell,
    Check,
    Data,
    Dimension,
    Fuzzy,
    History,
    Observing,
    Row,
    Rule,
    Scoring,
    Severity,
    Spreading,
    Text,
    Upgrade,
    worst,
)
from complaints.records import Level
from complaints.taxonomy import Taxonomy
from complaints.worktime import Calendar

__all__ = [
    "BANDS",
    "BY_HEAD",
    "DIMENSIONS",
    "HIGHEST",
    "LEVELS",
    "LOWEST",
    "PACKAGED",
    "Bounds",
    "Burst",
    "Cell",
    "Dimension",
    "Fuzzy",
    "History",
    "Observing",
    "Policy",
    "Row",
    "Rule",
    "Scoring",
    "Spreading",
    "worst",
]

PACKAGED = resources.files("complaints") / "policies"


class Policy(Data):
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
