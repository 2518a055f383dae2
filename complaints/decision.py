"""Logits -> calibrated probabilities -> what may be acted upon.

    logits (B, K) --temperature, slope, offset--> probabilities (B, K) --thresholds a label--> auto | suggest | review

A hierarchical head's parent has the probability of its leaves together; where no leaf is sure but a parent is,
the parent is the answer. Labels of two heads that contradict the responsibility table go to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from complaints.encoder import Encoded, Vectors
from complaints.records import HeadPrediction, Reason, Scored
from complaints.taxonomy import Head, Taxonomy
from complaints.text import Cleaned

Probabilities = npt.NDArray[np.float64]

# A person can still choose among this many at a glance; a longer set means that the text must be read.
LARGEST_SUGGESTION = 3
# Confidences are rounded before they are compared, so that what is shown is what was decided on.
DECIMALS = 4
# Nearer to 0 or 1 than that, probabilities are taken to be there.
_CERTAIN = 1e-9


class HeadCalibration(BaseModel):
    """What was learned about one head on calibration data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    temperature: float = Field(gt=0, description="Logits are divided by it; above 1 the model was too sure")
    slope: float = Field(
        1.0, gt=0, description="Of the log-odds of the likeliest label; below 1 it was too sure of those"
    )
    offset: float = Field(0.0, description="Added to these log-odds")
    precision_target: float = Field(gt=0, lt=1, description="Promised share of right answers among auto")
    thresholds: dict[str, float | None] = Field(
        description="Label (leaf or parent) -> confidence from which it is auto; null: the promise could not be shown"
    )
    coverage: float = Field(gt=0, lt=1, description="Promised share of prediction sets that hold the right label")
    set_floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        description="Label -> least probability with which it is in the prediction set; 0, ever, where none is named. "
        "The likeliest label is in it anyway"
    )


class Scope(BaseModel):
    """Which texts the model was made for: a linear score of a text's vector, high for texts like those it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weights: tuple[float, ...]
    bias: float
    threshold: float = Field(description="Texts that score below it are out of scope")

    def scores(self, vectors: Vectors) -> Probabilities:
        """(B, H) unit vectors -> (B,) log-odds of being in scope; low is foreign."""
        return vectors.astype(np.float64) @ np.array(self.weights) + self.bias  # type: ignore[no-any-return]


class Calibration(BaseModel):
    """`calibration.json`: head -> HeadCalibration, and the scope, null where it could not be learned.

    `unseen`: how much of a text training has usually not seen, the median share of its n-grams; null where not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    heads: dict[str, HeadCalibration]
    scope: Scope | None = None
    unseen: float | None = Field(None, ge=0, le=1)


def probabilities(logits: npt.NDArray[np.float32], learned: HeadCalibration) -> Probabilities:
    """What a head's logits are worth: (B, K) -> (B, K), rows sum to 1, in the order of the logits.

    The temperature suits all labels together; how often the likeliest one is right is set right by a line on its
    log-odds (Platt 1999, Probabilistic outputs for support vector machines), and the others share the rest as before.
    It stays the likeliest: where the line would have another one level with it, it keeps ahead by the last digit shown.
    """
    p = softmax(logits, learned.temperature)
    if (learned.slope, learned.offset) == (1.0, 0.0):
        return p
    rows, best = np.arange(len(p)), p.argmax(axis=1)
    top = p[rows, best]
    trusted = 1 / (1 + np.exp(-(learned.slope * log_odds(top) + learned.offset)))
    trusted = np.maximum(trusted, np.minimum(top, 0.5))  # or another label would become the likeliest
    trusted[top > 1 - _CERTAIN] = 1.0
    p *= ((1 - trusted) / np.maximum(1 - top, _CERTAIN))[:, None]
    p[rows, best] = trusted
    rest = p.copy()
    rest[rows, best] = 0.0
    level = np.flatnonzero(rest.max(axis=1) >= trusted)
    if len(level):  # two labels hold nearly all there is
        p[level] = softmax(logits[level], learned.temperature)
        top, best = top[level], best[level]
        second = np.partition(p[level], -2, axis=1)[:, -2]
        kept = np.minimum(top, second / (1 - top + second) + 10**-DECIMALS)
        p[level] *= ((1 - kept) / (1 - top))[:, None]
        p[level, best] = kept
    return p


def log_odds(p: Probabilities) -> Probabilities:
    """log(p / (1 - p)), finite at 0 and 1."""
    p = np.clip(p, _CERTAIN, 1 - _CERTAIN)
    return np.log(p / (1 - p))


def softmax(logits: npt.NDArray[np.float32], temperature: float) -> Probabilities:
    """Softmax of logits / temperature: (B, K) -> (B, K), rows sum to 1.

    Temperature scaling: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    raised = np.exp(scaled)
    return raised / raised.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def parent_probabilities(head: Head, leaf: Probabilities) -> Probabilities:
    """Sum of each parent's leaves: (B, K) -> (B, number of parents)."""
    return np.stack([leaf[:, list(head.members(parent))].sum(axis=1) for parent in head.parents], axis=1)


def decide(
    taxonomy: Taxonomy,
    calibration: Calibration,
    encoded: Encoded,
    cleaned: Sequence[Cleaned],
    *,
    top_k: int = 3,
) -> list[dict[str, HeadPrediction]]:
    """Head -> HeadPrediction for each of B texts; `encoded` holds what the encoder said of them, in that order."""
    rows: list[dict[str, HeadPrediction]] = [{} for _ in cleaned]
    for name, scores in encoded.logits.items():
        head, learned = taxonomy.heads[name], calibration.heads[name]
        leaf = probabilities(scores, learned)
        above = parent_probabilities(head, leaf) if head.parents else None
        for i, row in enumerate(rows):
            row[name] = _decide_one(head, learned, leaf[i], None if above is None else above[i], top_k)
    scope = calibration.scope
    foreign = [False] * len(rows) if scope is None else list(scope.scores(encoded.vectors) < scope.threshold)
    return [
        _hold_back(taxonomy, row, _excuse(text, bool(foreign[i]), bool(encoded.truncated[i])))
        for i, (row, text) in enumerate(zip(rows, cleaned, strict=True))
    ]


def _decide_one(
    head: Head, learned: HeadCalibration, leaf: Probabilities, above: Probabilities | None, top_k: int
) -> HeadPrediction:
    order = np.argsort(-leaf, kind="stable")
    label, confidence = head.ids[order[0]], _rounded(leaf[order[0]])
    threshold = learned.thresholds.get(label)
    floors = learned.set_floors
    # The likeliest is in the set, whatever its floor: no answer stands outside its own set, and coverage only grows.
    inside = [i for i in order if i == order[0] or leaf[i] >= floors.get(head.ids[i], 0.0)]
    auto = threshold is not None and confidence >= threshold
    if not auto and above is not None:
        best = int(above.argmax())
        sure = learned.thresholds.get(head.parents[best])
        if sure is not None and _rounded(above[best]) >= sure:
            label, confidence, threshold, auto = head.parents[best], _rounded(above[best]), sure, True
    return HeadPrediction(
        decision="auto" if auto else "suggest" if len(inside) <= LARGEST_SUGGESTION else "review",
        label=label,
        name=head.names[label],
        confidence=confidence,
        threshold=threshold,
        reason=None if auto else "below_threshold",
        prediction_set=tuple(head.ids[i] for i in inside),
        top_k=tuple(Scored(label=head.ids[i], confidence=_rounded(leaf[i])) for i in order[:top_k]),
    )


def _excuse(text: Cleaned, foreign: bool, unread: bool) -> Reason | None:
    """Why no head of a text may be trusted, whatever its confidence; None where there is no such reason."""
    if not text.text:
        return "empty_after_cleaning"
    if not text.chinese:
        return "not_chinese"
    if foreign:
        return "out_of_scope"
    return "too_long" if unread or text.truncated else None


def _hold_back(taxonomy: Taxonomy, row: dict[str, HeadPrediction], excuse: Reason | None) -> dict[str, HeadPrediction]:
    """Send to review what no confidence can excuse, and heads that contradict each other."""
    if excuse is not None:
        return {name: _review(one, excuse) for name, one in row.items()}
    table = taxonomy.responsibility
    if table is not None and not taxonomy.allowed({name: one.label for name, one in row.items()}):
        return row | {name: _review(row[name], "heads_conflict") for name in (table.given, table.head)}
    return row


def _review(one: HeadPrediction, reason: Reason) -> HeadPrediction:
    return one.model_copy(update={"decision": "review", "reason": reason})


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)
