"""A candidate beside the champion on the same rows: head by head, class by class, with paired intervals.

Both are measured through `predictor.py`, and each resample draws the same rows for both, near-duplicates together:
what they have in common, such as hard rows, does not blur the difference.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from complaints.errors import UnknownLabel
from complaints.predictor import Predictor
from complaints.taxonomy import Head, Taxonomy
from training.evaluate import HeadResult, Weights, answers, is_right
from training.sources import Example

RESAMPLES = 1_000
# Texts and rounds by which speeds are compared, in turn; a text takes milliseconds.
TIMED_TEXTS, ROUNDS = 48, 5
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Change:
    """One measure of both, from 0 (bad) to 1: `before` the champion's, `after` the candidate's.

    `low` and `high` hold the middle 95 % of the resampled differences; `luck` is the chance of a fall like this between
    equals, by the normal approximation to the resampled differences: near 0 for a fall that is real.
    """

    before: float
    after: float
    low: float
    high: float
    luck: float

    @property
    def difference(self) -> float:
        """What the candidate gained; below 0 it lost."""
        return self.after - self.before

    def plain(self) -> dict[str, float]:
        """As data for JSON."""
        values = {"champion": self.before, "candidate": self.after, "difference": self.difference}
        return {
            key: round(value, DECIMALS)
            for key, value in (values | {"low": self.low, "high": self.high, "luck": self.luck}).items()
        }


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One label that occurs in truth, `rows` times: a leaf, or a parent of rows that are known by it alone."""

    label: str
    name: str
    rows: int
    recall: Change
    f1: Change


@dataclass(frozen=True, slots=True)
class HeadChange:
    """One head on `rows` rows that both answered; `auto`: rows the candidate decided alone, and how many rightly."""

    rows: int
    accuracy: Change
    macro_f1: Change
    classes: tuple[ClassChange, ...]
    auto: tuple[int, int]
    auto_before: tuple[int, int]
    target: float

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return {
            "rows": self.rows,
            "accuracy": self.accuracy.plain(),
            "macro_f1": self.macro_f1.plain(),
            "auto": {"champion": _share(self.auto_before), "candidate": _share(self.auto), "target": self.target},
            "classes": [
                {"label": c.label, "name": c.name, "rows": c.rows, "recall": c.recall.plain(), "f1": c.f1.plain()}
                for c in self.classes
            ],
        }


def _share(auto: tuple[int, int]) -> dict[str, float | None]:
    return {"rows": auto[0], "right": round(auto[1] / auto[0], DECIMALS) if auto[0] else None}


def same_labels(one: Predictor, other: Predictor) -> bool:
    """Whether two models answer the same questions with the same labels."""
    left, right = ({name: head.ids for name, head in p.taxonomy.heads.items()} for p in (one, other))
    return left == right


def compare(candidate: Predictor, champion: Predictor, examples: Sequence[Example]) -> dict[str, HeadChange]:
    """Head -> how the candidate differs on `examples`; heads that only one of them has, or no row, are absent.

    What the champion answers by labels of an earlier version counts as what they are called now.
    """
    rows, _ = comparable(candidate.taxonomy, champion.taxonomy, examples)
    if not rows:
        return {}
    before = answers(champion, rows, quiet=True)
    renamed = {name: _renamed(candidate.taxonomy, name, result) for name, result in before.items()}
    return changes(candidate, answers(candidate, rows, quiet=True), renamed)


def comparable(
    candidate: Taxonomy, champion: Taxonomy, examples: Sequence[Example]
) -> tuple[list[Example], dict[str, Counter[str]]]:
    """The examples under the candidate's labels that the champion can answer too; head -> label -> rows left out.

    A row whose label one of them does not know counts for neither: there is nothing to compare.
    """
    shared = {name: _answerable(candidate, champion, name) for name in champion.heads if name in candidate.heads}
    rows: list[Example] = []
    left_out: dict[str, Counter[str]] = {}
    for one in examples:
        labels = {}
        for head, label in one.labels.items():
            now = _today(candidate, head, label) if head in shared else None
            if now is not None and now in shared[head]:
                labels[head] = now
            elif head in shared:
                left_out.setdefault(head, Counter())[label] += 1
        if labels:
            rows.append(replace(one, labels=labels))
    return rows, left_out


def _answerable(candidate: Taxonomy, champion: Taxonomy, head: str) -> set[str]:
    """The candidate's names of what the champion answers with, and their parents."""
    known = (_today(candidate, head, label) for label in champion.heads[head].ids)
    now = [label for label in known if label is not None]
    return {*now, *(parent for label in now if (parent := candidate.heads[head].parent(label)) is not None)}


def _today(taxonomy: Taxonomy, head: str, label: str) -> str | None:
    try:
        return taxonomy.resolve(head, label)
    except UnknownLabel:
        return None


def _renamed(taxonomy: Taxonomy, head: str, result: HeadResult) -> HeadResult:
    """The same answers by today's labels; what is unknown today stays as it is, and is wrong on every row."""

    def today(label: str) -> str:
        return _today(taxonomy, head, label) or label

    decided = [one.model_copy(update={"label": today(one.label)}) for one in result.decided]
    return replace(result, guess=[today(label) for label in result.guess], decided=decided)


def changes(
    candidate: Predictor, after: Mapping[str, HeadResult], before: Mapping[str, HeadResult]
) -> dict[str, HeadChange]:
    """The same of results that are at hand, of the same rows."""
    return {
        name: compare_head(
            candidate.taxonomy.heads[name],
            after[name],
            before[name],
            candidate.calibration.heads[name].precision_target,
        )
        for name in after
        if name in before
    }


def compare_head(head: Head, after: HeadResult, before: HeadResult, target: float, seed: int = 1) -> HeadChange:
    """How two results of the same rows differ; where the truth is a parent, a guess counts as its own parent.

    Raises ValueError where the rows are not the same.
    """
    if after.rows != before.rows or after.truth != before.truth:
        raise ValueError(f"the two were measured on different rows: {len(after.rows)} and {len(before.rows)}")
    guesses = [_at_level_of(head, after.truth, result.guess) for result in (after, before)]
    order = (*head.ids, *head.parents)
    labels = sorted({*after.truth, *guesses[0], *guesses[1]}, key=lambda one: ([*order, one].index(one), one))
    truth, new, old = (_one_hot(labels, part) for part in (after.truth, *guesses))
    rows = len(after.truth)
    weights = np.stack([np.ones(rows), *after.draws(RESAMPLES, seed)])  # the first is what was measured
    support = weights @ truth
    scores = {side: _scores(weights, truth, guess, support) for side, guess in (("new", new), ("old", old))}
    occurring = support[0] > 0

    def change(key: str, column: int | None = None) -> Change:
        a, b = scores["new"][key], scores["old"][key]
        return _change(a if column is None else a[:, column], b if column is None else b[:, column])

    classes = tuple(
        ClassChange(label, head.names.get(label, label), int(support[0, i]), change("recall", i), change("f1", i))
        for i, label in enumerate(labels)
        if occurring[i]
    )
    for side in scores.values():
        inside = np.where(support > 0, side["f1"], np.nan)
        side["macro"] = np.nanmean(inside[:, occurring], axis=1)
    return HeadChange(
        rows, change("accuracy"), change("macro"), classes, _auto(head, after), _auto(head, before), target
    )


def _at_level_of(head: Head, truth: Sequence[str], guess: Sequence[str]) -> list[str]:
    return [head.parent(g) or g if t in head.parents else g for t, g in zip(truth, guess, strict=True)]


def _one_hot(labels: list[str], found: Sequence[str]) -> Weights:
    return np.array([[label == one for label in labels] for one in found], dtype=np.float64)


def _scores(weights: Weights, truth: Weights, guess: Weights, support: Weights) -> dict[str, Weights]:
    """Resamples (R + 1, N) and one-hot (N, K) -> accuracy (R + 1,), recall and f1 (R + 1, K), nan where undefined."""
    hits, guessed = weights @ (truth * guess), weights @ guess
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, f1 = hits / support, 2 * hits / (support + guessed)
    return {"accuracy": hits.sum(axis=1) / weights.sum(axis=1), "recall": recall, "f1": f1}


def _change(after: Weights, before: Weights) -> Change:
    """Of measures whose first value is what was measured, and the others what resamples gave."""
    gaps = (after - before)[1:]
    gaps = gaps[~np.isnan(gaps)]
    difference = float(after[0] - before[0])
    low, high = (float(v) for v in np.quantile(gaps, (0.025, 0.975))) if len(gaps) else (difference, difference)
    spread = float(gaps.std()) if len(gaps) else 0.0
    luck = float(norm.cdf(difference / spread)) if spread > 0 else float(difference >= 0)
    return Change(float(before[0]), float(after[0]), low, high, luck)


def _auto(head: Head, result: HeadResult) -> tuple[int, int]:
    auto = [(one.label, t) for one, t in zip(result.decided, result.truth, strict=True) if one.decision == "auto"]
    return len(auto), sum(is_right(head, label, truth) for label, truth in auto)


def size_of(predictor: Predictor) -> int:
    """Bytes of a bundle's files."""
    bundle = predictor.bundle
    return sum((bundle.path / name).stat().st_size for name in bundle.manifest.files)


def speed_ratio(candidate: Predictor, champion: Predictor, examples: Sequence[Example]) -> float:
    """The candidate's milliseconds a text over the champion's: the median of rounds measured in turn."""
    texts = [one.complaint for one in examples[:TIMED_TEXTS]]
    ratios = []
    for number in range(ROUNDS + 1):
        taken = []
        for predictor in (candidate, champion) if number % 2 else (champion, candidate):
            started = time.perf_counter()
            predictor.read(texts)
            taken.append(time.perf_counter() - started)
        new, old = taken if number % 2 else reversed(taken)
        if number:  # the first warms up
            ratios.append(new / old)
    return statistics.median(ratios)


def plain(sets: Mapping[str, Mapping[str, HeadChange]]) -> dict[str, Any]:
    """Set of rows -> head -> change, as data for JSON."""
    return {name: {head: change.plain() for head, change in heads.items()} for name, heads in sets.items()}
