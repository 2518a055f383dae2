"""The queue: what waits for a person, the dearest first, as far as today's budget goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any, cast

import orjson
from nicegui import events, ui
from starlette.requests import Request

from complaints.errors import NotReady
from complaints.taxonomy import Taxonomy
from complaints.text import mask
from serving.assessing import owner_head
from serving.pages import filters as asked
from serving.pages.case_parts import level_tag
from serving.pages.desk import Desk
from serving.pages.marks import plain
from serving.pages.shell import button, frame, guarded, place, words_of
from serving.pages.words import FILTERED, LEVELS, channel, clock, percent
from serving.reviewing import Day
from serving.store.review_order import Filters, Queued
from serving.store.review_queue import Page

# Lines on one page.
LINES = 40
SNIPPET = 120


@place("/")
async def queue(request: Request) -> None:
    """What waits."""
    desk = frame(request, "/review/", "队列")
    try:
        page = QueuePage(desk, dict(request.query_params))
    except NotReady as error:
        with ui.element("div").classes("page"):
            ui.html(_empty(words_of(error), narrowed=False), sanitize=False)
        return
    await page.start()


class QueuePage:
    """One browser page: filters, and the lines that fit them."""

    def __init__(self, desk: Desk, query: dict[str, str]) -> None:
        self._desk, self._query = desk, query
        self._taxonomy = desk.taxonomy
        self._offset = 0

    async def start(self) -> None:
        """Draw the page."""
        versions, channels = await self._desk.versions(), await self._desk.channels()
        with ui.element("div").classes("page"):
            self._head = ui.element("div").classes("head-row")
            with ui.element("div").classes("filters"):
                self._draw_filters(versions, channels)
            self._list = ui.element("div")
        ui.keyboard(guarded(self._key), ignore=["input", "select", "textarea"], repeating=False)
        await self._refresh()

    def _filters(self) -> Filters:
        return asked.parse(self._query, self._desk.midnight())

    async def _refresh(self) -> None:
        day = await self._desk.today()
        try:
            page, fault = await self._desk.queue(self._filters(), LINES, self._offset), ""
        except Exception as error:
            page, fault = Page((), 0), words_of(error)
        self._head.clear()
        with self._head:
            self._draw_head(day, page)
        self._list.clear()
        with self._list:
            if fault or not page.items:
                ui.html(_empty(fault, bool(asked.address("", self._query))), sanitize=False)
                return
            within, me, now = day.left - self._offset, self._desk.person.name, self._desk.now()
            table = _table(page.items, self._taxonomy, within, now, me, self._query)
            ui.html(table, sanitize=False).classes("scroll")
            self._draw_pager(page)

    def _draw_head(self, day: Day, page: Page) -> None:
        done, budget = day.progress.done, day.budget
        ui.html(
            '<h1>待审队列</h1><span class="budget"><i>'
            f'<b style="width:{min(1.0, done / budget):.0%}"></b></i>'
            f"<span>今日已审 <b>{done}</b> / {budget}，其中我 {day.progress.mine} 件</span></span>",
            sanitize=False,
        ).classes("grow title-row")
        if page.waiting:
            button("开始审核", "Enter", "btn main", self._begin)

    def _draw_filters(self, versions: Sequence[str], channels: Sequence[str]) -> None:
        taxonomy, query = self._taxonomy, self._query
        search = ui.input(placeholder="搜索投诉内容，至少两个字", value=query.get("text", "")).classes("wide")
        search.props('outlined dense clearable aria-label="搜索"')
        search.on("keydown.enter", guarded(lambda: self._set("text", search.value or "")))
        search.on("clear", guarded(lambda: self._set("text", "")))
        heads = {name: head.name for name, head in taxonomy.heads.items()}
        self._choose("head", "待审问题", heads)
        self._label = self._choose("label", "标签", self._labels())
        self._choose("level", "风险", LEVELS)
        owner = owner_head(self._desk.service.policies.control.policy)
        if owner in taxonomy.heads:
            self._choose("department", taxonomy.heads[owner].name, taxonomy.heads[owner].names)
        self._choose("channel", "渠道", {one: channel(one) for one in channels})
        self._choose("days", "时间", asked.PERIODS)
        self._choose("reason", "原因", FILTERED)
        self._choose("model_version", "模型版本", {one: f"模型 {one}" for one in versions})

    def _labels(self) -> dict[str, str]:
        head = self._taxonomy.heads.get(self._query.get("head", ""))
        return dict(head.names) if head is not None else {}

    def _choose(self, name: str, title: str, options: dict[str, str]) -> ui.select:
        value = self._query.get(name)
        field = ui.select(options, value=value if value in options else None, clearable=True)
        field.props(f'outlined dense options-dense aria-label="{title}"')
        _tell(field, title)
        field.on_value_change(guarded(lambda event: self._changed(name, title, event)))
        return field

    async def _changed(self, name: str, title: str, event: events.ValueChangeEventArguments[Any]) -> None:
        _tell(cast("ui.select", event.sender), title)
        await self._set(name, event.value or "")

    async def _set(self, name: str, value: str) -> None:
        if self._query.get(name, "") == value:
            return
        self._query[name] = value
        if name == "head":
            self._query["label"] = ""
            self._label.set_options(self._labels(), value=None)
            _tell(self._label, "标签")
        self._offset = 0
        here = json.dumps(asked.address("/review/", self._query))
        ui.run_javascript(f"history.replaceState(null, '', {here})")
        await self._refresh()

    def _draw_pager(self, page: Page) -> None:
        first, last = self._offset + 1, self._offset + len(page.items)
        with ui.element("div").classes("pager"):
            ui.html(f"第 {first}–{last} 件，共 {page.waiting} 件等待", sanitize=False)
            with ui.element("div"):
                button("上一页", "", f"btn{'' if self._offset else ' off'}", lambda: self._turn(-LINES))
                button("下一页", "", f"btn{'' if last < page.waiting else ' off'}", lambda: self._turn(LINES))

    async def _turn(self, by: int) -> None:
        self._offset = max(0, self._offset + by)
        await self._refresh()
        ui.run_javascript("window.scrollTo(0, 0)")

    def _begin(self) -> None:
        here = json.dumps(asked.address("/review/case", self._query))
        ui.run_javascript(f"location.href = {here}")

    async def _key(self, event: events.KeyEventArguments) -> None:
        if event.action.keydown and event.key.enter:
            self._begin()


def _tell(field: ui.select, title: str) -> None:
    """Write on a closed field what it narrows, and to what; grey while it does not."""
    chosen = cast("dict[str, str]", field.options).get(str(field.value)) if field.value is not None else None
    field.props["display-value"] = f"{title}：{chosen}" if chosen else title
    field.classes(remove="set") if not chosen else field.classes("set")
    field.update()


def _table(
    items: Sequence[Queued], taxonomy: Taxonomy, within: int, now: datetime, me: str, query: Mapping[str, str]
) -> str:
    """The lines; after `within` of them the day's budget ends, on an earlier page where it is below 0."""
    dearest = max((one.priority for one in items), default=1.0) or 1.0
    lines = []
    for at, one in enumerate(items):
        if at == within:
            lines.append('<tr class="budget-end"><td colspan="5">今日预算到此为止，以下可留待明日</td></tr>')
        lines.append(_line(one, taxonomy, one.priority / dearest, now, me, query))
    return (
        '<table class="table queue"><thead><tr><th>风险</th><th>投诉</th>'
        '<th title="模型最拿不准的问题，和它有多大把握">拿不准的</th>'
        '<th title="不经审核就照办，预计造成的代价；与前面雷同的往后放">预计代价</th>'
        f"<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _line(one: Queued, taxonomy: Taxonomy, share: float, now: datetime, me: str, query: Mapping[str, str]) -> str:
    sent = orjson.loads(one.request)
    words = f"{sent['title']}。{sent['text']}" if sent.get("title") else sent["text"]
    known = (one.ticket_id or "", channel(one.channel), sent.get("product") or "")
    sub = [*map(mask, known), clock(one.at, now)]
    address = asked.address(f"/review/case/{one.prediction_id}", query)  # and from there on to the next of this queue
    return (
        f'<tr><td>{level_tag(one.level)}</td><td class="text"><a href="{escape(address)}">'
        f'{escape(plain(words, SNIPPET))}</a><div class="sub">{escape(" · ".join(filter(None, sub)))}</div></td>'
        f"<td>{_doubts(one, taxonomy)}</td>"
        f'<td><span class="cost"><i><b style="width:{share:.0%}"></b></i>{one.priority:.1f}</span></td>'
        f"<td>{_holder(one, now, me)}</td></tr>"
    )


def _doubts(one: Queued, taxonomy: Taxonomy) -> str:
    """The questions that wait for a person, and how sure the model is; below, in one line, what it said to the others.

    Where none waits, the one it is least sure of: an audited case looks like any other.
    """
    known = {head: one.heads[head] for head in taxonomy.heads if head in one.heads}
    waiting = [head for head, said in known.items() if said.decision != "auto"]
    shown = waiting or sorted(known, key=lambda head: known[head].confidence)[:1]
    lines = "".join(
        f'<div class="unsure"><span class="h">{escape(taxonomy.heads[head].name)}</span>'
        f"<span>{escape(_leaf(taxonomy, head, known[head].label))}</span>"
        f'<span class="c">{percent(known[head].confidence)}</span></div>'
        for head in shown
    )
    rest = " · ".join(
        f"{taxonomy.heads[head].name} {_leaf(taxonomy, head, said.label)}"
        for head, said in known.items()
        if head not in shown
    )
    return f'<div class="said">{lines}{f"""<div class="sure">{escape(rest)}</div>""" if rest else ""}</div>'


def _leaf(taxonomy: Taxonomy, head: str, label: str) -> str:
    return taxonomy.heads[head].names.get(label, label).rpartition("/")[2]


def _holder(one: Queued, now: datetime, me: str) -> str:
    if one.lease_actor is None or one.lease_until is None or one.lease_until <= now - timedelta(seconds=1):
        return ""
    if one.lease_actor == me:
        return '<span class="tag mine">我在审</span>'
    return f'<span class="tag" title="{escape(one.lease_actor)} 正在审核">{escape(one.lease_actor)}</span>'


def _empty(fault: str, narrowed: bool) -> str:
    if fault:
        return f'<div class="card empty"><b>没有查询</b>{escape(fault)}</div>'
    if narrowed:
        return (
            '<div class="card empty"><b>没有符合条件的案件</b>这里只有等您审核的，审完的不在内。'
            '放宽条件，或<a href="/review/">清除全部条件</a>。</div>'
        )
    return '<div class="card empty"><b>队列是空的</b>没有案件在等人审核。新投诉中拿不准或风险高的会来到这里。</div>'
