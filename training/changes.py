"""Changes of a text that mean nothing: who, where, when, which number; for training, and for measuring."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

SURNAMES = "王李张刘陈杨赵黄周吴徐孙马朱胡郭何林"
_NAME = re.compile(f"[{SURNAMES}](?=先生|女士|小姐|师傅|经理|老师|主任|阿姨|某)")
_DATE = re.compile(r"(?<!\d)(?:1[0-2]|[1-9])月(?:[12]\d|3[01]|[1-9])[日号]")
_MOBILE = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)|<手机号>")

Change = Callable[[str, random.Random], str]


def swap(kinds: Sequence[str]) -> Change:
    """A change of words for others of their kind; a kind is a line of words, one word always for the same other."""
    others = {word: [one for one in kind.split() if one != word] for kind in kinds for word in kind.split()}
    pattern = re.compile("|".join(others))

    def change(text: str, draw: random.Random) -> str:
        renamed = {word: draw.choice(others[word]) for word in sorted(set(pattern.findall(text)))}
        return pattern.sub(lambda found: renamed[found[0]], text)

    return change


def mobile(draw: random.Random) -> str:
    """A mobile number that may be anybody's."""
    return "1" + "".join(draw.choice("3456789") for _ in range(10))


def other_number(text: str, draw: random.Random) -> str:
    """Another mobile number, or one appended."""
    other = mobile(draw)
    return _MOBILE.sub(other, text) if _MOBILE.search(text) else f"{text}（电话{other}）"


def other_date(text: str, draw: random.Random) -> str:
    """Another day of the year for each."""
    return _DATE.sub(lambda _: f"{draw.randint(1, 12)}月{draw.randint(1, 28)}日", text)


def other_name(text: str, draw: random.Random) -> str:
    """Another surname before a form of address."""
    return _NAME.sub(lambda _: draw.choice(SURNAMES), text)
