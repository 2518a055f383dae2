"""Near-identical complaints that come too many at a time: which belong together, and when they are a burst.

Each complaint joins the most similar *issue* (a cluster with a mean vector) of the same category and product, or begins
one. An issue bursts when its window holds `growth` times the seasonal baseline and an exact test says that this is not
chance; while no baseline is known yet, when it holds `count` complaints.

Everything depends on the complaints' own times and their order, nothing on the clock: the same complaints in the same
order give the same bursts. Nothing here is stored; `serving.store` keeps the state, so that several replicas agree.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

import numpy as np
import numpy.typing as npt

from complaints.policy import Burst
from complaints.worktime import Calendar

Vector = npt.NDArray[np.float32]

HOUR = 3600
# Vectors are kept as 16-bit floats: a kilobyte each, and a cosine that is off by less than 0.001.
STORED = np.float16
# So many buckets for pairs of characters.
_BUCKETS = 256
_LONGEST_PRODUCT = 200


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual: `count` complaints of an issue in `windows` earlier windows of the same length and kind of day."""

    count: int
    windows: int

    @property
    def expected(self) -> float | None:
        """Complaints a window; None where nothing is known."""
        return self.count / self.windows if self.windows else None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why a window is a burst; `growth` and `p` are None where no baseline was known."""

    reason: Literal["count", "growth"]
    count: int
    expected: float | None
    growth: float | None
    p: float | None


def product_key(product: str | None) -> str:
    """A product's name as issues are told apart by: case, width, spaces and control characters do not count."""
    folded = unicodedata.normalize("NFKC", product or "").casefold()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c)[0] != "C")[:_LONGEST_PRODUCT]


def fingerprint(text: str, model: Vector | None) -> Vector:
    """A cleaned text as complaints are told apart by: a vector of length 1, half what the model reads, half wording.

    The model alone finds all complaints of one kind alike, the words alone find one event told by two people unlike;
    the cosine of two fingerprints is the mean of both. Where the model gives no vector (D,) it is the wording alone.
    """
    words = lexical(text)
    if model is None:
        return words
    return np.concatenate([model, words]).astype(np.float32) * np.float32(math.sqrt(0.5))


def lexical(text: str) -> Vector:
    """A vector (256,) of length 1 from the roots of the counts of a text's pairs of characters."""
    buckets = [_bucket(pair) for pair in map("".join, zip(f" {text}", f"{text} ", strict=True))]
    counts = np.bincount(buckets, minlength=_BUCKETS).astype(np.float32)
    return (np.sqrt(counts) / np.linalg.norm(np.sqrt(counts))).astype(np.float32)  # type: ignore[no-any-return]


@lru_cache(maxsize=1 << 15)  # pairs of characters come again and again
def _bucket(pair: str) -> int:
    digest = blake2b(pair.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") % _BUCKETS


def pack(vector: Vector) -> bytes:
    """A vector as it is stored."""
    return vector.astype(STORED).tobytes()


def unpack(stored: bytes) -> Vector:
    """A stored vector, as live and replayed complaints alike are compared by it."""
    return np.frombuffer(stored, dtype=STORED).astype(np.float32)


def joined(centre: bytes, members: int, vector: bytes) -> bytes:
    """The mean vector of an issue of so many members after one more has joined, as it is stored."""
    mean = unpack(centre)
    return pack(mean + (unpack(vector) - mean) / np.float32(members + 1))


def nearest(vector: Vector, centres: Sequence[bytes], least: float) -> int | None:
    """Which centre a complaint is most like, the first of equals; None where none reaches the cosine `least`.

    Centres come as they are stored, and are of the length of `vector`.
    """
    if not centres:
        return None
    matrix = unpack(b"".join(centres)).reshape(len(centres), -1)
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector)
    cosines = matrix @ vector / np.maximum(lengths, np.float32(1e-9))
    best = int(np.argmax(cosines))
    return best if float(cosines[best]) >= least else None


def crowd(times: Sequence[datetime], at: datetime, window: timedelta) -> tuple[int, datetime]:
    """The most complaints in any window (end - window, end] that holds one at `at`, and when so many before it began.

    `times` are those of the others, in order. Complaints may arrive late: one that fills a window which ends after it
    counts there.
    """
    times = [*times]
    insort(times, at)
    best = start = 0
    for end, last in enumerate(times):
        while times[start] <= last - window:
            start += 1
        if at <= last < at + window:
            best = max(best, end - start + 1)
    return best, times[max(0, bisect_right(times, at) - best)]


def same_hours(
    hours: dict[int, int], at: datetime, since: datetime | None, burst: Burst, calendar: Calendar
) -> Baseline:
    """The seasonal baseline: the window of `at`, on earlier days of the same kind (working or not).

    `hours`: hours since 1970 -> complaints of the issue; an hour that a window cuts counts in proportion. `since`: when
    the store began to know; days before it are not counted, neither as days nor as days without complaints.
    """
    window = timedelta(minutes=burst.window_minutes)
    kind = _works(calendar, at)
    total, windows = 0.0, 0
    for days in range(1, burst.baseline_days + 1):
        end = at - timedelta(days=days)
        if end > at - window:
            continue
        if since is None or end - window < since:
            break
        if _works(calendar, end) == kind:
            windows += 1
            total += _between(hours, (end - window).timestamp(), end.timestamp())
    return Baseline(round(total), windows if windows >= burst.baseline_least else 0)


def alarm(burst: Burst, count: int, baseline: Baseline) -> Alarm | None:
    """Whether `count` complaints in a window are a burst, and why.

    Where the baseline is known they must exceed it by the policy's factor and beyond chance; where it is not, the
    policy's count alone speaks.
    """
    expected = baseline.expected
    if expected is None:
        return Alarm("count", count, None, None, None) if count >= burst.count else None
    growth = count / expected if expected > 0 else math.inf
    if count < burst.least or growth < burst.growth or (p := excess(count, baseline)) > burst.significance:
        return None
    return Alarm("count" if count >= burst.count else "growth", count, expected, growth, p)


def excess(count: int, baseline: Baseline) -> float:
    """P(at least `count` of all) if the window's rate were the baseline's: an exact test for small counts.

    Given `count` now and b in n earlier windows, the present share of count + b is binomial with 1 / (n + 1)
    (Przyborowski & Wilenski 1940); the baseline's own uncertainty is in it, so few earlier counts prove little.
    """
    total, share = count + baseline.count, 1 / (baseline.windows + 1)
    if share >= 1:
        return 1.0
    logs = [
        math.lgamma(total + 1)
        - math.lgamma(k + 1)
        - math.lgamma(total - k + 1)
        + k * math.log(share)
        + (total - k) * math.log1p(-share)
        for k in range(count, total + 1)
    ]
    return min(1.0, math.fsum(math.exp(x) for x in logs))


def _works(calendar: Calendar, moment: datetime) -> bool:
    local = calendar.local(moment)
    return calendar.works((local or moment).date())[0]


def _between(hours: dict[int, int], start: float, end: float) -> float:
    """Complaints from `start` to `end`, in seconds since 1970."""
    return sum(
        hours[hour] * (min(end, (hour + 1) * HOUR) - max(start, hour * HOUR)) / HOUR
        for hour in range(int(start // HOUR), int(end // HOUR) + 1)
        if hour in hours
    )
