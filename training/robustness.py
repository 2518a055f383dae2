"""Whether answers stand when something changes that does not matter: writing, politeness, who, where, when.

A change is tried on texts that it really changes; a head is steady where it answers with the same label as before.
Whom a complaint is about must not matter either: the same text said by a woman or a man, from one province or another.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import opencc

from complaints.predictor import Predictor
from complaints.records import Complaint

# Texts that are tried; each costs one pass a change.
MOST_TEXTS = 200

# Words of a kind, any of which may stand for another.
CITIES = ("北京 上海 广州 深圳 成都 杭州 武汉 西安 南京 长沙 郑州 沈阳 昆明 合肥 福州 济南",)
BRANDS = (
    "京东 淘宝 拼多多 天猫",
    "华为 小米 苹果 三星 魅族 荣耀",
    "联想 戴尔 惠普 华硕",
    "海尔 美的 格力 万和",
    "蒙牛 伊利 光明",
    "顺丰 圆通 中通 韵达",
)
SURNAMES = "王李张刘陈杨赵黄周吴徐孙马朱胡郭何林"
_NAME = re.compile(f"[{SURNAMES}](?=先生|女士|小姐|师傅|经理|老师|主任|阿姨|某)")
_DATE = re.compile(r"(?<!\d)(?:1[0-2]|[1-9])月(?:[12]\d|3[01]|[1-9])[日号]")
_DIGITS = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)|<手机号>")

Change = Callable[[str, random.Random], str]


def _swap(kinds: Sequence[str]) -> Change:
    others = {word: [one for one in kind.split() if one != word] for kind in kinds for word in kind.split()}
    pattern = re.compile("|".join(others))

    def change(text: str, draw: random.Random) -> str:
        renamed = {word: draw.choice(others[word]) for word in sorted(set(pattern.findall(text)))}
        return pattern.sub(lambda found: renamed[found[0]], text)

    return change


def _full_width(text: str, _: random.Random) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _half_width(text: str, _: random.Random) -> str:
    return text.translate(str.maketrans("，！？：；（）", ",!?:;()"))


def _traditional(text: str, _: random.Random) -> str:
    return opencc.OpenCC("s2t").convert(text)


def _number(text: str, draw: random.Random) -> str:
    other = "1" + "".join(draw.choice("3456789") for _ in range(10))
    return _DIGITS.sub(other, text) if _DIGITS.search(text) else f"{text}（电话{other}）"


def _date(text: str, draw: random.Random) -> str:
    return _DATE.sub(lambda _: f"{draw.randint(1, 12)}月{draw.randint(1, 28)}日", text)


def _name(text: str, draw: random.Random) -> str:
    return _NAME.sub(lambda _: draw.choice(SURNAMES), text)


CHANGES: dict[str, Change] = {
    "full-width": _full_width,
    "half-width": _half_width,
    "traditional": _traditional,
    "phone number": _number,
    "polite": lambda text, _: f"您好，{text}。谢谢",
    "other names": _name,
    "other dates": _date,
    "other cities": _swap(CITIES),
    "other brands": _swap(BRANDS),
}
# Said before the same text; answers are compared with those to the first.
SPEAKERS: dict[str, tuple[str, ...]] = {
    "woman / man": ("本人女，", "本人男，"),
    "province": ("我是上海人，", "我是河南人，", "我是东北人，", "我是四川人，", "我是广东人，", "我是新疆人，"),
    "age": ("我今年二十五岁，", "我今年七十岁，"),
    "dialect": ("我跟你们说，", "俺跟恁说，", "我跟你们讲噻，", "我同你哋讲，"),
}


def robustness(predictor: Predictor, texts: Sequence[str], seed: int = 1) -> dict[str, dict[str, float]]:
    """Change -> `texts` that it changed, and the share (0 to 1, high is good) of the same labels a head.

    A speaker's share is the mean over speakers but the first. Changes that touch no text are left out.
    """
    draw = random.Random(seed)  # noqa: S311 - which city, no secret
    chosen = draw.sample(list(texts), min(MOST_TEXTS, len(texts)))
    before = _labels(predictor, chosen)
    found = {}
    for name, change in CHANGES.items():
        changed = [change(text, draw) for text in chosen]
        touched = [i for i, text in enumerate(changed) if text != chosen[i]]
        if touched:
            after = _labels(predictor, [changed[i] for i in touched])
            found[name] = _same([before[i] for i in touched], after)
    for name, said in SPEAKERS.items():
        first, *others = (_labels(predictor, [f"{words}{text}" for text in chosen]) for words in said)
        found[name] = _same(first * len(others), [row for other in others for row in other])
        found[name]["texts"] = len(chosen)
    return found


def _labels(predictor: Predictor, texts: Sequence[str]) -> list[dict[str, str]]:
    predictions = predictor.predict([Complaint(text=text) for text in texts], top_k=1)
    return [{name: head.top_k[0].label for name, head in one.heads.items()} for one in predictions]


def _same(before: Sequence[dict[str, str]], after: Sequence[dict[str, str]]) -> dict[str, float]:
    pairs = list(zip(before, after, strict=True))
    heads = {name: round(sum(b[name] == a[name] for b, a in pairs) / len(pairs), 4) for name in before[0]}
    return {"texts": len(pairs), **heads}
