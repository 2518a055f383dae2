"""Reviewing cases, one after another, by keyboard: 1-9 choose, R the level of risk, Enter accept, S skip, Z undo.

The case after this one is fetched, leased and read by the model while this one is looked at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from html import escape

from nicegui import background_tasks, context, events, ui
from starlette.requests import Request

from complaints.errors import Conflict
from serving.pages import case_parts as parts
from serving.pages.answers import Answers
from serving.pages.choices import RISK
from serving.pages.desk import Desk
from serving.pages.dialogs import LabelDialog, TextDialog
from serving.pages.filters import parse
from serving.pages.shell import button, frame, guarded, place, say, words_of
from serving.pages.view import CaseView
from serving.pages.words import OUTCOMES
from serving.reviewing import Day
from serving.store.review_decisions import Decided
from serving.store.review_order import Filters

# Nobody has read a case after this many seconds: an Enter that comes sooner was meant for the case before.
UNREAD = 0.35
# Seconds between looks at the lease; it is prolonged while somebody works on the page.
LOOK = 20.0
# After so many seconds without a key or a click nobody works on it: the case goes back to the queue in time.
AWAY = 300.0

# Which page of this process shows which person's case: a page that is closed gives back only what no newer page has,
# for a reload closes the old page after the new one has taken its case over.
_shown: dict[tuple[str, str], CasePage] = {}


@place("/case")
async def work(request: Request) -> None:
    """The next case of the queue, and the next, and the next."""
    desk = frame(request, "/review/", "审核")
    page = CasePage(desk, parse(dict(request.query_params), desk.midnight()))
    await page.start()


@place("/case/{prediction_id}")
async def one(request: Request, prediction_id: str) -> None:
    """One case that was asked for, and then the next of the queue that it was picked from."""
    desk = frame(request, "/review/", "案件")
    page = CasePage(desk, parse(dict(request.query_params), desk.midnight()))
    await page.start(prediction_id)


class CasePage:
    """One browser page: the case shown, and the one that is ready behind it."""

    def __init__(self, desk: Desk, filters: Filters) -> None:
        self._desk, self._filters = desk, filters
        self._view: CaseView | None = None
        self._note = ""
        self._ahead: asyncio.Task[CaseView | None] | None = None
        self._shown_at = self._touched_at = time.monotonic()
        self._busy = False
        self._works = True
        self._client = context.client

    async def start(self, prediction_id: str | None = None) -> None:
        """Fetch the first case and draw the page."""
        try:
            view = await (self._first() if prediction_id is None else self._asked_for(prediction_id))
        except Exception as error:
            with ui.element("div").classes("page"):
                ui.html(parts.unopened(words_of(error)), sanitize=False)
            return
        self._body = ui.element("div")
        self._foot = ui.element("div").classes("foot")
        ui.keyboard(guarded(self._key), ignore=["input", "select", "textarea"], repeating=False)
        self._labels, self._notes = LabelDialog(self._label_picked), TextDialog(self._note_written)
        context.client.on_delete(self._leave)
        await self._show(view)
        ui.timer(LOOK, guarded(self._keep), immediate=False)

    async def _first(self) -> CaseView | None:
        """What the person had before a reload or a crash, else the next of the queue."""
        name = self._desk.person.name
        if self._filters == Filters():
            for lease in await self._desk.held():
                if (name, lease.prediction_id) not in _shown or _shown[name, lease.prediction_id].gone:
                    return await self._desk.open(lease.prediction_id, lease=True)
        return await self._desk.claim(self._filters)

    async def _asked_for(self, prediction_id: str) -> CaseView:
        """A case by its id: to work on where it waits and nobody else has it, else to look at."""
        try:
            return await self._desk.open(prediction_id, lease=True)
        except Conflict:
            self._works = False
            return await self._desk.open(prediction_id, lease=False)

    @property
    def gone(self) -> bool:
        """Whether the browser has closed the page, or lost it."""
        return self._client.is_deleted or not self._client.has_socket_connection

    # ---- drawing

    async def _show(self, view: CaseView | None) -> None:
        self._forget()
        self._view, self._note = view, ""
        if view is None:
            day = await self._desk.today()
            self._body.clear()
            self._foot.set_visibility(False)
            with self._body.classes(replace="page"):
                ui.html(parts.nothing(day.progress.mine), sanitize=False)
                button("撤销", "Z", "btn", self._undo)
            return
        _shown[self._desk.person.name, view.id] = self
        day = await self._desk.saw(view)
        self._body.clear()
        self._foot.set_visibility(True)
        with self._body.classes(replace="case"):
            self._draw(view)
        self._foot.clear()
        with self._foot, ui.element("div"):
            self._draw_foot(view, day)
        ui.run_javascript("window.scrollTo(0, 0)")
        self._shown_at = time.monotonic()
        if self._works and self._ahead is None:
            self._ahead = background_tasks.create(self._fetch(), name="next case")

    def _forget(self) -> None:
        """The case shown is no longer this page's."""
        if self._view is not None and _shown.get((self._desk.person.name, self._view.id)) is self:
            del _shown[self._desk.person.name, self._view.id]

    def _draw(self, view: CaseView) -> None:
        now = self._desk.now()
        with ui.element("div").classes("stack"):
            with ui.element("div").classes("card order-1"):
                self._meta = ui.html(parts.meta(view, now), sanitize=False)
                self._text = ui.html(parts.text(view), sanitize=False).classes("complaint")
                ui.html(parts.legend(view), sanitize=False).classes("legend")
            ui.html(parts.risk(view, now), sanitize=False).classes("card order-3")
            with ui.element("div").classes("two order-3"):
                with ui.element("div").classes("stack"):
                    others = parts.nearby("这位客户的其他投诉", view.others, now, "没有，或没有客户编号。")
                    ui.html(others, sanitize=False).classes("card")
                    ui.html(parts.similar(view), sanitize=False).classes("card")
                with ui.element("div").classes("stack"):
                    near = parts.nearby("最近的相似案件", view.near, now, "还没有相似的案件。")
                    ui.html(near, sanitize=False).classes("card")
                    self._history = ui.html(parts.history(view, now), sanitize=False).classes("card")
        with ui.element("div").classes("side order-2"):
            self._answers = Answers(view, self._looked_at, self._ask_label)

    def _looked_at(self, question: str) -> None:
        """Bring out what speaks for the answer to the question that is open: somebody is at work here."""
        self._touched_at = time.monotonic()
        heads = list(self._view.taxonomy.heads) if self._view is not None else []
        at = heads.index(question) if question in heads else "risk"
        self._text.classes(replace=f"complaint show-{at}")

    def _draw_foot(self, view: CaseView, day: Day) -> None:
        if self._works:
            button("确认", "Enter", "btn main", self._accept)
            button("跳过", "S", "btn", self._skip)
            button("撤销", "Z", "btn", self._undo)
            if view.judged is not None:
                button("风险等级", "R", "btn quiet hide-small", lambda: self._answers.open(RISK))
            button("备注", "N", "btn quiet", self._ask_note)
        else:
            why = "已审核过" if view.done else "不在您的队列里，只能查看"
            ui.html(f'<span class="soft">{why}</span> <a class="btn" href="/review/">回到队列</a>', sanitize=False)
        ui.element("div").classes("grow")
        if self._desk.may("unmask") and not view.unmasked:
            button("显示号码", "", "btn quiet hide-small", self._unmask)
        until = f'<span data-until="{view.until.isoformat()}"></span>' if view.until else ""
        ui.html(
            f'<div class="state">{until}<span>今日已审 <b>{day.progress.done}</b> / {day.budget}</span>'
            f'<span class="muted hide-small">模型 {escape(view.model)}</span></div>',
            sanitize=False,
        )

    # ---- keys

    async def _key(self, event: events.KeyEventArguments) -> None:
        modified = event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta
        if not event.action.keydown or modified or self._labels.open or self._notes.open:
            return
        self._touched_at = time.monotonic()
        key, name = event.key, event.key.name.lower()
        if self._view is None:
            if name == "z":
                await self._undo()
        elif key.number == 0:
            self._ask_label()
        elif key.number is not None:
            self._answers.press(key.number)
        elif key.enter:
            await self._accept()
        elif key.arrow_down or key.arrow_up or name in {"j", "k"}:
            self._answers.move(1 if key.arrow_down or name == "j" else -1)
        elif name == "r":
            self._answers.open(RISK)
        elif name == "n":
            self._ask_note()
        elif (deed := {"s": self._skip, "z": self._undo}.get(name)) is not None:
            await deed()

    # ---- deeds

    async def _accept(self) -> None:
        view, note = self._view, self._note or None
        if view is not None and time.monotonic() - self._shown_at >= UNREAD:
            answers = self._answers
            await self._done(lambda: self._desk.decide(view, answers.picked, note, answers.level))

    async def _skip(self) -> None:
        if (view := self._view) is not None:
            await self._done(lambda: self._desk.skip(view))

    async def _done(self, deed: Callable[[], Awaitable[Decided]]) -> None:
        """Do it, and show the next case; the deed is on disk before that is shown."""
        if self._busy or not self._works:
            return
        self._busy = True
        try:
            refused, ready = await asyncio.gather(_refused(deed), self._still_ready())
            if refused is not None:  # another person has the case, or has decided it: it is none of this person's
                say(words_of(refused), "bad")
            await self._next(ready)
        finally:
            self._busy = False

    async def _undo(self) -> None:
        if self._busy or not self._works:
            return
        self._busy = True
        try:
            undone = await self._desk.undo()
            put_back = self._view
            await self._show(undone.view)
            say(f"已撤销上一个决定（{OUTCOMES[undone.decided.outcome]}），请重新审核", "good")
            if put_back is not None and put_back.id != undone.view.id:
                await self._desk.release([put_back.id])
        finally:
            self._busy = False

    async def _next(self, ready: CaseView | None) -> None:
        ahead, self._ahead = self._ahead, None
        if ready is None and ahead is not None:
            ready = await ahead
        await self._show(ready if ready is not None else await self._desk.claim(self._filters))

    async def _still_ready(self) -> CaseView | None:
        """The case behind this one, where it is there and still this person's: its lease may have run out."""
        if (ready := self._ready()) is None:
            return None
        try:
            return replace(ready, until=await self._desk.keep(ready))
        except Conflict:
            if self._ready() is ready:
                self._ahead = None
            return None

    async def _fetch(self) -> CaseView | None:
        try:
            return await self._desk.claim(self._filters)
        except Exception:  # it is asked for again, and then told, when it is needed
            return None

    async def _keep(self) -> None:
        """Prolong the lease while somebody works here."""
        view = self._view
        if self._busy or view is None or view.until is None or time.monotonic() - self._touched_at > AWAY:
            return
        until = await self._desk.keep(view)
        ui.run_javascript(
            f'document.querySelectorAll("[data-until]").forEach(e => e.dataset.until = "{until.isoformat()}")'
        )
        if self._ready() is not None and await self._still_ready() is None and self._ahead is None:
            self._ahead = background_tasks.create(self._fetch(), name="next case")

    def _ready(self) -> CaseView | None:
        """The case behind this one, where it is there."""
        ahead = self._ahead
        return ahead.result() if ahead is not None and ahead.done() and not ahead.cancelled() else None

    async def _leave(self) -> None:
        """The browser is gone: what it held goes back, unless a newer page has it."""
        ahead, name = self._ready(), self._desk.person.name
        if self._ahead is not None:
            self._ahead.cancel()
        held = [one.id for one in (self._view, ahead) if one is not None and one.until is not None]
        given = [one for one in held if _shown.get((name, one), self) is self]
        self._forget()
        if given:
            await self._desk.release(given)

    # ---- dialogs

    def _ask_label(self) -> None:
        if self._view is not None and self._answers.here in self._view.heads:
            head = self._view.taxonomy.heads[self._answers.here]
            self._labels.ask(head.name, head.names)

    def _label_picked(self, label: str) -> None:
        self._answers.pick(label)

    def _ask_note(self) -> None:
        self._notes.ask("<h2>备注（随这次决定保存）</h2>", self._note)

    def _note_written(self, words: str) -> None:
        self._note = words
        say("备注会随这次决定保存" if words else "没有备注")

    async def _unmask(self) -> None:
        if self._view is not None:
            shown = await self._desk.unmask(self._view)
            self._view = shown
            now = self._desk.now()
            self._meta.set_content(parts.meta(shown, now))
            self._text.set_content(parts.text(shown))
            self._history.set_content(parts.history(shown, now))


async def _refused(deed: Callable[[], Awaitable[Decided]]) -> Conflict | None:
    """Do it; returns why it could not be done where somebody else was before."""
    try:
        await deed()
    except Conflict as error:
        return error
    return None
