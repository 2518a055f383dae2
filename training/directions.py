"""Whether answers move where they must when something changes that matters: tone, publicity, the fact itself.

The counterpart of robustness.py (directional expectation tests; Ribeiro et al. 2020, Beyond Accuracy). The sentences
are of the project's own taxonomy: what they say of heads and labels that a model does not have is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from complaints.predictor import Predictor
from complaints.records import Complaint
from training.evaluate import is_right
from training.robustness import labels_of


class Added(BaseModel):
    """Any of `words`, put behind a complaint, moves `head` along `order` (all its labels), or leaves it where it is.

    Where it `stays`, nothing may move, and `order` says only which labels there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    head: str
    order: tuple[str, ...]
    stays: bool = False
    words: tuple[str, ...]


class Fact(BaseModel):
    """A fact, said in several ways, and the label (leaf or parent) that it has by each head."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: dict[str, str]
    said: tuple[str, ...]


class Turn(BaseModel):
    """Complaints told twice, `pairs` of (before, after): by what happened the second has `label`, not the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    head: str
    label: str
    pairs: tuple[tuple[str, str], ...]


class Material(BaseModel):
    """What directions.yaml holds: `complaints` name a {货} of `goods`, `frames` a {事} of `facts` besides."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    goods: tuple[str, ...]
    complaints: tuple[str, ...]
    added: tuple[Added, ...]
    frames: tuple[str, ...]
    facts: tuple[Fact, ...]
    turns: tuple[Turn, ...]


@cache
def material() -> Material:
    """What directions.yaml says."""
    text = resources.files("training").joinpath("directions.yaml").read_text(encoding="utf-8")
    return Material.model_validate(yaml.safe_load(text))


def directions(predictor: Predictor) -> dict[str, dict[str, Any]]:
    """Change -> its `head`, `pairs` of texts before and after, and shares of them (0 to 1, high is good).

    `kept`: the answer does not go the wrong way, which of facts means that it does not stay with the old one, of a turn
    that the first text is not yet answered by its label. `moved`: it goes the right way, of facts and turns to what the
    new one is about; of the pairs that still can, None where none can.
    """
    told = material()
    return _added(predictor, told) | _facts(predictor, told) | _turns(predictor, told)


def _added(predictor: Predictor, told: Material) -> dict[str, dict[str, Any]]:
    texts = [one.format(货=goods) for one in told.complaints for goods in told.goods]
    heads = predictor.taxonomy.heads
    changes = [one for one in told.added if one.head in heads and set(one.order) == set(heads[one.head].ids)]
    before = _answers(predictor, texts) if changes else []
    found = {}
    for change in changes:
        steps = []
        for words in change.words:
            after = _answers(predictor, [text + words for text in texts])
            for old, new in zip(before, after, strict=True):
                steps.append((change.order.index(old[change.head]), change.order.index(new[change.head])))
        able = [(old, new) for old, new in steps if old < len(change.order) - 1 and not change.stays]
        found[change.name] = {
            "head": change.head,
            "pairs": len(steps),
            "kept": _share([new == old if change.stays else new >= old for old, new in steps]),
            "moved": _share([new > old for old, new in able]),
        }
    return found


def _facts(predictor: Predictor, told: Material) -> dict[str, dict[str, Any]]:
    heads = {
        name: head
        for name, head in predictor.taxonomy.heads.items()
        if all(fact.labels.get(name) in head.names for fact in told.facts)
    }
    if not heads:
        return {}
    said = [
        [frame.format(货=goods, 事=words) for frame in told.frames for goods in told.goods for words in fact.said]
        for fact in told.facts
    ]
    answers = [_answers(predictor, texts) for texts in said]
    found = {}
    for name, head in heads.items():
        kept, moved = [], []
        for i, new in enumerate(told.facts):  # each in place of the one before it, the first in place of the last
            old = told.facts[i - 1]
            for before, after in zip(answers[i - 1], answers[i], strict=True):
                kept.append(not is_right(head, old.labels[name], after[name]))
                moved.append(is_right(head, new.labels[name], after[name]) and after[name] != before[name])
        shares = {"kept": _share(kept), "moved": _share(moved)}
        found[f"another fact, {name}"] = {"head": name, "pairs": len(kept), **shares}
    return found


def _turns(predictor: Predictor, told: Material) -> dict[str, dict[str, Any]]:
    heads = predictor.taxonomy.heads
    found = {}
    for turn in told.turns:
        if turn.head not in heads or turn.label not in heads[turn.head].names:
            continue
        before, after = (_answers(predictor, texts) for texts in zip(*turn.pairs, strict=True))
        early = [is_right(heads[turn.head], turn.label, one[turn.head]) for one in before]
        right = [is_right(heads[turn.head], turn.label, one[turn.head]) for one in after]
        found[turn.name] = {
            "head": turn.head,
            "pairs": len(turn.pairs),
            "kept": _share([not one for one in early]),
            "moved": _share([new for old, new in zip(early, right, strict=True) if not old]),
        }
    return found


def _answers(predictor: Predictor, texts: Sequence[str]) -> list[dict[str, str]]:
    return labels_of(predictor, [Complaint(text=text) for text in texts])


def _share(good: Sequence[bool]) -> float | None:
    return round(sum(good) / len(good), 4) if good else None
