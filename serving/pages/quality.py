"""How good the model is in daily use, by what people said of its answers; every number says what it speaks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from html import escape
from typing import cast

from nicegui import context, ui
from starlette.requests import Request

from complaints.drift import STRONG, Distance
from complaints.taxonomy import Taxonomy
from serving.pages import charts
from serving.pages.desk import Desk
from serving.pages.shell import frame, guarded, place, words_of
from serving.pages.words import percent
from serving.quality import FEWEST, Drift, Kept, QualityReport, Tally, quality

WEEKS = {4: "近 4 周", 12: "近 12 周", 26: "近半年"}
# Audited answers below which a precision says little.
FEW = 30
# Labels listed, those that were corrected most often first.
LABELS = 15


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
            report = await desk.ask(
                "quality",
                lambda now: quality(desk.service.store, now - timedelta(weeks=self._weeks), now, promised, model),
            )
        except Exception as error:
            self._body.clear()
            with self._body:
                ui.html(f'<div class="card empty"><b>统计没有完成</b>{escape(words_of(error))}</div>', sanitize=False)
            return
        self._body.clear()
        with self._body:
            _draw(report, predictor.taxonomy, reached, snapshot.version)


def _draw(report: QualityReport, taxonomy: Taxonomy, reached: dict[str, float], version: str) -> None:
    names = {name: head.name for name, head in taxonomy.heads.items()}
    by_head = {one.head: one for one in report.kept}
    tiles = [_tile(by_head[name], title) for name, title in names.items() if name in by_head]
    ui.html("".join(tiles), sanitize=False).classes("tiles")
    with ui.element("div").classes("charts"):
        with ui.element("div").classes("card"):
            ui.html("<h2>审核中被认可的比例</h2>", sanitize=False)
            if report.tallies:
                ui.echart(charts.accepted(report.tallies, names, reached)).classes("chart")
            _plainly(
                "按周计。送审的多是拿不准的，所以低于虚线（模型测试时的正确率）是正常的；看走势，不看高低。"
                if report.tallies
                else "这段时间还没有人审核过案件。"
            )
        with ui.element("div").classes("card"):
            ui.html("<h2>自动判定的准确率（随机抽检）</h2>", sanitize=False)
            if any(one.tried for one in report.kept):
                ui.echart(charts.kept(report.kept, names)).classes("chart")
            drawn, done = report.audited
            _plainly(
                f"只看现行模型 v{version} 作答、随机抽出的案件，所以能代表它的全部。"
                f"抽出 {drawn} 件，已审 {done} 件。竖线是 95% 区间。"
            )
        with ui.element("div").classes("card"):
            ui.html("<h2>把握与实际</h2>", sanitize=False)
            _calibration(report, names, version)
        with ui.element("div").classes("card"):
            ui.html("<h2>本周与此前四周</h2>", sanitize=False)
            _drift(report.drift, taxonomy)
        ui.html(_labels(report.tallies, taxonomy), sanitize=False).classes("card")
        ui.html(_agreement(report, names), sanitize=False).classes("card")


def _tile(one: Kept, name: str) -> str:
    promise = f"承诺 {percent(one.promised)}" if one.promised is not None else "没有承诺"
    if not one.tried:
        shown, look, says = "—", "", f"{promise}，尚无抽检"
    else:
        shown = percent(one.right / one.tried, 1) if one.tried >= FEW else f"{one.right} / {one.tried}"
        look = " bad" if one.broken else ""
        says = f"{charts.interval(one)}，{promise}"
        says += "，已确认低于承诺" if one.broken else "，还太少" if one.tried < FEW else f"，{one.tried} 件"
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
        _plainly(f"只看现行模型 v{version} 的答案。{source}。{gap}。")
    else:
        _plainly(f"现行模型 v{version} 审核过的案件还太少：一个问题审过 {FEW} 件以上才画得出。")


def _drift(drift: Drift, taxonomy: Taxonomy) -> None:
    recent, before = drift.lengths.recent, drift.lengths.before
    if min(recent, before) < FEWEST:
        _plainly(f"样本不足：本周 {recent} 条，此前四周 {before} 条，各需 {FEWEST} 条才判断。")
        return
    heads = {name: one for name, one in drift.labels.items() if name in taxonomy.heads}
    values = [(taxonomy.heads[name].name, one.value, one.chance) for name, one in heads.items()]
    values += [("长度", drift.lengths.value, drift.lengths.chance), ("用词", drift.words.value, drift.words.chance)]
    ui.echart(charts.distances(values)).classes("chart")
    _plainly(" ".join(_told(heads, drift, taxonomy)))


def _told(heads: dict[str, Distance], drift: Drift, taxonomy: Taxonomy) -> list[str]:
    told = []
    for name, one in heads.items():
        if one.real:
            head = taxonomy.heads[name]
            moved = "、".join(f"{head.names.get(label, label)} {change:+.1%}" for label, change in one.moved[:3])
            told.append(f"{head.name}{_how(one)}（PSI {one.value:.2f}）：{moved}。")
    if drift.lengths.real:
        moved = "、".join(f"{name} 字 {change:+.1%}" for name, change in drift.lengths.moved[:2])
        told.append(f"文本长度{_how(drift.lengths)}（PSI {drift.lengths.value:.2f}）：{moved}。")
    if drift.words.value > 1.5 * drift.words.chance:
        told.append(
            f"用词有变（JS {drift.words.value:.3f}）：{'、'.join(word for word, _ in drift.words.moved)} 增多。"
        )
    return told or ["标签、长度与用词都与此前四周相近。"]


def _how(distance: Distance) -> str:
    return "变化明显" if distance.value >= STRONG else "略有变化"


def _labels(tallies: Sequence[Tally], taxonomy: Taxonomy) -> str:
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in tallies:
        if one.head in taxonomy.heads:
            counts[one.head, one.label][0] += one.accepted
            counts[one.head, one.label][1] += one.corrected
    wrong = [item for item in counts.items() if item[1][1]]
    worst = sorted(wrong, key=lambda item: (-item[1][1], item[0]))[:LABELS]
    lines = "".join(
        f'<tr><td class="soft">{escape(taxonomy.heads[head].name)}</td>'
        f"<td>{escape(taxonomy.heads[head].names.get(label, label))}</td>"
        f'<td class="num">{good}</td><td class="num">{bad}</td><td class="num">{percent(good / (good + bad))}</td></tr>'
        for (head, label), (good, bad) in worst
    )
    head = (
        '<tr><th>问题</th><th>模型的答案</th><th class="num">认可</th><th class="num">更正</th>'
        '<th class="num">认可率</th></tr>'
    )
    table = f'<table class="table plain"><thead>{head}</thead><tbody>{lines}</tbody></table>'
    return "<h2>更正最多的答案</h2>" + (table if lines else '<p class="muted">还没有更正过。</p>')


def _agreement(report: QualityReport, names: dict[str, str]) -> str:
    lines = "".join(
        f'<tr><td>{escape(names[head])}</td><td class="num">{one.pairs}</td><td class="num">{percent(one.same)}</td>'
        f'<td class="num">{"—" if one.kappa is None else f"{one.kappa:.2f}"}</td></tr>'
        for head, one in report.agreement.items()
        if head in names
    )
    head = '<tr><th>问题</th><th class="num">两人都审过</th><th class="num">一致</th><th class="num">κ</th></tr>'
    nothing = '<p class="muted">没有两人都审过的案件。复审的比例由 JIANWEI_SECOND_SHARE 设定。</p>'
    table = f'<table class="table plain"><thead>{head}</thead><tbody>{lines}</tbody></table>'
    return (
        "<h2>两人复审的一致程度</h2>"
        + (table if lines else nothing)
        + '<p class="said-plainly">κ 是扣除偶然后的一致程度：1 为完全一致，0 与随意标注无异。</p>'
    )


def _plainly(words: str) -> None:
    ui.html(f'<p class="said-plainly">{escape(words)}</p>', sanitize=False)
