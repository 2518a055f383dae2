"""Stored predictions under another policy: what would have changed; and a pilot beside the policy in force.

Nothing is predicted again: what the model said then is kept, so a replay says what the policy does and nothing else.
History and observations are those that the service knew; bursts are found again from the stored vectors, by the new
policy's settings, after a warm-up over the days that its baseline looks back.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from complaints.bursts import Arrival, Memory, place
from complaints.policy import LEVELS, Policy
from complaints.records import Level, Risk
from serving.assessing import assess_again, department, heads_of
from serving.store.queries import Store
from serving.store.risks import Assessed

# Changes that are listed one by one; the rest is counted.
MOST_LISTED = 200


@dataclass(slots=True)
class Replay:
    """What a policy would have changed; counts of complaints unless said otherwise."""

    policy: str
    complaints: int = 0
    levels: Counter[tuple[str, str]] = field(default_factory=Counter)
    workload: dict[str, Counter[str]] = field(default_factory=dict)
    earlier: int = 0
    later: int = 0
    hours: float = 0.0
    alerts_before: int = 0
    alerts_after: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    changed: list[dict[str, Any]] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "policy": self.policy,
            "complaints": self.complaints,
            "changed": sum(count for (before, after), count in self.levels.items() if before != after),
            "levels": [
                {"before": before, "after": after, "complaints": self.levels[before, after]}
                for before in LEVELS
                for after in LEVELS
                if self.levels[before, after]
            ],
            "workload": {name: dict(counts) for name, counts in sorted(self.workload.items())},
            "deadlines": {
                "earlier": self.earlier,
                "later": self.later,
                "mean_change_hours": round(self.hours / self.complaints, 2) if self.complaints else 0.0,
            },
            "alerts": {"before": self.alerts_before, "after": self.alerts_after},
            "verdicts": dict(self.verdicts),
            "examples": self.changed,
        }


def replay(store: Store, policy: Policy, start: datetime, end: datetime) -> Replay:
    """Assess everything that came in from `start` until before `end` again by `policy`."""
    found, memory = Replay(f"{policy.name} {policy.version}"), Memory()
    for one in store.between(start - timedelta(days=policy.burst.baseline_days), end):
        placed = place(memory, _arrival(one), policy.burst, policy.calendar)
        if one.at < start:
            continue
        context = one.context.model_copy(update={"burst": placed.burst, "observations": one.observations})
        _count(found, one, assess_again(policy, one, context), department(policy, heads_of(one)))
    found.alerts_before = sum(start <= one.alert.opened_at < end for one in store.alerts(None, start, 100_000))
    found.alerts_after = sum(start <= alert.opened_at < end for alert in memory.alerts.values())
    return found


def _arrival(one: Assessed) -> Arrival:
    return Arrival(one.at, one.category, one.product, one.space, one.vector, one.counted, one.stored_at)


def _count(found: Replay, one: Assessed, risk: Risk, owner: str | None) -> None:
    found.complaints += 1
    found.levels[one.level, risk.level] += 1
    counts = found.workload.setdefault(owner or "-", Counter())
    counts[f"before_{one.level}"] += 1
    counts[f"after_{risk.level}"] += 1
    if one.resolve_by is not None and risk.resolve_by is not None:
        hours = (risk.resolve_by - one.resolve_by).total_seconds() / 3600
        found.hours += hours
        found.earlier += hours < 0
        found.later += hours > 0
    if one.verdicts:
        found.verdicts[_judged(one, risk.level)] += 1
    if one.level != risk.level and len(found.changed) < MOST_LISTED:
        found.changed.append(
            {
                "prediction_id": one.prediction_id,
                "ticket_id": one.ticket_id,
                "before": one.level,
                "after": risk.level,
                "verdict": one.verdicts[-1].level if one.verdicts else None,
                "reasons": [reason.detail for reason in risk.reasons if reason.weight or reason.points],
            }
        )


def _judged(one: Assessed, level: Level) -> str:
    """What a person's verdict says of the old and the new suggestion."""
    verdict = one.verdicts[-1].level
    if one.level == verdict:
        return "confirmed_kept" if level == verdict else "confirmed_lost"
    return "overruled_now_right" if level == verdict else "overruled_still_wrong"


def compare(store: Store, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """The arms of a pilot side by side, one entry an arm and policy version.

    `overruled_interval` is the 95 % Wilson interval of the share of verdicts that overruled the suggestion.
    """
    arms: dict[tuple[str, str], _Arm] = {}
    for one in store.between(start, end):
        arms.setdefault((one.arm, one.policy), _Arm()).add(one)
    return [{"arm": arm, "policy_version": version} | arms[arm, version].told() for arm, version in sorted(arms)]


@dataclass(slots=True)
class _Arm:
    """Counts of one arm under one policy."""

    lines: set[str] = field(default_factory=set)
    levels: Counter[str] = field(default_factory=Counter)
    hours: float = 0.0
    timed: int = 0
    verdicts: int = 0
    overruled: int = 0

    def add(self, one: Assessed) -> None:
        """Count one complaint."""
        self.levels[one.level] += 1
        if one.business_line:
            self.lines.add(one.business_line)
        if one.resolve_by is not None:
            self.hours += (one.resolve_by - one.at).total_seconds() / 3600
            self.timed += 1
        if one.verdicts:
            self.verdicts += 1
            self.overruled += one.verdicts[-1].level != one.level

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "business_lines": len(self.lines),
            "complaints": self.levels.total(),
            "levels": {level: self.levels[level] for level in LEVELS},
            "mean_hours_to_resolve": round(self.hours / self.timed, 2) if self.timed else None,
            "verdicts": self.verdicts,
            "overruled": self.overruled,
            "overruled_interval": wilson(self.overruled, self.verdicts),
        }


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); all of 0 to 1 where nothing was tried."""
    if trials == 0:
        return 0.0, 1.0
    z = 1.96
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)
