"""What the models page shows of versions, comparisons and shadows, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from complaints.taxonomy import Head
from serving.models import ModelVersion
from serving.pages.words import clock, percent
from serving.store.shadows import Agreement, Disagreement

ALIASES = {"champion": "现行", "challenger": "影子"}
GATES = {"passed": "通过", "refused": "未通过"}
ORIGINS = {"packaged": "随软件附带", "import": "导入"}
SETS = {"test": "固定测试集", "newest": "最新的更正", "audit": "随机抽检"}
# What the registry says itself in a reason: of the first version, and of one that was promoted by force.
PROMOTED = {
    "first start": "首次启动",
    "(against the gate)": "（未通过关口）",
    "(not measured against the champion)": "（没有与现行版本比较过）",
    "(measured against another champion)": "（只与从前的现行版本比较过）",
}
# Classes listed of a comparison, those that changed most first.
CLASSES = 8


def version_cells(one: ModelVersion, now: datetime) -> str:
    """The cells of one version: number, names, when, gate, what became of it."""
    names = "".join(
        f'<span class="tag {"auto" if alias == "champion" else "mine"}">{escape(ALIASES.get(alias, alias))}</span> '
        for alias in one.aliases
    )
    gate = one.tags.get("gate", "")
    look = {"passed": "auto", "refused": "review"}.get(gate, "")
    reasons = one.tags.get("gate_reasons", "")
    shown = f'<span class="tag {look}" title="{escape(reasons)}">{GATES.get(gate, "未经检验")}</span>'
    origin = one.tags.get("origin", "")
    fate = [f"来源：{escape(ORIGINS.get(origin, origin))}"] if origin else []
    for tag, words in (("promoted", "推广"), ("rolled_back", "撤下")):
        if told := one.tags.get(tag):
            stamp, _, why = told.partition(" ")
            fate.append(f"{words} {_when(stamp, now)}：{escape(_in_chinese(why))}")
    return (
        f"<td><b>v{escape(one.version)}</b></td><td>{names}</td><td class='nowrap'>{clock(one.created_at, now)}</td>"
        f"<td>{shown}</td><td class='soft small'>{'<br>'.join(fate) or '—'}</td>"
    )


def _in_chinese(why: str) -> str:
    for said, chinese in PROMOTED.items():
        if why.startswith(said):
            return chinese + why.removeprefix(said).strip()
    return why


def _when(stamp: str, now: datetime) -> str:
    try:
        return clock(datetime.fromisoformat(stamp), now)
    except ValueError:
        return escape(stamp)


def comparison(found: Mapping[str, Any] | None, questions: Mapping[str, Head]) -> str:
    """A candidate against the champion of its time: the gate's word, then every set of rows."""
    if found is None:
        return '<p class="muted">这个版本没有与现行版本比较过。</p>'
    word = (
        '<p class="note">关口：<b>通过</b>。没有哪个问题、哪个标签明显变差。</p>'
        if found["gate"]["passed"]
        else against(found, questions)
    )
    tables = "".join(_set(where, heads, questions) for where, heads in found["sets"].items() if heads)
    return (
        f"{word}{tables}<p class='said-plainly'>每条耗时为现行的 {found['speed']:.2f} 倍，"
        f"大小为 {found['size']:.2f} 倍。方括号是差值的 95% 区间。</p>"
    )


def against(found: Mapping[str, Any], questions: Mapping[str, Head]) -> str:
    """Why the gate refused a candidate."""
    reasons = "".join(f"<li>{escape(_named(one, questions))}</li>" for one in found["gate"]["reasons"])
    return f'<div class="note bad">关口：<b>未通过</b><ul class="reasons-list">{reasons}</ul></div>'


def _named(reason: Mapping[str, Any], questions: Mapping[str, Head]) -> str:
    """A reason of the gate, with the question's Chinese name for its id."""
    head, words = str(reason["head"]), str(reason["chinese"])
    known = questions.get(head)
    return known.name + words.removeprefix(head) if known is not None and words.startswith(head) else words


def _set(where: str, heads: Mapping[str, Any], questions: Mapping[str, Head]) -> str:
    lines = []
    classes: list[tuple[str, Mapping[str, Any]]] = []
    for name, one in heads.items():
        title = questions[name].name if name in questions else name
        auto = one["auto"]
        lines.append(
            f'<tr><td>{escape(title)}</td><td class="num">{one["rows"]}</td>{_change(one["accuracy"])}'
            f'{_change(one["macro_f1"])}<td class="num">{_auto(auto["champion"])}</td>'
            f'<td class="num">{_auto(auto["candidate"])}</td></tr>'
        )
        classes += [(title, row) for row in one["classes"]]
    most = sorted(classes, key=lambda row: -abs(row[1]["f1"]["difference"]))[:CLASSES]
    below = "".join(
        f'<tr><td class="soft">{escape(title)}</td><td>{escape(row["name"])}</td><td class="num">{row["rows"]}</td>'
        f"{_change(row['recall'])}{_change(row['f1'])}</tr>"
        for title, row in most
        if row["f1"]["difference"]
    )
    table = (
        f'<h2 class="set-title">{SETS.get(where, escape(where))}</h2><table class="table plain">'
        "<thead><tr><th>问题</th>"
        '<th class="num">条数</th><th class="num">正确率</th><th class="num">宏平均 F1</th>'
        '<th class="num">现行·自动</th><th class="num">此版·自动</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    if below:
        table += (
            '<details><summary>变化最大的标签</summary><table class="table plain"><thead><tr><th>问题</th><th>标签</th>'
            '<th class="num">条数</th><th class="num">召回率</th><th class="num">F1</th></tr></thead>'
            f"<tbody>{below}</tbody></table></details>"
        )
    return table


def _change(one: Mapping[str, float]) -> str:
    look = "up" if one["low"] > 0 else "down" if one["high"] < 0 else "soft"
    before, after = percent(one["champion"], 1), percent(one["candidate"], 1)
    return (
        f'<td class="num nowrap"><span class="soft">{before} →</span> {after}'
        f'<div class="sub {look}">{one["difference"]:+.1%} [{one["low"]:+.1%}, {one["high"]:+.1%}]</div></td>'
    )


def _auto(one: Mapping[str, float | None]) -> str:
    right = one["right"]
    return f'{one["rows"]:.0f} 条<div class="sub">{"—" if right is None else f"对 {percent(right, 1)}"}</div>'


def shadow(found: Sequence[Agreement], questions: Mapping[str, Head]) -> str:
    """How often the version in shadow says the same on live traffic."""
    lines = "".join(
        f'<tr><td>{escape(questions[one.head].name)}</td><td class="num">{one.answers}</td>'
        f'<td class="num">{percent(one.same / one.answers, 1)}</td>'
        f'<td class="num">{percent(one.auto / one.answers)}</td>'
        f'<td class="num">{percent(one.shadow_auto / one.answers)}</td></tr>'
        for one in found
        if one.head in questions and one.answers
    )
    if not lines:
        return '<p class="muted">影子版本还没有读过投诉；它只读一部分新来的，且不影响答复。</p>'
    return (
        '<table class="table plain"><thead><tr><th>问题</th><th class="num">都答过</th><th class="num">答案相同</th>'
        f'<th class="num">现行自动</th><th class="num">影子自动</th></tr></thead><tbody>{lines}</tbody></table>'
    )


def disagreements(found: Sequence[Disagreement], questions: Mapping[str, Head], now: datetime) -> str:
    """Where they differ, the newest first."""
    lines = "".join(
        f'<tr><td class="nowrap soft">{clock(one.at, now)}</td><td>{escape(questions[one.head].name)}</td>'
        f"<td>{_label(questions, one.head, one.label)} <span class='muted'>{percent(one.confidence)}</span></td>"
        f"<td>{_label(questions, one.head, one.shadow_label)} "
        f"<span class='muted'>{percent(one.shadow_confidence)}</span></td>"
        f'<td><a href="/review/case/{escape(one.prediction_id)}" target="_blank">看案件</a></td></tr>'
        for one in found
        if one.head in questions
    )
    if not lines:
        return ""
    return (
        '<h2 class="set-title">答案不同的（最新）</h2><table class="table plain"><thead><tr><th>时间</th><th>问题</th>'
        f"<th>现行</th><th>影子</th><th></th></tr></thead><tbody>{lines}</tbody></table>"
    )


def _label(questions: Mapping[str, Head], head: str, label: str) -> str:
    return escape(questions[head].names.get(label, label))
