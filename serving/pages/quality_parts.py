"""Parts of the quality page: one question's answers by label, and what is said of this week beside those before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import cast

from nicegui import ui

from complaints.drift import STRONG, Distance
from complaints.taxonomy import Head, Taxonomy
from serving.pages import charts
from serving.pages.shell import guarded
from serving.pages.words import percent
from serving.quality import FEWEST, Answered, Drift, Tally, answered
from serving.store.review_quality import Model

# Labels listed, the worst first.
LABELS = 15


class ByLabel:
    """A question and one of its answers, which the reader chooses, and how that was accepted week by week."""

    def __init__(self) -> None:
        self._head = ""
        self._label = ""

    def draw(self, tallies: Sequence[Tally], taxonomy: Taxonomy, reached: Mapping[str, float]) -> None:
        """Into the element that is open; `reached`: head -> accuracy in the model's test. What was chosen stays."""
        self._tallies, self._reached = tallies, reached
        self._heads = {name: head for name, head in taxonomy.heads.items() if any(one.head == name for one in tallies)}
        if not self._heads:
            ui.html("<h2>按答案看</h2>", sanitize=False)
            plainly("这段时间还没有人审核过案件。")
            return
        if self._head not in self._heads:
            self._head = next(iter(self._heads))
        with ui.element("div").classes("head-row"):
            ui.html("<h2>按答案看</h2>", sanitize=False).classes("grow")
            self._field("问题", {name: head.name for name, head in self._heads.items()}, self._head, self._ask)
            self._answers = ui.element("div")
        self._body = ui.element("div")
        self._ask(self._head)

    def _field(self, title: str, options: dict[str, str], value: str, chosen: Callable[[str], None]) -> None:
        field = ui.select(options, value=value).props(f'outlined dense options-dense aria-label="{title}"')
        field.style("min-width:130px").on_value_change(guarded(lambda: chosen(cast("str", field.value))))

    def _ask(self, head: str) -> None:
        """Show a question, and of its answers the worst, or the one that was chosen."""
        self._head, self._found = head, answered(self._tallies, head)
        names = {one.label: self._heads[head].names.get(one.label, one.label) for one in self._found}
        label = self._label if self._label in names else self._found[0].label
        self._answers.clear()
        with self._answers:
            self._field("答案", names, label, self._follow)
        self._follow(label)

    def _follow(self, label: str) -> None:
        """Show how one answer was accepted week by week, beside all of them."""
        self._label, head = label, self._heads[self._head]
        mine = [one for one in self._tallies if (one.head, one.label) == (self._head, label)]
        name = head.names.get(label, label)
        self._body.clear()
        with self._body:
            ui.html(table(self._found, head), sanitize=False)
            ui.echart(charts.course(mine, self._head, name, self._reached)).classes("chart")
            plainly(promise(head, self._reached.get(self._head)))


def promise(head: Head, reached: float | None) -> str:
    """What the dashed line is."""
    if reached is None:
        return "模型没有写明测试时的正确率，所以没有虚线可比。"
    return f"虚线是模型测试时“{head.name}”全部答案的正确率 {percent(reached, 1)}；单个答案的，模型没有写明。"


def table(found: Sequence[Answered], head: Head) -> str:
    """The worst answers of a question, as HTML."""
    lines = "".join(
        f'<tr><td>{escape(head.names.get(one.label, one.label))}</td><td class="num">{one.accepted}</td>'
        f'<td class="num">{one.corrected}</td><td class="num">{percent(one.share)}</td>'
        f'<td class="num soft">{charts.interval(one)}</td></tr>'
        for one in found[:LABELS]
    )
    more = f"，只列前 {LABELS} 个" if len(found) > LABELS else ""
    return (
        '<table class="table plain"><thead><tr><th>模型的答案</th><th class="num">认可</th><th class="num">更正</th>'
        '<th class="num">认可率</th><th class="num">95% 区间</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
        f'<p class="said-plainly">最差的在前：按区间的上端排{more}，审得少的不会只因偶然排在前面。</p>'
    )


def draw_drift(drift: Drift, taxonomy: Taxonomy, serving: Model) -> None:
    """This week beside the four before, as a chart and in words."""
    recent, before = drift.lengths.recent, drift.lengths.before
    if min(recent, before) < FEWEST:
        plainly(f"样本不足：本周 {recent} 条，此前四周 {before} 条，各需 {FEWEST} 条才判断。")
        return
    heads = {name: one for name, one in drift.labels.items() if name in taxonomy.heads}
    values = [(taxonomy.heads[name].name, one.value, one.chance) for name, one in heads.items()]
    values += [("长度", drift.lengths.value, drift.lengths.chance), ("用词", drift.words.value, drift.words.chance)]
    ui.echart(charts.distances(values)).classes("chart")
    plainly(" ".join(told(heads, drift, taxonomy, serving)))


def told(heads: Mapping[str, Distance], drift: Drift, taxonomy: Taxonomy, serving: Model) -> list[str]:
    """Chinese sentences: whose labels are compared where that is not plain, and what has moved."""
    said = []
    if drift.model != serving:
        now, then = drift.answers
        few = f"现行模型 {_called(serving)} 本周作答 {now} 条，此前四周 {then} 条，各需 {FEWEST} 条才能比标签；"
        other = "换了模型，答案的习惯也会变，" if then < now else ""
        if drift.model is None:
            said.append(f"{few}{other}所以只比长度与用词。")
        else:
            said.append(f"{few}{other}所以标签只比 {_called(drift.model)} 前后两段的答案。")
    moved_from = len(said)
    for name, one in heads.items():
        if one.real:
            head = taxonomy.heads[name]
            moved = "、".join(f"{head.names.get(label, label)} {change:+.1%}" for label, change in one.moved[:3])
            said.append(f"{head.name}{_how(one)}（PSI {one.value:.2f}）：{moved}。")
    if drift.lengths.real:
        moved = "、".join(f"{name} 字 {change:+.1%}" for name, change in drift.lengths.moved[:2])
        said.append(f"文本长度{_how(drift.lengths)}（PSI {drift.lengths.value:.2f}）：{moved}。")
    # Words have no rule of thumb: half as much again as chance does is worth a look.
    if drift.words.value > 1.5 * drift.words.chance:
        said.append(
            f"用词有变（JS {drift.words.value:.3f}）：{'、'.join(word for word, _ in drift.words.moved)} 增多。"
        )
    if len(said) == moved_from:
        said.append(f"{'标签、' if heads else ''}长度与用词都与此前四周相近。")
    return said


def _called(model: Model) -> str:
    return f"{model[0]} v{model[1]}"


def _how(distance: Distance) -> str:
    return "变化明显" if distance.value >= STRONG else "略有变化"


def plainly(words: str) -> None:
    """A sentence under what it explains."""
    ui.html(f'<p class="said-plainly">{escape(words)}</p>', sanitize=False)
