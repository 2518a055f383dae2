"""Whether answers stand when something changes that does not matter: writing, politeness, who, where, when.

A change is tried on texts that it really changes; a head is steady where it answers with the same label as before.
Whom a complaint is about must not matter either: the same text said by a woman or a man, from one province or another.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import opencc

from complaints.predictor import Predictor
from complaints.records import Complaint
from training.augment import politeness
from training.changes import Change, other_date, other_name, other_number, swap

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


def _full_width(text: str, _: random.Random) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _half_width(text: str, _: random.Random) -> str:
    return text.translate(str.maketrans("，！？：；（）", ",!?:;()"))


def _traditional(text: str, _: random.Random) -> str:
    return opencc.OpenCC("s2t").convert(text)


def _polite(text: str, draw: random.Random) -> str:
    before, after = draw.choice(politeness().measured)
    return before + text + after


CHANGES: dict[str, Change] = {
    "full-width": _full_width,
    "half-width": _half_width,
    "traditional": _traditional,
    "phone number": other_number,
    "polite": lambda text, _: f"您好，{text}。谢谢",
    "polite, not in training": _polite,
    "other names": other_name,
    "other dates": other_date,
    "other cities": swap(CITIES),
    "other brands": swap(BRANDS),
}
# Said before the same text; answers are compared with those to the first.
SPEAKERS: dict[str, tuple[str, ...]] = {
    "woman / man": ("本人女，", "本人男，"),
    "province": ("我是上海人，", "我是河南人，", "我是东北人，", "我是四川人，", "我是广东人，", "我是新疆人，"),
    "age": ("我今年二十五岁，", "我今年七十岁，"),
    "dialect": ("我跟你们说，", "俺跟恁说，", "我跟你们讲噻，", "我同你哋讲，"),
}


def robustness(predictor: Predictor, complaints: Sequence[Complaint], seed: int = 1) -> dict[str, dict[str, float]]:
    """Change -> `texts` that it changed, and the share (0 to 1, high is good) of the same labels a head.

    Titles stay as they are. A speaker's share is the mean over speakers but the first; where there are several of them,
    a change of its own (`least`) has the share of the worst one, a head. Changes that touch no text are left out.
    """
    draw = random.Random(seed)  # noqa: S311 - which city, no secret
    chosen = draw.sample(list(complaints), min(MOST_TEXTS, len(complaints)))
    before = labels_of(predictor, chosen)
    found = {}
    for name, change in CHANGES.items():
        changed = [_said(one, change(one.text, draw)) for one in chosen]
        touched = [i for i, one in enumerate(changed) if one.text != chosen[i].text]
        if touched:
            after = labels_of(predictor, [changed[i] for i in touched])
            found[name] = _same([before[i] for i in touched], after)
    for name, said in SPEAKERS.items():
        first, *others = (labels_of(predictor, [_said(one, f"{words}{one.text}") for one in chosen]) for words in said)
        found[name] = _same(first * len(others), [row for other in others for row in other])
        found[name]["texts"] = len(chosen)
        if len(others) > 1:  # a mean hides the one who is answered otherwise
            shares = [_same(first, other) for other in others]
            found[least(name)] = {key: min(one[key] for one in shares) for key in shares[0]}
    return found


def least(name: str) -> str:
    """What the share of the worst speaker is called."""
    return f"{name}, least"


def _said(complaint: Complaint, text: str) -> Complaint:
    return complaint.model_copy(update={"text": text})


def labels_of(predictor: Predictor, complaints: Sequence[Complaint]) -> list[dict[str, str]]:
    """The likeliest label a head, of each complaint."""
    predictions = predictor.predict(complaints, top_k=1)
    return [{name: head.top_k[0].label for name, head in one.heads.items()} for one in predictions]


def _same(before: Sequence[dict[str, str]], after: Sequence[dict[str, str]]) -> dict[str, float]:
    pairs = list(zip(before, after, strict=True))
    heads = {name: round(sum(b[name] == a[name] for b, a in pairs) / len(pairs), 4) for name in before[0]}
    return {"texts": len(pairs), **heads}
