"""Words of courtesy around what a complaint says: greetings, addresses, apologies, thanks, wishes, "please reply".

The model does not read them: they say nothing of the matter, and a model that hears how polite a text is learns where
it came from. Left out are the clauses of nothing else with which a text begins and ends, and such words there that no
mark sets apart; what stands between is read whole. The words are in courtesy.yaml; which of them go together is not
grammar but counting, so that it takes a time proportional to the text, whatever somebody sends.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import yaml

_CLAUSE = re.compile(r"(\w+)\W*")
_SOFT = "，,。.~～;；:：、… "  # say nothing at the end of a text
# Marks after courtesy; not those that belong to what follows.
_AFTER = re.compile(r"[^\w“\"「『《‘【#@（(\[<]*")
_QUOTES = frozenset('“”「」『』《》‘’"【】')
# Words that may stand beside who is spoken to. A name before a colon speaks itself, but with respect it is spoken to.
_BESIDE = frozenset(
    {"的", "和", "与", "及", "位", "们", "贵", "好", "啊", "呀", "哦", "您", "你", "你们", "大家", "公司", "负责"}
)
_RESPECT = re.compile("尊敬|敬爱|亲爱|各位|诸位|贵")
# Of words of courtesy, and yet the matter itself.
_MATTER = re.compile(
    "(?:很|非常|特别|十分|实在|太|有点|挺)麻烦$|向(?!您|你|贵|各位)|(?:跟|给|向|对)我们?.{0,8}(?:对不起|抱歉)|给我们?添|你们领导"
    "|(?:大家|网友|家人们|朋友们|宝子们|亲们).{0,8}(?:关注|看|帮|重视)|^(?:好啊|好呀)(?:你|$)|(?:您|你|客服|能|都|会)[^我]{0,8}不着?急|祝我"
)
# Where no mark sets courtesy apart: what a text may begin with, and what courtesy at its end begins with.
_AHEAD = re.compile(
    "(?:您们?|你们?|大家)好[呀啊哦]?"
    "(?!意|歹|久|像|几|多|评|坏|烦|差|似|转|比|心|家|处|说|办|用|吃|看|听|玩|奇|笑|容|好|不|大|难|黑|垃|过|狠|贵|慢|假)"
    "|(?:哈喽)+(?!单车|出行)|打扰一下了?|打扰了(?=请|想|我想|问|麻烦)"
)
_BEHIND = re.compile(
    "(?<![不没别未无勿])(?:麻烦(?!$)|烦请|(?<![申邀聘])请|恳请|敬请|还请|(?<![民人户客众长主生友我们])(?:希望|期望|盼望|期盼|期待)"
    "|(?<![希期盼渴])望|盼"
    "|祝(?=[您你大各工生身好顺一])|(?<![示电声句说达致来要用心情是的])(?:真的|真心|十分|万分|非常|特别)?(?:谢|感谢|感恩|多谢)|先谢"
    "|拜托|辛苦(?=[了您你大各])|劳驾|恳求|跪求|(?<![要诉需追寻恳跪请])求|打扰(?=[了您])|有劳|蟹蟹|在线等|此致)"
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
    # ASCII, for else ı is an i that `lower` does not make one.
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE | re.ASCII), kinds


def _listed(words: str) -> list[str]:
    """The listed words that a clause is put together from; none where there is something else in it."""
    word, _ = _words()
    found = []
    at = 0
    while at < len(words):
        if not (one := word.match(words, at)):
            return []
        found.append(one[0].lower())
        at = one.end()
    return found


def _courteous(words: str) -> bool:
    _, kinds = _words()
    found = set().union(*(kinds[one] for one in _listed(words)))
    if "answer" in found and ("past" in found or not found & {"courtesy", "ask"}):
        return False
    return bool(found & {"courtesy", "answer"}) and not _MATTER.search(words)


def _addressed(words: str, marks: str) -> bool:
    _, kinds = _words()
    found = _listed(words)
    if not any("address" in kinds[one] for one in found) or not marks.strip() or marks.startswith("、"):
        return False
    if marks[:1] in ":：" and not _RESPECT.search(words):
        return False
    return all("address" in kinds[one] or one in _BESIDE for one in found)


def matter(text: str) -> tuple[int, int]:
    """Where a cleaned text speaks of the matter: (start, end); all of it where it is nothing but courtesy."""
    clauses = [(*one.span(1), one.end()) for one in _CLAUSE.finditer(text)]
    first, last = 0, len(clauses)
    while first < last and _left_out(text, *clauses[first], begins=True):
        first += 1
    while first < last and _left_out(text, *clauses[last - 1], begins=False):
        last -= 1
    if first == last:
        return 0, len(text)
    start, stop, _ = clauses[first]
    if (ahead := _AHEAD.match(text, start, stop)) and ahead.end() < stop:
        start = ahead.end()
    elif first:
        start = _AFTER.match(text, clauses[first - 1][1]).end()  # type: ignore[union-attr] # of nothing, too
    else:
        start = 0
    begin, stop, end = clauses[last - 1]
    for behind in _BEHIND.finditer(text, max(begin, start, stop - _LONGEST_BEHIND), stop):
        words = text[behind.start() : stop]
        if behind.start() > max(begin, start) and _courteous(words) and not _QUOTES & set(text[stop:end]):
            return start, behind.start()
    return start, stop + len(text[stop:end].rstrip(_SOFT))


def _left_out(text: str, start: int, stop: int, end: int, *, begins: bool) -> bool:
    """Whether a clause with which a text begins or ends, words from `start` to `stop` and then marks, is courtesy."""
    words, marks = text[start:stop], text[stop:end]
    if _QUOTES & {text[start - 1 : start], *marks}:
        return False
    return _courteous(words) or (begins and _addressed(words, marks))


def of_matter(text: str) -> str:
    """What the model reads of a cleaned text."""
    return text[slice(*matter(text))]
