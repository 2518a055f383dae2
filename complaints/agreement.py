"""How well people agree with each other, and confidences with what turned out right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `pairs` of labels, the share that is the same, and Cohen's kappa; None where chance alone explains all."""

    pairs: int
    same: float
    kappa: float | None


def agreement(pairs: Iterable[tuple[str, str]]) -> Agreement:
    """Cohen's kappa of two people's labels: 1 full agreement, 0 what chance would give, below 0 less (Cohen, 1960)."""
    both = list(pairs)
    if not both:
        return Agreement(0, 0.0, None)
    n = len(both)
    same = sum(a == b for a, b in both) / n
    first, second = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(first[label] * second[label] for label in first) / (n * n)
    return Agreement(n, same, None if chance == 1 else (same - chance) / (1 - chance))


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about one confidence: how many, how sure on average, and how many of them were right (0 to 1)."""

    count: int
    confidence: float
    right: float


def reliability(answers: Sequence[tuple[float, bool]]) -> tuple[list[Bin], float]:
    """(confidence, whether right) -> ten bins of equal width, empty ones left out, and the expected calibration error.

    The error is the mean gap between confidence and share of right answers, weighted by count: 0 is best, 1 worst
    (Naeini, Cooper and Hauskrecht, 2015).
    """
    filled: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in answers:
        filled.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    bins = [
        Bin(len(inside), sum(c for c, _ in inside) / len(inside), sum(r for _, r in inside) / len(inside))
        for _, inside in sorted(filled.items())
    ]
    gap = sum(one.count * abs(one.confidence - one.right) for one in bins)
    return bins, gap / len(answers) if answers else 0.0
