"""Words of courtesy around what a complaint says: greetings, addresses, apologies, thanks, wishes, "please reply".

The model does not read them: they say nothing of the matter, and a model that hears how polite a text is learns where
it came from. What is left out is clauses of nothing else, and such words that no mark sets apart at the very beginning
and end. The words are in courtesy.yaml; which of them go together is not grammar but counting, so that it takes a time
proportional to the text, whatever somebody sends.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import yaml

Span = tuple[int, int]

_CLAUSE = re.compile(r"\w+\W*|\W+")
_SOFT = "，,。.~～;；:：、… "  # say nothing at the end of a text
# Where no mark sets courtesy apart: what a text may begin with, and what courtesy at its end begins with.
_AHEAD = re.compile("(?:您们?|你们?|大家)好[呀啊哦]?|(?:哈喽)+|打扰一下了?|打扰了", re.IGNORECASE)
_BEHIND = re.compile(
    "(?<![不没别未无勿])(?:麻烦|烦请|请|恳请|还请|望|盼|祝|谢|感谢|感恩|多谢|非常感谢|先谢|拜托|辛苦|劳驾|求|打扰|有劳|蟹蟹|以上)"
)
_LONGEST_BEHIND = 40


@cache
def _words() -> tuple[re.Pattern[str], dict[str, set[str]]]:
    """A pattern that finds one word, the longest there is, and the kinds of each word."""
    listed = yaml.safe_load(resources.files("complaints").joinpath("courtesy.yaml").read_text(encoding="utf-8"))
    kinds: dict[str, set[str]] = {}
    for kind, words in listed.items():
        for word in words:
            kinds.setdefault(str(word), set()).add(kind)
    longest_first = sorted(kinds, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE), kinds


def _kinds(words: str) -> set[str]:
    """The kinds of all words that a clause is put together from; none where there is something else in it."""
    word, kinds = _words()
    found: set[str] = set()
    at = 0
    while at < len(words):
        if not (one := word.match(words, at)):
            return set()
        found |= kinds[one[0].lower()]
        at = one.end()
    return found


def _courteous(words: str) -> bool:
    kinds = _kinds(words)
    if "answer" in kinds:
        return bool(kinds & {"courtesy", "ask"}) and "past" not in kinds
    return "courtesy" in kinds


def matter(text: str) -> list[Span]:
    """Where a cleaned text speaks of the matter: (start, end) in order; all of it where it is nothing but courtesy."""
    kept: list[Span] = []
    for found in _CLAUSE.finditer(text):
        words = re.sub(r"\W+$", "", found[0])
        if words and (_courteous(words) or (not kept and "address" in _kinds(words))):
            continue
        if words or kept:
            kept.append(found.span())
    if not kept:
        return [(0, len(text))]
    start, end = kept[0]
    if (ahead := _AHEAD.match(text, start, end)) and text[ahead.end() : end].strip(_SOFT):
        kept[0] = (ahead.end(), end)
    start, end = kept[-1]
    words = re.sub(r"\W+$", "", text[start:end])
    for behind in _BEHIND.finditer(words, max(1, len(words) - _LONGEST_BEHIND)):
        if _courteous(words[behind.start() :]):
            kept[-1] = (start, start + behind.start())
            break
    else:
        kept[-1] = (start, start + len(text[start:end].rstrip(_SOFT)))
    return kept


def of_matter(text: str) -> str:
    """What the model reads of a cleaned text."""
    return "".join(text[start:end] for start, end in matter(text))
