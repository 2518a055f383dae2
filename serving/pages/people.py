"""Who may sign in: added, given another role or password, disabled; and the log of who saw and did what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import cast

from nicegui import ui
from starlette.requests import Request

from complaints.taxonomy import Head
from complaints.text import mask
from serving.access import LONGEST_PASSWORD, SHORTEST_PASSWORD
from serving.pages.desk import Desk
from serving.pages.shell import button, frame, guarded, place, say, words_of
from serving.pages.words import ACTIONS, FILTERED, LEVELS, OUTCOMES, ROLES, channel, clock
from serving.store.people import Logged, User

# Lines of the log on one page.
LINES = 100
# How much of what was written down of a deed is shown.
_LONGEST = 160


@place("/people")
async def people(request: Request) -> None:
    """Who may sign in."""
    await PeoplePage(frame(request, "/review/people", "人员")).start()


class PeoplePage:
    """One browser page: everybody, and a form for one more."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def start(self) -> None:
        """Draw the page."""
        with ui.element("div").classes("page narrow"):
            ui.html("<h1>人员</h1>", sanitize=False).classes("head-row")
            with ui.element("div").classes("card form-row"):
                self._name = ui.input(placeholder="用户名").props('outlined dense maxlength=80 autocomplete="off"')
                self._role = ui.select(ROLES, value="analyst").props('outlined dense options-dense aria-label="角色"')
                self._password = ui.input(placeholder=f"密码，{SHORTEST_PASSWORD} 个字以上", password=True)
                self._password.props(f'outlined dense maxlength={LONGEST_PASSWORD} autocomplete="new-password"')
                button("添加", "", "btn main", self._add)
            self._list = ui.element("div").style("margin-top:12px")
        await self._refresh()

    async def _refresh(self) -> None:
        self._list.clear()
        with self._list:
            try:
                found = await self._desk.ask("users", lambda _now: self._desk.service.store.list_users())
            except Exception as error:
                ui.html(f'<div class="card empty"><b>不能查看</b>{escape(words_of(error))}</div>', sanitize=False)
                return
            with ui.element("table").classes("table"):
                ui.html(
                    "<tr><th>用户名</th><th>角色</th><th>加入</th><th>状态</th><th></th></tr>",
                    sanitize=False,
                    tag="thead",
                )
                with ui.element("tbody"):
                    for one in found:
                        self._draw(one, self._desk.now())

    def _draw(self, one: User, now: datetime) -> None:
        locked = one.locked_until is not None and one.locked_until > now
        # A browser from which they have signed in before is not concerned.
        state = "已停用" if one.disabled_at else "新设备暂时锁定" if locked else "可登录"
        look = "review" if one.disabled_at else "suggest" if locked else "auto"
        with ui.element("tr"):
            ui.html(escape(one.name), sanitize=False, tag="td")
            ui.html(ROLES.get(one.role, escape(one.role)), sanitize=False, tag="td")
            ui.html(clock(one.created_at, now), sanitize=False, tag="td")
            ui.html(f'<span class="tag {look}">{state}</span>', sanitize=False, tag="td")
            with ui.element("td").classes("num"):
                if one.name != self._desk.person.name and one.disabled_at is None:
                    button("停用", "", "btn quiet danger", lambda: self._disable(one.name))

    async def _add(self) -> None:
        name, role, password = self._name.value or "", cast("str", self._role.value), self._password.value or ""
        await self._desk.add_person(name.strip(), role, password)
        say(f"已添加{ROLES[role]} {name.strip()}", "good")
        self._name.value = self._password.value = ""
        await self._refresh()

    async def _disable(self, name: str) -> None:
        store, who = self._desk.service.store, self._desk.person.name

        def disable(now: datetime) -> None:
            store.change_user(name, disabled_at=now)
            store.log(who, "disable_user", name, {}, now)

        await self._desk.ask("users", disable)
        say(f"已停用 {name}，其登录立即失效", "good")
        await self._refresh()


@place("/log")
async def log(request: Request) -> None:
    """Who saw and did what."""
    await LogPage(frame(request, "/review/log", "日志")).start()


class LogPage:
    """One browser page: the audit log, the newest lines first."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._before: str | None = None

    async def start(self) -> None:
        """Draw the page."""
        with ui.element("div").classes("page"):
            with ui.element("div").classes("head-row"):
                ui.html('<h1>日志</h1><span class="soft">只增不改</span>', sanitize=False).classes("grow title-row")
                self._actor = ui.input(placeholder="某人").props('outlined dense clearable aria-label="某人"')
                self._action = ui.select({"": "全部动作", **ACTIONS}, value="").props(
                    'outlined dense options-dense aria-label="动作"'
                )
                self._action.style("width:150px")
            self._list = ui.element("div")
        self._actor.on("keydown.enter", guarded(self._again))
        self._actor.on("clear", guarded(self._again))
        self._action.on_value_change(guarded(self._again))
        await self._again()

    async def _again(self) -> None:
        self._before = None
        await self._refresh()

    async def _older(self, last: str) -> None:
        self._before = last
        await self._refresh()

    async def _refresh(self) -> None:
        store, actor = self._desk.service.store, (self._actor.value or "").strip() or None
        action = cast("str | None", self._action.value) or None
        self._list.clear()
        with self._list:
            try:
                found = await self._desk.ask(
                    "log",
                    lambda _now: store.logged(actor=actor, action=action, before=self._before, limit=LINES),
                )
            except Exception as error:
                ui.html(f'<div class="card empty"><b>不能查看</b>{escape(words_of(error))}</div>', sanitize=False)
                return
            ui.html(log_table(found, self._desk.questions, self._desk.now()), sanitize=False)
            with ui.element("div").classes("pager"):
                ui.html(f"{len(found)} 条", sanitize=False)
                if len(found) == LINES:
                    button("更早的", "", "btn", lambda: self._older(found[-1].id))


def log_table(found: list[Logged], questions: Mapping[str, Head], now: datetime) -> str:
    """Lines of the log as HTML."""
    lines = "".join(
        f'<tr><td class="nowrap soft" title="{one.at.astimezone(now.tzinfo):%Y-%m-%d %H:%M:%S}">'
        f"{clock(one.at, now)}</td>"
        f"<td class='nowrap'>{escape(one.actor)}</td>"
        f"<td class='nowrap'>{escape(ACTIONS.get(one.action, one.action))}</td>"
        f"<td>{_subject(one.subject)}</td><td class='soft small'>{escape(_detail(one.detail, questions))}</td></tr>"
        for one in found
    )
    if not lines:
        return '<div class="card empty"><b>没有记录</b>换个条件再看。</div>'
    head = "<tr><th>时间</th><th>谁</th><th>做了什么</th><th>对什么</th><th>详情</th></tr>"
    return f'<table class="table log"><thead>{head}</thead><tbody>{lines}</tbody></table>'


def _subject(subject: str) -> str:
    if subject.startswith("pred_"):
        return f'<a href="/review/case/{escape(subject)}" target="_blank">…{escape(subject[-8:])}</a>'
    return escape(_SUBJECTS.get(subject, subject))


def _detail(detail: dict[str, object], questions: Mapping[str, Head]) -> str:
    parts = []
    for name, value in detail.items():
        shown = ROLES.get(str(value)) or OUTCOMES.get(str(value)) or LEVELS.get(str(value)) or value
        if name == "cases" and isinstance(value, list):
            shown = f"{len(value)} 件"
        elif name == "filters" and isinstance(value, dict):
            shown = "，".join(_filter(questions, str(field), str(kept)) for field, kept in value.items())
        elif isinstance(value, dict):
            shown = "，".join(_answer(questions, str(head), str(label)) for head, label in value.items())
        if shown not in (None, "", False):
            parts.append(f"{_FIELDS.get(name, name)}：{'是' if shown is True else shown}")
    return "；".join(parts)[:_LONGEST]


def _filter(questions: Mapping[str, Head], field: str, value: str) -> str:
    """What the queue was narrowed to, in the words of its page."""
    labels = {label: name for head in questions.values() for label, name in head.names.items()}
    names: dict[str, Mapping[str, str]] = {
        "head": {name: head.name for name, head in questions.items()},
        "label": labels,
        "department": labels,
        "level": LEVELS,
        "reason": FILTERED,
    }
    shown = mask(channel(value)) if field == "channel" else names.get(field, {}).get(value, value)
    return f"{_FIELDS.get(field, field)} {shown}"


def _answer(questions: Mapping[str, Head], head: str, label: str) -> str:
    known = questions.get(head)
    return f"{head} → {label}" if known is None else f"{known.name} → {known.names.get(label, label)}"


_SUBJECTS = {"reviews": "队列", "corrections": "更正"}
_FIELDS = {
    "outcome": "结果",
    "labels": "更正",
    "reason": "理由",
    "role": "角色",
    "locked": "锁定中",
    "rows": "条数",
    "known": "常用设备",
    "suggested": "建议",
    "level": "等级",
    "by": "接口",
    "cases": "案件",
    "filters": "筛选",
    "head": "待审问题",
    "label": "标签",
    "department": "责任部门",
    "channel": "渠道",
    "since": "从",
    "until": "到",
    "model_name": "模型",
    "model_version": "模型版本",
    "text": "内容",
}
