"""Words in a text that mean what they say: not negated, not part of another word, not merely asked.

我要曝光 -> 曝光        不会曝光, 没想过找媒体, 没有受伤 -> nothing        照片曝光过度 -> nothing (another sense)
别以为我不会曝光, 不得不曝光 -> 曝光 (the negation is taken back)      曝光就不必了 -> nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Word = Annotated[str, StringConstraints(min_length=1, max_length=40)]

# How far before a word its clause is read, and how many words may stand between a negation and what it negates.
_BACK = 40
_MOST_FILLERS = 5
_CLAUSE = re.compile(r"[,，。;；!！?？\n:：…]")


@dataclass(frozen=True, slots=True)
class Found:
    """`text[start:end]` is the keyword `word`."""

    word: str
    start: int
    end: int


class Grammar(BaseModel):
    """How negation and intention are spoken, as the policy's language section says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    negations: tuple[Word, ...] = Field((), description="Words that negate what follows: 不会, 没有, 无人")
    fillers: tuple[Word, ...] = Field((), description="Words that may stand between a negation and its object")
    verbs: tuple[Word, ...] = Field((), description="Of which one may stand between these and the object: 找, 打")
    taken_back: tuple[Word, ...] = Field((), description="Words that make a negation no negation: 不得不, 别以为")
    afterwards: tuple[Word, ...] = Field((), description="Words after a keyword that call it off: 就不必了")
    intentions: tuple[Word, ...] = Field((), description="Words before a keyword that say it is not done yet: 要, 准备")

    @cached_property
    def _negated(self) -> re.Pattern[str]:
        if not self.negations:
            return re.compile(r"(?!)")
        # 不会找媒体 denies it, 不找媒体不行 does not.
        verb = rf"(?:(?<!不)(?:{_any(self.verbs) or '(?!)'}))?"
        between = rf"(?:{_any(self.fillers) or '(?!)'}){{0,{_MOST_FILLERS}}}{verb}"
        return re.compile(rf"(?:{_any(self.negations)}){between}$")

    @cached_property
    def _called_off(self) -> re.Pattern[str]:
        return re.compile(_any(self.afterwards) or r"(?!)")

    def find(self, text: str, words: Iterable[str], not_in: Iterable[str] = (), *, done: bool = False) -> Found | None:
        """The first keyword, in the order of `words`, that stands in `text` in its own sense and not negated.

        `not_in` are longer words in which a keyword means something else; a keyword that begins or ends with a
        digit is not found inside a longer number. `done` leaves out what is only intended (要发微博).
        """
        others = tuple(not_in)
        for word in words:
            if word not in text:
                continue
            for match in re.finditer(re.escape(word), text):
                start, end = match.span()
                if not (
                    _in_number(text, word, start, end)
                    or any(_inside(text, start, end, phrase) for phrase in others)
                    or self._denied(text, start, end)
                    or (done and self._intended(text, start))
                ):
                    return Found(word, start, end)
        return None

    def _denied(self, text: str, start: int, end: int) -> bool:
        clause = _clause(text, start)
        if self._called_off.match(text, end):
            return True
        return bool(self._negated.search(clause)) and not any(word in clause for word in self.taken_back)

    def _intended(self, text: str, start: int) -> bool:
        clause = _clause(text, start)
        # 就发微博 is a threat, 就医时发微博 is not: a single character counts right before the word alone.
        return any(word in clause if len(word) > 1 else clause.endswith(word) for word in self.intentions)


def _any(words: Iterable[str]) -> str:
    """An alternative of words as a pattern, longest first; empty for none."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def _clause(text: str, start: int) -> str:
    """What stands before `start` in its clause."""
    return _CLAUSE.split(text[max(0, start - _BACK) : start])[-1]


def _in_number(text: str, word: str, start: int, end: int) -> bool:
    return (word[0].isdigit() and text[start - 1 : start].isdigit()) or (
        word[-1].isdigit() and text[end : end + 1].isdigit()
    )


def _inside(text: str, start: int, end: int, phrase: str) -> bool:
    """Whether text[start:end] is part of an occurrence of `phrase`."""
    at = text.find(phrase, max(0, end - len(phrase)), start + len(phrase))
    return at != -1 and at <= start and at + len(phrase) >= end
