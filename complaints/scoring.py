"""Factors -> level, by single-factor sums or by fuzzy comprehensive evaluation; the policy says which.

Sum: impact (points of the gravest dimension, 1–10) + propagation index (1–10), against two bounds: 9 + 7 = 16 -> high.

Fuzzy comprehensive evaluation: each factor's points belong to low, medium and high by degrees that are linear between
the policy's peaks; B = W · R with the experts' weights W; the grade 1·B₁ + 2·B₂ + 3·B₃ against two bounds. The weighted
mean is used, not the maximum-membership principle: with it, more points never lower the grade.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from complaints.policy import LEVELS, Bounds, Fuzzy, Scoring
from complaints.records import Level, Score


def evaluate(scoring: Scoring, dimensions: Mapping[str, float], index: float) -> Score:
    """The score of a complaint; `dimensions` hold points 1 to 10, `index` the propagation index 1 to 10."""
    parts = {**dimensions, "propagation": index}
    if scoring.method == "sum":
        value = round(max(dimensions.values()) + index, 2)
        return Score(method="sum", value=value, parts=parts, level=reached(scoring.sum, value))
    grades = membership(scoring.fuzzy, parts)
    value = round(sum((at + 1) * grade for at, grade in enumerate(grades.values())), 4)
    return Score(
        method="fuzzy", value=value, parts=parts, membership=grades, level=reached(scoring.fuzzy.bounds, value)
    )


def membership(fuzzy: Fuzzy, parts: Mapping[str, float]) -> dict[Level, float]:
    """B = W · R: to which degree each level applies; the degrees sum to 1."""
    factors = sorted(parts)
    weights = np.array([fuzzy.weights[factor] for factor in factors])
    relation = np.stack([degrees(fuzzy.peaks, parts[factor]) for factor in factors])
    return {level: round(float(x), 4) for level, x in zip(LEVELS, weights @ relation / weights.sum(), strict=True)}


def degrees(peaks: tuple[float, float, float], points: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Degrees (3,) to which some points are low, medium and high: triangles that meet, so they sum to 1."""
    low, middle, high = peaks
    above = np.clip((points - low) / (middle - low), 0, 1)
    beyond = np.clip((points - middle) / (high - middle), 0, 1)
    return np.array([1 - above, above - beyond, beyond], dtype=np.float64)


def reached(bounds: Bounds, value: float) -> Level:
    """The level whose bound a value reaches."""
    if value >= bounds.high:
        return "high"
    return "medium" if value >= bounds.medium else "low"
