"""How far this week's complaints are from those before: of labels, of lengths, of words.

Two samples of one and the same thing differ too, the more the fewer there are and the more kinds are told apart. So
every distance comes with the one that chance alone would seldom exceed.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Added to every count: a kind that one side lacks would make the index infinite.
_SMOOTHING = 0.5
# Siddiqi, Credit Risk Scorecards (2006): below 0.1 nothing has changed, above 0.25 much has.
SLIGHT, STRONG = 0.1, 0.25
# Quantile of the normal distribution that chance exceeds once in twenty.
_Z = 1.645
# Splits of the reference against each other, to see what chance does to words.
_SPLITS = 5
_LENGTH_BINS = 10
_TOLD_WORDS = 8


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two samples are apart (0 is alike; high is far) and what chance seldom exceeds, on the same scale.

    `recent` and `before` count what was compared; `moved` names the kinds that moved most, those that grew with a
    positive change of share.
    """

    value: float
    chance: float
    recent: int
    before: int
    moved: tuple[tuple[str, float], ...]

    @property
    def real(self) -> bool:
        """Whether it is more than chance and more than nothing."""
        return self.value > self.chance and self.value >= SLIGHT


def psi(recent: Mapping[str, int], before: Mapping[str, int]) -> Distance:
    """Population stability index of two counts: sum of (p - q) ln(p / q), 0 alike, without upper bound.

    Under no change psi / (1/n + 1/m) is about chi-squared with one degree less than kinds (Yurdakul and Naranjo,
    Statistical Properties of the Population Stability Index, 2020): `chance` is its 95 % quantile.
    """
    kinds = sorted({*recent, *before})
    n, m = sum(recent.values()), sum(before.values())
    if len(kinds) < 2 or not n or not m:
        return Distance(0.0, 0.0, n, m, ())
    extra = _SMOOTHING * len(kinds)
    p = {kind: (recent.get(kind, 0) + _SMOOTHING) / (n + extra) for kind in kinds}
    q = {kind: (before.get(kind, 0) + _SMOOTHING) / (m + extra) for kind in kinds}
    parts = {kind: (p[kind] - q[kind]) * math.log(p[kind] / q[kind]) for kind in kinds}
    moved = sorted(kinds, key=lambda kind: (-parts[kind], kind))[:_TOLD_WORDS]
    chance = _chi_squared(len(kinds) - 1) * (1 / n + 1 / m)
    return Distance(sum(parts.values()), chance, n, m, tuple((kind, p[kind] - q[kind]) for kind in moved))


def jensen_shannon(recent: Mapping[str, int], before: Mapping[str, int]) -> float:
    """Jensen-Shannon divergence of two counts, in bits: 0 alike, 1 nothing in common (Lin, 1991)."""
    n, m = sum(recent.values()), sum(before.values())
    if not n or not m:
        return 0.0
    return sum(_shannon(recent.get(one, 0) / n, before.get(one, 0) / m) for one in {*recent, *before})


def lengths(recent: Sequence[int], before: Sequence[int]) -> Distance:
    """PSI of lengths in characters, in ten bins that the earlier ones fill alike; kinds are named `20–35`."""
    if not recent or not before:
        return Distance(0.0, 0.0, len(recent), len(before), ())
    ranked = sorted(before)
    cuts = sorted({ranked[len(ranked) * i // _LENGTH_BINS] for i in range(1, _LENGTH_BINS)})
    names = [f"{low}–{high}" for low, high in zip([0, *cuts], [*(cut - 1 for cut in cuts), "∞"], strict=True)]

    def binned(values: Sequence[int]) -> Counter[str]:
        return Counter(names[bisect_right(cuts, value)] for value in values)

    return psi(binned(recent), binned(before))


def vocabulary(recent: Sequence[Sequence[str]], before: Sequence[Sequence[str]], *, seed: int = 0) -> Distance:
    """Jensen-Shannon divergence of the words of texts; `chance` is the largest among splits of the earlier texts.

    The splits are of the sizes that are compared, as far as there are texts enough. Words that grew are named.
    """
    if not recent or len(before) < 2:
        return Distance(0.0, 0.0, len(recent), len(before), ())
    now, then = _counted(recent), _counted(before)
    rng, texts, chance = random.Random(seed), list(before), 0.0  # noqa: S311  a split, no secret
    size = min(len(recent), len(texts) // 2)
    for _ in range(_SPLITS):
        rng.shuffle(texts)
        chance = max(chance, jensen_shannon(_counted(texts[:size]), _counted(texts[size:])))
    n, m = sum(now.values()) or 1, sum(then.values()) or 1
    change = {word: now[word] / n - then[word] / m for word in now}
    weight = {word: _shannon(now[word] / n, then[word] / m) for word in now if change[word] > 0}
    moved = sorted(weight, key=lambda word: (-weight[word], word))[:_TOLD_WORDS]
    told = tuple((word, change[word]) for word in moved)
    return Distance(jensen_shannon(now, then), chance, len(recent), len(before), told)


def _counted(texts: Iterable[Sequence[str]]) -> Counter[str]:
    """In how many texts each word occurs: one long text with a word in every line is one text."""
    return Counter(word for text in texts for word in set(text))


def _shannon(p: float, q: float) -> float:
    middle = (p + q) / 2
    return sum(share / 2 * math.log2(share / middle) for share in (p, q) if share > 0)


def _chi_squared(degrees: int) -> float:
    """95 % quantile of the chi-squared distribution (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + _Z * math.sqrt(spread)) ** 3)
