"""What the pages show, without a browser: marks, choices, words, filters, charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from re import sub

import pytest
from hypothesis import given
from hypothesis import strategies as st

from complaints.records import HeadPrediction, Scored
from complaints.taxonomy import Taxonomy
from serving.pages import charts, filters, words
from serving.pages.choices import choices, open_heads
from serving.pages.marks import Mark, marked, plain
from serving.quality import Kept, Tally
from serving.store.review_order import Filters

NOW = datetime(2026, 3, 5, 4, 0, tzinfo=UTC)  # noon in China
marks = st.lists(
    st.builds(Mark, st.integers(0, 40), st.integers(0, 40), st.sampled_from(["ev-0", "ev-1", "rk"])), max_size=5
)


def shown(html: str) -> str:
    return unescape(sub(r"<[^<>]*>", "", html))


@given(st.text(max_size=40), marks)
def test_marks_change_no_character_and_let_no_markup_through(raw: str, found: list[Mark]) -> None:
    html = marked(raw, found, hide=False)
    assert shown(html) == raw
    assert html.count("<") == 2 * html.count("<span ")


def test_a_mark_after_a_hidden_number_stays_where_it_was() -> None:
    raw = "电话13812345678，三天没人上门"
    html = marked(raw, [Mark(raw.index("三天"), raw.index("三天") + 2, "ev-0", "依据")])
    assert '<span class="ev-0" title="依据">三天</span>' in html
    assert '<span class="hidden-number">&lt;手机号&gt;</span>' in html
    assert "138" not in html


def test_a_mark_inside_a_hidden_number_shows_nothing_of_it() -> None:
    raw = "电话13812345678"
    html = marked(raw, [Mark(4, 6, "ev-0")])
    assert html == '电话<span class="ev-0 hidden-number">&lt;手机号&gt;</span>'


def test_overlapping_marks_are_both_there() -> None:
    html = marked("退款慢", [Mark(0, 2, "ev-0"), Mark(1, 3, "rk")])
    assert html == '<span class="ev-0">退</span><span class="ev-0 rk">款</span><span class="rk">慢</span>'


def test_a_line_of_the_queue_is_masked_before_it_is_cut() -> None:
    assert plain("号码13812345678\n请回", 6) == "号码<手机…"


def said(label: str, *known: tuple[str, float], decision: str = "review") -> HeadPrediction:
    return HeadPrediction(
        decision=decision,  # type: ignore[arg-type]
        label=label,
        name=label,
        confidence=known[0][1],
        threshold=0.9,
        prediction_set=tuple(one for one, _ in known[:2]),
        top_k=tuple(Scored(label=one, confidence=value) for one, value in known),
    )


def test_the_models_answer_is_under_key_1_and_a_parent_can_be_one() -> None:
    head = Taxonomy.load("consumer").heads["category"]
    found = choices(head, said("quality", ("quality.safety", 0.5), ("quality.defect", 0.4)))
    assert [one.label for one in found[:3]] == ["quality", "quality.safety", "quality.defect"]
    assert len(found) == 9
    assert [one.likely for one in found[:4]] == [True, True, True, False]


def test_ordered_labels_keep_their_keys_whatever_the_model_says() -> None:
    head = Taxonomy.load("consumer").heads["sentiment"]
    for label in head.ids:
        assert [one.label for one in choices(head, said(label, (label, 0.9)))] == list(head.ids)


def test_a_label_from_the_full_list_takes_the_last_key() -> None:
    head = Taxonomy.load("consumer").heads["category"]
    found = choices(head, said("quality.safety", ("quality.safety", 0.5)), picked="other.other")
    assert found[-1].label == "other.other"
    assert len(found) == 9


def test_questions_that_wait_come_first_and_all_where_none_waits() -> None:
    heads = {"a": said("x", ("x", 1.0), decision="auto"), "b": said("y", ("y", 0.4))}
    assert open_heads(heads) == ["b"]
    assert open_heads({"a": heads["a"]}) == ["a"]


@pytest.mark.parametrize(
    ("ago", "words_for_it"),
    [
        (timedelta(hours=1), "今天 11:00"),
        (timedelta(hours=13), "昨天 23:00"),
        (timedelta(days=4), "3月1日 12:00"),
        (timedelta(days=80), "2025年12月15日"),
    ],
)
def test_times_are_said_as_people_in_china_do(ago: timedelta, words_for_it: str) -> None:
    assert words.clock(NOW - ago, NOW) == words_for_it


def test_a_share_is_not_rounded_up_to_certainty() -> None:
    assert words.percent(0.9991) == ">99%"
    assert words.percent(1.0) == "100%"
    assert words.percent(0.127) == "13%"


def test_deadlines_say_how_far_off_they_are() -> None:
    assert words.due(NOW + timedelta(minutes=125), NOW) == ("还剩 2 小时", False)
    assert words.due(NOW - timedelta(minutes=20), NOW) == ("已超 20 分钟", True)


def test_filters_of_an_address_are_read_and_nonsense_is_left_out() -> None:
    query = {"head": "category", "label": "refund", "level": "high", "days": "7", "text": " 退款 ", "x": "1"}
    found = filters.parse(query, NOW)
    assert found == Filters(head="category", label="refund", level="high", since=NOW - timedelta(days=6), text="退款")
    assert filters.parse({"level": "dire", "days": "0", "channel": "a\x00b"}, NOW) == Filters()
    assert filters.address("/review/", query, label="") == (
        "/review/?head=category&level=high&days=7&text=+%E9%80%80%E6%AC%BE+"
    )


def test_the_chart_of_kept_precision_shows_promise_interval_and_what_is_broken() -> None:
    found = [Kept("category", 30, 50, (0.46, 0.72), 0.95), Kept("sentiment", 0, 0, (0.0, 1.0), 0.95)]
    options = charts.kept(found, {"category": "投诉类别", "sentiment": "情绪"})
    assert options["xAxis"]["data"] == ["投诉类别"]
    whisker, points, promise = options["series"]
    assert whisker["data"] == [[0, 46.0], [0, 72.0]]
    assert points["data"][0]["value"] == [0, 60.0]
    assert points["data"][0]["itemStyle"]["color"] == charts.HIGH
    assert promise["data"] == [[0, 95.0]]


def test_the_chart_of_acceptance_goes_by_week_with_gaps_and_the_test_result() -> None:
    weeks = [NOW - timedelta(days=7), NOW]
    tallies = [Tally(weeks[0], "a", "x", 3, 1), Tally(weeks[0], "a", "y", 1, 3), Tally(weeks[1], "b", "z", 1, 0)]
    options = charts.accepted(tallies, {"a": "甲", "b": "乙"}, {"a": 0.7})
    assert [one["data"] for one in options["series"]] == [[50.0, None], [None, 100.0]]
    assert options["series"][0]["markLine"]["data"] == [{"yAxis": 70.0}]
