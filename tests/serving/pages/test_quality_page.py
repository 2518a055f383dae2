"""The quality page: what it says in words, and in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("nicegui", reason="the extra `pages` is not installed")

from complaints.taxonomy import Taxonomy
from serving.pages import charts
from serving.pages.quality import audit_told
from serving.pages.quality_parts import LABELS, promise, table, told
from serving.quality import FEWEST, Answered, Drift, Kept, Tally, drifted
from serving.store.review_quality import Audited, Model, Traffic

NOW = datetime(2026, 3, 4, 2, tzinfo=UTC)
USUAL = [f"空调不制冷第{i}次报修没人上门" for i in range(200)]
OLD, SERVING = ("m", "7"), ("m", "8")


@pytest.fixture(scope="module")
def consumer() -> Taxonomy:
    return Taxonomy.load("consumer")


def said(taxonomy: Taxonomy, recent: Traffic, before: Traffic) -> str:
    drift: Drift = drifted(recent, before, SERVING)
    return "".join(told(drift.labels, drift, taxonomy, SERVING))


def traffic(texts: list[str], defects: int, others: int, model: Model = SERVING) -> Traffic:
    labels = {model: {"category": {"quality.defect": defects, "quality.safety": others}}}
    return Traffic({model: defects + others}, labels, texts)


def test_drift_is_told_in_plain_words(consumer: Taxonomy) -> None:
    usual = traffic(USUAL, 100, 100)
    assert said(consumer, usual, usual) == "标签、长度与用词都与此前四周相近。"
    new = [f"充电宝快充起火烧坏了桌子还伤了人第{i}次" for i in range(100)]
    moved = said(consumer, traffic(new, 10, 90), usual)
    assert f"{consumer.heads['category'].name}变化明显" in moved
    assert consumer.heads["category"].names["quality.safety"] + " +" in moved
    assert "文本长度变化明显" in moved
    assert "起火" in moved or "快充" in moved or "充电" in moved


def test_a_model_that_came_lately_is_not_compared_with_another(consumer: Taxonomy) -> None:
    before = traffic(USUAL, 180, 20, OLD)
    promoted = said(consumer, traffic(USUAL, 20, 180), before)
    assert promoted == (
        f"现行模型 m v8 本周作答 200 条，此前四周 0 条，各需 {FEWEST} 条才能比标签；"
        "换了模型，答案的习惯也会变，所以只比长度与用词。长度与用词都与此前四周相近。"
    )
    both = traffic(USUAL, 20, 180)
    both.predictions[OLD] = 100
    both.labels[OLD] = {"category": {"quality.defect": 90, "quality.safety": 10}}
    midweek = said(consumer, both, before)
    assert midweek.endswith("所以标签只比 m v7 前后两段的答案。标签、长度与用词都与此前四周相近。")
    few = said(consumer, traffic(USUAL, 20, 20), traffic(USUAL, 90, 90))
    assert few.startswith("现行模型 m v8 本周作答 40 条，此前四周 180 条")
    assert "换了模型" not in few


def test_what_waits_in_the_audit_and_what_it_does_not_cover_is_told() -> None:
    names = {"category": "投诉类别", "sentiment": "情绪"}
    found = [
        Kept("category", 30, 40, 0.75, (0.6, 0.86), 0.125, 0.95),
        Kept("sentiment", 40, 40, 1.0, (0.91, 1.0), 0.0, 0.95),
    ]
    first, second = audit_told(Audited(100, 40, {}), found, names, "8")
    assert "抽出 100 件，已审 40 件，还有 60 件等着审；" in first
    assert second == "有些答案抽出了却一件也没审过，没有算进来，占抽出的自动答案：投诉类别 12%。"
    [done] = audit_told(Audited(40, 40, {}), found[1:], names, "8")
    assert done.endswith("抽出 40 件，已审 40 件。")


def test_the_table_lists_the_worst_answers_with_intervals(consumer: Taxonomy) -> None:
    head = consumer.heads["category"]
    found = [Answered(label, 60, 40) for label in head.ids]
    html = table(found, head)
    assert html.count("<tr>") == 1 + LABELS < len(found)
    assert f'<td>{head.names[head.ids[0]]}</td><td class="num">60</td><td class="num">40</td>' in html
    assert '60%</td><td class="num soft">50%–69%</td>' in html
    assert f"只列前 {LABELS} 个" in html
    assert "只列前" not in table(found[:LABELS], head)
    assert promise(head, 0.765).startswith(f"虚线是模型测试时“{head.name}”全部答案的正确率 76.5%")
    assert "没有虚线" in promise(head, None)


def test_the_course_of_one_answer_says_of_how_many() -> None:
    weeks = [NOW - timedelta(days=7), NOW]
    tallies = [Tally(weeks[1], "a", "x", 1, 1), Tally(weeks[0], "a", "x", 3, 1)]
    options = charts.course(tallies, "a", "甲", {"a": 0.7})
    assert options["xAxis"]["data"] == ["2月25日\n4 件", "3月4日\n2 件"]
    [line] = options["series"]
    assert (line["name"], line["data"], line["markLine"]["data"]) == ("甲", [75.0, 50.0], [{"yAxis": 70.0}])


def test_a_reader_chooses_a_question_and_an_answer(enter: Callable[..., Any], place: Any, put: Any) -> None:
    store, now = place.store, datetime.now(UTC)
    for label, right in (("quality.defect", "quality.defect"), ("refund.slow", "quality.defect")):
        for _ in range(4):
            case = put(store, label=label, at=now)
            store.review(case, "陈默", {"category": right}, taxonomy_version="1.0.0", now=now)
    page = enter("李岚")
    page.goto(f"{place.url}/review/quality")
    page.wait_for_selector("text=最差的在前")
    card = page.locator(".card", has_text="按答案看")
    names = Taxonomy.load("consumer").heads
    slow, defect = (names["category"].names[one] for one in ("refund.slow", "quality.defect"))
    assert card.locator("tbody tr").first.inner_text().split("\t")[:3] == [slow, "0", "4"]

    answer = "name => document.querySelector('[aria-label=答案] input')?.value === name"

    def shown(title: str) -> str:
        return str(card.get_by_label(title).input_value())

    assert (shown("问题"), shown("答案")) == (names["category"].name, slow)
    card.get_by_label("答案").click()
    page.click(f".q-menu >> text={defect}")
    page.wait_for_function(answer, arg=defect)
    page.get_by_label("时段").click()
    page.click(".q-menu >> text=近 4 周")
    page.wait_for_function("() => document.querySelector('[aria-label=时段] input').value === '近 4 周'")
    page.wait_for_selector("text=最差的在前")
    assert shown("答案") == defect  # stays over a change of period
    card.get_by_label("问题").click()
    page.click(f".q-menu >> text={names['department'].name}")
    page.wait_for_function(answer, arg=names["department"].names["quality"])
    assert card.locator("tbody tr").count() == 1
