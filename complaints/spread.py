"""The propagation index: how likely a matter is to become public, from 1 (stays private) to 10 (is public).

Prior: the model's probability of each label times the label's anchor, plus what the rules that apply add. Posterior:
observed counts say how far it has spread so far. Early that is only a lower bound on how far it will go; later, as
spreading dies down, it also says that it went no further (`half_life`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from complaints.policy import HIGHEST, LOWEST, Observing, Spreading
from complaints.records import Observation
from complaints.worktime import Calendar

Values = npt.NDArray[np.float64]

# Half-width of a normal distribution's central 80 %, in standard deviations.
EIGHTY_PERCENT = 1.2816
_STEP = 0.02
_GRID: Values = np.arange(LOWEST, HIGHEST + _STEP / 2, _STEP)


@dataclass(frozen=True, slots=True)
class Index:
    """An index with the ends of its 80 % interval, all within 1 to 10."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What observations come to: `index` on the scale of 1 to 10; `maturity` 0: it may go on, 1: it is surely over."""

    index: float
    maturity: float


def base(spreading: Spreading, spread: Mapping[str, float] | None) -> tuple[float, float]:
    """Mean and standard deviation of the anchors under the model's probabilities.

    Without a propagation head, or with labels that the policy has no anchor for, the index starts from 1 with the
    deviation of one who knows nothing.
    """
    anchors = spreading.anchors
    if not spread or any(label not in anchors for label in spread):
        return LOWEST, (HIGHEST - LOWEST) / 4
    values = np.array([anchors[label] for label in spread])
    weights = np.array(list(spread.values()), dtype=np.float64)
    weights = weights / weights.sum()
    mean = float(values @ weights)
    return mean, float(np.sqrt(((values - mean) ** 2) @ weights))


def seen(observing: Observing, observations: Sequence[Observation], created: object, calendar: Calendar) -> Seen | None:
    """The largest counts observed as an index, and how much of the spreading is over; None without a count.

    Counts are totals, so of several observations the largest of each counts, at the time of the last one.
    """
    weights = {name: getattr(observing, name) for name in ("reads", "reposts", "comments", "likes")}
    counted = [one for one in observations if any(getattr(one, name) is not None for name in weights)]
    if not counted:
        return None
    total = sum(weight * max((getattr(one, name) or 0) for one in counted) for name, weight in weights.items())
    index = LOWEST + (HIGHEST - LOWEST) * float(np.log1p(total) / np.log1p(observing.full))
    start = calendar.local(created) if created is not None else None  # type: ignore[arg-type]
    times = [at for one in counted if (at := calendar.local(one.at)) is not None]
    hours = max(((at - start).total_seconds() / 3600 for at in times), default=0.0) if start is not None else 0.0
    maturity = observing.silence * (1.0 - 0.5 ** (max(0.0, hours) / observing.half_life))
    return Seen(min(HIGHEST, index), 0.0 if index >= observing.noteworthy else maturity)


def update(spreading: Spreading, start: tuple[float, float], pushes: float, observed: Seen | None) -> Index:
    """The index from `start` (mean and deviation of `base`), pushed by facts and moved by what was observed.

    Facts: x -> 10 - (10 - x)·exp(-pushes / saturation), so that each closes a share of what is left to 10.

    Observations: Bayes on a grid of 1 to 10 with a normal prior. An observed index e says that the matter goes at least
    that far, and as time passes that it goes no further: log likelihood -½((x - e) / s)² below e, `maturity` times that
    above. Its slope rises with e everywhere (monotone likelihood ratio): more seen never lowers the index.
    """
    mean, deviation = start
    half = max(spreading.narrowest, EIGHTY_PERCENT * deviation)
    left = float(np.exp(-pushes / spreading.saturation))
    value, low, high = (HIGHEST - (HIGHEST - _within(x)) * left for x in (mean, mean - half, mean + half))
    if observed is not None:
        # The deviation knows nothing of the facts: were it smaller where more are known, one more could lower it.
        variance = deviation**2 + spreading.observing.unexplained**2
        off = (_GRID - observed.index) / spreading.observing.deviation
        likelihood = -0.5 * off**2 * np.where(off > 0, observed.maturity, 1.0)
        prior = -0.5 * (_GRID - value) ** 2 / variance
        before, after = _summary(prior), _summary(prior + likelihood)
        # The grid ends at 1 and 10, the prior does not: what the observation moved is added to where it stood.
        value, low, high = (x + b - a for x, a, b in zip((value, low, high), before, after, strict=True))
    value = _within(value)
    return Index(value, min(value, _within(low)), max(value, _within(high)))


def _summary(log_density: Values) -> tuple[float, float, float]:
    """Mean, 10 % and 90 % points of an unnormalised log density on the grid."""
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    cumulated = np.cumsum(density)
    low, high = (float(np.interp(share, cumulated, _GRID)) for share in (0.1, 0.9))
    return float(_GRID @ density), low, high


def _within(value: float) -> float:
    return min(HIGHEST, max(LOWEST, value))
