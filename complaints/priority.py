"""Which of the cases that wait for a person is worth the next review: the order of the queue.

    expected cost of a case = weight of its risk level x sum over heads of (chance to be wrong x weight of the head)
                              x how many times as much of it as usual training has not seen

for a confidence is measured on texts like those that were learned from, and of new topics most is to be learned
(experiments/LOG.md). A case near one that is reviewed already, or comes before it in the queue, is worth less: what a
person says of the one tells most of what could be said of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from complaints.records import HeadPrediction, Level

Vector = npt.NDArray[np.float32]

# A wrong answer costs more where more depends on it. Judgement, not measured: a level is worth two of the one below.
LEVEL_WEIGHTS: Mapping[Level, float] = {"low": 1.0, "medium": 2.0, "high": 4.0}
# What no confidence can excuse (out of scope, too long …) is held to be wrong at least this often.
UNTRUSTED = 0.5
# Share of its cost that a case loses where the one before it in the queue reads exactly like it.
REPEATED = 0.9
# Cases whose vectors have this cosine or less tell nothing of each other: of different complaints of one parent
# category 99 % have less than 0.47 (experiments/LOG.md).
UNLIKE = 0.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """A case that waits: its expected cost, and its stored vector (D,), None where there is none."""

    id: str
    cost: float
    vector: Vector | None = None


def doubt(head: HeadPrediction) -> float:
    """The chance, 0 to 1, that what would be done by this head is wrong; 1 is bad."""
    chance = 1.0 - head.confidence
    return chance if head.reason in (None, "below_threshold") else max(chance, UNTRUSTED)


def strangeness(unseen: float | None, usual: float | None) -> float:
    """How many times as much of a text as usual training has not seen, at least 1; 1 where it is not known.

    `unseen`: share of its n-grams, 0 to 1; `usual`: `Calibration.unseen`. What is more familiar than usual is worth no
    less for it.
    """
    return max(1.0, float(unseen) / usual) if unseen is not None and usual else 1.0


def expected_cost(
    heads: Mapping[str, HeadPrediction],
    level: Level,
    strangeness: float = 1.0,
    head_weights: Mapping[str, float] | None = None,
    level_weights: Mapping[Level, float] = LEVEL_WEIGHTS,
) -> float:
    """What is to be expected of acting on a prediction unseen, in units of one wrong head at the lowest level.

    `strangeness`, from 1, is `Reading.strangeness`; `head_weights` names heads that count more or less than 1. The
    highest come first in the queue.
    """
    given = head_weights or {}
    doubts = sum(doubt(one) * given.get(name, 1.0) for name, one in heads.items())
    return strangeness * level_weights[level] * doubts


def queue_order(waiting: Sequence[Waiting], most: int, before: Sequence[Vector] = ()) -> list[str]:
    """The ids of the `most` cases to review next, best first.

    Greedy: always the case that costs most, less what is known from those before it: those already put in the queue,
    and `before`, the vectors of cases that were reviewed lately or are under review. Of equals the first stays first.
    Takes about most x len(waiting) x D operations: give it the dearest few thousand, not a whole year.
    """
    width = next((len(one.vector) for one in waiting if one.vector is not None), 0)
    vectors = np.zeros((len(waiting), width), dtype=np.float32)
    for i, one in enumerate(waiting):
        if one.vector is not None and len(one.vector) == width:  # another model's vectors cannot be compared
            vectors[i] = _unit(one.vector)
    worth = np.array([one.cost for one in waiting], dtype=np.float64)
    for known in before:
        if len(known) == width:
            worth *= _left(vectors @ _unit(known))
    order: list[str] = []
    taken = np.zeros(len(waiting), dtype=bool)
    for _ in range(min(most, len(waiting))):
        best = int(np.where(taken, -np.inf, worth).argmax())
        taken[best] = True
        order.append(waiting[best].id)
        worth *= _left(vectors @ vectors[best])
    return order


def _unit(vector: Vector) -> Vector:
    return vector / np.maximum(np.linalg.norm(vector), np.float32(1e-9))  # type: ignore[no-any-return]


def _left(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What is left of the cost of cases, given their cosines with one that is reviewed."""
    near = np.clip((cosines.astype(np.float64) - UNLIKE) / (1 - UNLIKE), 0.0, 1.0)
    return 1.0 - REPEATED * near
