"""How good the model is in daily use, by what people said: what the quality page shows. No SQL here, no drawing.

Cases come to people because they are doubtful, so most of what people say is about the worst; only the audited
cases, drawn by chance, speak for all. What is estimated from which is said of every number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from complaints.agreement import Agreement, Bin, agreement, reliability
from complaints.drift import STRONG, Distance, lengths, psi, vocabulary
from complaints.text import clean
from serving.replay import wilson
from serving.store.queries import Store
from serving.store.review_quality import Judged, Traffic
from serving.store.search import words_of

WEEK = timedelta(days=7)
# Weeks that this one is compared with.
REFERENCE = 4
# Below this many texts on either side nothing is said about drift.
FEWEST = 50


@dataclass(frozen=True, slots=True)
class Tally:
    """Reviewed answers of one week, head and predicted label: how many were accepted, how many corrected."""

    week: datetime
    head: str
    label: str
    accepted: int
    corrected: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What `auto` of a head was worth among audited cases: right of tried, with a 95 % interval, and the promise."""

    head: str
    right: int
    tried: int
    interval: tuple[float, float]
    promised: float | None

    @property
    def broken(self) -> bool:
        """Whether the promise is refuted: the whole interval lies below it."""
        return self.promised is not None and self.interval[1] < self.promised


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Confidence against what turned out right, of one head; `audit`: of audited cases, else of all that were seen."""

    head: str
    audit: bool
    bins: list[Bin]
    error: float


@dataclass(frozen=True, slots=True)
class Drift:
    """This week against the weeks before: labels by head, lengths, words; and Chinese sentences for people."""

    labels: Mapping[str, Distance]
    lengths: Distance
    words: Distance
    told: list[str]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Everything the page shows of a period; `audited`: drawn and, of these, reviewed.

    `kept`, `calibrated` and `audited` are of one model, the one that serves; all else is of whatever answered.
    """

    tallies: list[Tally]
    kept: list[Kept]
    calibrated: list[Calibrated]
    agreement: Mapping[str, Agreement]
    audited: tuple[int, int]
    drift: Drift


def quality(
    store: Store, since: datetime, now: datetime, promised: Mapping[str, float], model: tuple[str, str]
) -> QualityReport:
    """The report of what was said from `since` until `now`.

    `promised`: head -> precision that `auto` promises; it is the promise of the `model` (name, version) that serves
    now, so what the audit and the calibration say is of its answers alone.
    """
    judged = store.judged(since, now)
    own = [one for one in judged if (one.model_name, one.model_version) == model]
    second = store.judged(since, now, second=True)
    drift = drifted(store.traffic(now - WEEK, now), store.traffic(now - (1 + REFERENCE) * WEEK, now - WEEK))
    return QualityReport(
        tallies=tally(judged),
        kept=kept(own, promised),
        calibrated=calibrated(own),
        agreement=agreed(judged, second),
        audited=store.audited(since, now, model),
        drift=drift,
    )


def right(one: Judged) -> bool:
    """Whether a word bears out the answer: the same label, or one a part of the other (`quality`, `quality.fake`)."""
    a, b = one.predicted, one.label
    return a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")


def tally(judged: Iterable[Judged]) -> list[Tally]:
    """Counts by week (from Monday, UTC), head and predicted label, in that order."""
    counts: dict[tuple[datetime, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in judged:
        day = one.given_at.replace(hour=0, minute=0, second=0, microsecond=0)
        week = day - timedelta(days=day.weekday())
        counts[week, one.head, one.predicted][0 if right(one) else 1] += 1
    return [Tally(*key, *value) for key, value in sorted(counts.items())]


def kept(judged: Iterable[Judged], promised: Mapping[str, float]) -> list[Kept]:
    """Precision of `auto` by head, from audited cases alone; 95 % intervals by Wilson (1927)."""
    tried: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for one in judged:
        if one.audit and one.decision == "auto":
            tried[one.head] += 1
            good[one.head] += right(one)
    heads = sorted({*tried, *promised})
    return [Kept(one, good[one], tried[one], wilson(good[one], tried[one]), promised.get(one)) for one in heads]


def calibrated(judged: Sequence[Judged]) -> list[Calibrated]:
    """Reliability by head: of audited cases, which speak for all, and of all reviewed ones, which are the doubtful."""
    found = []
    for audit in (True, False):
        by_head: dict[str, list[tuple[float, bool]]] = defaultdict(list)
        for one in judged:
            if one.audit or not audit:
                by_head[one.head].append((one.confidence, right(one)))
        found += [Calibrated(head, audit, *reliability(answers)) for head, answers in sorted(by_head.items())]
    return found


def agreed(first: Iterable[Judged], second: Iterable[Judged]) -> dict[str, Agreement]:
    """Head -> how far the first and the blind second review agree."""
    before = {(one.prediction_id, one.head): one.label for one in first}
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in second:
        if (one.prediction_id, one.head) in before:
            pairs[one.head].append((before[one.prediction_id, one.head], one.label))
    return {head: agreement(found) for head, found in sorted(pairs.items())}


def drifted(recent: Traffic, before: Traffic) -> Drift:
    """How far a period's complaints are from those before it."""
    labels = {
        head: psi(recent.labels.get(head, {}), before.labels.get(head, {}))
        for head in sorted({*recent.labels, *before.labels})
    }
    now, then = ([clean(text).text for text in one.texts] for one in (recent, before))
    found_lengths = lengths([len(text) for text in now], [len(text) for text in then])
    found_words = vocabulary([_words(text) for text in now], [_words(text) for text in then])
    if min(len(now), len(then)) < FEWEST:
        told = [f"样本不足（本周 {len(now)} 条，此前 {len(then)} 条），暂不判断漂移。"]
    else:
        told = _told(labels, found_lengths, found_words)
    return Drift(labels, found_lengths, found_words, told)


def _words(text: str) -> list[str]:
    return [word for word in words_of(text) if len(word) > 1]


def _told(labels: Mapping[str, Distance], long: Distance, words: Distance) -> list[str]:
    told = []
    for head, distance in labels.items():
        if distance.real:
            moves = "、".join(f"{label}（{change:+.1%}）" for label, change in distance.moved[:3])
            told.append(f"{head} 的分布{_how(distance)}（PSI {distance.value:.2f}）：{moves}。")
    if long.real:
        bins = "、".join(f"{name} 字（{change:+.1%}）" for name, change in long.moved[:2])
        told.append(f"文本长度{_how(long)}（PSI {long.value:.2f}）：{bins}。")
    # Words have no rule of thumb: half as much again as chance does is worth a look.
    if words.value > 1.5 * words.chance:
        told.append(f"用词与此前不同（JS {words.value:.3f}，偶然约 {words.chance:.3f}），增多的有：")
        told[-1] += "、".join(word for word, _ in words.moved) + "。"
    return told or ["标签、长度与用词都与此前四周相近。"]


def _how(distance: Distance) -> str:
    return "变化明显" if distance.value >= STRONG else "略有变化"
