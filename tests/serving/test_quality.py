"""What the quality page shows, from what people said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from serving.quality import FEWEST, agreed, calibrated, drifted, kept, quality, right, tally
from serving.store import review_quality
from serving.store.queries import Store
from serving.store.review_quality import Judged, Traffic
from serving.store.review_words import Word

NOW = datetime(2026, 3, 4, 2, tzinfo=UTC)  # a Wednesday


def judged(label: str = "a", said: str | None = None, **changes: object) -> Judged:
    values = {
        "prediction_id": "p", "given_at": NOW, "head": "category", "predicted": label, "label": said or label,
        "decision": "auto", "confidence": 0.9, "audit": True, "model_name": "m", "model_version": "7",
    }  # fmt: skip
    return Judged(**(values | changes))  # type: ignore[arg-type]


def test_a_part_of_the_same_is_right() -> None:
    assert right(judged("quality.fake", "quality"))
    assert right(judged("quality", "quality.fake"))
    assert not right(judged("quality.fake", "quality.defect"))
    assert not right(judged("quality", "qualities"))


def test_weeks_begin_on_monday() -> None:
    before = NOW - timedelta(days=3)
    found = tally([judged(), judged("a", "b"), judged("b"), judged("a", "c", given_at=before)])
    assert [(one.week.day, one.label, one.accepted, one.corrected) for one in found] == [
        (23, "a", 0, 1), (2, "a", 1, 1), (2, "b", 1, 0),
    ]  # fmt: skip


def test_only_audited_auto_counts_for_the_promise() -> None:
    said = [judged()] * 45 + [judged("a", "b")] * 5
    said += [judged("a", "b", audit=False)] * 50 + [judged("a", "b", decision="suggest")] * 50
    [one, other] = kept(said, {"category": 0.95, "department": 0.9})
    # Wilson (1927) of 45 in 50: 0.7864 to 0.9565
    assert (one.right, one.tried, one.interval, one.broken) == (45, 50, (0.7864, 0.9565), False)
    assert (other.tried, other.interval, other.broken) == (0, (0.0, 1.0), False)
    assert kept(said, {"category": 0.97})[0].broken


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


def test_drift_is_told_in_plain_words() -> None:
    usual = [f"空调不制冷第{i}次报修没人上门" for i in range(200)]
    same = drifted(
        Traffic(200, {"category": {"a": 100, "b": 100}}, usual), Traffic(200, {"category": {"a": 100, "b": 100}}, usual)
    )
    assert same.told == ["标签、长度与用词都与此前四周相近。"]
    new = [f"充电宝快充起火烧坏了桌子还伤了人第{i}次" for i in range(100)]
    moved = drifted(
        Traffic(100, {"category": {"a": 10, "b": 90}}, new), Traffic(200, {"category": {"a": 100, "b": 100}}, usual)
    )
    text = "".join(moved.told)
    assert "category 的分布变化明显" in text
    assert "文本长度变化明显" in text
    assert "起火" in text or "快充" in text or "充电" in text
    few = drifted(Traffic(1, {}, new[: FEWEST - 1]), Traffic(1, {}, usual))
    assert few.told[0].startswith("样本不足")


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
    assert store.audited(since, until, ("m", "7")) == (1, 1)
    traffic = store.traffic(since, until)
    assert (traffic.predictions, sorted(traffic.texts)) == (2, ["物流慢", "空调坏了"])
    assert traffic.labels["category"] == {"quality.defect": 2}
    assert store.judged(until, until + timedelta(days=1)) == []
    store.close()


def test_a_promise_is_of_the_model_that_gave_it(url: str, put: object) -> None:
    store = Store(url)
    case = put(store, decision="auto", share=1.0)  # type: ignore[operator]
    store.review(case, "王", {"category": "x"}, taxonomy_version="1", now=NOW)
    since, until = NOW - timedelta(days=7), NOW + timedelta(days=1)
    for model, tried in ((("m", "7"), 1), (("m", "8"), 0), (("n", "7"), 0)):
        report = quality(store, since, until, {"category": 0.9}, model)
        assert [(one.head, one.tried) for one in report.kept if one.head == "category"] == [("category", tried)]
        assert len(report.calibrated) == 4 * tried  # two heads, the audited cases and all
        assert report.audited == (tried, tried)
        assert len(report.tallies) == 2  # whoever gave the answer
    store.close()


def test_the_texts_are_of_the_whole_period(url: str, put: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_quality, "_TEXTS", 20)
    store, since = Store(url), NOW - timedelta(days=4)
    for day in range(4):
        put(store, f"第{day}天", copies=20, at=since + timedelta(days=day), vector=day)  # type: ignore[operator]
    put(store, "以后", at=NOW, vector=9)  # type: ignore[operator]
    traffic = store.traffic(since, NOW)
    assert (traffic.predictions, len(traffic.texts)) == (80, 20)
    assert len(set(traffic.texts)) > 1  # all of one day: once in 10^18
    assert sorted(store.traffic(since, NOW).texts) == sorted(traffic.texts)
    store.close()
