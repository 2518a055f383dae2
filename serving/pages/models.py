"""Which model answers, which were before it, how they compare; promoted and rolled back here, with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, TypeVar

from nicegui import context, ui
from starlette.requests import Request

from complaints.errors import NotReady, RegistryError
from serving.access import Right
from serving.models import Models, ModelVersion
from serving.pages import model_parts as parts
from serving.pages.desk import Desk
from serving.pages.dialogs import TextDialog
from serving.pages.shell import button, frame, guarded, place, say, words_of

Result = TypeVar("Result")

# Seconds between looks at whether the service has taken up what was promoted.
LOOK = 2.0
# Disagreements between champion and shadow that are listed.
DIFFERENT = 15
# Why only an admin promotes a version: what the others are told, and what the admin is asked.
OBJECTIONS = {
    "refused": ("未通过关口", "关口没有放行"),
    "unjudged": ("没有与现行版本比较过", "它没有与现行版本比较过，好坏未知"),
    "outdated": ("比较时的现行版本已经换了", "它只与从前的现行版本比较过"),
}


@place("/models")
async def show(request: Request) -> None:
    """The page."""
    desk = frame(request, "/review/models", "模型")
    page = ModelsPage(desk)
    page.draw()
    await context.client.connected()  # opening the registry takes seconds the first time
    await page.refresh()


class ModelsPage:
    """One browser page: the versions of the served model, and one of them looked at closely."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._name = desk.service.settings.model
        self._versions: Sequence[ModelVersion] = ()
        self._champion: str | None = None
        self._challenger: str | None = None
        self._past: Sequence[str] = ()
        self._shown: str | None = None
        self._serving = ""
        self._deed: Callable[[str], Any] | None = None

    def draw(self) -> None:
        """The frame of the page."""
        with ui.element("div").classes("page"):
            with ui.element("div").classes("head-row"):
                self._title = ui.html("", sanitize=False).classes("grow title-row")
                self._deeds = ui.element("div").classes("deeds")
            self._body = ui.element("div").classes("stack")
            with self._body:
                ui.html('<div class="card empty waits">正在打开模型库…</div>', sanitize=False)
        self._reasons = TextDialog(self._reasoned)
        self._tell()
        ui.timer(LOOK, guarded(self._tell), immediate=False)

    def _tell(self) -> None:
        """Say which version answers now, as soon as that changes."""
        version = None
        try:
            version = self._desk.service.source.current().version
        except NotReady as error:
            answers = escape(words_of(error))
        else:
            answers = f'正在答复的是 <b class="serving">v{escape(version)}</b>'
        waits = self._champion is not None and version != self._champion
        more = f'<span class="tag suggest">正在换上 v{escape(self._champion or "")}…</span>' if waits else ""
        told = f'<h1>模型</h1><span class="soft">{escape(self._name)}，{answers}</span>{more}'
        if told != self._serving:
            self._serving = told
            self._title.set_content(told)

    async def refresh(self) -> None:
        """Ask the registry again and draw."""
        try:
            await self._ask("quality", self._load)
        except Exception as error:
            self._body.clear()
            with self._body:
                words = escape(words_of(error))
                ui.html(f'<div class="card empty"><b>模型库打不开</b>{words}</div>', sanitize=False)
            return
        if self._shown is None:
            self._shown = self._challenger or (self._versions[0].version if self._versions else None)
        self._tell()
        self._draw_deeds()
        self._body.clear()
        with self._body:
            self._draw_versions()
            if self._shown is not None:
                await self._draw_version(self._shown)
            if self._challenger is not None and self._champion is not None:
                await self._draw_shadow(self._challenger, self._champion)

    def _load(self, models: Models) -> None:
        self._versions = models.versions(self._name)
        self._champion, self._challenger = models.champion(self._name), models.challenger(self._name)
        self._past = models.past(self._name)

    def _draw_deeds(self) -> None:
        self._deeds.clear()
        if not self._desk.may("promote"):
            return
        with self._deeds:
            if self._past:
                button("回退到上一个现行版本", "", "btn danger", self._ask_rollback)

    def _draw_versions(self) -> None:
        now = self._desk.now()
        with ui.element("table").classes("table versions"):
            ui.html(
                "<tr><th>版本</th><th></th><th>登记</th><th>关口</th><th>经过</th></tr>", sanitize=False, tag="thead"
            )
            with ui.element("tbody"):
                for one in self._versions:
                    row = ui.html(parts.version_cells(one, now), sanitize=False, tag="tr")
                    row.classes(f"pickable{' here' if one.version == self._shown else ''}")
                    row.on("click", guarded(lambda version=one.version: self._look_at(version)))

    async def _look_at(self, version: str) -> None:
        self._shown = version
        await self.refresh()

    async def _draw_version(self, version: str) -> None:
        found, card, objection = await self._ask(
            "quality",
            lambda models: (
                models.comparison(self._name, version),
                models.card(self._name, version),
                models.objection(self._name, version),
            ),
        )
        with ui.element("div").classes("card"):
            with ui.element("div").classes("head-row"):
                ui.html(f"<h2>v{escape(version)} 与当时的现行版本</h2>", sanitize=False).classes("grow")
                self._draw_version_deeds(version, found, objection)
            ui.html(parts.comparison(found, self._desk.questions), sanitize=False)
            if card is not None:
                with ui.element("details"):
                    ui.html("模型卡（原文）", sanitize=False, tag="summary")
                    ui.markdown(card, extras=["tables"]).classes("model-card")

    def _draw_version_deeds(self, version: str, found: Mapping[str, Any] | None, objection: str | None) -> None:
        if not self._desk.may("promote") or version == self._champion:
            return
        if version == self._challenger:
            button("停止影子运行", "", "btn", lambda: self._set_challenger(None))
        else:
            button("影子运行", "", "btn", lambda: self._set_challenger(version))
        if objection is not None:
            told, why = OBJECTIONS[objection]
            if self._desk.may("force"):
                button("不顾关口，仍要推广", "", "btn danger", lambda: self._ask_force(version, found, why))
            else:
                ui.html(f"{told}，只有管理员能推广", sanitize=False).classes("late")
        else:
            button("推广为现行版本", "", "btn main", lambda: self._ask_promotion(version))

    async def _draw_shadow(self, version: str, champion: str) -> None:
        store, questions = self._desk.service.store, self._desk.questions
        agreement, different = await self._desk.ask(
            "quality",
            lambda _now: (
                store.shadow_agreement(self._name, version, champion),
                store.disagreements(self._name, version, champion, None, DIFFERENT),
            ),
        )
        told = parts.shadow(agreement, questions)
        html = f"<h2>影子运行的 v{escape(version)}，与现行的 v{escape(champion)} 相比</h2>{told}"
        html += parts.disagreements(different, questions, self._desk.now())
        ui.html(html, sanitize=False).classes("card")

    # ---- deeds

    def _ask_promotion(self, version: str) -> None:
        self._deed = lambda reason: self._promote(version, reason)
        self._reasons.ask(
            f"<h2>推广 v{escape(version)}</h2><p class='soft'>新来的投诉将由它答复，几秒内生效。请写明理由。</p>",
            needed=True,
        )

    def _ask_force(self, version: str, found: Mapping[str, Any] | None, why: str) -> None:
        self._deed = lambda reason: self._promote(version, reason, force=True)
        against = ""
        if found is not None and not found["gate"]["passed"]:
            against = parts.against(found, self._desk.questions)
        self._reasons.ask(
            f"<h2>不顾关口，推广 v{escape(version)}</h2>{against}"
            f"<p class='soft'>{why}，仍要由它答复新来的投诉。请写明理由，会记入日志。</p>",
            needed=True,
        )

    def _ask_rollback(self) -> None:
        leaving = self._champion
        self._deed = lambda reason: self._rollback(leaving, reason)
        self._reasons.ask(
            f"<h2>撤下 v{escape(leaving or '')}，回到上一个现行版本</h2><p class='soft'>几秒内生效。请写明理由。</p>",
            needed=True,
        )

    async def _reasoned(self, reason: str) -> None:
        if self._deed is not None:
            await self._deed(reason)

    async def _promote(self, version: str, reason: str, *, force: bool = False) -> None:
        who = self._desk.person.name
        await self._ask(
            "force" if force else "promote",
            lambda models: models.promote(self._name, version, f"{who}：{reason}", force=force),
        )
        await self._note("promote_forced" if force else "promote", version, reason)
        say(f"已推广 v{version}，服务将在几秒内换上", "good")
        await self.refresh()

    async def _rollback(self, leaving: str | None, reason: str) -> None:
        who = self._desk.person.name
        version = await self._ask("promote", lambda models: models.rollback(self._name, f"{who}：{reason}", leaving))
        await self._note("rollback", version, reason)
        say(f"已回退到 v{version}，服务将在几秒内换上", "good")
        await self.refresh()

    async def _set_challenger(self, version: str | None) -> None:
        await self._ask("promote", lambda models: models.set_challenger(self._name, version))
        await self._note("challenge", version or "", "")
        say(f"v{version} 开始影子运行" if version else "已停止影子运行", "good")
        await self.refresh()

    async def _note(self, action: str, version: str, reason: str) -> None:
        store, who = self._desk.service.store, self._desk.person.name
        subject = f"{self._name} {version}".strip()
        await self._desk.ask("promote", lambda now: store.log(who, action, subject, {"reason": reason}, now))

    async def _ask(self, right: Right, query: Callable[[Models], Result]) -> Result:
        """Ask the registry, beside the event loop."""
        opened = self._desk.service.models
        if opened is None:
            raise RegistryError("这个服务没有接入模型库：用 jianwei serve 启动，即可在此查看和推广版本。")
        return await self._desk.ask(right, lambda _now: query(opened()))
