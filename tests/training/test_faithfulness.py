"""Faithfulness, on a model made by hand that goes by one character alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from complaints.encoder import Contributions, Encoded
from complaints.predictor import whole
from complaints.records import Complaint
from complaints.text import Cleaned, clean
from training.faithfulness import LEAST_CHARACTERS, faithfulness

TEXT = "我的手机坏了没人管快递还在路上客服不理{}要退款三天了谁来管一管我都等到现在了真是没有道理"


class OneCharacter:
    """Two labels; the first where 火 stands in the text. `points_at` is the character that its evidence names."""

    def __init__(self, points_at: str) -> None:
        self.points_at = points_at
        self.calibration: Any = SimpleNamespace(heads={"h": SimpleNamespace(temperature=1.0, slope=1.0, offset=0.0)})

    def encode(self, complaints: Sequence[Complaint]) -> tuple[list[Cleaned], Encoded]:
        cleaned = [clean(whole(one)) for one in complaints]
        logits = np.array([[6.0 if "火" in one.text else -6.0, 0.0] for one in cleaned], dtype=np.float32)
        return cleaned, Encoded({"h": logits}, np.ones((len(cleaned), 1)), np.zeros(len(cleaned), dtype=np.bool_))  # type: ignore[arg-type]

    def explain(self, text: str) -> Contributions:
        spans = np.array([[0, 0], *([i, i + 1] for i in range(len(text))), [0, 0]])
        shares = np.array([[12.0 if text[a:b] == self.points_at else 0.0, 0.0] for a, b in spans], dtype=np.float32)
        return Contributions(spans, {"h": shares})


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [TEXT.format("火")[i:] + TEXT.format("")[:i] for i in range(0, 12)]


def measured(predictor: OneCharacter, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    return faithfulness(predictor, [Complaint(text=text) for text in texts])  # type: ignore[arg-type]


def test_evidence_that_is_what_decides(texts: list[str]) -> None:
    (found,) = measured(OneCharacter("火"), texts).values()
    assert found["comprehensiveness"] > 0.97  # without 火 the answer is gone
    assert found["sufficiency"] < 0.01  # with 火 alone it stands
    assert found["random_comprehensiveness"] < 0.3  # a tenth at random holds it one time in ten
    assert found["random_sufficiency"] > 0.7


def test_evidence_that_is_not_what_decides(texts: list[str]) -> None:
    (found,) = measured(OneCharacter("路"), texts).values()
    assert found["comprehensiveness"] < 0.01
    assert found["sufficiency"] > 0.97


def test_a_title_is_read_too() -> None:
    complaint = Complaint(title="火", text=TEXT.format(""))
    (found,) = faithfulness(OneCharacter("火"), [complaint]).values()  # type: ignore[arg-type]
    assert found["comprehensiveness"] > 0.97


def test_the_same_seed_draws_the_same(texts: list[str]) -> None:
    assert measured(OneCharacter("火"), texts) == measured(OneCharacter("火"), texts)


def test_texts_too_short_say_nothing(texts: list[str]) -> None:
    short = "火" + "我" * 2 + "的手机" * 5
    assert len(short) == LEAST_CHARACTERS - 2
    assert measured(OneCharacter("火"), [short, "", "<br>"]) == {}
    assert measured(OneCharacter("火"), [short, *texts]) == measured(OneCharacter("火"), ["", *texts])
