"""The one normaliser: what a model reads of a raw text, and how personal numbers are taken out of it.

`VERSION` is stored in every bundle: change it whenever `clean` (or courtesy.py) answers differently for any text,
because a model must be served with what it was trained with.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial

import opencc

VERSION = "2"
# What bundles of older versions are still served with: "1" cleans alike and reads words of courtesy too.
READS_COURTESY = "1"

# A complaint longer than this is an attachment pasted in; what is cut is said (`Cleaned.truncated`).
MAX_CHARS = 10_000
CUT_MARK = "..."  # as NFKC writes …, so that a cut text is clean too
# Honest texts settle in three rounds; what has not settled by then is built to go on, and loses its & < >.
MOST_ROUNDS = 8

# Characters whose folding is remembered: texts of a language use a few thousand.
CHARACTERS = 1 << 14

# Below this share of Chinese letters among all letters a text is not Chinese ("iPhone坏了" counts words, not letters).
CHINESE_SHARE = 0.3

_MARKUP = re.compile(
    r"<(script|style)\b[^>]{0,200}>.{0,2000}?</\1\s*>|<!--.{0,500}?-->"
    r"|</?(?:a|abbr|b|blockquote|body|br|center|code|dd|div|dl|dt|em|font|form|h[1-6]|head|hr|html|i|img|input|label|li|"
    r"link|meta|ol|option|p|pre|s|select|small|span|strong|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|u|ul|video)"
    r"(?:\s[^<>]*|/)?>",
    re.IGNORECASE | re.DOTALL,
)
# More digits than any character has; int() refuses above 4300 of them.
_ENDLESS = re.compile(r"&#(?:[xX][0-9A-Fa-f]{9,}|[0-9]{9,});?")
# No longer ones, which may be a number after &#.
_REFERENCE = re.compile(r"&(?:#[0-9]{1,8}(?![0-9])|#[xX][0-9A-Fa-f]{1,8}(?![0-9A-Fa-f])|[A-Za-z]{2,31});?")
MASKS = re.compile("<(?:证件号|卡号|手机号|电话|邮箱|车牌)>")
_KANA = re.compile(r"[\u3041-\u30ff]")
# Zero-width, bidirectional, soft hyphen, byte-order, variation selectors, tags: invisible, yet they split words.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"\s+")
# Digits and Latin letters keep their runs: 10000 is not 1000, and xxx may be a placeholder of four.
_REPEAT = re.compile(r"([^0-9A-Za-z\s])\1{3,}")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_WORD = re.compile(r"[A-Za-z]+|[^\W\d_\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134fA-Za-z]")

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}")
_ID_CARD = re.compile(r"(?<!\d)[1-9]\d{5}[ -]?\d{8}[ -]?\d{3}(?:[Xx]|\d(?![\dXx]))")
_CARD = re.compile(r"(?<!\d)(?:[3-69]\d{14,18}|[3-69]\d{3}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?)(?!\d)")
_MOBILE = re.compile(r"(?<!\d)(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}(?!\d)")
_LANDLINE = re.compile(r"(?<!\d)(?:\(0\d{2,3}\)|0(?:10|2\d|[3-9]\d{2})-?)[ ]?[2-9]\d{6,7}(?!\d)")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Za-hj-np-z][·• ]?"
    r"(?=[A-HJ-NP-Za-hj-np-z]*\d)[A-HJ-NP-Za-hj-np-z0-9]{5,6}"
    r"(?![A-Za-z0-9])"
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What is left of a raw text: `text` for the model, and what the caller should know about it."""

    text: str
    truncated: bool
    chinese: bool


@cache
def _simplifier() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def simplify(text: str) -> str:
    """Traditional characters to simplified ones."""
    return str(_simplifier().convert(text))


def clean(raw: str) -> Cleaned:
    """Normalise a raw text: markup, widths, invisible characters, traditional forms, repeats, personal data.

    Idempotent: cleaning a cleaned text changes nothing. `truncated` says that more than MAX_CHARS characters
    came in and the rest was cut (the text then ends with `…`); `chinese` is False where fewer than
    CHINESE_SHARE of the letters and foreign words are Chinese, an empty text included.
    """
    text = _settle(raw[:MAX_CHARS])
    truncated = len(raw) > MAX_CHARS or len(text) > MAX_CHARS  # NFKC may make 18 characters of one
    if truncated:
        text = _settle(text[: MAX_CHARS - len(CUT_MARK)]).rstrip(". ") + CUT_MARK
    own = MASKS.sub("", text)
    han, kana = len(_HAN.findall(own)), len(_KANA.findall(own))
    chinese = han > 0 and han >= CHINESE_SHARE * (han + len(_WORD.findall(own))) and kana < 0.25 * (han + kana)
    return Cleaned(text, truncated, chinese)


def _settle(text: str) -> str:
    # One round can uncover work for the next (&amp;lt; unescapes twice), so rounds go on until nothing changes.
    for _ in range(MOST_ROUNDS):
        if (after := _round(text)) == text:
            return text
        text = after
    text = re.sub("[&<>]", " ", text)
    while (after := _round(text)) != text:
        text = after
    return text


def _round(text: str) -> str:
    text = _MARKUP.sub(" ", html.unescape(_ENDLESS.sub(" ", text)))
    text = _CONTROL.sub("", _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)))
    text = simplify(text)
    text = _take_out(_SPACE.sub(" ", text).strip())
    return _REPEAT.sub(r"\1\1\1", text)


def _take_out(text: str) -> str:
    for pattern, name, genuine in _personal():
        text = pattern.sub(name if genuine is None else partial(_replaced, name, genuine), text)
    return text


def mask(raw: str) -> str:
    """Replace personal numbers by what they are: <证件号> <卡号> <手机号> <电话> <邮箱> <车牌>.

    Those in full width, or with markup, line breaks or invisible characters in their midst, are found as `clean` finds
    them; all else stays as it was sent. Identity numbers must pass their check digit (GB 11643) and bank cards Luhn's;
    service numbers such as 400-…, 95588 and 12315 stay. Names and addresses are not found by patterns and stay too.
    """
    return masked(raw).text


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked text, and where each of its characters stood before: (first, one past the last) in the raw text.

    All characters of a mask come from the whole number that it stands for.
    """

    text: str
    origins: tuple[tuple[int, int], ...]


def masked(raw: str) -> Masked:
    """What `mask` makes of a text, with the way back to the places in it."""
    text, origins = raw, [(i, i + 1) for i in range(len(raw))]
    # A number that stands by another is hidden by its digits: it shows when that one is gone.
    while numbers := _hidden(text):
        pieces: list[str] = []
        places: list[tuple[int, int]] = []
        last = 0
        for start, end, name in numbers:
            pieces += text[last:start], name
            places += [*origins[last:start], *((origins[start][0], origins[end - 1][1]) for _ in name)]
            last = end
        text, origins = "".join([*pieces, text[last:]]), [*places, *origins[last:]]
    return Masked(text, tuple(origins))


def _hidden(text: str) -> list[tuple[int, int, str]]:
    """Where personal numbers stand however the text is read, in order, those that overlap as one."""
    numbers: list[tuple[int, int, str]] = []
    found = {number for reading in _readings(text) for number in _numbers(reading)}
    for start, end, name in sorted(found, key=lambda one: (one[0], -one[1])):
        if numbers and start < numbers[-1][1]:
            numbers[-1] = (numbers[-1][0], max(end, numbers[-1][1]), numbers[-1][2])
        else:
            numbers.append((start, end, name))
    return numbers


# A text as it can be read, and the places in the raw text that each of its characters comes from.
_Reading = tuple[str, list[tuple[int, int]]]


def _readings(raw: str) -> Iterator[_Reading]:
    """A raw text as it was sent, and folded as `clean` folds it: with its markup, with spaces for it, and without."""
    as_sent = raw, [(i, i + 1) for i in range(len(raw))]
    yield as_sent
    folded = _folded(as_sent)
    yield _put(folded, ((found, " ") for found in _SPACE.finditer(folded[0])))
    if tags := list(_MARKUP.finditer(folded[0])):
        for gap in (" ", ""):
            without = _put(folded, ((tag, gap) for tag in tags))
            yield _put(without, ((found, " ") for found in _SPACE.finditer(without[0])))


def _folded(reading: _Reading) -> _Reading:
    for _ in range(MOST_ROUNDS):
        text, origins = _put(reading, ((found, html.unescape(found[0])) for found in _REFERENCE.finditer(reading[0])))
        # A letter and its accents are one character to `clean`, and no letter of a number plate.
        starts = [i for i, c in enumerate(text) if not i or not unicodedata.combining(c)]
        spans = list(zip(starts, [*starts[1:], len(text)][: len(starts)], strict=True))
        parts = [_visible(text[start:end]) for start, end in spans]
        after = "".join(parts)
        if after == reading[0]:
            break
        places = [(origins[start][0], origins[end - 1][1]) for start, end in spans]
        reading = after, [place for place, part in zip(places, parts, strict=True) for _ in part]
    return reading


@lru_cache(CHARACTERS)
def _visible(character: str) -> str:
    """What `clean` leaves of one character, accents included, that stands alone; white space stays as it is."""
    return simplify(_CONTROL.sub("", _INVISIBLE.sub("", unicodedata.normalize("NFKC", character))))


def _numbers(reading: _Reading) -> Iterator[tuple[int, int, str]]:
    """Personal numbers of one reading: start and end in the raw text, and what stands for them."""
    for pattern, name, genuine in _personal():
        text, origins = reading
        found = [one for one in pattern.finditer(text) if genuine is None or genuine(one[0])]
        yield from ((origins[one.start()][0], origins[one.end() - 1][1], name) for one in found)
        reading = _put(reading, ((one, name) for one in found))


def _put(reading: _Reading, found: Iterable[tuple[re.Match[str], str]]) -> _Reading:
    """A reading with other words in the place of what was found; they come from all of it."""
    text, origins = reading
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    last = 0
    for one, words in found:
        whole = (origins[one.start()][0], origins[one.end() - 1][1])
        pieces += text[last : one.start()], words
        places += [*origins[last : one.start()], *(whole for _ in words)]
        last = one.end()
    return ("".join([*pieces, text[last:]]), [*places, *origins[last:]]) if last else reading


@cache
def _personal() -> tuple[tuple[re.Pattern[str], str, Callable[[str], bool] | None], ...]:
    """Patterns in the order in which they are applied, what stands for what they find, and what else must hold."""
    return (
        (_EMAIL, "<邮箱>", None),
        (_ID_CARD, "<证件号>", _id_card),
        (_CARD, "<卡号>", _luhn),
        (_MOBILE, "<手机号>", None),
        (_LANDLINE, "<电话>", None),
        (_PLATE, "<车牌>", None),
    )


def _replaced(name: str, genuine: Callable[[str], bool], found: re.Match[str]) -> str:
    return name if genuine(found[0]) else found[0]


def _id_card(number: str) -> bool:
    number = number.replace(" ", "").replace("-", "")
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _luhn(number: str) -> bool:
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
