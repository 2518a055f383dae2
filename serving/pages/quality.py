"""How good the model is in daily use, by what people said of its answers; every number says what it speaks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import cast

from nicegui import context, ui
from starlette.requests import Request

from complaints.taxonomy import Taxonomy
from serving.pages import charts
from serving.pages.desk import Desk
from serving.pages.quality_parts import ByLabel, draw_drift, plainly
from serving.pages.shell import frame, guarded, place, words_of
from serving.pages.words import percent
from serving.quality import Kept, QualityReport, quality
from serving.store.review_quality import Audited, Model

WEEKS = {4: "近 4 周", 12: "近 12 周", 26: "近半年"}
# Audited answers below which a precision says little.
FEW = 30


@place("/quality")
async def show(request: Request) -> None:
    """The page."""
    desk = frame(request, "/review/quality", "质量")
    page = QualityPage(desk)
    page.draw()
    await context.client.connected()  # the frame stands while it is counted
    await page.refresh()


class QualityPage:
    """One browser page: a period, and what was said in it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._weeks = 12
        self._by_label = ByLabel()

    def draw(self) -> None:
        """The frame of the page."""
        with ui.element("div").classes("page"):
            with ui.element("div").classes("head-row"):
                ui.html("<h1>质量</h1>", sanitize=False).classes("grow")
                period = ui.select(WEEKS, value=self._weeks).props('outlined dense options-dense aria-label="时段"')
                period.style("width:120px").on_value_change(guarded(lambda: self._choose(cast("int", period.value))))
            self._body = ui.element("div")
            with self._body:
                ui.html('<div class="card empty waits">正在统计…</div>', sanitize=False)

    async def _choose(self, weeks: int) -> None:
        self._weeks = weeks
        await self.refresh()

    async def refresh(self) -> None:
        """Count again and draw."""
        desk = self._desk
        try:
            snapshot = desk.service.source.current()
            predictor, model = snapshot.predictor, (snapshot.name, snapshot.version)
            promised = {name: one.precision_target for name, one in predictor.calibration.heads.items()}
            reached = {
                name: value
                for name in predictor.taxonomy.heads
                if (value := predictor.bundle.manifest.metrics.get(f"test/{name}/accuracy")) is not None
            }
            store, calendar = desk.service.store, desk.service.policies.control.policy.calendar
            report = await desk.ask(
                "quality",
                lambda now: quality(store, now - timedelta(weeks=self._weeks), now, promised, model, calendar),
            )
        except Exception as error:
            self._body.clear()
            with self._body:
                ui.html(f'<div class="card empty"><b>统计没有完成</b>{escape(words_of(error))}</div>', sanitize=False)
            return
        self._body.clear()
        with self._body:
            _draw(report, predictor.taxonomy, reached, model, self._by_label)


def _draw(
    report: QualityReport, taxonomy: Taxonomy, reached: dict[str, float], model: Model, by_label: ByLabel
) -> None:
    version = model[1]
    names = {name: head.name for name, head in taxonomy.heads.items()}
    by_head = {one.head: one for one in report.kept}
    tiles = [_tile(by_head[name], title) for name, title in names.items() if name in by_head]
    ui.html("".join(tiles), sanitize=False).classes("tiles")
    with ui.element("div").classes("charts"):
        with ui.element("div").classes("card"):
            ui.html("<h2>审核中被认可的比例</h2>", sanitize=False)
            if report.tallies:
                ui.echart(charts.accepted(report.tallies, names, reached)).classes("chart")
            plainly(
                "按周计。送审的多是拿不准的，所以低于虚线（模型测试时的正确率）是正常的；看走势，不看高低。"
                if report.tallies
                else "这段时间还没有人审核过案件。"
            )
        with ui.element("div").classes("card"):
            ui.html("<h2>自动判定的准确率（随机抽检）</h2>", sanitize=False)
            if any(one.tried for one in report.kept):
                ui.echart(charts.kept(report.kept, names)).classes("chart")
            for words in audit_told(report.audited, report.kept, names, version):
                plainly(words)
        with ui.element("div").classes("card"):
            ui.html("<h2>把握与实际</h2>", sanitize=False)
            _calibration(report, names, version)
        with ui.element("div").classes("card"):
            ui.html("<h2>本周与此前四周</h2>", sanitize=False)
            draw_drift(report.drift, taxonomy, model)
        with ui.element("div").classes("card"):
            by_label.draw(report.tallies, taxonomy, reached)
        ui.html(_agreement(report, names), sanitize=False).classes("card")


def audit_told(audited: Audited, found: Sequence[Kept], names: Mapping[str, str], version: str) -> list[str]:
    """What the audit speaks for, in Chinese sentences; `names`: head -> its name."""
    waiting = audited.drawn - audited.reviewed
    rest = (
        f"，还有 {waiting} 件等着审；每种答案按它在抽出案件里的份额计，哪种答案先审得多，不会带偏结果"
        if waiting
        else ""
    )
    said = [
        f"只看现行模型 v{version} 作答、随机抽出的案件，所以能代表它的全部。竖线是 95% 区间。"
        f"抽出 {audited.drawn} 件，已审 {audited.reviewed} 件{rest}。"
    ]
    gaps = [one for one in found if one.tried and one.uncovered and one.head in names]
    if gaps:
        shares = "、".join(f"{names[one.head]} {percent(one.uncovered)}" for one in gaps)
        said.append(f"有些答案抽出了却一件也没审过，没有算进来，占抽出的自动答案：{shares}。")
    return said


def _tile(one: Kept, name: str) -> str:
    promise = f"承诺 {percent(one.promised)}" if one.promised is not None else "没有承诺"
    if not one.tried:
        shown, look, says = "—", "", f"{promise}，尚无抽检"
    else:
        shown = percent(one.share, 1) if one.tried >= FEW else f"{one.right} / {one.tried}"
        look = " bad" if one.broken else ""
        says = f"{charts.interval(one)}，{promise}"
        says += (
            "，已确认低于承诺" if one.broken else f"，不足 {FEW} 件，先看看" if one.tried < FEW else f"，{one.tried} 件"
        )
    return f'<div class="card tile{look}"><span>{escape(name)} · 自动</span><b>{shown}</b><p>{says}</p></div>'


def _calibration(report: QualityReport, names: dict[str, str], version: str) -> None:
    audited = [one for one in report.calibrated if one.audit and sum(b.count for b in one.bins) >= FEW]
    everything = [one for one in report.calibrated if not one.audit and sum(b.count for b in one.bins) >= FEW]
    chosen = audited or everything
    if chosen:
        ui.echart(charts.reliability(chosen, names)).classes("chart")
        worst = max(chosen, key=lambda one: one.error)
        source = "只看抽检的案件" if audited else "抽检的还少，这里是全部审核过的案件，偏向拿不准的"
        gap = f"平均差最大的是{names.get(worst.head, worst.head)}，{percent(worst.error, 1)}"
        plainly(f"只看现行模型 v{version} 的答案。{source}。{gap}。")
    else:
        plainly(f"现行模型 v{version} 审核过的案件还太少：一个问题审过 {FEW} 件以上才画得出。")


def _agreement(report: QualityReport, names: dict[str, str]) -> str:
    lines = "".join(
        f'<tr><td>{escape(names[head])}</td><td class="num">{one.pairs}</td><td class="num">{percent(one.same)}</td>'
        f'<td class="num">{"—" if one.kappa is None else f"{one.kappa:.2f}"}</td></tr>'
        for head, one in report.agreement.items()
        if head in names
    )
    head = '<tr><th>问题</th><th class="num">两人都审过</th><th class="num">一致</th><th class="num">κ</th></tr>'
    nothing = '<p class="muted">没有两人都审过的案件。复审的比例在部署时设定（JIANWEI_SECOND_SHARE）。</p>'
    table = f'<table class="table plain"><thead>{head}</thead><tbody>{lines}</tbody></table>'
    return (
        "<h2>两人复审的一致程度</h2>"
        + (table if lines else nothing)
        + '<p class="said-plainly">κ 是扣除偶然后的一致程度：1 为完全一致，0 与随意标注无异。</p>'
    )
