"""What calibration rows teach: how sure to be, a threshold a label, prediction sets.

All of it is chosen on calibration rows alone; test rows only measure it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from complaints.decision import (
    DECIMALS,
    HeadCalibration,
    Probabilities,
    log_odds,
    parent_probabilities,
    probabilities,
    softmax,
)
from complaints.encoder import Logits
from complaints.taxonomy import Head, Taxonomy
from training.recipe import Promise
from training.sources import Example, leaves

Labels = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.str_]

# A sequence of thresholds lets in so many parts of the rows at a time; so many start, each at twice the last's size.
GRID, STARTS = 40, 4
# A group with fewer answers than this cannot contradict a threshold that holds for all groups together.
FEW_IN_GROUP = 20
FLOOR_DECIMALS = 6
# On fewer rows the temperature alone is fitted.
FEWEST_FOR_A_LINE = 200
# Of the logarithm of the temperature before any row is seen: wide, so that thousands of rows do not feel it.
SPREAD = 1.0
# Without calibration rows for a head nothing is promised.
UNKNOWN: dict[str, Any] = {"temperature": 1.0, "set_floors": {}}


def calibrate_head(
    head: Head, logits: Logits, truth: Labels, promise: Promise, groups: Sequence[str] | None = None
) -> HeadCalibration:
    """Calibrate one head on its rows: `logits` (N, K), `truth` (N,) output indices; N = 0 promises nothing.

    `groups` (N,) name kinds of rows that may come in other proportions than here: each must keep the promise by itself.
    """
    labels = [*head.ids, *head.parents]
    if len(truth) == 0:
        return HeadCalibration(
            precision_target=promise.precision_target,
            coverage=promise.coverage,
            thresholds=dict.fromkeys(labels),
            **UNKNOWN,
        )
    sureness = fit_sureness(logits, truth)
    learned = HeadCalibration(
        precision_target=promise.precision_target, coverage=promise.coverage, thresholds={}, set_floors={}, **sureness
    )
    leaf = probabilities(logits, learned)
    members = np.array(groups if groups is not None else [""] * len(truth))
    found = _thresholds(list(head.ids), leaf, truth, promise, members)
    if head.parents:
        left = ~_automatic(list(head.ids), leaf, found)  # a parent is asked where its leaves are not sure alone
        above = parent_probabilities(head, leaf[left])
        parent_of = np.array([head.parents.index(head.parent(label) or "") for label in head.ids])
        found |= _thresholds(list(head.parents), above, parent_of[truth[left]], promise, members[left])
    return learned.model_copy(
        update={"thresholds": found, "set_floors": set_floors(head, leaf, truth, promise.coverage)}
    )


def fit_sureness(logits: Logits, truth: Labels) -> dict[str, float]:
    """The temperature, and the line on the log-odds of the likeliest label that says best how often it is right.

    The line is left out where rows are too few to draw it, and where it would turn the order round.
    """
    temperature = fit_temperature(logits, truth)
    p = softmax(logits, temperature)
    right = p.argmax(axis=1) == truth
    if len(truth) >= FEWEST_FOR_A_LINE and 0 < right.sum() < len(right):
        line = LogisticRegression(C=1e4).fit(log_odds(p.max(axis=1))[:, None], right)
        slope, offset = round(float(line.coef_[0, 0]), 4), round(float(line.intercept_[0]), 4)
        if slope > 0:
            return {"temperature": temperature, "slope": slope, "offset": offset}
    return {"temperature": temperature}


def fit_temperature(logits: Logits, truth: Labels) -> float:
    """The likeliest temperature (Guo et al. 2017), between 0.05 and 20; few rows leave it near 1.

    Its logarithm is taken to be normal around 0: rows that are all right, or all wrong, would have it without bound.
    """

    def loss(log_temperature: float) -> float:
        p = softmax(logits, float(np.exp(log_temperature)))
        fits = float(np.log(np.clip(p[np.arange(len(truth)), truth], 1e-12, None)).mean())
        return log_temperature**2 / (2 * SPREAD**2 * len(truth)) - fits

    return round(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)), 4)


def set_floors(head: Head, p: Probabilities, truth: Labels, coverage: float) -> dict[str, float]:
    """Label -> the least probability it needs to be in the prediction set, by class-conditional split conformal sets.

    Of new rows of a label, drawn like these, a share of at least `coverage` has the label in its set (Vovk 2012,
    Conditional validity; score 1 - p of Sadinle et al. 2019). A label with too few rows of its own takes the floor
    of its parent's rows together, and where they are too few too, that of all rows.
    """
    own = p[np.arange(len(truth)), truth]
    everywhere = set_floor(own, coverage)
    found = {}
    for i, label in enumerate(head.ids):
        siblings = head.members(head.parent(label) or label) if head.parents else (i,)
        floors = [set_floor(own[np.isin(truth, list(group))], coverage) for group in ((i,), siblings)]
        floor = next((floor for floor in floors if floor > 0), everywhere)
        found[label] = math.floor(floor * 10**FLOOR_DECIMALS) / 10**FLOOR_DECIMALS  # up would shut out its own row
    return found


def set_floor(scores: Probabilities, coverage: float) -> float:
    """The highest floor above which a share `coverage` of scores like these stays; 0 where there are too few."""
    rank = int(np.floor((len(scores) + 1) * (1 - coverage) + 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank >= 1 else 0.0


def precision_threshold(confidence: Probabilities, right: Right, promise: Promise) -> float | None:
    """The lowest confidence from which answers keep the promised precision; None where none can be shown to."""
    return min(shown_thresholds(confidence, right, promise), default=None)


def fewest_right(promise: Promise) -> int:
    """How many sure answers can show the promised precision if all are right; fewer prove nothing."""
    return int(np.ceil(np.log(promise.risk / STARTS) / np.log(promise.precision_target)))


def unsure(
    learned: Mapping[str, HeadCalibration], taxonomy: Taxonomy, promise: Promise, examples: Sequence[Example]
) -> list[str]:
    """A sentence on each head of which no answer can be auto, and why; `examples` are what it was calibrated on."""
    lines = []
    for name, head in taxonomy.heads.items():
        if all(threshold is None for threshold in learned[name].thresholds.values()):
            own, rows = promise.of(name), len(leaves(examples, name, head)[0])
            lines.append(
                f"Head {name}: no label decides alone. It was calibrated on {rows} rows; the promise of "
                f"{own.precision_target:.1%} right needs at least {fewest_right(own)} sure and right answers of one "
                "label, or of all labels without enough of their own."
            )
    return lines


def shown_thresholds(confidence: Probabilities, right: Right, promise: Promise) -> list[float]:
    """Confidences from which answers keep the promised precision: with probability 1 - risk, each one of them does.

    Fixed-sequence testing (Learn then Test, Angelopoulos et al. 2021): from a number of most confident answers, ever
    more are let in for as long as a precision below the target would err this seldom with probability risk / STARTS
    at most (exact binomial). There are STARTS sequences, for the surest few may hold an odd wrong label and yet a
    longer list be good: all that is let in holds together with probability 1 - risk (Bonferroni over the starts).
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], np.cumsum(~right[order])
    level, fewest = promise.risk / STARTS, fewest_right(promise)
    step = max(1, len(ranked) // GRID)
    found = set()
    for start in (fewest * 2**k for k in range(STARTS)):
        size = start
        while size <= len(ranked):
            cut = ranked[size - 1]
            reach = int(np.searchsorted(-ranked, -cut, side="right"))  # ties stand or fall together
            if binom.cdf(errors[reach - 1], reach, 1 - promise.precision_target) > level:
                break
            found.add(float(cut))
            size = len(ranked) if reach < len(ranked) < reach + step else reach + step
    return sorted(found)


def _thresholds(
    labels: list[str], p: Probabilities, truth: Labels, promise: Promise, groups: Groups
) -> dict[str, float | None]:
    """A threshold a label, None where none could be shown to keep the promise.

    With rows enough a label has its own. Those for which none can be shown are tested once more as if they were one,
    on their rows alone: what they share keeps the promise for their answers together. A label that is never the
    likeliest has shown nothing and has none.
    """
    guess = p.argmax(axis=1)
    confidence = np.round(p.max(axis=1), DECIMALS)
    right = guess == truth

    def lowest(rows: Right) -> float | None:
        return _fair(confidence[rows], right[rows], groups[rows], promise)

    found = {label: lowest(guess == index) for index, label in enumerate(labels)}
    rest = [index for index, label in enumerate(labels) if found[label] is None and (guess == index).any()]
    return found | dict.fromkeys([labels[index] for index in rest], lowest(np.isin(guess, rest)))


def _fair(confidence: Probabilities, right: Right, groups: Groups, promise: Promise) -> float | None:
    """The lowest shown threshold at which every group's rows are right as often as promised; None if at none.

    A group that is easy must not pay for one that is hard. One of which fewer than FEW_IN_GROUP rows reach the lowest
    threshold of all has no say; one that has is heard at the higher ones too, however few of its rows reach those.
    """
    shown = shown_thresholds(confidence, right, promise)
    members = [groups == one for one in set(groups.tolist())]
    heard = [mine for mine in members if shown and (confidence[mine] >= shown[0]).sum() >= FEW_IN_GROUP]
    for threshold in shown:
        above = [right[mine & (confidence >= threshold)] for mine in heard]
        if all(len(one) == 0 or one.mean() >= promise.precision_target for one in above):
            return threshold
    return None


def _automatic(labels: list[str], p: Probabilities, thresholds: dict[str, float | None]) -> Right:
    """(N,) Whether the likeliest label reaches its threshold."""
    needed = np.array([2.0 if (one := thresholds[label]) is None else one for label in labels])  # 2: out of reach
    return np.round(p.max(axis=1), DECIMALS) >= needed[p.argmax(axis=1)]  # type: ignore[no-any-return]
