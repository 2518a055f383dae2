"""What can be answered to one question of a case, and under which key."""

from __future__ import annotations

from dataclasses import dataclass

from complaints.records import HeadPrediction
from complaints.taxonomy import Head

# The keys 1 to 9.
MOST = 9
# The question of the level of risk, among the model's own; no head is called so.
RISK = "risk:level"


@dataclass(frozen=True, slots=True)
class Choice:
    """One label under one key; `confidence` None: the model did not name it; `likely`: in the prediction set."""

    label: str
    name: str
    confidence: float | None
    likely: bool


def choices(head: Head, said: HeadPrediction, picked: str | None = None) -> list[Choice]:
    """At most nine labels; what the model says comes first, and so under key 1.

    Ordered questions keep their order whatever the model says: a hand that knows 3 as 不满 need not look. A label
    picked from the full list takes the last place where it is not among them.
    """
    known = {one.label: one.confidence for one in said.top_k}
    known.setdefault(said.label, said.confidence)
    if head.kind == "ordinal" and len(head.ids) <= MOST:
        order = list(head.ids)
    else:
        order = list(dict.fromkeys([said.label, *(one.label for one in said.top_k)]))
        order += [label for label in (*said.prediction_set, *head.ids) if label not in order]
        order = order[:MOST]
    if picked is not None and picked not in order:
        order = [*order[: MOST - 1], picked]
    likely = set(said.prediction_set) | {said.label}
    return [Choice(label, head.names.get(label, label), known.get(label), label in likely) for label in order]


def open_heads(heads: dict[str, HeadPrediction]) -> list[str]:
    """The questions that wait for a person, in the taxonomy's order; all of them where none does."""
    waiting = [name for name, one in heads.items() if one.decision != "auto"]
    return waiting or list(heads)
