"""What the charts draw, as ECharts' options: plain dictionaries, so that they can be looked at without a browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from serving.pages.words import percent
from serving.quality import Answered, Calibrated, Kept, Tally

INK, SOFT, LINE, ACCENT, HIGH, AMBER, LOW = "#1d2b2e", "#55666a", "#dde3e2", "#1d5f66", "#a92c25", "#c98a1b", "#4f8a67"
SERIES = ("#1d5f66", "#c98a1b", "#7a5aa6", "#4f8a67", "#b0563f", "#4a6fa5")
_FONT = '"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif'

Options = dict[str, Any]


def _frame(**more: Any) -> Options:
    return {
        "textStyle": {"fontFamily": _FONT, "color": SOFT},
        "color": list(SERIES),
        "animation": False,
        "grid": {"left": 8, "right": 18, "top": 36, "bottom": 6, "containLabel": True},
        "legend": {"top": 0, "left": 0, "itemWidth": 14, "itemHeight": 8, "textStyle": {"color": SOFT}},
        **more,
    }


def _shares(low: float = 0.0, name: str = "") -> Options:
    # In percent, not shares: ECharts' formatters are code, and these options hold none.
    return {
        "type": "value",
        "min": low,
        "max": 100,
        "name": name,
        "axisLabel": {"formatter": "{value}%", "color": SOFT},
        "splitLine": {"lineStyle": {"color": LINE}},
    }


def _categories(names: Sequence[str]) -> Options:
    return {
        "type": "category",
        "data": list(names),
        "axisTick": {"show": False},
        "axisLine": {"lineStyle": {"color": LINE}},
        "axisLabel": {"color": SOFT},
    }


def accepted(tallies: Sequence[Tally], names: Mapping[str, str], promised: Mapping[str, float]) -> Options:
    """Share of reviewed answers that people accepted, by week and head; dashed what the model reached in its test."""
    weeks = sorted({one.week for one in tallies})
    series: list[Options] = []
    for at, (head, name) in enumerate(names.items()):
        values: list[float | None] = []
        for week in weeks:
            mine = [one for one in tallies if one.week == week and one.head == head]
            total = sum(one.accepted + one.corrected for one in mine)
            values.append(round(100 * sum(one.accepted for one in mine) / total, 1) if total else None)
        line: Options = {"name": name, "type": "line", "data": values, "symbolSize": 7, "connectNulls": True}
        if head in promised:
            line["markLine"] = {
                "symbol": "none",
                "silent": True,
                "label": {"show": False},
                "lineStyle": {"type": "dashed", "color": SERIES[at % len(SERIES)], "opacity": 0.5},
                "data": [{"yAxis": round(100 * promised[head], 1)}],
            }
        series.append(line)
    shown = [f"{week.month}月{week.day}日" for week in weeks]
    return _frame(xAxis=_categories(shown), yAxis=_shares(), series=series, tooltip={"trigger": "axis"})


def course(tallies: Sequence[Tally], head: str, name: str, promised: Mapping[str, float]) -> Options:
    """One label's share by week, as `accepted`, with how many answers each week's is of: of few it says little."""
    counts: Counter[datetime] = Counter()
    for one in tallies:
        counts[one.week] += one.accepted + one.corrected
    options = accepted(tallies, {head: name}, promised)
    options["xAxis"]["data"] = [f"{week.month}月{week.day}日\n{count} 件" for week, count in sorted(counts.items())]
    return options


def kept(found: Sequence[Kept], names: Mapping[str, str]) -> Options:
    """Precision of `auto` among audited cases with its interval, and the promise as a mark."""
    by_head = {one.head: one for one in found if one.tried}
    ones = [by_head[head] for head in names if head in by_head]
    lows = [100 * min(one.interval[0], one.promised or 1.0) for one in ones]
    bars = [
        {"value": [at, round(100 * one.interval[0], 1), round(100 * one.interval[1], 1)]} for at, one in enumerate(ones)
    ]
    points = [
        {
            "value": [at, round(100 * one.share, 1)],
            "itemStyle": {"color": HIGH if one.broken else ACCENT},
        }
        for at, one in enumerate(ones)
    ]
    promises = [[at, round(100 * one.promised, 1)] for at, one in enumerate(ones) if one.promised is not None]
    whiskers = [
        {
            "name": "95% 区间",
            "type": "line",
            "data": [[at, bar["value"][1]], [at, bar["value"][2]]],
            "showSymbol": True,
            "symbol": "rect",
            "symbolSize": [12, 2],
            "lineStyle": {"color": SOFT, "width": 2},
            "itemStyle": {"color": SOFT},
        }
        for at, bar in enumerate(bars)
    ]
    return _frame(
        xAxis=_categories([names[one.head] for one in ones]),
        yAxis=_shares(max(0.0, 10.0 * int(min(lows, default=0.0) // 10))),
        tooltip={"trigger": "item"},
        series=[
            *whiskers,
            {"name": "抽检准确率", "type": "scatter", "data": points, "symbolSize": 13, "z": 3},
            {
                "name": "承诺",
                "type": "scatter",
                "data": promises,
                "symbol": "rect",
                "symbolSize": [46, 2],
                "itemStyle": {"color": AMBER},
            },
        ],
    )


def reliability(found: Sequence[Calibrated], names: Mapping[str, str]) -> Options:
    """Confidence against the share that was right; on the diagonal a confidence means what it says."""
    series: list[Options] = [
        {
            "name": names[one.head],
            "type": "line",
            "symbolSize": 8,
            "color": SERIES[list(names).index(one.head) % len(SERIES)],  # as in the other charts
            "data": [[round(100 * bin.confidence, 1), round(100 * bin.right, 1)] for bin in one.bins],
        }
        for one in found
        if one.head in names
    ]
    diagonal = {
        "name": "理想",
        "type": "line",
        "data": [[0, 0], [100, 100]],
        "symbol": "none",
        "lineStyle": {"type": "dashed", "color": "#9aa8aa"},
        "itemStyle": {"color": "#9aa8aa"},
    }
    across = _shares() | {"name": "模型的把握", "nameLocation": "middle", "nameGap": 28}
    frame = _frame(xAxis=across, yAxis=_shares(), series=[*series, diagonal], tooltip={"trigger": "item"})
    frame["grid"] = frame["grid"] | {"bottom": 28}
    return frame


def distances(values: Sequence[tuple[str, float, float]]) -> Options:
    """Distances of this week from those before, each beside what chance alone seldom exceeds: (name, value, chance)."""
    names = [name for name, _, _ in values]
    return _frame(
        xAxis={"type": "value", "axisLabel": {"color": SOFT}, "splitLine": {"lineStyle": {"color": LINE}}},
        yAxis=_categories(names) | {"inverse": True},
        tooltip={"trigger": "axis"},
        series=[
            {
                "name": "本周",
                "type": "bar",
                "barMaxWidth": 14,
                "data": [
                    {"value": round(value, 3), "itemStyle": {"color": HIGH if value > chance else ACCENT}}
                    for _, value, chance in values
                ],
            },
            {
                "name": "偶然的上限",
                "type": "scatter",
                "symbol": "rect",
                "symbolSize": [2, 20],
                "itemStyle": {"color": AMBER},
                "data": [[round(chance, 3), at] for at, (_, _, chance) in enumerate(values)],
            },
        ],
    )


def interval(one: Kept | Answered) -> str:
    """An interval in words: 92%–99%."""
    return f"{percent(one.interval[0])}–{percent(one.interval[1])}"
