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
from complaints.drift import Distance, lengths, psi, vocabulary
from complaints.text import clean
from complaints.worktime import Calendar
from serving.replay import wilson
from serving.store.queries import Store
from serving.store.review_quality import Audited, Judged, Model, Traffic
from serving.store.search import words_of

WEEK = timedelta(days=7)
# Weeks that this one is compared with.
REFERENCE = 4
# Below this many texts, or answers of one model, on either side nothing is said about their drift.
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
class Answered:
    """Reviewed answers of one predicted label: how many were accepted, how many corrected; at least one."""

    label: str
    accepted: int
    corrected: int

    @property
    def share(self) -> float:
        """Accepted, of all: 0 (bad) to 1."""
        return self.accepted / (self.accepted + self.corrected)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson 1927)."""
        return wilson(self.accepted, self.accepted + self.corrected)


@dataclass(frozen=True, slots=True)
class Kept:
    """What `auto` of a head was worth among audited cases: `right` of `tried` reviewed answers, and the promise.

    `share` (0 bad, 1) and its 95 % `interval` are of all that were drawn, waiting ones included, but for the share
    `uncovered` (0 to 1) of them whose predicted label nobody has reviewed yet.
    """

    head: str
    right: int
    tried: int
    share: float
    interval: tuple[float, float]
    uncovered: float
    promised: float | None

    @property
    def broken(self) -> bool:
        """Whether the promise is refuted: were all that is uncovered right, the whole interval would lie below it."""
        highest = self.interval[1] * (1 - self.uncovered) + self.uncovered
        return self.promised is not None and highest < self.promised


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Confidence against what turned out right, of one head; `audit`: of audited cases, else of all that were seen."""

    head: str
    audit: bool
    bins: list[Bin]
    error: float


@dataclass(frozen=True, slots=True)
class Drift:
    """This week against the weeks before: labels by head, lengths, words.

    `labels` are answers of one `model`, for another would answer the same texts otherwise: of the one that serves, or
    where it gave fewer than FEWEST in either period (`answers`: this week, before), of one that did not; or of none.
    """

    labels: Mapping[str, Distance]
    model: Model | None
    answers: tuple[int, int]
    lengths: Distance
    words: Distance


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Everything the page shows of a period.

    `kept`, `calibrated` and `audited` are of one model, the one that serves; all else is of whatever answered.
    """

    tallies: list[Tally]
    kept: list[Kept]
    calibrated: list[Calibrated]
    agreement: Mapping[str, Agreement]
    audited: Audited
    drift: Drift


def quality(
    store: Store, since: datetime, now: datetime, promised: Mapping[str, float], model: Model, calendar: Calendar
) -> QualityReport:
    """The report of what was said from `since` until `now`.

    `promised`: head -> precision that `auto` promises; it is the promise of the `model` (name, version) that serves
    now, so what the audit and the calibration say is of its answers alone. Weeks begin where the `calendar` is.
    """
    judged = store.judged(since, now)
    own = [one for one in judged if (one.model_name, one.model_version) == model]
    second = store.judged(since, now, second=True)
    audited = store.audited(since, now, model)
    drift = drifted(store.traffic(now - WEEK, now), store.traffic(now - (1 + REFERENCE) * WEEK, now - WEEK), model)
    return QualityReport(
        tallies=tally(judged, calendar),
        kept=kept([one for one in own if one.created_at >= since], audited.auto, promised),
        calibrated=calibrated(own),
        agreement=agreed(judged, second),
        audited=audited,
        drift=drift,
    )


def right(one: Judged) -> bool:
    """Whether a word bears out the answer: the same label, or one a part of the other (`quality`, `quality.fake`)."""
    a, b = one.predicted, one.label
    return a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")


def tally(judged: Iterable[Judged], calendar: Calendar) -> list[Tally]:
    """Counts by week (from Monday, in the calendar's zone), head and predicted label, in that order."""
    counts: dict[tuple[datetime, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in judged:
        given = calendar.local(one.given_at) or one.given_at
        day = given.replace(hour=0, minute=0, second=0, microsecond=0)
        week = day - timedelta(days=day.weekday())
        counts[week, one.head, one.predicted][0 if right(one) else 1] += 1
    return [Tally(*key, *value) for key, value in sorted(counts.items())]


def answered(tallies: Iterable[Tally], head: str) -> list[Answered]:
    """A head's answers by predicted label, the worst first: by their interval's upper end, so that few say little."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in tallies:
        if one.head == head:
            counts[one.label][0] += one.accepted
            counts[one.label][1] += one.corrected
    found = [Answered(label, *both) for label, both in counts.items()]
    return sorted(found, key=lambda one: (one.interval[1], one.label))


def kept(judged: Iterable[Judged], drawn: Mapping[str, Mapping[str, int]], promised: Mapping[str, float]) -> list[Kept]:
    """Precision of `auto` by head, from audited cases alone.

    `drawn`: head -> label -> auto answers that were drawn for the audit, of which `judged` ones are a part.
    """
    tried: dict[str, Counter[str]] = defaultdict(Counter)
    good: dict[str, Counter[str]] = defaultdict(Counter)
    for one in judged:
        if one.audit and one.decision == "auto":
            tried[one.head][one.predicted] += 1
            good[one.head][one.predicted] += right(one)
    heads = sorted({*drawn, *promised})
    return [_kept(one, tried[one], good[one], drawn.get(one, {}), promised.get(one)) for one in heads]


def _kept(head: str, tried: Counter[str], good: Counter[str], drawn: Mapping[str, int], promised: float | None) -> Kept:
    """Post-stratified by predicted label: who narrows the queue reviews more of some labels than of others.

    A label counts by its share of what was drawn. The interval is Wilson's of an effective number of answers (Franco,
    Little, Louis and Slud, Journal of Survey Statistics and Methodology, 2019): as many as would give the variance of
    the strata, but no more than the weights leave (Kish, Survey Sampling, 1965), for few answers that are all right
    show no variance. With all reviewed it is the plain share of all.
    """
    covered = sum(drawn[label] for label in tried)
    if not covered:
        return Kept(head, 0, 0, 0.0, wilson(0, 0), float(bool(drawn)), promised)
    weight = {label: drawn[label] / covered for label in tried}
    shares = {label: good[label] / tried[label] for label in tried}
    share = sum(weight[label] * shares[label] for label in tried)
    size = 1 / sum(weight[label] ** 2 / tried[label] for label in tried)
    variance = sum(weight[label] ** 2 * shares[label] * (1 - shares[label]) / tried[label] for label in tried)
    if variance:
        size = min(size, share * (1 - share) / variance)
    uncovered = 1 - covered / sum(drawn.values())
    return Kept(head, good.total(), tried.total(), share, wilson(share * size, size), uncovered, promised)


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


def drifted(recent: Traffic, before: Traffic, serving: Model) -> Drift:
    """How far a period's complaints are from those before it; `serving` is the model that answers now."""
    answers = {one: (recent.predictions.get(one, 0), before.predictions.get(one, 0)) for one in recent.predictions}
    enough = [one for one, both in answers.items() if min(both) >= FEWEST]
    model = max(enough, key=lambda one: (one == serving, answers[one]), default=None)
    labels: dict[str, Distance] = {}
    if model is not None:
        now, then = recent.labels[model], before.labels[model]
        labels = {head: psi(now.get(head, {}), then.get(head, {})) for head in sorted({*now, *then})}
    texts, earlier = ([clean(text).text for text in one.texts] for one in (recent, before))
    return Drift(
        labels=labels,
        model=model,
        answers=(recent.predictions.get(serving, 0), before.predictions.get(serving, 0)),
        lengths=lengths([len(text) for text in texts], [len(text) for text in earlier]),
        words=vocabulary([_words(text) for text in texts], [_words(text) for text in earlier]),
    )


def _words(text: str) -> list[str]:
    return [word for word in words_of(text) if len(word) > 1]
