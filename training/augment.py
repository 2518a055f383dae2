"""Training texts said again, otherwise: with a greeting, a number, another date, without punctuation.

The labels are the same, and so the model learns what does not matter. Without it a polite phrase changed 14 % of
categories, for how a text is written told the model where it came from (experiments/LOG.md). Places, brands and
goods are left alone: for some taxonomies they are the label. robustness.py measures with words of its own beside these.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import yaml

from training.changes import mobile, other_date, other_name
from training.sources import Example

NUMBERS = ("（电话{}）", "，联系电话{}", "。手机{}", "，我的电话是{}", " {}", "，请联系{}")
WHO = ("本人{}，", "我是{}人，", "我叫{}，", "我今年{}岁，", "本人{}岁，")
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰涛明超霞平刚"
_FAMILY = "王李张刘陈杨赵黄周吴郑冯蒋沈韩"
_REGIONS = (
    "山东",
    "浙江",
    "河北",
    "湖南",
    "湖北",
    "江西",
    "安徽",
    "福建",
    "陕西",
    "贵州",
    "云南",
    "广西",
    "北京",
    "天津",
    "重庆",
)
_PUNCTUATION = re.compile(r"[，。！？、；：,.!?;:~…]+")
# How often each change is made to a text that is said again.
GREETED, CLOSED, NUMBERED, SAID_WHO, UNPUNCTUATED = 0.45, 0.4, 0.25, 0.25, 0.1


@dataclass(frozen=True, slots=True)
class Politeness:
    """Words around a complaint: parts, each with the share of cases (0 to 1) in which it is there.

    `measured` are whole pairs, before and behind a text, to measure with: training never reads them.

    Parts and not whole phrases, for a list of those was learned by heart: its own were steady, while others changed one
    sentiment in five (experiments/LOG.md).
    """

    opening: tuple[tuple[tuple[str, ...], float], ...]
    closing: tuple[tuple[tuple[str, ...], float], ...]
    measured: tuple[tuple[str, str], ...]


@cache
def politeness() -> Politeness:
    """What politeness.yaml says."""
    found = yaml.safe_load(resources.files("training").joinpath("politeness.yaml").read_text(encoding="utf-8"))
    opening, closing = (
        tuple((tuple(map(str, part["words"])), part["share"]) for part in found[side])
        for side in ("opening", "closing")
    )
    return Politeness(opening, closing, tuple((before, after) for before, after in found["measured"]))


def again(examples: Sequence[Example], share: float, draw: random.Random) -> list[tuple[int, Example]]:
    """A `share` (0 to 1) of the examples, drawn anew, with their places, each said otherwise."""
    chosen = draw.sample(range(len(examples)), round(share * len(examples)))
    return [(i, _otherwise(examples[i], draw)) for i in chosen]


def _otherwise(example: Example, draw: random.Random) -> Example:
    complaint = example.complaint
    return replace(example, complaint=complaint.model_copy(update={"text": said_again(complaint.text, draw)}))


def said_again(text: str, draw: random.Random) -> str:
    """The same complaint, otherwise said."""
    text = other_date(other_name(text, draw), draw)
    if draw.random() < UNPUNCTUATED:
        text = _PUNCTUATION.sub(lambda _: draw.choice(("", " ")), text)
    if draw.random() < SAID_WHO:
        text = _who(draw) + text
    if draw.random() < GREETED:
        text = _opening(draw) + text
    if draw.random() < NUMBERED:
        text += draw.choice(NUMBERS).format(mobile(draw))
    if draw.random() < CLOSED:
        text += _closing(draw)
    return text


def _opening(draw: random.Random) -> str:
    """Words of politeness that may stand before a complaint."""
    whom, greeting, *others = _some(politeness().opening, draw)
    return "".join(part + draw.choice("，，，！。： ~") for part in (whom + greeting, *others) if part)


def _closing(draw: random.Random) -> str:
    """Words of politeness that may stand behind a complaint."""
    said = "".join(draw.choice("。，，！ ") + part for part in _some(politeness().closing, draw) if part)
    return said + draw.choice(("", "", "。", "！", "！！", "~", "🙏"))


def _some(parts: Sequence[tuple[Sequence[str], float]], draw: random.Random) -> list[str]:
    return [draw.choice(words) if draw.random() < share else "" for words, share in parts]


def _who(draw: random.Random) -> str:
    age = str(draw.randint(18, 85))
    fill = (draw.choice("男女"), draw.choice(_REGIONS), draw.choice(_FAMILY) + draw.choice(_GIVEN), age, age)
    which = draw.randrange(len(WHO))
    return WHO[which].format(fill[which])
