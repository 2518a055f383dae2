"""What the model reads of a text: the matter, without words of courtesy."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from complaints.courtesy import matter, of_matter
from complaints.text import VERSION


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("您好,快递把箱子压坏了。谢谢!", "快递把箱子压坏了"),
        ("尊敬的领导:您好!我们小区停水三天,望尽快解决,此致敬礼", "我们小区停水三天"),
        ("你好我的快递丢了谢谢", "我的快递丢了"),
        ("亲,在吗?麻烦看一下订单,谢谢亲~", "麻烦看一下订单"),
        ("抱歉打扰您几分钟时间,退款三天没到,请帮忙查一下", "退款三天没到"),
        ("手机屏幕碎了 盼复 祝工作顺利", "手机屏幕碎了"),
        ("亲,快递丢了 麻烦帮忙查一下谢谢", "快递丢了"),
        ("您好,#避雷#这家店", "#避雷#这家店"),
        ("HI,快递丢了,THX", "快递丢了"),
    ],
)
def test_courtesy_is_not_read(text: str, read: str) -> None:
    assert of_matter(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "谢谢",
        "您好,谢谢!",
        "客服态度差,谢谢都不说",
        "我现在不想要了,退款",
        "你们好意思吗,骗老人的钱",
        "你好歹给个说法",
        "换个货这么麻烦",
        "客服很好",
        "师傅来晚了",
        "老师 打我儿子",
        "商家:不支持退货 我:凭什么",
        "我要向有关部门反映情况",
        "求大家关注",
        "市民希望尽快处理",
        "已经退订了,别再打扰我",
        "特来电感谢",
        "班主任姓祝",
        "到现在还在等消息",
        "三句话两句“抱歉”",
        "投诉客服 您好,我的卡被冻结了",
        "麻烦解决了",
        "客服帮我解决了",
        "请尽快退款",
        "麻烦死了",
        "客服不帮忙",
        "要你们给个说法",
        "真是谢谢你们了,等了一个月",
        "服务好",
        "hı,坏了",
        "坏了,thankſ",
        "",
        "?!",
    ],
)
def test_what_says_something_is_read(text: str) -> None:
    assert of_matter(text) == text


def test_a_threat_after_a_request_is_read() -> None:
    assert of_matter("请尽快处理,否则曝光") == "否则曝光"


def test_it_leaves_out_what_it_did_when_its_version_was_given() -> None:
    """What is written here changes with text.VERSION alone: models are served with what they were trained with."""
    pieces = [
        "您好,",
        "客服",
        "麻烦",
        "帮忙",
        "查一下",
        "坏了",
        "谢谢",
        "。",
        ":",
        "“",
        " ",
        "望尽快回复",
        "祝",
        "现在",
        "不想要",
        "大家",
    ]
    words = files("complaints").joinpath("courtesy.yaml").read_bytes()
    digest = sha256(words)
    for texts in product(pieces, repeat=3):
        digest.update(of_matter("".join(texts)).encode() + b"\n")
    assert (VERSION, digest.hexdigest()[:16]) == ("2", "ce1e4b04c098175a")


@given(st.text("hHiIıİsSſ您好,谢谢请快递坏了。 麻烦!回复你我的<手机号>0.5“”#@", max_size=60))
def test_what_is_read_is_a_part_of_the_text(text: str) -> None:
    start, end = matter(text)
    assert 0 <= start <= end <= len(text)
    assert start < end or not text


@pytest.mark.parametrize("words", ["请", "请麻烦您", "谢,", "麻烦", "麻烦请谢", "给我", "大家"])
def test_endless_courtesy_comes_to_an_end(words: str) -> None:
    assert of_matter(words * 2_000 + "坏").endswith("坏")
