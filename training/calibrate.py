"""What calibration rows teach: temperatures, a threshold a label, prediction sets.

All of it is chosen on calibration rows alone; test rows only measure it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from complaints.decision import DECIMALS, HeadCalibration, Probabilities, parent_probabilities, probabilities
from complaints.encoder import Logits
from complaints.taxonomy import Head
from training.recipe import Promise

Labels = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]

# Thresholds that are tried a label: the confidences above which 5 %, 10 %, … 100 % of its rows lie.
GRID = 20
# A label with fewer calibration answers than this cannot contradict the head's own threshold.
FEW = 10
# Without calibration rows for a head nothing is promised.
UNKNOWN = {"temperature": 1.0, "set_floor": 0.0}


def calibrate_head(head: Head, logits: Logits, truth: Labels, promise: Promise) -> HeadCalibration:
    """Calibrate one head on its rows: `logits` (N, K), `truth` (N,) output indices; N = 0 promises nothing."""
    labels = [*head.ids, *head.parents]
    if len(truth) == 0:
        return HeadCalibration(
            precision_target=promise.precision_target,
            coverage=promise.coverage,
            thresholds=dict.fromkeys(labels),
            **UNKNOWN,
        )
    temperature = fit_temperature(logits, truth)
    leaf = probabilities(logits, temperature)
    found = _thresholds(list(head.ids), leaf, truth, promise)
    if head.parents:
        above = parent_probabilities(head, leaf)
        parent_of = np.array([head.parents.index(head.parent(label) or "") for label in head.ids])
        found |= _thresholds(list(head.parents), above, parent_of[truth], promise)
    return HeadCalibration(
        temperature=temperature,
        precision_target=promise.precision_target,
        thresholds=found,
        coverage=promise.coverage,
        set_floor=set_floor(leaf, truth, promise.coverage),
    )


def fit_temperature(logits: Logits, truth: Labels) -> float:
    """The temperature with the least negative log-likelihood (Guo et al. 2017), between 0.05 and 20."""

    def loss(log_temperature: float) -> float:
        p = probabilities(logits, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(p[np.arange(len(truth)), truth], 1e-12, None)).mean())

    return round(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)), 4)


def set_floor(p: Probabilities, truth: Labels, coverage: float) -> float:
    """The least probability a label needs to be in the prediction set, by split conformal prediction.

    Sets of labels at or above it hold the right one for a share of at least `coverage` of new rows drawn like
    these (Vovk et al. 2005; score 1 - p of Sadinle et al. 2019). 0, every label, where there are too few rows.
    """
    scores = np.sort(p[np.arange(len(truth)), truth])
    rank = int(np.floor((len(scores) + 1) * (1 - coverage)))
    return float(scores[rank - 1]) if rank >= 1 else 0.0


def precision_threshold(confidence: Probabilities, right: Right, promise: Promise) -> float | None:
    """The lowest confidence from which answers keep the promised precision; None where none can be shown to.

    Up to GRID thresholds are tested, each by the exact binomial probability that a precision below the target
    would err this seldom, at level risk / GRID: all hold together with probability 1 - risk
    (Learn then Test, Angelopoulos et al. 2021, with Bonferroni's correction).
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], np.cumsum(~right[order])
    best = None
    for size in sorted({max(1, round(len(ranked) * k / GRID)) for k in range(1, GRID + 1)}):
        cut = ranked[size - 1]
        reach = int(np.searchsorted(-ranked, -cut, side="right"))  # ties stand or fall together
        if binom.cdf(errors[reach - 1], reach, 1 - promise.precision_target) <= promise.risk / GRID:
            best = float(cut)
    return best


def _thresholds(labels: list[str], p: Probabilities, truth: Labels, promise: Promise) -> dict[str, float | None]:
    """A threshold a label.

    With rows enough a label has its own; otherwise it takes the head's, which holds for its labels together,
    raised to where its own rows, if there are FEW or more, keep the promise as counted.
    """
    guess = p.argmax(axis=1)
    confidence = np.round(p.max(axis=1), DECIMALS)
    right = guess == truth
    shared = precision_threshold(confidence, right, promise)
    found: dict[str, float | None] = {}
    for index, label in enumerate(labels):
        own = guess == index
        threshold = precision_threshold(confidence[own], right[own], promise) if own.any() else None
        if threshold is None and shared is not None:
            threshold = _raised(confidence[own], right[own], shared, promise.precision_target)
        found[label] = threshold
    return found


def _raised(confidence: Probabilities, right: Right, start: float, target: float) -> float | None:
    """The lowest threshold from `start` on at which the rows above it are right often enough; None if nowhere."""
    if (confidence >= start).sum() < FEW:
        return start if right[confidence >= start].all() else None
    for threshold in np.unique(confidence[confidence >= start]):
        inside = confidence >= threshold
        if right[inside].mean() >= target:
            return float(threshold)
    return None
