"""Sixty complaints graded by hand before the policy was run on them, and their paraphrases, through the real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from complaints.bundle import Bundle
from complaints.predictor import Predictor
from complaints.records import Complaint, Context, Customer
from complaints.risk import LEVELS, Policy
from jianwei.default_model import packaged_bundle

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "risk_cases.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def levels() -> dict[str, list[str]]:
    predictor = Predictor(Bundle.open(packaged_bundle()), Policy.load(), threads=2)
    found = {}
    for wording in ("text", "again"):
        complaints, contexts = [], []
        for case in CASES:
            facts = dict(case.get("context", {}))
            contexts.append(Context(alike_before=facts.pop("alike_before", 0)))
            customer = Customer(vip=facts.pop("vip", False))
            complaints.append(Complaint(text=case[wording], customer=customer, **facts))
        readings = predictor.read(complaints)
        found[wording] = [predictor.assess(one, context).level for one, context in zip(readings, contexts, strict=True)]
    predictor.close()
    return found


def test_there_are_sixty_of_all_grades() -> None:
    grades = [case["level"] for case in CASES]
    assert (len(CASES), {level: grades.count(level) for level in LEVELS}) == (60, {"low": 24, "medium": 23, "high": 13})
    assert len({case["id"] for case in CASES}) == 60


# When they were first run 59 of 60, and 60 of 60 paraphrases, agreed with the grades (experiments/LOG.md). The bar is
# lower: another model reads some of them otherwise.
@pytest.mark.parametrize("wording", ["text", "again"])
def test_levels_agree_with_the_grades(levels: dict[str, list[str]], wording: str) -> None:
    graded = np.array([LEVELS.index(case["level"]) for case in CASES])
    given = np.array([LEVELS.index(level) for level in levels[wording]])  # type: ignore[arg-type]
    assert (graded == given).mean() >= 0.85
    assert (np.abs(graded - given) <= 1).all()  # never from high to low


def test_paraphrases_are_graded_alike(levels: dict[str, list[str]]) -> None:
    assert np.mean([a == b for a, b in zip(levels["text"], levels["again"], strict=True)]) >= 0.85


def test_the_graded_examples_of_the_procedure(levels: dict[str, list[str]]) -> None:
    assert levels["text"][:3] == levels["again"][:3] == ["high", "medium", "low"]
