"""The parts of a case that are only looked at, as HTML."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape

from complaints.records import HeadPrediction, Risk
from complaints.taxonomy import Head
from serving.pages.choices import Choice, choices
from serving.pages.marks import Mark, marked, plain
from serving.pages.view import CaseView, Event, Nearby
from serving.pages.words import DECISIONS, DIMENSIONS, LEVELS, REASONS, SEVERITIES, channel, clock, due, percent


def level_tag(level: str, prefix: str = "") -> str:
    """A level of risk as a coloured sign."""
    return f'<span class="level {escape(level)}">{prefix}{LEVELS.get(level, escape(level))}</span>'


def meta(view: CaseView, now: datetime) -> str:
    """Ticket, channel, product, customer: one line, masked as the text is."""
    one, hide = view.complaint, not view.unmasked
    parts = [level_tag(view.level, "风险 ")]
    if one.ticket_id:
        parts.append(f"<span>工单 <b>{marked(one.ticket_id, (), hide=hide)}</b></span>")
    parts.append(f"<span>{marked(channel(one.channel), (), hide=hide)}</span>")
    known = (value for value in (one.product, one.region, one.business_line) if value)
    parts += [f"<span>{marked(value, (), hide=hide)}</span>" for value in known]
    parts.append(f"<span>{clock(view.received_at, now)}</span>")
    if one.customer.vip:
        parts.append('<span class="tag mine">重要客户</span>')
    if one.customer.followers:
        parts.append(f"<span>粉丝 {one.customer.followers:,}</span>")
    if one.public:
        parts.append('<span class="tag review">已公开</span>')
    if view.alike_before:
        parts.append(f'<span class="late">同一客户第 {view.alike_before + 1} 次投诉此事</span>')
    if view.burst:
        parts.append(f'<span class="late">同类集中出现 {view.burst} 件</span>')
    if "truncated" in view.warnings:
        parts.append('<span class="tag suggest">过长：模型只读了首尾</span>')
    return f'<div class="meta">{"".join(parts)}</div>'


def text(view: CaseView) -> str:
    """Title and text, with what speaks for each answer and what raises the risk."""
    order = list(view.taxonomy.heads)
    marks = [
        Mark(one.start, one.end, f"ev-{order.index(one.head)}", f"{_title(view, one.head)}的依据，占 {one.weight:.0%}")
        for one in view.evidence
        if one.head in order
    ]
    by_field = {"text": marks, "title": list[Mark]()}
    for note in view.risk.reasons:
        if note.field is not None and note.start is not None and note.end is not None:
            by_field[note.field].append(Mark(note.start, note.end, "rk", note.detail))
    title = ""
    if view.complaint.title:
        title = f'<b class="title">{marked(view.complaint.title, by_field["title"], hide=not view.unmasked)}</b>'
    return title + marked(view.complaint.text.rstrip(), by_field["text"], hide=not view.unmasked)


def legend(view: CaseView) -> str:
    """Which colour marks what."""
    order = list(view.taxonomy.heads)
    marked_heads = dict.fromkeys(one.head for one in view.evidence if one.head in order)
    parts = [f'<span class="ev-{order.index(name)}">{_title(view, name)}</span>' for name in marked_heads]
    if any(note.start is not None for note in view.risk.reasons):
        parts.append('<span class="rk">风险用语</span>')
    return f"<span>标记：</span>{''.join(parts)}" if parts else ""


def answer_top(view: CaseView, name: str, picked: str | None) -> str:
    """A question in one line: what the model said, or what was picked instead."""
    said, head = view.heads[name], view.taxonomy.heads[name]
    label = picked or said.label
    changed = label != said.label
    shown = escape(head.names.get(label, label))
    before = f"<s>{escape(said.name)}</s>" if changed else ""
    sure = "" if changed else f'<span class="soft small">{percent(said.confidence)}</span>'
    return (
        f'<div class="top"><span class="q">{escape(head.name)}</span>'
        f'<span class="a{" changed" if changed else ""}">{shown}{before}</span>{sure}'
        f"{_sign(said, picked, changed=changed)}</div>"
    )


def level_top(view: CaseView, picked: str | None) -> str:
    """The question of the level of risk in one line: what is suggested, or holds, or was picked instead."""
    level = picked or view.level
    before = f"<s>{LEVELS[view.risk.level]}</s>" if level != view.risk.level else ""
    sign = ("mine", "已定") if picked is not None or view.judged else ("suggest", "待确认")
    return (
        f'<div class="top"><span class="q">风险等级</span><span class="a{" changed" if before else ""}">'
        f'{LEVELS[level]}{before}</span><kbd>R</kbd><span class="tag {sign[0]}">{sign[1]}</span></div>'
    )


def level_row(key: int, level: str, suggested: str) -> str:
    """One level: its key, its sign, and whether it is the one suggested."""
    return f'<kbd>{key}</kbd>{level_tag(level)}<span class="soft">{"建议" if level == suggested else ""}</span>'


def tasks(one: Risk, now: datetime) -> str:
    """What is suggested to be done at the suggested level: by whom, by when."""
    lines = "".join(
        f'<li><span class="grow">{escape(task.what)}</span><span class="muted nowrap">{escape(task.owner)}'
        f"{f' · {due(task.due, now)[0]}' if task.due is not None else ''}</span></li>"
        for task in one.tasks
    )
    return f'<div class="why">建议措施（按建议的等级）</div><ul class="list tasks">{lines}</ul>' if lines else ""


def _sign(said: HeadPrediction, picked: str | None, *, changed: bool) -> str:
    if picked is not None:
        return f'<span class="tag mine">{"已改" if changed else "已定"}</span>'
    return f'<span class="tag {said.decision}">{DECISIONS[said.decision]}</span>'


def why(said: HeadPrediction) -> str:
    """Why the model does not act alone, in one line; empty where it does."""
    parts = []
    if said.reason is not None:
        parts.append(REASONS.get(said.reason, said.reason))
    if said.decision != "auto":
        parts.append("从未达到自动的把握" if said.threshold is None else f"自动须达 {percent(said.threshold)}")
    return f'<div class="why">{"，".join(parts)}</div>' if parts else ""


def choice_row(key: int, one: Choice, threshold: float | None) -> str:
    """One choice: its key, name, confidence, and where the threshold lies."""
    share = one.confidence or 0.0
    tick = (
        f'<u style="left:{threshold:.1%}" title="自动须达 {percent(threshold)}"></u>' if threshold is not None else ""
    )
    parent, _, leaf = one.name.rpartition("/")
    name = f"{escape(leaf)}<small>{escape(parent)}</small>" if parent else escape(one.name)
    return (
        f'<kbd>{key}</kbd><span class="name" title="{escape(one.name)}">{name}</span>'
        f'<span class="meter"><b style="width:{share:.1%}"></b>{tick}</span>'
        f'<span class="p">{percent(share, 0 if share >= 0.1 else 1) if one.confidence is not None else "—"}</span>'
    )


def rows(view: CaseView, name: str, picked: str | None) -> list[Choice]:
    """The choices of one question as they stand on the page."""
    return choices(view.taxonomy.heads[name], view.heads[name], picked)


def risk(view: CaseView, now: datetime) -> str:
    """Level, matrix, propagation, reasons, deadlines."""
    one = view.risk
    spread = one.propagation
    low, high = spread.interval
    terms = []
    for name, moment in (("首次答复", one.respond_by), ("办结", one.resolve_by)):
        if moment is not None:
            words, over = due(moment, now)
            terms.append(f'<span>{name} <b class="{"late" if over else ""}">{words}</b></span>')
    decided = "（已由人确定）" if view.level != one.level else ""
    facts = "".join(
        f'<div class="fact"><span>{word}{level_tag(getattr(one.matrix, key))}</span>'
        f'<p title="{escape(one.criteria.get(key, ""))}">{escape(one.criteria.get(key, ""))}</p></div>'
        for key, word in DIMENSIONS.items()
    )
    return (
        f"<h2>风险与时限</h2>"
        f'<div class="risk-line"><span>建议等级 {level_tag(one.level)} {SEVERITIES[one.severity]}{decided}</span>'
        f'<span title="八成可能在 {low:g} 到 {high:g} 之间">传播指数 <b>{spread.index:g}</b>'
        f'<span class="muted"> / 10（{low:g}–{high:g}）</span></span>{"".join(terms)}</div>'
        f'<div class="facts">{facts}</div>{_reasons(one)}'
    )


def _reasons(one: Risk) -> str:
    told = dict.fromkeys(
        _in_chinese(note.detail) for note in one.reasons if not note.code.startswith(("matrix_", "score"))
    )
    return f'<div class="reasons">{"".join(f"<span class=tag>{escape(detail)}</span>" for detail in told)}</div>'


def _in_chinese(detail: str) -> str:
    """A reason that ends in a channel's code, with the channel's name."""
    words, colon, last = detail.rpartition("：")
    return f"{words}{colon}{channel(last)}" if words else detail


def nearby(title: str, ones: Iterable[Nearby], now: datetime, nothing: str) -> str:
    """Other cases in a list."""
    lines = "".join(
        f'<li>{level_tag(one.level)}<span class="grow"><a href="/review/case/{escape(one.id)}" target="_blank">'
        f'{escape(one.text)}</a><br><span class="muted small">{escape(one.label)} · {clock(one.at, now)}'
        f"{' · ' + escape(one.note) if one.note else ''}</span></span></li>"
        for one in ones
    )
    return f"<h2>{title}</h2>" + (f'<ul class="list">{lines}</ul>' if lines else f'<p class="muted">{nothing}</p>')


def similar(view: CaseView) -> str:
    """The nearest examples that the model learnt from."""
    lines = []
    for one in view.similar:
        names = [
            _leaf(view.taxonomy.heads[head].names.get(label, label))
            for head, label in one.labels.items()
            if head in view.taxonomy.heads
        ]
        lines.append(
            f'<li><span class="tag">{one.similarity:.2f}</span><span class="grow">{escape(plain(one.text, 120))}<br>'
            f'<span class="muted small">{escape(" · ".join(names))}</span></span></li>'
        )
    return "<h2>训练样例中最像的</h2>" + (
        f'<ul class="list">{"".join(lines)}</ul>' if lines else '<p class="muted">这个模型不带样例。</p>'
    )


def history(view: CaseView, now: datetime) -> str:
    """What was done with the case; notes are masked as its text is."""
    lines = "".join(
        f'<li><span class="muted nowrap">{clock(one.at, now)}</span><span class="nowrap">{escape(one.actor)}</span>'
        f'<span class="grow">{escape(one.what)}{_note(one, hide=not view.unmasked)}</span></li>'
        for one in view.history
    )
    return "<h2>经过</h2>" + (f'<ul class="list">{lines}</ul>' if lines else '<p class="muted">还没有人处理过。</p>')


def _note(one: Event, *, hide: bool) -> str:
    return f"。备注：{marked(one.note, (), hide=hide)}" if one.note else ""


def unopened(words: str) -> str:
    """A case that cannot be shown, and why."""
    return (
        f'<div class="card empty"><b>打不开这个案件</b><p>{escape(words)}</p>'
        '<p style="margin-top:14px"><a class="btn" href="/review/">回到队列</a></p></div>'
    )


def nothing(done: int) -> str:
    """No case waits; `done` is how many the person has reviewed today."""
    return (
        '<div class="card empty"><b>没有等待审核的案件</b>'
        f"<p>今天您已审核 {done} 件。新案件进来后会出现在队列里；也可以放宽筛选条件。</p>"
        '<p style="margin-top:14px"><a class="btn" href="/review/">回到队列</a></p></div>'
    )


def _title(view: CaseView, head: str) -> str:
    found: Head | None = view.taxonomy.heads.get(head)
    return escape(found.name) if found is not None else escape(head)


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]
