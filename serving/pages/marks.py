"""A complaint's text as HTML: what speaks for each answer marked, personal numbers masked.

Marks stand in characters of the text as it was sent; masking moves them, and they may overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from complaints.text import Masked, masked


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of the raw text, [start, end), and what it is marked with: a CSS class and words for the tooltip."""

    start: int
    end: int
    kind: str
    says: str = ""


def marked(raw: str, marks: Iterable[Mark], *, hide: bool = True) -> str:
    """HTML of a text with its marks; `hide` puts masks in the place of personal numbers.

    A mark that touches a hidden number covers its whole mask: what is shown of it says nothing of the number.
    """
    shown = masked(raw) if hide else _as_it_is(raw)
    kept = [mark for mark in marks if 0 <= mark.start < min(mark.end, len(raw))]
    over = _covering(shown, kept)
    pieces = []
    for (which, hidden), places in groupby(range(len(shown.text)), key=lambda i: (over[i], _is_mask(shown, i))):
        piece = escape("".join(shown.text[i] for i in places))
        classes = [*dict.fromkeys(kept[i].kind for i in which), *(["hidden-number"] if hidden else [])]
        if not classes:
            pieces.append(piece)
            continue
        says = "；".join(dict.fromkeys(kept[i].says for i in which if kept[i].says))
        title = f' title="{escape(says)}"' if says else ""
        pieces.append(f'<span class="{escape(" ".join(classes))}"{title}>{piece}</span>')
    return "".join(pieces)


def plain(raw: str, length: int, *, hide: bool = True) -> str:
    """The beginning of a text on one line, masked; not HTML."""
    text = " ".join((masked(raw).text if hide else raw).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _as_it_is(raw: str) -> Masked:
    return Masked(raw, tuple((i, i + 1) for i in range(len(raw))))


def _is_mask(shown: Masked, i: int) -> bool:
    start, end = shown.origins[i]
    return end - start > 1


def _covering(shown: Masked, marks: Sequence[Mark]) -> list[tuple[int, ...]]:
    """For each character of what is shown the marks over it, by their places in `marks`."""
    over: list[list[int]] = [[] for _ in shown.text]
    for at, mark in enumerate(marks):
        for i, (start, end) in enumerate(shown.origins):
            if start < mark.end and end > mark.start:
                over[i].append(at)
    return [tuple(one) for one in over]
