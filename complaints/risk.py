"""Prediction + context -> how grave, how far it may spread, why, and what to do by when.

    facts -> rules that apply -> matrix cells, propagation index -> score -> level -> upgrades -> terms and actions

Everything that can be argued about stands in a policy file (`complaints.policy`); this file only applies it. Rules add
up and none takes away, so a further aggravating fact never lowers index, level or severity. What is observed in public
is evidence, not a fact of that kind: little seen after a long time does lower the index (`complaints.spread`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from complaints import spread as spreading
from complaints.amounts import Quantity, largest, quantities, total_money
from complaints.policy import BANDS, BY_HEAD, DIMENSIONS, LEVELS, PACKAGED, Dimension, Policy, Rule, worst
from complaints.records import (
    ChecklistItem,
    Complaint,
    Context,
    HeadPrediction,
    Level,
    Propagation,
    ReasonNote,
    Risk,
    RiskMatrix,
    Score,
    Task,
)
from complaints.scoring import evaluate
from complaints.spans import Locator
from complaints.worktime import Deadline, say_term

__all__ = ["DIMENSIONS", "LEVELS", "PACKAGED", "Policy", "assess"]

# Points of a dimension in which nothing speaks for a risk.
NOTHING = 2.0
# What a person should know of an assessment.
GUESSED_CALENDAR = "时限跨入节假日安排尚未公布的年份，按周一至周五推算，公布后请复核。"
NO_MODEL = "模型没有传播风险一项，指数从 1 起算，仅凭规则。"


@dataclass(frozen=True, slots=True)
class _Applied:
    """A rule that applies: a Chinese sentence saying why, and what part of the cleaned text says so."""

    rule: Rule
    detail: str
    span: tuple[int, int] | None = None


class _Facts:
    """What can be known of one complaint, gathered once."""

    def __init__(
        self, policy: Policy, complaint: Complaint, text: str, heads: Mapping[str, HeadPrediction], context: Context
    ) -> None:
        self.policy, self.complaint, self.text, self.heads, self.context = policy, complaint, text, heads, context
        found = quantities(text)
        self.people = largest(found, "people")
        self.money = total_money(found)
        self.reach = largest(found, "reach")
        self.fans = largest(found, "followers")
        self.counts = any(one is not None for one in (self.people, self.money, self.reach, self.fans))

    def applied(self) -> dict[str, _Applied]:
        """The rules that apply, by code, in the policy's order."""
        applied: dict[str, _Applied] = {}
        for rule in self.policy.rules:
            if (one := next(self._reasons(rule, applied), None)) is not None:
                applied[rule.code] = one
        return applied

    def _reasons(self, rule: Rule, applied: Mapping[str, _Applied]) -> Iterator[_Applied]:
        """Every condition of a rule that is met, the most telling first."""
        word = self.policy.language.find(self.text, rule.keywords, rule.not_in, done=rule.done)
        if word is not None:
            yield _Applied(rule, f"{rule.name}：{word.word}", (word.start, word.end))
        if self.counts:  # few texts count anything, and there are many rules
            for bound, quantity, strict in (
                (rule.people, self.people, True),
                (rule.amount, self.money, True),
                (rule.reach, self.reach, False),
                (rule.followers, self.fans, False),
            ):
                if (
                    bound is not None
                    and quantity is not None
                    and (quantity.low > bound or (not strict and quantity.low >= bound))
                ):
                    yield self._counted(rule, quantity)
        yield from self._context(rule)
        for head, labels in rule.labels.items():
            one = self.heads.get(head)
            if (
                one is not None
                and one.confidence >= self.policy.label_confidence
                and (one.label in labels or one.label.split(".", 1)[0] in labels)
            ):
                yield _Applied(rule, f"{rule.name}：{one.name}")
        if rule.all and all(code in applied for code in rule.all):
            yield _Applied(rule, rule.name, applied[rule.all[0]].span)
        for code in rule.any:
            if code in applied:
                yield _Applied(rule, rule.name, applied[code].span)

    def _counted(self, rule: Rule, quantity: Quantity) -> _Applied:
        words = self.text[quantity.start : quantity.end]
        return _Applied(rule, f"{rule.name}：{words}", (quantity.start, quantity.end))

    def _context(self, rule: Rule) -> Iterator[_Applied]:
        """Conditions that are met by what caller and service know."""
        customer, context = self.complaint.customer, self.context
        if self.complaint.channel is not None and self.complaint.channel in rule.channels:
            yield _Applied(rule, f"{rule.name}：{self.complaint.channel}")
        if rule.followers is not None and customer.followers is not None and customer.followers >= rule.followers:
            yield _Applied(rule, f"{rule.name}：{customer.followers}")
        if (
            (rule.vip and customer.vip)
            or (rule.verified and customer.verified)
            or (rule.public and self.complaint.public)
        ):
            yield _Applied(rule, rule.name)
        if rule.complaints is not None and context.alike_before + 1 >= rule.complaints:
            yield _Applied(rule, f"{rule.name}：第 {context.alike_before + 1} 次")
        if rule.burst is not None and context.burst >= rule.burst:
            yield _Applied(rule, f"{rule.name}：{context.burst} 件")


def assess(
    policy: Policy,
    complaint: Complaint,
    text: str,
    heads: Mapping[str, HeadPrediction],
    spread: Mapping[str, float] | None,
    context: Context = Context(),  # noqa: B008  frozen
) -> Risk:
    """Apply `policy` to one complaint.

    `text` is the cleaned text; `spread` the propagation head's probability of each label, None where the model
    has no such head (the index then starts from 1); `context` what the service knows beyond the complaint. The same
    arguments give the same answer. It is a suggestion for a person to confirm.
    """
    facts = _Facts(policy, complaint, text, heads, context)
    applied = facts.applied()
    complete = _completeness(policy, text)
    observed = spreading.seen(policy.propagation.observing, context.observations, complaint.created_at, policy.calendar)
    pushes = sum(one.rule.index for one in applied.values()) + complete
    index = spreading.update(policy.propagation, spreading.base(policy.propagation, spread), pushes, observed)
    cells = {dimension: _cell(policy, dimension, applied) for dimension in DIMENSIONS}
    propagation = Propagation(
        label=heads[policy.propagation.head].label if policy.propagation.head in heads else None,
        index=round(index.value, 1),
        interval=(round(index.low, 1), round(index.high, 1)),
        observed=observed is not None,
    )
    score = evaluate(policy.scoring, {name: points for name, (_, points) in cells.items()}, propagation.index)
    level, upgrades = _upgrade(policy, score.level, applied)
    matrix = {dimension: cell for dimension, (cell, _) in cells.items()}
    respond, resolve, certain = _terms(policy, complaint, level)
    locator = Locator(complaint.title, complaint.text, text)
    tasks, known = _tasks(policy, complaint, heads, level)
    return Risk(
        level=level,
        severity=policy.severities[level].severity,
        propagation=propagation,
        matrix=RiskMatrix(**matrix),
        criteria={dimension: policy.cell(dimension, cell).criterion for dimension, cell in matrix.items()},
        score=score,
        upgraded_from=score.level if level != score.level else None,
        reasons=(
            *_rule_notes(policy, applied, complete, locator),
            *_score_notes(policy, score),
            *(ReasonNote(code=code, detail=name) for code, name in upgrades),
        ),
        checklist=tuple(_checklist(policy, applied)),
        actions=tuple(f"{say_term(one.within)}内{one.what}" for one in policy.actions[level]),
        tasks=tasks,
        respond_by=respond.at if respond else None,
        resolve_by=resolve.at if resolve else None,
        notes=tuple(
            note for note, holds in ((GUESSED_CALENDAR, not (certain and known)), (NO_MODEL, spread is None)) if holds
        ),
    )


def _completeness(policy: Policy, text: str) -> float:
    complete = policy.propagation.completeness
    there = [any(word in text for word in words) for words in complete.elements.values()]
    return complete.index * sum(there) / len(there)


def _cell(policy: Policy, dimension: Dimension, applied: Mapping[str, _Applied]) -> tuple[Level, float]:
    """The gravest cell whose rules apply, and its points."""
    for level in reversed(LEVELS):
        met = [points for code, points in policy.cell(dimension, level).when.items() if code in applied]
        if met:
            return level, max(NOTHING, *met)
    return "low", NOTHING


def _upgrade(policy: Policy, level: Level, applied: Mapping[str, _Applied]) -> tuple[Level, list[tuple[str, str]]]:
    """The level after upgrades, and those that apply: steps raise it once, the gravest `least` holds."""
    met = [one for one in policy.upgrades if any(code in applied for code in one.when)]
    if any(one.step for one in met):
        level = LEVELS[min(LEVELS.index(level) + 1, len(LEVELS) - 1)]
    level = worst([level, *(one.least for one in met if one.least is not None)])
    return level, [(one.code, f"升级：{one.name}") for one in met]


def _terms(policy: Policy, complaint: Complaint, level: Level) -> tuple[Deadline | None, Deadline | None, bool]:
    severity = policy.severities[level]
    term = severity.complex if complaint.complex and severity.complex is not None else severity.resolve
    respond = policy.calendar.due(complaint.created_at, severity.respond)
    resolve = policy.calendar.due(complaint.created_at, term)
    return respond, resolve, all(one.certain for one in (respond, resolve) if one is not None)


def _tasks(
    policy: Policy, complaint: Complaint, heads: Mapping[str, HeadPrediction], level: Level
) -> tuple[tuple[Task, ...], bool]:
    """The level's actions with owners and due times, and whether every due time is certain."""
    tasks, certain = [], True
    for action in policy.actions[level]:
        due = policy.calendar.due(complaint.created_at, action.within)
        certain = certain and (due is None or due.certain)
        owner = action.owner
        if owner.startswith(BY_HEAD):
            one = heads.get(owner.removeprefix(BY_HEAD))
            owner = one.name if one is not None else "责任部门"
        tasks.append(Task(what=action.what, owner=owner, due=due.at if due else None))
    return tuple(tasks), certain


def _checklist(policy: Policy, applied: Mapping[str, _Applied]) -> Iterator[ChecklistItem]:
    for check in policy.checklist:
        met = [applied[code].detail for code in check.when if code in applied]
        yield ChecklistItem(
            code=check.code, question=check.question, suspected=bool(met), detail="；".join(met) or None
        )


def _rule_notes(
    policy: Policy, applied: Mapping[str, _Applied], complete: float, locator: Locator
) -> Iterator[ReasonNote]:
    for one in applied.values():
        place = locator.place(*one.span) if one.span is not None else None
        yield ReasonNote(
            code=one.rule.code,
            detail=one.detail,
            field=place.field if place else None,
            start=place.start if place else None,
            end=place.end if place else None,
            weight=one.rule.index,
            points=_points(policy, one.rule.code),
        )
    if complete:
        yield ReasonNote(code="completeness", detail="信息较完整，可查证、易转述", weight=round(complete, 2))


def _points(policy: Policy, code: str) -> float:
    """The most points that a rule gives in any cell."""
    cells = (policy.cell(dimension, level) for dimension in DIMENSIONS for level in LEVELS)
    return max((cell.when.get(code, 0.0) for cell in cells), default=0.0)


def _score_notes(policy: Policy, score: Score) -> Iterator[ReasonNote]:
    """The score's working in a sentence, after one note a dimension that stands out."""
    for dimension in DIMENSIONS:
        points = score.parts[dimension]
        if points > NOTHING:
            level = next(level for level in reversed(LEVELS) if points >= BANDS[level][0])
            criterion = policy.cell(dimension, level).criterion
            yield ReasonNote(
                code=f"matrix_{dimension}", detail=f"{policy.matrix[dimension].name}：{criterion}", points=points
            )
    name = {"low": "低", "medium": "中", "high": "高"}[score.level]
    if score.method == "sum":
        impact = max(score.parts[dimension] for dimension in DIMENSIONS)
        yield ReasonNote(
            code="score",
            detail=f"影响 {impact:g} + 传播 {score.parts['propagation']:g} = {score.value:g}，{name}",
            points=score.value,
        )
    else:
        yield ReasonNote(code="score", detail=f"模糊综合评价 {score.value:g}，{name}", points=score.value)
