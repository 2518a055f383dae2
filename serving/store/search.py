"""Finding complaints by Chinese words: a column of character bigrams and a phrase query, exact on both databases.

`冷气不制冷` is kept as `冷气 气不 不制 制冷 冷`: a phrase of bigrams is a stretch of the text, so two-character words
are found without a dictionary. Each run of Chinese ends with its last character alone, so that a phrase may go on
into the word after it (`坏 iphone`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection, TextClause, text

from complaints.errors import InvalidInput
from complaints.text import MASKS, clean

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_RUN = re.compile(f"[{_HAN}]+|[^\\W_{_HAN}]+")
_IS_HAN = re.compile(f"[{_HAN}]")
# A longer "word" is an address or a code of which nobody types more (PostgreSQL refuses words of 2 KB).
_LONGEST = 64

_INSERT = text("INSERT INTO review_words (prediction_id, words) VALUES (:id, :words)")
_SQLITE = "reviews.prediction_id IN (SELECT prediction_id FROM review_words WHERE review_words MATCH :phrase)"
_POSTGRESQL = (
    "reviews.prediction_id IN (SELECT prediction_id FROM review_words "
    "WHERE to_tsvector('simple', words) @@ to_tsquery('simple', :phrase))"
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words one after another; with `open` the last may go on (`iph`, or a single character after a word)."""

    words: tuple[str, ...]
    open: bool


def words_of(cleaned: str) -> list[str]:
    """A cleaned text as it is indexed; masks are no words."""
    found: list[str] = []
    for run in _RUN.findall(MASKS.sub(" ", cleaned).lower()):
        if _IS_HAN.match(run):
            found += [run[i : i + 2] for i in range(len(run) - 1)]
            found.append(run[-1])
        else:
            found.append(run[:_LONGEST])
    return found


def phrase_of(asked: str) -> Phrase:
    """What was typed, as a query; raises InvalidInput, in Chinese, where it is too short to be searched for."""
    runs = _RUN.findall(MASKS.sub(" ", clean(asked).text).lower())
    if len("".join(runs)) < 2:
        raise InvalidInput(
            "请至少输入两个字：单个字、标点或已隐去的号码无法搜索 (search for two characters or more; "
            "personal numbers are not kept in the index)"
        )
    words = words_of(" ".join(runs))
    last_is_han = _IS_HAN.match(runs[-1]) is not None
    if last_is_han and len(runs[-1]) > 1:
        words.pop()  # the run may go on in the text
    return Phrase(tuple(words), open=not last_is_han or len(runs[-1]) == 1)


def index(connection: Connection, prediction_id: str, cleaned: str) -> None:
    """Make a complaint of the queue searchable."""
    connection.execute(_INSERT, {"id": prediction_id, "words": " ".join(words_of(cleaned))})


def matching(dialect: str, asked: str) -> TextClause:
    """A condition on `reviews`: the complaint holds what was typed. Raises InvalidInput."""
    phrase = phrase_of(asked)
    if dialect == "postgresql":
        query = " <-> ".join(f"'{word}'" for word in phrase.words) + (":*" if phrase.open else "")
        return text(_POSTGRESQL).bindparams(phrase=query)
    query = '"' + " ".join(phrase.words) + '"' + (" *" if phrase.open else "")
    return text(_SQLITE).bindparams(phrase=query)
