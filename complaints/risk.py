"""Prediction + context -> how grave, how far it may spread, why, and what to do by when.

Everything that can be argued about stands in a policy file; this file only applies it. Rules add up and none
takes away, so a further aggravating fact never lowers index, level or severity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from complaints.decision import Probabilities
from complaints.documents import parse_document, read_document
from complaints.errors import PolicyError
from complaints.records import Complaint, HeadPrediction, Level, Propagation, ReasonNote, Risk, RiskMatrix

PACKAGED = resources.files("complaints") / "policies"
LEVELS: tuple[Level, ...] = ("low", "medium", "high")
DIMENSIONS = ("business", "financial", "reputation", "compliance")
LOWEST_INDEX, HIGHEST_INDEX = 1.0, 10.0
# Half-width of a normal distribution's central 80 %, and the least that an interval may claim to know.
EIGHTY_PERCENT = 1.28
NARROWEST = 0.5

Word = Annotated[str, StringConstraints(min_length=1, max_length=40)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Anchors(_Data):
    """The head that predicts propagation, and the index that each of its labels stands for (1–10)."""

    head: str
    anchors: dict[str, Annotated[float, Field(ge=LOWEST_INDEX, le=HIGHEST_INDEX)]]


class Bar(_Data):
    """What lifts a complaint to a level: an index, or any dimension."""

    index: float
    dimension: Level


class Severity(_Data):
    """Severity of a level with its response and resolution times."""

    severity: Literal["normal", "serious", "urgent"]
    respond_minutes: int = Field(gt=0)
    resolve_hours: int = Field(gt=0)


class Rule(_Data):
    """Any one of its conditions makes a rule apply; then it raises the index and the dimensions it names."""

    code: str
    name: str
    keywords: tuple[Word, ...] = ()
    not_in: tuple[Word, ...] = Field((), description="Phrases in which a keyword means something else")
    labels: dict[str, tuple[str, ...]] = Field({}, description="Head -> labels, a parent standing for its leaves")
    channels: tuple[str, ...] = ()
    vip: bool = False
    followers: int | None = Field(None, gt=0, description="At least this many")
    index: float = Field(0.0, ge=0)
    business: Level = "low"
    financial: Level = "low"
    reputation: Level = "low"
    compliance: Level = "low"

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not (self.keywords or self.labels or self.channels or self.vip or self.followers):
            raise ValueError(f"rule {self.code!r} never applies: give it keywords, labels, channels, vip or followers")
        return self


class Policy(_Data):
    """A risk policy, as in `policies/default.yaml`."""

    name: str
    version: str
    timezone: str
    propagation: Anchors
    levels: dict[Literal["medium", "high"], Bar]
    severities: dict[Level, Severity]
    actions: dict[Level, tuple[str, ...]]
    negations: tuple[Word, ...] = ()
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for field, have, need in (
            ("levels", self.levels, LEVELS[1:]),
            ("severities", self.severities, LEVELS),
            ("actions", self.actions, LEVELS),
        ):
            if missing := [level for level in need if level not in have]:
                raise ValueError(f"{field} lacks {', '.join(missing)}")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"timezone {self.timezone!r} is not known; write it like Asia/Shanghai") from None
        every = [rule.code for rule in self.rules]
        if twice := sorted({code for code in every if every.count(code) > 1}):
            raise ValueError(f"rules use a code twice: {', '.join(twice)}")
        return self

    @cached_property
    def _negated(self) -> re.Pattern[str]:
        return re.compile(f"(?:{'|'.join(map(re.escape, self.negations))})[再去要想]?$" if self.negations else r"(?!)")

    @classmethod
    def load(cls, source: str | Path = "default") -> Policy:
        """Read a policy file, or the packaged one of that name; raises PolicyError with line, field and reason."""
        path, packaged = Path(source), PACKAGED / f"{source}.yaml"
        if not path.exists() and path.suffix == "" and packaged.is_file():
            return parse_document(cls, packaged.read_text(encoding="utf-8"), f"{source} (packaged)", PolicyError)
        return read_document(cls, path, PolicyError, "copy the packaged default.yaml and change it")

    def found(self, rule: Rule, text: str) -> str | None:
        """The first keyword of `rule` that stands in `text` un-negated and in its own sense."""
        for word in rule.keywords:
            for match in re.finditer(re.escape(word), text):
                start, end = match.span()
                if (word[0].isdigit() and text[start - 1 : start].isdigit()) or (
                    word[-1].isdigit() and text[end : end + 1].isdigit()
                ):
                    continue  # part of a longer number
                if not any(_inside(text, start, end, phrase) for phrase in rule.not_in) and not self._negated.search(
                    text[max(0, start - 50) : start]
                ):
                    return word
        return None


def _inside(text: str, start: int, end: int, phrase: str) -> bool:
    """Whether text[start:end] is part of an occurrence of `phrase`."""
    at = text.find(phrase, max(0, end - len(phrase)), start + len(phrase))
    return at != -1 and at <= start and at + len(phrase) >= end


def assess(
    policy: Policy,
    complaint: Complaint,
    text: str,
    heads: Mapping[str, HeadPrediction],
    spread: Mapping[str, float] | None,
) -> Risk:
    """Apply `policy` to one complaint.

    `text` is the cleaned text; `spread` the propagation head's probability of each label, None where the model
    has no such head (the index then starts from 1). The answer is a suggestion for a person to confirm.
    """
    applied = [(rule, detail) for rule in policy.rules if (detail := _applies(policy, rule, complaint, text, heads))]
    matrix = {dimension: _worst(getattr(rule, dimension) for rule, _ in applied) for dimension in DIMENSIONS}
    propagation = _propagation(policy, heads, spread, sum(rule.index for rule, _ in applied))
    level = _level(policy, propagation.index, _worst(matrix.values()))
    severity = policy.severities[level]
    created = complaint.created_at
    if created is not None:
        zone = ZoneInfo(policy.timezone)
        try:
            created = created.replace(tzinfo=zone) if created.tzinfo is None else created.astimezone(zone)
        except OverflowError:  # a date at either end of the calendar has no deadline
            created = None
    try:
        respond = created and created + timedelta(minutes=severity.respond_minutes)
        resolve = created and created + timedelta(hours=severity.resolve_hours)
    except OverflowError:
        respond = resolve = None
    return Risk(
        level=level,
        severity=severity.severity,
        propagation=propagation,
        matrix=RiskMatrix(**matrix),
        reasons=tuple(ReasonNote(code=rule.code, detail=detail) for rule, detail in applied),
        actions=policy.actions[level],
        respond_by=respond,
        resolve_by=resolve,
    )


def _applies(
    policy: Policy, rule: Rule, complaint: Complaint, text: str, heads: Mapping[str, HeadPrediction]
) -> str | None:
    """A sentence saying why the rule applies, or None."""
    if word := policy.found(rule, text):
        return f"{rule.name}：{word}"
    for head, labels in rule.labels.items():
        one = heads.get(head)
        if one is not None and (one.label in labels or one.label.split(".", 1)[0] in labels):
            return f"{rule.name}：{one.name}"
    if complaint.channel is not None and complaint.channel in rule.channels:
        return f"{rule.name}：{complaint.channel}"
    if rule.vip and complaint.customer.vip:
        return rule.name
    followers = complaint.customer.followers
    if rule.followers is not None and followers is not None and followers >= rule.followers:
        return f"{rule.name}：{followers}"
    return None


def _propagation(
    policy: Policy, heads: Mapping[str, HeadPrediction], spread: Mapping[str, float] | None, shift: float
) -> Propagation:
    one = heads.get(policy.propagation.head)
    anchors = policy.propagation.anchors
    centre, deviation = LOWEST_INDEX, (HIGHEST_INDEX - LOWEST_INDEX) / 4
    if spread is not None and all(label in anchors for label in spread):
        values = np.array([anchors[label] for label in spread])
        weights: Probabilities = np.array(list(spread.values()))
        centre = float(values @ weights)
        deviation = float(np.sqrt(((values - centre) ** 2) @ weights))
    centre = min(HIGHEST_INDEX, centre + shift)
    half = max(NARROWEST, EIGHTY_PERCENT * deviation)
    return Propagation(
        label=one.label if one is not None else None,
        index=round(centre, 1),
        interval=(round(max(LOWEST_INDEX, centre - half), 1), round(min(HIGHEST_INDEX, centre + half), 1)),
    )


def _level(policy: Policy, index: float, dimension: Level) -> Level:
    for level in ("high", "medium"):
        bar = policy.levels[level]
        if index >= bar.index or LEVELS.index(dimension) >= LEVELS.index(bar.dimension):
            return level
    return "low"


def _worst(levels: object) -> Level:
    return LEVELS[max((LEVELS.index(level) for level in levels), default=0)]  # type: ignore[attr-defined]
