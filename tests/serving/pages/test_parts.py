"""What the pages show, without a browser: marks, choices, words, filters, charts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from re import search, sub
from threading import current_thread
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from complaints.errors import InvalidInput, JianweiError, Overloaded, RegistryError
from complaints.policy import Policy
from complaints.records import HeadPrediction, Scored
from complaints.taxonomy import Taxonomy
from serving import access, reviewing
from serving.access import Person
from serving.pages import charts, filters, words
from serving.pages.choices import choices, open_heads
from serving.pages.desk import Desk
from serving.pages.marks import Mark, marked, plain
from serving.pages.model_parts import version_cells
from serving.pages.people import log_table
from serving.pages.queue import _table
from serving.pages.shell import words_of
from serving.quality import Kept, Tally
from serving.service import Service
from serving.settings import Settings
from serving.store.people import Logged
from serving.store.queries import Store
from serving.store.review_order import Filters
from serving.store.risks import AlreadyDecided
from serving.store.tables import predictions
from serving.workers import Workers

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


@pytest.mark.parametrize("raw", ["电话138\n0013\n8000", "电话１３８00138000", "电话138\u200b0013&nbsp;8000"])
def test_a_number_that_was_sent_in_pieces_is_hidden_and_marks_keep_their_places(raw: str) -> None:
    raw += "，三天没人上门"
    html = marked(raw, [Mark(raw.index("三天"), raw.index("三天") + 2, "ev-0")])
    assert html == ('电话<span class="hidden-number">&lt;手机号&gt;</span>，<span class="ev-0">三天</span>没人上门')
    assert plain(raw, 9) == "电话<手机号>，…"
    assert reviewing.masked(raw) == "电话<手机号>，三天没人上门"


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
    here = NOW.astimezone(ZoneInfo("Asia/Shanghai"))
    assert words.clock(NOW - ago, here) == words_for_it


def test_times_are_told_in_the_time_zone_of_the_policy() -> None:
    policy = Policy.load()
    there = policy.model_copy(update={"calendar": policy.calendar.model_copy(update={"timezone": "Asia/Urumqi"})})
    service: Any = SimpleNamespace(policies=SimpleNamespace(control=SimpleNamespace(policy=there)))
    now = Desk(service, Person("李岚", "analyst", "", NOW), "").now()
    assert words.clock(now.replace(hour=9, minute=30).astimezone(UTC), now) == "今天 09:30"
    line = Logged("log_1", now.replace(hour=9, minute=30, second=5).astimezone(UTC), "李岚", "view", "x", {})
    assert f'title="{now:%Y-%m-%d} 09:30:05"' in log_table([line], {}, now)


def test_the_log_says_in_chinese_what_was_listed() -> None:
    questions = Taxonomy.load("consumer").heads
    kept = {"head": "category", "label": "refund.slow", "level": "high", "channel": "weibo", "reason": "high_risk"}
    detail = {"filters": kept | {"text": "high"}, "cases": ["pred_1", "pred_2"]}
    html = shown(log_table([Logged("log_1", NOW, "李岚", "list", "reviews", detail)], questions, NOW))
    told = "筛选：待审问题 投诉类别，标签 退换退款/退款慢，等级 高，渠道 微博，理由 风险高，内容 high；案件：2 件"
    assert told in html
    assert "列出待审队列" in html


def test_the_log_masks_the_channel_that_a_caller_asked_for() -> None:
    line = Logged("log_1", NOW, "key", "list", "reviews", {"filters": {"channel": "企微13812345678"}})
    assert "渠道 企微<手机号>" in shown(log_table([line], {}, NOW))


def test_what_the_registry_says_of_a_promotion_is_shown_in_chinese() -> None:
    from training.registry import FORCED

    def fate(why: str) -> str:
        tags = {"promoted": f"{NOW.isoformat()} {why}"}
        one: Any = SimpleNamespace(version="1", created_at=NOW, aliases=["champion"], tags=tags)
        return shown(version_cells(one, NOW)).partition("推广 今天 04:00：")[2]

    assert fate("first start") == "首次启动"
    for why in FORCED.values():
        assert not search("[a-z]", fate(f"({why}) 周宁：新业务"))
        assert fate(f"({why}) 周宁：新业务").endswith("）周宁：新业务")
    assert fate("陈默：first 比 second 好") == "陈默：first 比 second 好"


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
    found = [
        Kept("category", 30, 50, 0.6, (0.46, 0.72), 0.0, 0.95),
        Kept("sentiment", 0, 0, 0.0, (0.0, 1.0), 0.0, 0.95),
    ]
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


# ---- errors, as they are raised


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def told(deed: Callable[[], object]) -> str:
    """What a person is told of a deed that is refused."""
    with pytest.raises(JianweiError) as refused:
        deed()
    return words_of(refused.value)


def test_who_has_a_case_or_has_decided_it_is_told_in_chinese(store: Store, put: Any) -> None:
    case = put(store)
    store.take("李岚", case, now=NOW)
    assert told(lambda: store.take("Chen.Mo", case, now=NOW)) == "李岚正在审核这个案件。"
    assert told(lambda: store.skip(case, "陈默", now=NOW)) == "李岚正在审核这个案件。"
    store.accept(case, "李岚", taxonomy_version="1.0.0", now=NOW)
    assert told(lambda: store.skip(case, "陈默", now=NOW)) == "李岚已经审核过这个案件。"
    assert told(lambda: store.take("陈默", case, now=NOW)) == "这个案件不在等您审核：已经审完，或初审就是您做的。"


def test_why_a_decision_cannot_be_taken_back_is_told_in_chinese(store: Store, put: Any) -> None:
    again, skipped = put(store), put(store, vector=1)

    def undo() -> object:
        return store.undo("李岚", since=NOW, until=NOW, now=NOW)

    assert told(undo) == "今天没有可以撤销的处理"
    store.accept(again, "李岚", taxonomy_version="1.0.0", now=NOW, second_share=1.0)
    store.accept(again, "陈默", taxonomy_version="1.0.0", now=NOW)
    assert told(undo) == "别人已经复审过这个案件，您的决定不能再撤销。"
    store.skip(skipped, "李岚", now=NOW + timedelta(seconds=1))
    store.accept(skipped, "陈默", taxonomy_version="1.0.0", now=NOW)
    assert told(undo) == "您跳过之后，别人已经审核了这个案件。"


def test_what_is_wrong_with_a_user_is_told_in_chinese(store: Store, password: str) -> None:
    def add(name: str) -> None:
        access.add_user(store, name, "analyst", password, NOW)

    add("李岚")
    assert told(lambda: add("李岚")) == "已有用户 李岚，停用的也算。"
    assert told(lambda: access.hash_password("太短")) == "密码要 10 到 200 个字，请换一个。"
    assert told(lambda: store.change_password("", "", "", None, NOW)) == "密码或登录刚刚变了，请刷新页面后再试。"
    assert told(lambda: add("李 岚")) == "用户名为 1 到 80 个字：文字、数字和 . _ - @。"
    assert told(lambda: store.change_user("李云", role="lead")) == "没有用户 李云。"
    person = Person("李岚", "analyst", "", NOW)
    assert told(lambda: access.require(person, "users")) == "您的角色不能做这一步。"


def waited(deed: Coroutine[Any, Any, None]) -> None:
    """In a thread of its own: in this one a browser of other tests may keep a loop."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, deed).result()


def test_every_password_is_checked_or_made_by_the_thread_for_that(
    store: Store, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    access.add_user(store, "周宁", "admin", password, NOW)
    entered = access.sign_in(store, "周宁", password, datetime.now(UTC))
    threads: set[str] = set()

    def seen(deed: Any) -> Any:
        return lambda *given: threads.add(current_thread().name) or deed(*given)

    for name in ("verify", "_hashed"):
        monkeypatch.setattr(access, name, seen(getattr(access, name)))
    passwords = Workers(1, 2)
    service: Any = SimpleNamespace(store=store, passwords=passwords, threads=None)
    service.checked = lambda deed: Service.checked(service, deed)
    desk = Desk(service, entered.person, entered.token, entered.device)
    try:
        waited(desk.add_person("吴桐", "analyst", password))
        waited(desk.change_password(password, "更好的密码-2027"))
        assert len(threads) == 1
        assert threads != {current_thread().name}
        assert [one.action for one in store.logged(actor="周宁")] == ["password", "add_user", "sign_in"]
        passwords.close()
        with pytest.raises(Overloaded):  # nothing is done where that thread takes no more
            waited(desk.add_person("李云", "analyst", password))
        assert store.user("李云") is None
    finally:
        passwords.close()


def test_what_the_registry_refuses_is_told_in_chinese(place: Any) -> None:
    from training.registry import HISTORY, Registry

    registry = Registry(place.settings.tracking_uri, place.settings.artifacts)
    registry.client.set_registered_model_tag("consumer", HISTORY, "1")  # whatever the tests before went through
    registry.client.set_model_version_tag("consumer", "3", "gate_reasons", "退款慢的召回率降了")
    assert told(lambda: registry.promote("consumer", "3", "好")) == "版本 3 没有通过关口：退款慢的召回率降了。"
    registry.client.delete_model_version_tag("consumer", "2", "gate")
    assert told(lambda: registry.promote("consumer", "2", "好")) == "版本 2 没有与现行版本 1 比较过。"
    assert told(lambda: registry.rollback("consumer", "坏", "2")) == "2 已不是现行版本，现在是 1：没有改动。"
    assert told(lambda: registry.rollback("consumer", "坏")) == "没有更早的现行版本可以回退。"
    assert told(lambda: registry.set_challenger("consumer", "1")) == "版本 1 就是现行版本，不能作自己的影子。"


def test_only_a_sentence_in_chinese_is_told_as_it_is() -> None:
    for words_for_it in ("请至少输入两个字", "没有接入模型库：用 jianwei serve 启动，即可查看"):
        assert words_of(RegistryError(words_for_it)) == words_for_it
    assert words_of(InvalidInput("no head 投诉: this prediction has 类别")) == "填写的内容不能用，请检查后再试。"
    assert words_of(AlreadyDecided("李岚 has accepted this alert already")) == "别人已经审核过这个案件。"


def test_what_was_decided_before_midnight_can_be_taken_back_after_it(store: Store, put: Any) -> None:
    case, early = put(store), put(store, vector=1)
    midnight = datetime(2026, 3, 5, 16, tzinfo=UTC)  # in China
    minute = timedelta(minutes=1)
    store.accept(early, "李岚", taxonomy_version="1.0.0", now=midnight - timedelta(hours=4))
    store.accept(case, "李岚", taxonomy_version="1.0.0", now=midnight - minute)
    service: Any = SimpleNamespace(
        store=store,
        settings=Settings(),
        policies=SimpleNamespace(control=SimpleNamespace(policy=Policy.load())),
    )
    person = Person("李岚", "analyst", "", NOW)
    assert reviewing.undo(service, person, midnight + minute).prediction_id == case
    assert told(lambda: reviewing.undo(service, person, midnight + minute)) == "今天没有可以撤销的处理"


def test_the_line_of_the_budget_is_drawn_once_and_cases_keep_the_filters(store: Store, put: Any) -> None:
    for i in range(4):
        put(store, vector=i)
    items, taxonomy = store.queue(Filters(), now=NOW).items, Taxonomy.load("consumer")

    def page(first: int, within: int) -> str:
        return _table(items[first : first + 2], taxonomy, within - first, NOW, "李岚", {"level": "low", "text": "空调"})

    for within, drawn in ((0, (0, None)), (1, (1, None)), (2, (None, 0)), (9, (None, None))):
        pages = [page(first, within) for first in (0, 2)]
        found = [one.partition("budget-end")[0].count('class="text"') if "budget-end" in one else None for one in pages]
        assert tuple(found) == drawn, within
    address = f"/review/case/{items[0].prediction_id}?level=low&amp;text=%E7%A9%BA%E8%B0%83"
    assert f'href="{address}"' in page(0, 9)


def test_versions_are_those_that_answered_what_waits(store: Store, put: Any) -> None:
    assert store.versions() == []
    old, new, done = put(store), put(store, vector=1), put(store, vector=2)
    with store._write() as connection:
        for case, version in ((old, "2"), (new, "10"), (done, "11")):
            here = predictions.c.id == case
            connection.execute(update(predictions).where(here).values(model_version=version))
    store.accept(done, "李岚", taxonomy_version="1.0.0", now=NOW)
    assert store.versions() == ["10", "2"]
