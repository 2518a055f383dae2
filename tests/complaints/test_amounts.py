"""Amounts, people and audiences in Chinese text; what only looks like one is left out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.amounts import largest, quantities, total_money
from complaints.text import clean

INF = math.inf


@pytest.mark.parametrize(
    ("text", "kind", "low", "high", "words"),
    [
        ("一百多户", "people", 101, 199, "一百多户"),
        ("我们小区几十户都停水", "people", 20, 90, "几十户"),
        ("两三百人堵在门口", "people", 200, 300, "两三百人"),
        ("十几个业主", "people", 11, 19, "十几个业主"),
        ("约500名用户", "people", 450, 550, "500名"),
        ("四五十个人", "people", 40, 50, "四五十个人"),
        ("30余人", "people", 31, 39, "30余人"),
        ("近百户", "people", 90, 100, "百户"),
        ("上千人", "people", 1000, INF, "千人"),
        ("数百名用户", "people", 200, 900, "数百名"),
        ("成百上千的用户", "people", 1000, INF, "千的用户"),
        ("100人以上", "people", 100, INF, "100人"),
        ("不止200人", "people", 201, INF, "200人"),
        ("15到20户", "people", 15, 20, "15到20户"),
        ("二十多个同班的家长", "people", 21, 29, "二十多个同班的家长"),
        ("百来号人", "people", 90, 110, "百来号人"),
        ("10万用户", "people", 1e5, 1e5, "10万用户"),
        ("3000多块", "money", 3010, 3990, "3000多块"),
        ("花了1.2万", "money", 12000, 12000, "1.2万"),
        ("全款58.6万", "money", 586000, 586000, "58.6万"),
        ("5千", "money", 5000, 5000, "5千"),
        ("￥1,299.00", "money", 1299, 1299, "¥1,299.00"),
        ("1299.00元", "money", 1299, 1299, "1299.00元"),
        ("多收了我两百", "money", 200, 200, "两百"),
        ("花一百二", "money", 120, 120, "一百二"),
        ("1万2千", "money", 12000, 12000, "1万2千"),
        ("三万八", "money", 38000, 38000, "三万八"),
        ("两千五百块", "money", 2500, 2500, "两千五百块"),
        ("20到30万元", "money", 2e5, 3e5, "20到30万元"),
        ("3-5万块", "money", 30000, 50000, "3-5万块"),
        ("千把块钱", "money", 900, 1100, "千把块钱"),
        ("好几千块", "money", 2000, 9000, "几千块"),
        ("上万元", "money", 10000, INF, "万元"),
        ("一共两百多万", "money", 2010000, 2990000, "两百多万"),
        ("5.8万定金", "money", 58000, 58000, "5.8万"),
        ("扣了1299", "money", 1299, 1299, "1299"),
        ("被骗10000多", "money", 10100, 19900, "10000多"),
        ("每期500", "money", 500, 500, "500"),
        ("不超过300元", "money", 0, 300, "300元"),
        ("涉案1.2亿元", "money", 1.2e8, 1.2e8, "1.2亿元"),
        ("预计观看超过10万", "reach", 100010, INF, "10万"),
        ("十几万人看了", "reach", 110000, 190000, "十几万人看"),
        ("阅读量20万+", "reach", 200020, INF, "20万+"),
        ("转发3000多次", "reach", 3010, 3990, "3000多"),
        ("百万粉丝的博主", "followers", 1e6, 1e6, "百万粉丝"),
        ("粉丝50万", "followers", 5e5, 5e5, "50万"),
        ("10w粉", "followers", 1e5, 1e5, "10w粉"),
    ],
)
def test_it_reads(text: str, kind: str, low: float, high: float, words: str) -> None:
    text = clean(text).text
    [found] = quantities(text)
    assert (found.kind, text[found.start : found.end]) == (kind, words)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    "text",
    [
        "半个月工资",
        "电话13800138000",
        "12315",
        "2024年3月15日下午10点30分",
        "型号S2-1500,订单20260315001",
        "iPhone 15 Pro 256G",
        "60W充电器。充电器60W。",
        "三块电池",
        "开了2万公里",
        "两万公里",
        "5万字,3千克,1.8米,99.9%",
        "十分满意",
        "千万不要买",
        "万一坏了",
        "百分百正品",
        "元宵节",
        "3人餐,双人床,2人间",
        "第3个人",
        "尾号8888",
        "零下20度",
        "一万个不满意",
        "6万步",
        "5000毫安时",
        "3千瓦",
        "10000mAh",
        "一般般",
        "第一千零一次",
        "排队487位",
        "保修3年",
    ],
)
def test_it_leaves_out(text: str) -> None:
    assert quantities(clean(text).text) == []


def test_so_much_a_head_times_heads() -> None:
    total = total_money(quantities("每户交了3000元,一百多户"))
    assert total is not None
    assert (total.low, total.high) == (303_000, 597_000)
    assert total_money(quantities("交了3000元,一百多户")).low == 3000  # type: ignore[union-attr]
    assert total_money([]) is None


def test_the_most_counts() -> None:
    found = quantities("先是30人,后来三百多人,有人说是200人")
    assert largest(found, "people").low == 301  # type: ignore[union-attr]
    assert largest(found, "money") is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="一二两三百千万亿几多余十0123456789.,元块人户-至kw约近超过上 个名¥", max_size=40))
def test_any_text_is_read(text: str) -> None:
    for one in quantities(text):
        assert 0 <= one.low <= one.high
        assert 0 <= one.start < one.end <= len(text)


def test_a_very_long_number_is_none() -> None:
    assert quantities("一二" * 5000 + "元") == []
    assert quantities("9" * 5000 + "元") == []
