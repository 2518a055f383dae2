"""Numbers as Chinese people write them, as intervals: 58.6万, 一百多, 两三百, 十几, 1万2千, 大几千.

What is vague has width: 一百多 is 101 to 199, 几十 is 20 to 90.
"""

from __future__ import annotations

import re

Interval = tuple[float, float]

_DIGITS = dict(zip("零〇一二三四五六七八九两", [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2], strict=True))
_SCALES = {"十": 1e1, "百": 1e2, "千": 1e3, "k": 1e3, "K": 1e3, "万": 1e4, "w": 1e4, "W": 1e4, "亿": 1e8}
_SOME = {"几": (2.0, 9.0), "数": (2.0, 9.0)}
# What 多, 余 add to a round number, as shares of its last unit; 来, 把 mean about that many.
_MORE = (0.01, 0.99)

_ARABIC = (
    r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
    r"(?:[多余来几]|[十百千万亿][多余来]?(?:\d(?![\d.]))?|[kKwW](?![A-Za-z\d]))*"
)
_HAN = r"[一二三四五六七八九十百千万两几数][零〇一二三四五六七八九十百千万亿两几多余来把]*"
# Longer runs of digits and numerals are not numbers that anyone means.
_LONGEST = 24
# One number, as a pattern without groups.
NUMBER = f"(?:{_ARABIC}|{_HAN})"
_PART = re.compile(r"(\d[\d,]*(?:\.\d+)?)|([零〇一二三四五六七八九两]+)|([几数])|([十百千万亿kKwW])|([多余来把])")


def interval(first: str, second: str | None) -> Interval | None:
    """The interval that one number, or a range of two, stands for; None where it is no number."""
    if max(len(first), len(second or "")) > _LONGEST:
        return None
    one = _value(first)
    if one is None or second is None:
        return one
    other = _value(second)
    if other is None:
        return one
    # 3到5万: the first number shares the second's unit.
    unit = next((_SCALES[c] for c in reversed(second) if c in _SCALES), 1.0)
    if not any(c in _SCALES for c in first) and one[1] * unit <= other[1]:
        one = one[0] * unit, one[1] * unit
    return min(one[0], other[0]), max(one[1], other[1])


def _value(number: str) -> Interval | None:
    """58.6万, 一百多, 两三百, 十几, 1万2千 as an interval; None where it is no number that people would write."""
    total = section = (0.0, 0.0)
    current: Interval | None = None
    last = 0.0
    for arabic, han, some, scale, more in _PART.findall(number):
        if arabic:
            plain = float(arabic.replace(",", ""))
            current, last = (plain, plain), last if section != (0.0, 0.0) or total != (0.0, 0.0) else 0.0
        elif han:
            current = _han(han)
        elif some:
            current = (1.0, 9.0) if last == 10 else _SOME[some]
        elif scale:
            unit = _SCALES[scale]
            if unit >= 1e4:
                section = _add(section, current or (0.0, 0.0))
                total = _add(total, _times(section if section != (0.0, 0.0) else (1.0, 1.0), unit))
                section = (0.0, 0.0)
            else:
                section = _add(section, _times(current or (1.0, 1.0), unit))
            current, last = None, unit
        elif more in "来把":
            unit = last or (_unit(current) if current else 1.0)
            section = (max(0.0, section[0] - 0.1 * unit), section[1] + 0.1 * unit)
        else:
            unit = last or (_unit(current) if current else 1.0)
            if unit >= 1e4:
                total = total[0] + _MORE[0] * unit, total[1] + _MORE[1] * unit
            else:
                section = section[0] + _MORE[0] * unit, section[1] + _MORE[1] * unit
    if current is not None:
        short = last >= 100 and current[1] < 10 and number.rstrip("多余来")[-2:-1] not in ("零", "〇")
        section = _add(section, _times(current, last / 10 if short else 1.0))
    low, high = _add(total, section)
    return (low, high) if high > 0 else None


def _han(digits: str) -> Interval:
    """两三 is two to three; 二零二六 is 2026."""
    values = [_DIGITS[c] for c in digits]
    if len(values) == 2 and 0 < values[0] < values[1] <= values[0] + 2:
        return float(values[0]), float(values[1])
    plain = float("".join(map(str, values)))
    return plain, plain


def _unit(value: Interval) -> float:
    """The place of a round number's last digit that is not zero: 3000 -> 1000."""
    whole, unit = int(value[0]), 1
    while whole and whole % (unit * 10) == 0:
        unit *= 10
    return float(unit)


def _add(one: Interval, other: Interval) -> Interval:
    return one[0] + other[0], one[1] + other[1]


def _times(one: Interval, factor: float) -> Interval:
    return one[0] * factor, one[1] * factor
