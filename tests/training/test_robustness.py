"""Changes that mean nothing to a reader: they touch what they say and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from complaints.bundle import Bundle
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy
from complaints.text import clean
from training.robustness import CHANGES, SPEAKERS, least, robustness

TEXT = "王先生3月5日在北京京东买的华为手机坏了，电话13800138000，客服不理！"


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Iterator[Predictor]:
    made = Predictor(bundle, Policy.load())
    yield made
    made.close()


def change(name: str, text: str = TEXT) -> str:
    return CHANGES[name](text, random.Random(3))


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_changes_this_text_and_not_an_empty_one(name: str) -> None:
    assert change(name) != TEXT
    if name not in ("phone number", "polite", "polite, not in training"):
        assert change(name, "") == ""


@pytest.mark.parametrize("name", ["full-width", "half-width", "traditional"])
def test_ways_of_writing_are_the_same_when_cleaned(name: str) -> None:
    assert clean(change(name)).text == clean(TEXT).text


def test_phone_numbers_are_masked_whatever_they_are() -> None:
    assert clean(change("phone number")).text == clean(TEXT).text


@pytest.mark.parametrize(
    ("name", "gone", "kept"),
    [
        ("other names", "王", "先生3月5日在北京京东买的华为手机坏了"),
        ("other dates", "3月5日", "在北京京东买的华为手机坏了"),
        ("other cities", "北京", "京东买的华为手机坏了"),
        ("other brands", "华为", "手机坏了"),
    ],
)
def test_one_thing_changes_at_a_time(name: str, gone: str, kept: str) -> None:
    changed = change(name)
    assert gone not in changed
    assert kept in changed


def test_brands_stay_among_their_like() -> None:
    phones = {change("other brands", "华为")[0:2] for _ in range(20)}
    assert phones <= {"小米", "苹果", "三星", "魅族", "荣耀"}


def test_shares_are_counted_over_the_texts_that_changed(predictor: Predictor) -> None:
    found = robustness(predictor, [Complaint(text=TEXT), Complaint(text="快递没动静，客服不理")])
    assert found["other cities"]["texts"] == 1
    assert found["half-width"]["texts"] == 2
    assert {*CHANGES, *SPEAKERS, least("province"), least("dialect")} == set(found)
    for name in ("full-width", "half-width", "traditional", "phone number"):
        wanted = {"topic": 1.0, "area": 1.0, "mood": 1.0}
        if name != "phone number":  # a number is added where there was none
            assert {head: found[name][head] for head in wanted} == wanted
    assert all(0 <= share <= 1 for shares in found.values() for head, share in shares.items() if head != "texts")


class Partial:
    """Answers otherwise those who say that they are from Henan, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Complaint] = []

    def predict(self, complaints: Sequence[Complaint], top_k: int) -> list[Any]:
        self.asked += complaints
        labels = ["b" if "河南" in one.text else "a" for one in complaints]
        return [SimpleNamespace(heads={"h": SimpleNamespace(top_k=[SimpleNamespace(label=one)])}) for one in labels]


def test_the_worst_speaker_stands_beside_the_mean() -> None:
    found = robustness(Partial(), [Complaint(text="快递没动静"), Complaint(text="客服不理")])  # type: ignore[arg-type]
    assert found["province"] == {"texts": 2, "h": 0.8}
    assert found[least("province")] == {"texts": 2, "h": 0.0}
    assert found[least("dialect")] == {"texts": 2, "h": 1.0}
    assert least("age") not in found  # of two speakers the mean is the one


def test_the_complaint_is_asked_with_its_title() -> None:
    partial = Partial()
    robustness(partial, [Complaint(text=TEXT, title="手机", channel="app")])  # type: ignore[arg-type]
    assert {(one.title, one.channel) for one in partial.asked} == {("手机", "app")}
    assert len({one.text for one in partial.asked}) > len(CHANGES)
