"""Texts said again: other words around them, the same complaint within."""

from __future__ import annotations

import random
import re

from complaints.records import Complaint
from training.augment import again, politeness, said_again
from training.sources import Example

TEXT = "王先生3月5日在北京京东买的华为手机坏了，客服不理"


def _examples(count: int) -> list[Example]:
    return [Example(Complaint(text=f"{TEXT}{i}", title="手机"), {"topic": "a"}, "file") for i in range(count)]


def test_what_was_said_stays() -> None:
    for seed in range(200):
        said = said_again(TEXT, random.Random(seed))
        assert "北京京东买的华为手机坏了" in said
        assert "客服不理" in said


def test_every_kind_of_change_occurs() -> None:
    said = [said_again(TEXT, random.Random(seed)) for seed in range(500)]
    assert any("3月5日" not in text for text in said)
    assert any(not text.startswith("王") and "先生" in text for text in said)
    for side in (politeness().opening, politeness().closing):
        for words, _ in side:
            assert any(word in text for word in words for text in said)
    assert any("，" not in text for text in said)
    assert any("电话" in text for text in said)


def test_an_empty_text_is_no_reason_to_fail() -> None:
    assert all(isinstance(said_again("", random.Random(seed)), str) for seed in range(50))


def test_a_share_is_drawn_and_labels_and_title_stay() -> None:
    examples = _examples(10)
    said = again(examples, 0.4, random.Random(1))
    assert len({i for i, _ in said}) == 4
    for i, example in said:
        assert example.labels == examples[i].labels
        assert example.complaint.title == "手机"
        assert "华为手机坏了" in example.complaint.text
    assert again(examples, 0.0, random.Random(1)) == []


def test_the_same_draw_says_the_same() -> None:
    assert again(_examples(5), 1.0, random.Random(4)) == again(_examples(5), 1.0, random.Random(4))


def test_politeness_is_measured_with_words_that_training_has_not_read() -> None:
    taught = {word for side in (politeness().opening, politeness().closing) for words, _ in side for word in words}
    known = re.compile("|".join(sorted(map(re.escape, taught), key=len, reverse=True)) + r"|[，。！：~\s]")
    assert len(politeness().measured) == 40
    assert sum(len(known.sub("", before + after)) > 3 for before, after in politeness().measured) > 30
