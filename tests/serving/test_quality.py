"""What the quality page shows, from what people said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from complaints.worktime import Calendar
from serving.quality import (
    FEWEST,
    Drift,
    Tally,
    agreed,
    answered,
    calibrated,
    drifted,
    kept,
    quality,
    right,
    tally,
)
from serving.replay import wilson
from serving.store import review_quality
from serving.store.queries import Store
from serving.store.review_order import Filters
from serving.store.review_quality import Audited, Judged, Model, Traffic
from serving.store.review_words import Word

NOW = datetime(2026, 3, 4, 2, tzinfo=UTC)  # a Wednesday
HERE = Calendar(timezone="Asia/Shanghai")


def judged(label: str = "a", said: str | None = None, **changes: object) -> Judged:
    values = {
        "prediction_id": "p", "created_at": NOW, "given_at": NOW, "head": "category", "predicted": label,
        "label": said or label, "decision": "auto", "confidence": 0.9, "audit": True,
        "model_name": "m", "model_version": "7",
    }  # fmt: skip
    return Judged(**(values | changes))  # type: ignore[arg-type]


def test_a_part_of_the_same_is_right() -> None:
    assert right(judged("quality.fake", "quality"))
    assert right(judged("quality", "quality.fake"))
    assert not right(judged("quality.fake", "quality.defect"))
    assert not right(judged("quality", "qualities"))


def test_weeks_begin_on_monday_where_the_company_is() -> None:
    before = NOW - timedelta(days=3)
    early = datetime(2026, 3, 1, 17, tzinfo=UTC)  # Sunday evening in London is Monday in Shanghai
    words = [judged(), judged("a", "b", given_at=early), judged("b"), judged("a", "c", given_at=before)]
    found = tally(words, HERE)
    assert {one.week.isoformat() for one in found} == {"2026-02-23T00:00:00+08:00", "2026-03-02T00:00:00+08:00"}
    assert [(one.week.day, one.label, one.accepted, one.corrected) for one in found] == [
        (23, "a", 0, 1), (2, "a", 1, 1), (2, "b", 1, 0),
    ]  # fmt: skip


def test_the_worst_answers_come_first_and_few_say_little() -> None:
    week = NOW
    tallies = [Tally(week, "h", "often", 40, 10), Tally(week - timedelta(days=7), "h", "often", 20, 30)]
    tallies += [Tally(week, "h", "once", 0, 1), Tally(week, "h", "good", 99, 1), Tally(week, "other", "often", 0, 9)]
    often, once, good = answered(tallies, "h")
    assert (often.label, often.accepted, often.corrected, often.share) == ("often", 60, 40, 0.6)
    assert often.interval == (0.502, 0.6906)  # Wilson (1927) of 60 in 100
    assert (once.label, good.label) == ("once", "good")
    assert answered(tallies, "nothing") == []


def test_only_audited_auto_counts_for_the_promise() -> None:
    said = [judged()] * 45 + [judged("a", "b")] * 5
    said += [judged("a", "b", audit=False)] * 50 + [judged("a", "b", decision="suggest")] * 50
    drawn = {"category": {"a": 50}}
    [one, other] = kept(said, drawn, {"category": 0.95, "department": 0.9})
    # Wilson (1927) of 45 in 50: 0.7864 to 0.9565
    assert (one.right, one.tried, one.share, one.interval, one.broken) == (45, 50, 0.9, (0.7864, 0.9565), False)
    assert (other.tried, other.interval, other.uncovered, other.broken) == (0, (0.0, 1.0), 0.0, False)
    assert kept(said, drawn, {"category": 0.97})[0].broken


def test_which_audited_cases_are_reviewed_first_does_not_sway_what_auto_is_worth() -> None:
    """Easy answers are a tenth of what was drawn and three quarters of what was reviewed."""
    said = [judged("easy")] * 75 + [judged("hard")] * 15 + [judged("hard", "easy")] * 10
    [one] = kept(said, {"category": {"easy": 50 * 3, "hard": 450 * 3}}, {"category": 0.9})
    assert (one.right, one.tried, one.uncovered) == (90, 100, 0.0)
    assert one.share == pytest.approx(0.1 * 1 + 0.9 * 0.6)
    size = 0.64 * 0.36 / (0.9**2 * 0.6 * 0.4 / 25)  # answers that vary as much; the weights alone would leave 30.7
    assert one.interval == wilson(0.64 * size, size)
    assert one.interval[0] < 0.5
    assert one.broken  # the plain 90 of 100 were not
    # Here the strata vary less than 50 answers would: that is no more knowledge than 50 answers are.
    [even] = kept(said[50:], {"category": {"easy": 75, "hard": 75}}, {})
    assert (even.share, even.interval) == (pytest.approx(0.8), wilson(40, 50))


def test_with_all_reviewed_the_labels_do_not_matter() -> None:
    said = [judged("a")] * 70 + [judged("b")] * 20 + [judged("b", "a")] * 9 + [judged("c", "a")]
    [one] = kept(said, {"category": {"a": 70, "b": 29, "c": 1}}, {})
    assert (one.share, one.interval, one.uncovered) == (pytest.approx(0.9), wilson(90, 100), 0.0)


def test_what_nobody_has_reviewed_is_told_and_refutes_nothing() -> None:
    said = [judged("a")] * 20 + [judged("a", "b")] * 20
    [one] = kept(said, {"category": {"a": 60, "b": 40}}, {"category": 0.75})
    assert (one.share, one.uncovered) == (0.5, pytest.approx(0.4))
    assert one.interval[1] < 0.75
    assert not one.broken  # with all b right it could be kept
    assert kept(said, {"category": {"a": 100, "b": 4}}, {"category": 0.75})[0].broken
    [none] = kept([], {"category": {"a": 60}}, {})
    assert (none.tried, none.interval, none.uncovered) == (0, (0.0, 1.0), 1.0)


def test_labels_are_compared_within_one_model() -> None:
    texts = [f"空调不制冷第{i}次报修没人上门" for i in range(200)]
    old, new = ("m", "7"), ("m", "8")
    habits = {old: {"category": {"a": 90, "b": 10}}, new: {"category": {"a": 10, "b": 90}}}

    def drift(recent: dict[Model, int], before: dict[Model, int]) -> Drift:
        return drifted(Traffic(recent, habits, texts), Traffic(before, habits, texts), new)

    same = drift({old: 200, new: 100}, {old: 200, new: 100})
    assert (same.model, same.answers, same.labels["category"].value) == (new, (100, 100), 0)
    lately = drift({new: 100, old: FEWEST}, {old: 100})  # as one pot they would have moved
    assert (lately.model, lately.answers, lately.labels["category"].value) == (old, (100, 0), 0)
    for recent, before in (({new: 100}, {old: 100}), ({new: 100, old: FEWEST - 1}, {new: FEWEST - 1, old: 100})):
        alone = drift(recent, before)
        assert (alone.model, alone.labels, alone.words.value) == (None, {}, 0)


def test_calibration_of_all_and_of_the_audited() -> None:
    found = calibrated([judged(confidence=0.8), judged("a", "b", confidence=0.8, audit=False)])
    assert [(one.audit, one.bins[0].count, one.error) for one in found] == [
        (True, 1, pytest.approx(0.2)), (False, 2, pytest.approx(0.3)),
    ]  # fmt: skip


def test_agreement_is_by_head_and_case() -> None:
    first = [judged("a", "x", prediction_id="1"), judged("a", "y", prediction_id="2")]
    second = [judged("a", "x", prediction_id="1"), judged("a", "x", prediction_id="2"), judged(prediction_id="3")]
    assert agreed(first, second)["category"].pairs == 2
    assert agreed(first, second)["category"].same == 0.5


def test_what_the_store_counts(url: str, put: object) -> None:
    store = Store(url)
    drawn = put(store, "空调坏了", decision="auto", share=1.0)  # type: ignore[operator]
    case = put(store, "物流慢", vector=1)  # type: ignore[operator]
    now = datetime(2026, 3, 2, 3, tzinfo=UTC)
    store.review(drawn, "王", {}, taxonomy_version="1", now=now)
    store.review(case, "王", {"category": "x"}, taxonomy_version="1", now=now, second_share=1.0)
    store.review(case, "李", {}, taxonomy_version="1", now=now + timedelta(minutes=1))
    store.correct(case, Word("category", "y", "工单", None, "implicit", "1"), now=now)
    since, until = now - timedelta(days=1), now + timedelta(days=1)
    found = {(one.prediction_id, one.head): one for one in store.judged(since, until)}
    assert len(found) == 4
    assert (found[case, "category"].label, found[case, "category"].audit) == ("x", False)
    assert found[drawn, "category"].audit
    [second] = [one for one in store.judged(since, until, second=True) if one.head == "category"]
    assert (second.prediction_id, second.label) == (case, "quality.defect")
    put(store, "还在等", decision="auto", share=1.0, vector=2, at=now)  # type: ignore[operator]
    put(store, "要人看", share=1.0, vector=3, at=now)  # type: ignore[operator]
    found = store.audited(since, until, ("m", "7"))
    assert (found.drawn, found.reviewed) == (3, 1)
    assert found.auto == {"category": {"quality.defect": 2}, "department": {"quality": 3}}
    assert store.audited(now, until, ("m", "7")).drawn == 2
    assert store.audited(since, until, ("m", "8")) == Audited(0, 0, {})
    traffic = store.traffic(since, now)
    assert (traffic.predictions, sorted(traffic.texts)) == ({("m", "7"): 2}, ["物流慢", "空调坏了"])
    assert traffic.labels == {("m", "7"): {"category": {"quality.defect": 2}, "department": {"quality": 2}}}
    assert store.judged(until, until + timedelta(days=1)) == []
    store.close()


def test_a_promise_is_of_the_model_that_gave_it(url: str, put: object) -> None:
    store = Store(url)
    case = put(store, decision="auto", share=1.0)  # type: ignore[operator]
    store.review(case, "王", {"category": "x"}, taxonomy_version="1", now=NOW)
    since, until = NOW - timedelta(days=7), NOW + timedelta(days=1)
    for model, tried in ((("m", "7"), 1), (("m", "8"), 0), (("n", "7"), 0)):
        report = quality(store, since, until, {"category": 0.9}, model, HERE)
        assert [(one.head, one.tried) for one in report.kept if one.head == "category"] == [("category", tried)]
        assert len(report.calibrated) == 4 * tried  # two heads, the audited cases and all
        assert (report.audited.drawn, report.audited.reviewed) == (tried, tried)
        assert len(report.tallies) == 2  # whoever gave the answer
    store.close()


def test_what_came_in_before_the_period_is_not_of_its_audit(url: str, put: object) -> None:
    store = Store(url)
    cases = [
        put(store, decision="auto", share=1.0, at=at, vector=day)  # type: ignore[operator]
        for day, at in enumerate((NOW - timedelta(days=9), NOW - timedelta(days=2)))
    ]
    for case in cases:
        store.review(case, "王", {}, taxonomy_version="1", now=NOW)
    report = quality(store, NOW - timedelta(days=7), NOW + timedelta(days=1), {}, ("m", "7"), HERE)
    assert [(one.head, one.tried, one.uncovered) for one in report.kept] == [("category", 1, 0), ("department", 1, 0)]
    assert sum(one.accepted for one in report.tallies) == 4  # what was said of both
    store.close()


def test_what_somebody_corrects_unasked_stays_in_the_audit(url: str, put: object) -> None:
    store = Store(url)
    cases = [put(store, decision="auto", share=1.0, vector=i, at=NOW) for i in range(10)]  # type: ignore[operator]
    word = Word("category", "quality.fake", "客服", None, "explicit", "1")
    for wrong in cases[:2]:
        store.correct(wrong, word, now=NOW)
        store.correct(wrong, replace(word, head="department", label="quality"), now=NOW)
    since, until = NOW - timedelta(days=1), NOW + timedelta(days=1)

    def audit() -> tuple[int, int, int, int]:
        report = quality(store, since, until, {}, ("m", "7"), HERE)
        [found] = [one for one in report.kept if one.head == "category"]
        return report.audited.drawn, report.audited.reviewed, found.tried, found.right

    for case in cases[2:]:
        store.accept(case, "王", taxonomy_version="1", now=NOW)
    assert audit() == (10, 8, 8, 8)
    assert {one.prediction_id for one in store.queue(Filters(), now=NOW).items} == set(cases[:2])
    assert (store.progress("客服", since).done, store.progress("王", since).mine) == (8, 8)
    for wrong in cases[:2]:
        store.review(wrong, "王", {"category": "quality.fake"}, taxonomy_version="1", now=NOW + timedelta(minutes=1))
    assert audit() == (10, 10, 10, 8)
    store.close()


def test_the_texts_are_of_the_whole_period(url: str, put: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_quality, "_TEXTS", 20)
    store, since = Store(url), NOW - timedelta(days=4)
    for day in range(4):
        put(store, f"第{day}天", copies=20, at=since + timedelta(days=day), vector=day)  # type: ignore[operator]
    put(store, "以后", at=NOW, vector=9)  # type: ignore[operator]
    traffic = store.traffic(since, NOW)
    assert (traffic.predictions, len(traffic.texts)) == ({("m", "7"): 80}, 20)
    assert len(set(traffic.texts)) > 1  # all of one day: once in 10^18
    assert sorted(store.traffic(since, NOW).texts) == sorted(traffic.texts)
    store.close()
