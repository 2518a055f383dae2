"""Metrics and slices, measured through `predictor.py`: what is measured is what is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from complaints.errors import InvalidInput
from complaints.predictor import Predictor
from complaints.records import HeadPrediction
from complaints.taxonomy import Head
from training.recipe import Split
from training.sources import Example
from training.splits import near_duplicate_groups, text_of

BINS = 15
CHUNK = 64
MOST_CONFUSIONS = 20
# Intervals hold the middle 95 % of what so many resamples of the rows give.
RESAMPLES = 500
# Jaccard of character 3-grams from which rows are drawn together.
ALIKE = Split().near_duplicate
# Draws of which the calibration error of luck is the mean; more move its third decimal.
LUCKY_DRAWS = 200
# Bands of characters, and the channel and source, by which rows are also looked at apart.
BANDS = ((0, 30), (30, 100), (100, 300), (300, None))
FEWEST_IN_SLICE = 20

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeadResult:
    """One head on N rows: `truth` and `guess` labels (leaves), `confidence` (N,) of the guess, `decided` (N,).

    `rows` (N,) are their places among the examples that were evaluated, `groups` (N,) the numbers of their groups of
    near-duplicates; empty, every row is a group of its own. Of `answers`, the truth may be a parent too.
    """

    truth: list[str]
    guess: list[str]
    confidence: npt.NDArray[np.float64]
    decided: list[HeadPrediction]
    rows: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()

    def among(self, wanted: Collection[int]) -> HeadResult:
        """The same of the examples at the places `wanted` alone."""
        kept = [k for k, row in enumerate(self.rows) if row in wanted]
        return HeadResult(
            [self.truth[k] for k in kept],
            [self.guess[k] for k in kept],
            self.confidence[kept],
            [self.decided[k] for k in kept],
            tuple(self.rows[k] for k in kept),
            tuple(self.groups[k] for k in kept) if self.groups else (),
        )

    def right(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the guessed leaf is the true one."""
        return np.array([t == g for t, g in zip(self.truth, self.guess, strict=True)], dtype=np.bool_)

    def metrics(self, head: Head) -> dict[str, float]:
        """Flat metrics; all are shares from 0 (bad) to 1 (good) except `ece*`, `set_size` and `rows`.

        accuracy, macro_f1 (over labels that occur in truth), parent_* (hierarchical), quadratic_kappa (ordinal,
        -1 to 1), auroc (two labels; 0.5 is chance), ece (ece_of_luck is what a perfectly calibrated model would show on
        so many rows) and aurc (0 is best), auto_coverage, auto_precision (nan where nothing is auto), set_coverage,
        set_size.
        """
        right = self.right()
        auto = np.array([one.decision == "auto" for one in self.decided])
        kept = [is_right(head, one.label, truth) for one, truth in zip(self.decided, self.truth, strict=True)]
        inside = [truth in one.prediction_set for one, truth in zip(self.decided, self.truth, strict=True)]
        found = {
            "rows": float(len(self.truth)),
            "accuracy": float(accuracy_score(self.truth, self.guess)),
            "macro_f1": _macro_f1(self.truth, self.guess),
            "ece": expected_calibration_error(self.confidence, right),
            "ece_of_luck": calibration_error_of_luck(self.confidence),
            "aurc": area_under_risk_coverage(self.confidence, right),
            "auto_coverage": float(auto.mean()),
            "auto_precision": float(np.array(kept)[auto].mean()) if auto.any() else float("nan"),
            "set_coverage": float(np.mean(inside)),
            "set_size": float(np.mean([len(one.prediction_set) for one in self.decided])),
        }
        if head.parents:
            truth = [str(head.parent(label)) for label in self.truth]
            guess = [str(head.parent(label)) for label in self.guess]
            found |= {
                "parent_accuracy": float(accuracy_score(truth, guess)),
                "parent_macro_f1": _macro_f1(truth, guess),
            }
        if head.kind == "ordinal":
            found["quadratic_kappa"] = quadratic_kappa(head, self.truth, self.guess)
        if head.size == 2:
            second = np.array([g == head.ids[1] for g in self.guess])
            truth = np.array([t == head.ids[1] for t in self.truth])
            if 0 < truth.sum() < len(truth):
                found["auroc"] = float(roc_auc_score(truth, np.where(second, self.confidence, 1 - self.confidence)))
        return found

    def classes(self, head: Head) -> list[dict[str, Any]]:
        """A row a label that occurs or was guessed: precision, recall, f1, support, auto, auto_precision, set_coverage.

        `threshold` is that of the answers given; `set_coverage` the share of the label's rows with it in their set.
        Parents that were answered come last, without what is of leaves alone: precision, recall, f1, set_coverage.
        """
        labels = [label for label in head.ids if label in {*self.truth, *self.guess}]
        scores = precision_recall_fscore_support(self.truth, self.guess, labels=labels, zero_division=0)
        answered = {one.label for one in self.decided}
        rows = []
        for i, label in enumerate([*labels, *(parent for parent in head.parents if parent in answered)]):
            leaf = i < len(labels)
            mine = [k for k, one in enumerate(self.decided) if one.label == label]
            auto = [k for k in mine if self.decided[k].decision == "auto"]
            kept = [is_right(head, label, self.truth[k]) for k in auto]
            true = [label in one.prediction_set for t, one in zip(self.truth, self.decided, strict=True) if t == label]
            rows.append(
                {
                    "label": label,
                    "name": head.names[label],
                    "precision": float(scores[0][i]) if leaf else None,
                    "recall": float(scores[1][i]) if leaf else None,
                    "f1": float(scores[2][i]) if leaf else None,
                    "support": int(scores[3][i]) if leaf else sum(head.parent(t) == label for t in self.truth),
                    "auto": len(auto),
                    "auto_precision": float(np.mean(kept)) if kept else None,
                    "threshold": self.decided[mine[0]].threshold if mine else None,
                    "set_coverage": float(np.mean(true)) if true else None,
                }
            )
        return rows

    def draws(self, times: int, seed: int) -> Iterator[Weights]:
        """How often each row (N,) is drawn in each of `times` resamples: groups are drawn, with all their rows.

        Near-duplicates are right or wrong together: drawn one by one they would count as more rows than they are worth
        (cluster bootstrap; Davison and Hinkley 1997, Bootstrap Methods and their Application, 3.8).
        """
        member = np.unique(self.groups or np.arange(len(self.truth)), return_inverse=True)[1]
        size = int(member.max()) + 1
        draw = np.random.default_rng(seed)
        for _ in range(times):
            yield np.bincount(draw.integers(size, size=size), minlength=size)[member].astype(np.float64)

    def intervals(self, head: Head, seed: int = 1) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of accuracy, macro_f1, parent_macro_f1 and quadratic_kappa, where they apply.

        They say how far luck in the choice of rows reaches; of texts from other sources they say nothing.
        """
        right = self.right()
        measures: dict[str, Callable[[Weights], float]] = {
            "accuracy": lambda weights: float(weights @ right / weights.sum()),
            "macro_f1": _macro_f1_by_weights(self.truth, self.guess),
        }
        if head.parents:
            parents = ([str(head.parent(label)) for label in part] for part in (self.truth, self.guess))
            measures["parent_macro_f1"] = _macro_f1_by_weights(*parents)
        if head.kind == "ordinal":
            measures["quadratic_kappa"] = _kappa_by_weights(head, self.truth, self.guess)
        values = np.array([[of(weights) for of in measures.values()] for weights in self.draws(RESAMPLES, seed)])
        found: dict[str, tuple[float, float]] = {}
        for name, column in zip(measures, values.T, strict=True):
            if not np.isnan(column).all():  # a kappa of rows that are all of one label
                low, high = np.nanquantile(column, (0.025, 0.975))
                found[name] = round(float(low), 4), round(float(high), 4)
        return found

    def confusions(self) -> list[dict[str, Any]]:
        """The most frequent mistakes: truth, guess, rows; up to MOST_CONFUSIONS."""
        pairs = Counter((t, g) for t, g in zip(self.truth, self.guess, strict=True) if t != g)
        return [{"truth": t, "guess": g, "rows": n} for (t, g), n in pairs.most_common(MOST_CONFUSIONS)]

    def confusion(self, head: Head) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Labels that occur, and counts (truth, guess)."""
        labels = [label for label in head.ids if label in {*self.truth, *self.guess}]
        return labels, confusion_matrix(self.truth, self.guess, labels=labels)


def evaluate(predictor: Predictor, examples: Sequence[Example], *, quiet: bool = False) -> dict[str, HeadResult]:
    """Head -> HeadResult of the heads that `examples` are labelled for.

    Rows known by a parent alone count in no metric. Texts that are ALIKE are of one group. Raises InvalidInput where no
    row can be scored.
    """
    return of_leaves(predictor, answers(predictor, examples, quiet=quiet))


def of_leaves(predictor: Predictor, found: Mapping[str, HeadResult]) -> dict[str, HeadResult]:
    """Of `found` the rows whose truth is a leaf of the predictor's. Raises InvalidInput where there is none."""
    results = {}
    for name, result in found.items():
        leaves = predictor.taxonomy.heads[name].ids
        scored = result.among({row for row, truth in zip(result.rows, result.truth, strict=True) if truth in leaves})
        if scored.truth:
            results[name] = scored
    if not results:
        raise InvalidInput("no row carries a label that can be scored: check --head and the taxonomy")
    return results


def answers(predictor: Predictor, examples: Sequence[Example], *, quiet: bool = False) -> dict[str, HeadResult]:
    """Head -> HeadResult of every row that is labelled for it, be it by a parent, or by a label that is another's.

    Texts that are ALIKE are of one group.
    """
    rows: dict[str, list[tuple[str, HeadPrediction, int]]] = {}
    starts, console = range(0, len(examples), CHUNK), Console(stderr=True)  # standard output may be JSON
    for start in track(starts, "evaluating", disable=quiet, transient=True, console=console):
        chunk = examples[start : start + CHUNK]
        predictions = predictor.predict([example.complaint for example in chunk], top_k=1)
        for place, (example, prediction) in enumerate(zip(chunk, predictions, strict=True), start):
            for head, label in example.labels.items():
                rows.setdefault(head, []).append((label, prediction.heads[head], place))
    groups = near_duplicate_groups([text_of(example) for example in examples], ALIKE)
    return {
        head: HeadResult(
            [truth for truth, _, _ in found],
            [one.top_k[0].label for _, one, _ in found],
            np.array([one.top_k[0].confidence for _, one, _ in found]),
            [one for _, one, _ in found],
            tuple(place for _, _, place in found),
            tuple(groups[place] for _, _, place in found),
        )
        for head, found in rows.items()
    }


def report(predictor: Predictor, results: dict[str, HeadResult], examples: Sequence[Example]) -> dict[str, Any]:
    """All numbers of an evaluation of `examples` as plain data, fit for JSON: metrics and classes a head, slices."""
    manifest = predictor.bundle.manifest
    return {
        "model": manifest.name,
        "bundle": predictor.bundle.digest,
        "taxonomy_version": manifest.taxonomy_version,
        "policy_version": predictor.policy.version,
        "heads": {
            name: {
                **{k: _plain(v) for k, v in result.metrics(predictor.taxonomy.heads[name]).items()},
                "intervals": {k: list(v) for k, v in result.intervals(predictor.taxonomy.heads[name]).items()},
                "precision_target": predictor.calibration.heads[name].precision_target,
                "coverage": predictor.calibration.heads[name].coverage,
                "decisions": dict(Counter(one.decision for one in result.decided)),
                "classes": result.classes(predictor.taxonomy.heads[name]),
                "confusions": result.confusions(),
            }
            for name, result in results.items()
        },
        "slices": slices(predictor, results, examples),
    }


def slices(predictor: Predictor, results: dict[str, HeadResult], examples: Sequence[Example]) -> dict[str, Any]:
    """Metrics of parts of the rows, by source, kind of length and channel: "source: x" -> head -> metrics.

    Only parts of FEWEST_IN_SLICE rows and more, and only where there are several.
    """
    groups: dict[str, dict[str, set[int]]] = {}
    for place, example in enumerate(examples):
        one = example.complaint
        band = next(f"{a}-{b}" if b else f"{a}+" for a, b in BANDS if b is None or len(one.text) < b)
        for by, value in (("source", example.source), ("characters", band), ("channel", one.channel)):
            if value:
                groups.setdefault(by, {}).setdefault(f"{by}: {value}", set()).add(place)
    found = {}
    for members in groups.values():
        if len(members) < 2:
            continue
        for name, wanted in sorted(members.items(), key=lambda item: -len(item[1])):
            parts = {head: result.among(wanted) for head, result in results.items()}
            heads = {
                head: {k: _plain(v) for k, v in part.metrics(predictor.taxonomy.heads[head]).items()}
                for head, part in parts.items()
                if len(part.truth) >= FEWEST_IN_SLICE
            }
            if heads:
                found[name] = heads
    return found


def risk_coverage(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(N,) coverage and (N,) risk, the share of wrong answers, as ever less confident answers are let in."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / max(1, len(order)), np.cumsum(~right[order]) / answered


def area_under_risk_coverage(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Mean risk over all coverages (AURC, Geifman and El-Yaniv 2017): 0 is best, the error rate is chance."""
    return float(risk_coverage(confidence, right)[1].mean()) if len(confidence) else 0.0


def expected_calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Mean gap between confidence and share of right answers over BINS bins of equal mass; 0 is best, 1 worst."""
    return float(sum(n * abs(c - a) for n, c, a in reliability(confidence, right)) / max(1, len(confidence)))


def calibration_error_of_luck(confidence: npt.NDArray[np.float64], seed: int = 1) -> float:
    """The ECE to be expected where every confidence is exactly true: a few rows a bin never hit their share.

    Below it no model can be shown to be. Mean over LUCKY_DRAWS draws of right and wrong answers from the confidences.
    """
    if not len(confidence):
        return 0.0
    ranked = np.sort(confidence)
    sizes = [len(part) for part in np.array_split(ranked, max(1, min(BINS, len(ranked))))]
    starts = np.cumsum([0, *sizes[:-1]])
    right = np.random.default_rng(seed).random((LUCKY_DRAWS, len(ranked))) < ranked
    gaps = np.add.reduceat(right - ranked, starts, axis=1)
    return float(np.abs(gaps).sum(axis=1).mean() / len(ranked))


def reliability(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> list[tuple[int, float, float]]:
    """(rows, mean confidence, share right) of BINS bins of equal mass, least confident first."""
    order = np.argsort(confidence, kind="stable")
    return [
        (len(part), float(confidence[part].mean()), float(right[part].mean()))
        for part in np.array_split(order, max(1, min(BINS, len(order))))
        if len(part)
    ]


def quadratic_kappa(head: Head, truth: Sequence[str], guess: Sequence[str]) -> float:
    """Cohen's kappa with quadratic weights, -1 to 1; nan where one label is all there is, which leaves it undefined."""
    if len({*truth, *guess}) < 2:
        return float("nan")
    order = [head.ids.index(label) for label in truth], [head.ids.index(label) for label in guess]
    return float(cohen_kappa_score(*order, labels=range(head.size), weights="quadratic"))


def _macro_f1_by_weights(truth: Sequence[str], guess: Sequence[str]) -> Callable[[Weights], float]:
    """Macro-F1 as a function of how often each row counts; over labels that occur in truth then."""
    place = {label: i for i, label in enumerate(sorted({*truth, *guess}))}
    true, guessed = (np.array([place[label] for label in part]) for part in (truth, guess))
    right = true == guessed

    def measure(weights: Weights) -> float:
        support, answers = (np.bincount(part, weights, len(place)) for part in (true, guessed))
        hits = np.bincount(true, weights * right, len(place))
        occurs = support > 0
        return float(np.mean(2 * hits[occurs] / (support + answers)[occurs]))

    return measure


def _kappa_by_weights(head: Head, truth: Sequence[str], guess: Sequence[str]) -> Callable[[Weights], float]:
    """Quadratic kappa as a function of how often each row counts; nan where it is undefined."""
    a, b = (np.array([float(head.ids.index(label)) for label in part]) for part in (truth, guess))

    def measure(weights: Weights) -> float:
        rows = weights.sum()
        # rows² times the mean (a - b)² if the two were drawn apart from each other
        chance = rows * (weights @ (a**2 + b**2)) - 2 * (weights @ a) * (weights @ b)
        return float(1 - rows * (weights @ (a - b) ** 2) / chance) if chance else float("nan")

    return measure


def is_right(head: Head, decided: str, truth: str) -> bool:
    """Whether an answer is the truth, or its parent, or a leaf of it where the truth is known as a parent alone."""
    return decided in (truth, head.parent(truth)) or head.parent(decided) == truth


def _macro_f1(truth: list[str], guess: list[str]) -> float:
    return float(f1_score(truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0))


def _plain(value: float) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if value == int(value) and value > 1 else round(value, 4)
