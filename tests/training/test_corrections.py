"""Corrections settled and mixed: whose word counts, and which rows may be learned from."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from complaints.records import Complaint, Correction
from complaints.taxonomy import Taxonomy
from complaints.text import mask
from training.corrections import Settled, mix, settle
from training.recipe import Mixing
from training.sources import Example
from training.splits import Parts

START = datetime(2026, 3, 1, tzinfo=UTC)
NUMBERS = itertools.count()
# Texts without three characters in a row in common.
WORDS = [
    "屏幕裂了",
    "快递没到",
    "退款太慢",
    "客服骂人",
    "电池鼓包",
    "包裹丢失",
    "运费乱收",
    "按键失灵",
    "主板烧坏",
    "派件延误",
]


def said(text: str, label: str, **more: Any) -> Correction:
    number = next(NUMBERS)
    given = {
        "id": f"cor_{number:05d}", "prediction_id": f"pred_{text}", "text": text, "head": "topic", "label": label,
        "predicted": "goods", "decision": "suggest", "confidence": 0.4, "kind": "explicit", "actor": "甲",
        "given_at": START + timedelta(minutes=number), "model_name": "three", "model_version": "1",
        "taxonomy_version": "2.0.0",
    }  # fmt: skip
    return Correction(**(given | more))


def labels(found: tuple[list[Settled], Counter[str]]) -> dict[str, dict[str, str]]:
    return {one.example.complaint.text: one.example.labels for one in found[0]}


def test_a_persons_last_word_counts(three: Taxonomy) -> None:
    found = settle([said("甲", "parcel"), said("甲", "money"), said("乙", "goods")], three, "three")
    assert labels(found) == {"甲": {"topic": "money"}, "乙": {"topic": "goods"}}
    assert found[1]["taken back by a later word of the same person"] == 1
    backwards = [said("甲", "money", given_at=START + timedelta(days=2)), said("甲", "parcel", given_at=START)]
    assert labels(settle(backwards, three, "three")) == {"甲": {"topic": "money"}}  # by time, not by place in the file


def test_a_person_outvotes_closed_tickets(three: Taxonomy) -> None:
    words = [said("甲", "parcel", kind="implicit", actor=f"工单{i}") for i in range(3)] + [said("甲", "money")]
    found = settle(words, three, "three")
    assert labels(found) == {"甲": {"topic": "money"}}
    assert found[1]["of closed tickets, outvoted by a person"] == 3
    assert labels(settle(words[:3], three, "three")) == {"甲": {"topic": "parcel"}}


def test_each_closed_ticket_of_one_system_is_a_vote(three: Taxonomy) -> None:
    closed = {"kind": "implicit", "actor": "key 1"}
    words = [said("甲", "parcel" if i < 29 else "money", prediction_id=f"p{i}", **closed) for i in range(30)]
    found = settle(words, three, "three")
    assert labels(found) == {"甲": {"topic": "parcel"}}
    assert found[1]["outvoted"] == 1
    assert found[1]["taken back by a later word of the same person"] == 0
    again = [said("甲", "parcel", prediction_id="p29", **closed) for _ in range(2)]  # closed anew, and said twice
    found = settle([*words, *again], three, "three")
    assert found[1]["outvoted"] == 0
    assert found[1]["taken back by a later word of the same person"] == 1


def test_a_person_has_one_vote_a_text_however_many_cases_it_came_in(three: Taxonomy) -> None:
    words = [said("甲", "parcel", prediction_id=f"p{i}") for i in range(3)]
    others = [said("甲", "money", actor=who) for who in ("乙", "丙")]
    found = settle([*words, *others], three, "three")
    assert labels(found) == {"甲": {"topic": "money"}}
    assert found[1]["taken back by a later word of the same person"] == 0


def test_persons_who_differ_are_settled_by_majority_or_left_out(three: Taxonomy) -> None:
    words = [said("甲", "parcel"), said("甲", "money", actor="乙"), said("甲", "calm", head="mood")]
    found = settle(words, three, "three")
    assert labels(found) == {"甲": {"mood": "calm"}}
    assert found[1]["in conflict, without a majority"] == 2
    found = settle([*words, said("甲", "money", actor="丙")], three, "three")
    assert labels(found) == {"甲": {"topic": "money", "mood": "calm"}}
    assert found[1]["outvoted"] == 1


def test_the_same_text_of_two_predictions_is_one_row(three: Taxonomy) -> None:
    found = settle(
        [said("屏幕坏了。", "goods"), said("屏幕坏了。", "goods", prediction_id="p2", actor="乙")], three, "three"
    )
    assert len(found[0]) == 1


def test_labels_of_another_taxonomy(three: Taxonomy) -> None:
    words = [said("甲", "old_parcel"), said("乙", "gossip"), said("丙", "nothing"), said("丁", "x", head="none")]
    found = settle([*words, said("戊", "shop", head="area")], three, "three")
    assert labels(found) == {"甲": {"topic": "parcel"}, "戊": {"area": "shop"}}  # a former label, and a parent
    assert found[1]["of a head or label that the taxonomy does not hold"] == 3


def test_words_on_another_models_answers_are_left_out_and_counted(
    three: Taxonomy, caplog: pytest.LogCaptureFixture
) -> None:
    words = [said("甲", "parcel"), said("乙", "money", model_name="other"), said("丙", "goods", model_name="")]
    found = settle(words, three, "three")
    assert labels(found) == {"甲": {"topic": "parcel"}, "丙": {"topic": "goods"}}
    assert found[1]["of another model"] == 1
    assert found[1]["corrections"] == 3
    assert "left out 1 corrections of other models than three: other (1)" in caplog.text
    caplog.clear()
    assert "of another model" not in settle(words[:1], three, "three")[1]
    assert not caplog.text


def test_a_thousand_people_on_one_text(three: Taxonomy) -> None:
    words = [said("甲", "parcel" if i < 501 else "money", actor=f"人{i}") for i in range(1000)]
    assert labels(settle(words, three, "three")) == {"甲": {"topic": "parcel"}}
    split = settle([*words, *(said("甲", "goods", actor=f"又{i}") for i in range(2))], three, "three")
    assert split[0] == []
    assert split[1]["in conflict, without a majority"] == 1002


@pytest.fixture
def parts(example: Callable[..., Example]) -> Parts:
    return Parts(
        [example("我家的空调不制冷", {"topic": "goods", "mood": "calm"})],
        [example("校准的一行文字在这里")],
        [example("测试的一行文字放着")],
        3,
        0,
    )


def mixed(words: list[Correction], three: Taxonomy, parts: Parts, **settings: Any) -> Any:
    return mix(*settle(words, three, "three"), parts, Mixing(**({"newest": 0.2} | settings)), 0.6)


def test_the_newest_and_the_audited_are_never_trained_on(three: Taxonomy, parts: Parts) -> None:
    words = [said(text, "goods", audit=i == 3) for i, text in enumerate(WORDS)]
    found = mixed(words, three, parts, newest=0.3)
    texts = {name: [one.complaint.text for one in getattr(found, name)] for name in ("corrected", "newest", "audit")}
    assert texts == {"corrected": [*WORDS[:3], *WORDS[4:7]], "newest": WORDS[7:], "audit": [WORDS[3]]}
    assert [one.complaint.text for one in found.parts.train][1:] == texts["corrected"]
    assert all(one.repeat == 2 for one in found.corrected)
    assert found.parts.calibration == parts.calibration
    assert found.parts.test == parts.test
    assert (found.counts["texts trained on"], found.counts["texts held out, newest"]) == (6, 3)


@pytest.mark.parametrize("ending", ["", "！", "了"])
def test_training_rows_like_an_audit_or_newest_text_are_dropped(
    three: Taxonomy, parts: Parts, example: Callable[..., Example], ending: str
) -> None:
    audited, newest = "楼下的快递柜坏了半个月没人修", "昨天买的电饭煲今天就冒烟了打了三次电话"
    words = [said(audited, "goods", audit=True), *(said(text, "goods") for text in WORDS), said(newest, "goods")]
    like = [example(audited + ending), example(newest + "了")]
    found = mixed(words, three, replace(parts, train=[*parts.train, *like]), newest=0.05)
    assert [one.complaint.text for one in found.audit] == [audited]
    assert [one.complaint.text for one in found.newest] == [newest]
    kept = {one.complaint.text for one in found.parts.train}
    assert parts.train[0].complaint.text in kept
    assert not kept & {one.complaint.text for one in like}
    assert found.counts["training rows like an audit or newest text, dropped"] == 2


def test_what_is_newest_now_was_held_out_before(three: Taxonomy, parts: Parts) -> None:
    words = [said(text, "goods") for text in WORDS]
    before = {one.complaint.text for one in mixed(words[:5], three, parts).corrected}
    after = {one.complaint.text for one in mixed(words, three, parts).newest}
    assert not before & after


def test_copies_stay_on_one_side(three: Taxonomy, parts: Parts) -> None:
    words = [
        said(text, "goods") for text in [*WORDS[:8], "楼下的快递柜坏了半个月没人修", "楼下的快递柜坏了半个月没有人修"]
    ]
    found = mixed(words, three, parts, newest=0.1)
    assert not found.newest  # the last is nearly the one before it, which is trained on
    assert len(found.corrected) == 10
    audited = [*words[:8], words[8].model_copy(update={"audit": True}), words[9]]
    found = mixed(audited, three, parts, newest=0)
    assert [one.complaint.text for one in found.audit] == [words[8].text]
    assert words[9].text not in {one.complaint.text for one in found.corrected}


def test_near_duplicates_of_protected_rows_stay_out(three: Taxonomy, parts: Parts) -> None:
    found = mixed(
        [said("校准的一行文字在这里!", "money"), said("测试的一行文字放着。", "money")], three, parts, newest=0
    )
    assert found.corrected == found.newest == found.audit == []
    assert found.counts["texts like a calibration or test row"] == 2


def test_a_training_row_of_the_same_text_takes_what_people_said(three: Taxonomy, parts: Parts) -> None:
    found = mixed([said("我家的空调不制冷", "parcel")], three, parts, newest=0.9)
    assert not found.newest  # what was trained on measures nothing
    assert [one.labels for one in found.parts.train] == [{"mood": "calm"}, {"topic": "parcel"}]
    assert found.counts["labels of training rows overruled"] == 1


def test_a_masked_correction_is_of_the_training_row_that_has_the_number(three: Taxonomy, parts: Parts) -> None:
    raw = "空调不制冷，回电13812345678"
    row = replace(parts.train[0], complaint=Complaint(text=raw))
    found = mixed([said(mask(raw), "parcel")], three, replace(parts, train=[row]), newest=0.9)
    assert mask(raw) != raw
    assert [one.labels for one in found.parts.train] == [{"mood": "calm"}, {"topic": "parcel"}]
    assert not found.newest


def test_what_was_said_early_and_confirmed_late_is_not_newest(three: Taxonomy, parts: Parts) -> None:
    """The champion of the time between has learned from it."""
    words = [said(text, "goods") for text in WORDS]
    late = said(WORDS[0], "goods", actor="乙", given_at=START + timedelta(days=60))
    assert [one.complaint.text for one in mixed([*words, late], three, parts).newest] == WORDS[8:]
