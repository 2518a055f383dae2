"""Money, people and audiences that a Chinese text names, each as an interval with the place where it stands.

    全款58.6万 -> money 586000      一百多户 -> people 101–199      3000多块 -> money 3010–3990
    两三百人   -> people 200–300    观看超过10万 -> reach > 100000   百万粉丝 -> followers 1000000

A number alone says nothing: it counts with a unit, a noun or a word about money beside it, so dates, telephone
numbers, models, mileages and durations are left out. What is vague is an interval, and `low` is what was surely said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from complaints.numerals import NUMBER, interval

Kind = Literal["money", "people", "reach", "followers"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """`text[start:end]` says that there are `low` to `high` yuan or people; `each`: that much a person or household."""

    kind: Kind
    low: float
    high: float
    start: int
    end: int
    each: bool = False


# 来, 大约, 左右 mean about that many; 近 a little less; 超过 a little more: more than 100 people is not 100.
_ABOUT = (0.9, 1.1)
_NEAR = (0.9, 1.0)
_SHORT = (0.8, 1.0)
_OVER = 1.0001

_NUMBER = re.compile(
    rf"(?<![A-Za-z\d/_#第\-])(?<!\d[.,:])(?P<first>{NUMBER})(?:\s?(?:-|~|—|–|至|到|、|或)\s?(?P<second>{NUMBER}))?(?P<plus>\+)?"
)
_SYMBOL = re.compile(r"(?:[¥￥]|RMB|CNY|人民币)\s?$", re.IGNORECASE)
_VAGUE = r"\+|左右|上下|以上|以内|以下|往上|开外|不等"
_AROUND = rf"\s?(?P<around>{_VAGUE})?\s?"
_AFTERWARDS = re.compile(f"(?:{_VAGUE})")
# 块 is also a piece of something, 元 a part of words.
_UNIT = re.compile(
    rf"{_AROUND}(?:元(?![素宵旦件器气老首论桥])|块钱|块(?![电板屏玻表地砖蛋布木石肉糖肥皮豆瓷主内硬显钢铁巧面牌蓄])"
    r"|圆(?=[整,。]|$)|人民币|美元|美金|欧元|英镑|港币|港元)(?!机)"
)
_NOUN = (
    "用户|客户|顾客|业主|住户|居民|同学|学生|家长|老人|孩子|小孩|儿童|小朋友|娃|消费者|乘客|旅客|游客|员工|同事|工人|邻居"
    "|群友|会员|网友|买家|车主|租户|租客|患者|病人|村民|老师|家庭|朋友|受害者|受害人|投资人|投资者|储户|股民|学员|商户"
    "|店主|司机|骑手|女生|男生|女孩|男孩|宝宝|亲戚|持卡人|参保人|住客|观众|考生"
)
_NOT_A_PERSON = "间座份餐床桌民工寿机为才生品类格次"
_PEOPLE = re.compile(
    rf"{_AROUND}(?:个[一-鿿]{{0,5}}?(?:人(?![{_NOT_A_PERSON}])|{_NOUN})|[名位](?![数次密置移])|户(?!型|外|籍|口|主)"
    rf"|号[一-鿿]{{0,2}}?(?:人|{_NOUN})|口人|人(?![{_NOT_A_PERSON}])|人次|家(?:商户|企业|人家|住户)|的?(?:{_NOUN}))"
)
# 排队487位 is a place in a queue.
_QUEUE = re.compile(r"(?:排队|排到|前面还有|前面有|等位)[^,，。]{0,2}$")
_SEEN = r"看|围观|浏览|播放|阅读|转发|点赞|评论|点击|转载|收听"
_REACH_AFTER = re.compile(rf"{_AROUND}(?:多?个|次|人次|人|网友)?(?:在|都|已经|正在|来)?(?:{_SEEN}|热度)")
_REACH_BEFORE = re.compile(rf"(?:{_SEEN}|观看|热度|点击)[量数人率]*[^,，。;；!！?？\d]{{0,5}}$")
_FANS_AFTER = re.compile(rf"{_AROUND}多?个?粉(?:丝|(?=[,，。的]|$))")
_FANS_BEFORE = re.compile(r"粉丝[量数]?[^,，。;；!！?？\d]{0,4}$")
# A bare 5千 or 58.6万 is money where the clause speaks of money, or ends there without speaking of something else.
_CUE = re.compile(
    r"[花扣付交退赔价款费亏损骗转欠存贷收买卖刷借罚补息钱值投薪]|充[值了]|押金|定金|订金|工资|保额|余额|总额|金额|本金|财产"
)
# Plain digits need a verb of paying right before them: 扣了1299, 被骗10000多, 每期500.
_PAID = re.compile(
    r"(?:[扣花充骗交付退收赔转刷罚亏欠][了值款走掉]{0,2}|损失了?|每[月期年]|少了|余额还?有?|共计?|一共|总共|合计)\s?$"
)
_OTHER_CUE = re.compile(r"(?:开了?|跑了?|里程|销量|步数|像素|编号|单号|尾号|型号|容量|转速)[^,，。;；]{0,3}$")
_OTHER_UNIT = re.compile(
    r"(?:左右|多)?\s?(?:[人名位户个台件条套箱斤吨步字次瓦伏毫平年天月日号点岁度倍分秒辆部张瓶包袋只双份卷栋层楼家粉阅播转赞评座间米"
    r"厘单帧像里克升亩寸遍句声门桶串粒片%％A-Za-z\d]|公里|公斤|千米|小时|星期|礼拜|周)"
)
_STOP = r"[,，。;；!！?？\n]"
_LONGEST_SUM = 9  # what is longer without a unit is an order or a telephone number
_CLAUSE_END = re.compile(r"\s?(?:[,，。;；!！?？、)）…~]|$|[的了吧呢啊呀块元])")
_UNITS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("followers", _FANS_AFTER),
    ("reach", _REACH_AFTER),
    ("money", _UNIT),
    ("people", _PEOPLE),
)
_BEFORE: tuple[tuple[re.Pattern[str], tuple[float, float]], ...] = (
    (re.compile(r"(?:不超过|不多于|低于|少于|最多)$"), (0.0, 1.0)),
    (re.compile(r"(?:不到|不足|小)$"), _SHORT),
    (re.compile(r"(?:超过|超|多于|不止|大于|突破|过)了?$"), (_OVER, math.inf)),
    (re.compile(r"(?:多达|高达|至少|起码|最少|上|成)$"), (1.0, math.inf)),
    (re.compile(r"(?:将近|接近|近|快)$"), _NEAR),
    (re.compile(r"(?:大约|大概|差不多|约)$"), _ABOUT),
)
_AFTER = {
    **dict.fromkeys(("左右", "上下", "不等"), _ABOUT),
    **dict.fromkeys(("以上", "往上"), (1.0, math.inf)),
    **dict.fromkeys(("开外", "+"), (_OVER, math.inf)),
    **dict.fromkeys(("以内", "以下"), (0.0, 1.0)),
}
_EACH = re.compile(r"(?:每一?[人户家位名]|每个人|人均|户均|一人|一户|各家?)[^,，。;；!！?？]{0,8}$")


def quantities(text: str) -> list[Quantity]:
    """Every amount, number of people, audience and following in a text, in the order they stand.

    Texts are read in their simplified, half-width form (`clean`). Amounts in dollars, euros, pounds and Hong Kong
    dollars are taken at their face value, which for all but the last is less than they are worth in yuan.
    """
    found = []
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        value = interval(match["first"], match["second"])
        if value is None:
            continue
        kind, stop, around = _kind(text, start, end, match["first"])
        if kind is None:
            continue
        before = text[max(0, start - 24) : start]
        low, high = _bounded(value, before, "+" if match["plus"] else around)
        if kind != "money" and math.isfinite(low):
            low = float(math.ceil(low)) if low > value[0] or low != int(low) else low
            high = max(low, float(math.floor(high)) if math.isfinite(high) else high)
        symbol = _SYMBOL.search(before) if kind == "money" else None
        begin = start - len(symbol[0]) if symbol else start
        found.append(Quantity(kind, low, high, begin, stop, kind == "money" and bool(_EACH.search(before))))
    return found


def total_money(found: Iterable[Quantity]) -> Quantity | None:
    """The largest amount named: one sum, or so much a head times the people named; None where none is."""
    found = list(found)
    money = [one for one in found if one.kind == "money"]
    people = largest(found, "people")
    if people is not None:
        money += [
            Quantity("money", one.low * people.low, one.high * people.high, one.start, one.end)
            for one in money
            if one.each
        ]
    return max(money, key=lambda one: one.low, default=None)


def largest(found: Iterable[Quantity], kind: Kind) -> Quantity | None:
    """The quantity of a kind whose lower end is highest; None where there is none."""
    return max((one for one in found if one.kind == kind), key=lambda one: one.low, default=None)


def _kind(text: str, start: int, end: int, number: str) -> tuple[Kind | None, int, str | None]:
    """What a number counts, where its unit ends, and the word of vagueness between the two."""
    before = text[max(0, start - 14) : start]
    for kind, pattern in _UNITS:
        if found := pattern.match(text, end):
            if kind == "people" and _QUEUE.search(before):
                return None, end, None
            later = _AFTERWARDS.match(text, found.end())
            seen = kind == "people" and _REACH_BEFORE.search(before)
            return "reach" if seen else kind, found.end(), found["around"] or (later[0] if later else None)
    if _SYMBOL.search(before):
        return "money", end, None
    around = _AFTERWARDS.match(text, end)
    stop = around.end() if around else end
    return _bare(text, before, number, stop), stop, around[0] if around else None


def _bare(text: str, before: str, number: str, stop: int) -> Kind | None:
    """What a number without a unit counts, by the words around it."""
    if _FANS_BEFORE.search(before):
        return "followers"
    if _REACH_BEFORE.search(before):
        return "reach"
    # 千万, 万一, 百分百 are words, 上万 and 好几千 are numbers.
    worded = number[0] in "百千万" and not re.search(r"[上近成过好超小数几]$", before)
    if worded or _OTHER_UNIT.match(text, stop):
        return None
    ends = _CLAUSE_END.match(text, stop) is not None
    if _PAID.search(before) and ends and len(number) <= _LONGEST_SUM:
        return "money"
    clause, then = re.split(_STOP, before)[-1], re.split(_STOP, text[stop : stop + 6])[0]
    if not any(c in number for c in "百千万亿kKwW") or _OTHER_CUE.search(clause):
        return None
    latin = any(c in number for c in "kKwW")  # 60W is a charger
    return "money" if _CUE.search(clause + then) or (ends and not latin) else None


def _bounded(value: tuple[float, float], before: str, around: str | None) -> tuple[float, float]:
    low, high = value
    for pattern, (least, most) in _BEFORE:
        if pattern.search(before):
            return low * least, high * most if math.isfinite(most) else math.inf
    if around in _AFTER:
        least, most = _AFTER[around]
        return low * least, high * most if math.isfinite(most) else math.inf
    return low, high
