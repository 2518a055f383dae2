"""Where in a caller's own text a stretch of the cleaned text stands.

Cleaning changes widths, traditional forms, white space and markup, so offsets differ; what was found in the cleaned
text is found again in the raw one, character by character, as the same occurrence of the same words.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from complaints.text import simplify

# Characters whose folding is remembered: texts of a language use a few thousand.
CHARACTERS = 1 << 14


@dataclass(frozen=True, slots=True)
class Place:
    """`field` of the complaint (title or text), `start` to `end` in it as it was sent."""

    field: str
    start: int
    end: int


class Locator:
    """The raw title and text of one complaint, folded once however many stretches are looked for."""

    def __init__(self, title: str | None, text: str, cleaned: str) -> None:
        self._title = len(title) + 1 if title else 0
        self._raw = f"{title}\n{text}" if title else text
        self._cleaned = cleaned
        self._folded: tuple[str, list[int]] | None = None

    def place(self, start: int, end: int) -> Place | None:
        """Where `cleaned[start:end]` was written; None where cleaning left no trace of it."""
        if self._cleaned == self._raw:
            return self._place(start, end)
        if self._folded is None:
            self._folded = _fold(self._raw)
        folded, origin = self._folded
        wanted, _ = _fold(self._cleaned[start:end])
        before, _ = _fold(self._cleaned[:start])
        if not wanted:
            return None
        at = -1
        for _ in range(before.count(wanted) + 1):
            at = folded.find(wanted, at + 1)
            if at == -1:
                return None
        return self._place(origin[at], origin[at + len(wanted) - 1] + 1)

    def _place(self, start: int, end: int) -> Place | None:
        if start >= self._title:
            return Place("text", start - self._title, end - self._title)
        return Place("title", start, end) if end < self._title else None


def _fold(raw: str) -> tuple[str, list[int]]:
    """Text without white space and invisible characters, in half width and simplified, and where each came from."""
    parts = list(map(_visible, raw))
    folded = "".join(parts)
    origin = [index for index, part in enumerate(parts) for _ in part]
    simplified = simplify(folded)
    return (simplified if len(simplified) == len(folded) else folded), origin


@lru_cache(CHARACTERS)
def _visible(character: str) -> str:
    """What is left of one character: in half width, nothing of white space and of what cannot be seen."""
    return "".join(
        one
        for one in unicodedata.normalize("NFKC", character)
        if not one.isspace() and unicodedata.category(one) not in ("Cf", "Mn", "Cc")
    )
