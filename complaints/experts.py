"""Expert rounds (Delphi) -> weights of the factors, how far the experts agree, and how much the weights matter.

The file is a CSV with the columns round, expert, factor, score (1 unimportant to 10 decisive). The last round's mean
scores, normalised, are the weights. Agreement is Kendall's W of the experts' rankings, corrected for ties, with its
chi-square test (Kendall & Babington Smith 1939): 0 no agreement, 1 all rank alike; from about 0.5 a round may end.
"""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from complaints.errors import InvalidInput
from complaints.policy import DIMENSIONS, HIGHEST, LOWEST, Fuzzy, Policy
from complaints.scoring import degrees

COLUMNS = ("round", "expert", "factor", "score")
FACTORS = (*DIMENSIONS, "propagation")
# Points at which the sensitivity grid looks at each factor: all combinations of low, medium and high cells.
GRID = (2.0, 3.5, 5.0, 6.5, 8.0, 9.5)


@dataclass(frozen=True, slots=True)
class Round:
    """One round's outcome; `variation`: factor -> coefficient of variation, `p`: that agreement is by chance."""

    number: int
    experts: int
    weights: dict[str, float]
    variation: dict[str, float]
    agreement: float
    p: float


def read_rounds(path: Path) -> list[Round]:
    """The rounds of a CSV file, in order; raises InvalidInput naming the row and the remedy."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read ({error}): save it as CSV in UTF-8") from error
    scores: dict[int, dict[tuple[str, str], float]] = {}
    for number, row in enumerate(rows, start=2):
        if any(row.get(column) in (None, "") for column in COLUMNS):
            raise InvalidInput(f"{path}:{number}: needs the columns {', '.join(COLUMNS)}, none of them empty")
        try:
            at, score = int(row["round"]), float(row["score"])
        except ValueError:
            raise InvalidInput(f"{path}:{number}: round must be a whole number, score a number") from None
        if row["factor"] not in FACTORS:
            raise InvalidInput(f"{path}:{number}: {row['factor']!r} is no factor: use {', '.join(FACTORS)}")
        if not LOWEST <= score <= HIGHEST:
            raise InvalidInput(f"{path}:{number}: score {score:g} is not between 1 and 10")
        key = row["expert"], row["factor"]
        if key in scores.setdefault(at, {}):
            raise InvalidInput(f"{path}:{number}: expert {key[0]!r} scores {key[1]} twice in round {at}")
        scores[at][key] = score
    if not scores:
        raise InvalidInput(f"{path} holds no scores: add rows of {', '.join(COLUMNS)}")
    return [_round(path, number, scores[number]) for number in sorted(scores)]


def _round(path: Path, number: int, scores: dict[tuple[str, str], float]) -> Round:
    experts = sorted({expert for expert, _ in scores})
    if missing := [(e, f) for e in experts for f in FACTORS if (e, f) not in scores]:
        raise InvalidInput(f"{path}: in round {number} expert {missing[0][0]!r} gives no score for {missing[0][1]}")
    if len(experts) < 2:
        raise InvalidInput(f"{path}: round {number} has one expert; agreement needs at least two")
    table = np.array([[scores[expert, factor] for factor in FACTORS] for expert in experts])
    agreement, p = kendall(table)
    means = table.mean(axis=0)
    return Round(
        number,
        len(experts),
        {factor: round(float(x), 4) for factor, x in zip(FACTORS, means / means.sum(), strict=True)},
        {factor: float(x) for factor, x in zip(FACTORS, table.std(axis=0, ddof=1) / means, strict=True)},
        agreement,
        p,
    )


def kendall(table: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Kendall's W of (experts, factors) scores, corrected for ties, and its chi-square p; W is 0 where all tie."""
    experts, factors = table.shape
    ranks = np.stack([_ranks(row) for row in table])
    ties = sum(float(((n := np.unique(row, return_counts=True)[1]) ** 3 - n).sum()) for row in table)
    sums = ranks.sum(axis=0)
    spread = float(((sums - sums.mean()) ** 2).sum())
    most = experts**2 * (factors**3 - factors) - experts * ties
    if most <= 0:
        return 0.0, 1.0
    agreement = 12 * spread / most
    return agreement, _chi_square_tail(experts * (factors - 1) * agreement, factors - 1)


def _ranks(row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean."""
    return np.array([(row < x).sum() + ((row == x).sum() + 1) / 2 for x in row], dtype=np.float64)


def _chi_square_tail(x: float, degrees: int) -> float:
    """P(χ² ≥ x), by the series of the regularised incomplete gamma function."""
    a, z = degrees / 2, x / 2
    if z <= 0:
        return 1.0
    term = total = 1 / a
    for n in itertools.count(1):
        term *= z / (a + n)
        total += term
        if term < total * 1e-12:
            break
    return min(1.0, max(0.0, 1 - total * math.exp(-z + a * math.log(z) - math.lgamma(a))))


def flips(policy: Policy, weights: dict[str, float]) -> float:
    """Share of all combinations of GRID points whose level other weights would change, under fuzzy evaluation."""
    fuzzy = policy.scoring.fuzzy
    before, after = _levels(fuzzy, fuzzy.weights), _levels(fuzzy, weights)
    return float((before != after).mean())


def _levels(fuzzy: Fuzzy, weights: dict[str, float]) -> npt.NDArray[np.int64]:
    """Levels (0 low to 2 high) of every combination of GRID points, one axis a factor."""
    grades = np.stack([degrees(fuzzy.peaks, points) for points in GRID]) @ np.array([1.0, 2.0, 3.0])
    total = sum(weights.values())
    values = np.zeros((len(GRID),) * len(FACTORS))
    for axis, factor in enumerate(FACTORS):
        shape = [1] * len(FACTORS)
        shape[axis] = len(GRID)
        values = values + (weights[factor] / total * grades).reshape(shape)
    bounds = [fuzzy.bounds.medium, fuzzy.bounds.high]
    return np.digitize(np.round(values, 4), bounds)


def shifted(weights: dict[str, float], factor: str, by: float) -> dict[str, float]:
    """Weights with one factor's changed by a share (0.2: a fifth more), summing to 1 again."""
    changed = weights | {factor: weights[factor] * (1 + by)}
    total = sum(changed.values())
    return {name: value / total for name, value in changed.items()}
