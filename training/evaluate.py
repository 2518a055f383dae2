"""Metrics and slices, measured through `predictor.py`: what is measured is what is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from complaints.errors import InvalidInput
from complaints.predictor import Predictor
from complaints.records import HeadPrediction
from complaints.taxonomy import Head
from training.sources import Example

BINS = 15
CHUNK = 64
MOST_CONFUSIONS = 20


@dataclass(frozen=True)
class HeadResult:
    """One head on N rows: `truth` and `guess` labels (leaves), `confidence` (N,) of the guess, `decided` (N,)."""

    truth: list[str]
    guess: list[str]
    confidence: npt.NDArray[np.float64]
    decided: list[HeadPrediction]

    def metrics(self, head: Head) -> dict[str, float]:
        """Flat metrics; all are shares from 0 (bad) to 1 (good) except `ece`, `set_size` and `rows`.

        accuracy, macro_f1 (over labels that occur in truth), parent_* (hierarchical), quadratic_kappa (ordinal,
        -1 to 1), ece (0 is best), auto_coverage, auto_precision (nan where nothing is auto), set_coverage, set_size.
        """
        right = np.array([t == g for t, g in zip(self.truth, self.guess, strict=True)])
        auto = np.array([one.decision == "auto" for one in self.decided])
        kept = [_is_right(head, one.label, truth) for one, truth in zip(self.decided, self.truth, strict=True)]
        inside = [truth in one.prediction_set for one, truth in zip(self.decided, self.truth, strict=True)]
        found = {
            "rows": float(len(self.truth)),
            "accuracy": float(accuracy_score(self.truth, self.guess)),
            "macro_f1": _macro_f1(self.truth, self.guess),
            "ece": expected_calibration_error(self.confidence, right),
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
        return found

    def classes(self, head: Head) -> list[dict[str, Any]]:
        """A row a label that occurs or was guessed: precision, recall, f1, support, auto_coverage, auto_precision."""
        labels = [label for label in head.ids if label in {*self.truth, *self.guess}]
        scores = precision_recall_fscore_support(self.truth, self.guess, labels=labels, zero_division=0)
        rows = []
        for i, label in enumerate(labels):
            mine = [k for k, one in enumerate(self.decided) if one.label == label]
            auto = [k for k in mine if self.decided[k].decision == "auto"]
            kept = [_is_right(head, label, self.truth[k]) for k in auto]
            rows.append(
                {
                    "label": label,
                    "name": head.names[label],
                    "precision": float(scores[0][i]),
                    "recall": float(scores[1][i]),
                    "f1": float(scores[2][i]),
                    "support": int(scores[3][i]),
                    "auto": len(auto),
                    "auto_precision": float(np.mean(kept)) if kept else None,
                }
            )
        return rows

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

    Rows known by a parent alone count in no metric. Raises InvalidInput where no row can be scored.
    """
    rows: dict[str, list[tuple[str, HeadPrediction]]] = {}
    chunks = [examples[i : i + CHUNK] for i in range(0, len(examples), CHUNK)]
    for chunk in track(chunks, "evaluating", disable=quiet, transient=True):
        predictions = predictor.predict([example.complaint for example in chunk], top_k=1)
        for example, prediction in zip(chunk, predictions, strict=True):
            for head, label in example.labels.items():
                if label in predictor.taxonomy.heads[head].ids:
                    rows.setdefault(head, []).append((label, prediction.heads[head]))
    if not rows:
        raise InvalidInput("no row carries a label that can be scored: check --head and the taxonomy")
    return {
        head: HeadResult(
            [truth for truth, _ in found],
            [one.top_k[0].label for _, one in found],
            np.array([one.top_k[0].confidence for _, one in found]),
            [one for _, one in found],
        )
        for head, found in rows.items()
    }


def report(predictor: Predictor, results: dict[str, HeadResult]) -> dict[str, Any]:
    """All numbers as plain data, fit for JSON: head -> metrics and classes."""
    manifest = predictor.bundle.manifest
    return {
        "model": manifest.name,
        "bundle": predictor.bundle.digest,
        "taxonomy_version": manifest.taxonomy_version,
        "policy_version": predictor.policy.version,
        "heads": {
            name: {
                **{k: _plain(v) for k, v in result.metrics(predictor.taxonomy.heads[name]).items()},
                "decisions": dict(Counter(one.decision for one in result.decided)),
                "classes": result.classes(predictor.taxonomy.heads[name]),
                "confusions": result.confusions(),
            }
            for name, result in results.items()
        },
    }


def expected_calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Mean gap between confidence and share of right answers over BINS bins of equal mass; 0 is best, 1 worst."""
    return float(sum(n * abs(c - a) for n, c, a in reliability(confidence, right)) / max(1, len(confidence)))


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


def _is_right(head: Head, decided: str, truth: str) -> bool:
    return decided in (truth, head.parent(truth))


def _macro_f1(truth: list[str], guess: list[str]) -> float:
    return float(f1_score(truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0))


def _plain(value: float) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if value == int(value) and value > 1 else round(value, 4)
