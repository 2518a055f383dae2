"""The queue's order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from complaints.priority import Waiting, doubt, expected_cost, queue_order, strangeness
from complaints.records import HeadPrediction, Reason, Scored


def head(confidence: float, reason: Reason | None = None) -> HeadPrediction:
    return HeadPrediction(
        decision="auto" if reason is None else "review",
        label="a",
        name="甲",
        confidence=confidence,
        threshold=0.9,
        reason=reason,
        prediction_set=("a",),
        top_k=(Scored(label="a", confidence=confidence),),
    )


def unit(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32) / np.float32(np.linalg.norm(values))


def test_doubt_is_the_chance_to_be_wrong() -> None:
    assert doubt(head(0.9)) == pytest.approx(0.1)
    assert doubt(head(0.4, "below_threshold")) == pytest.approx(0.6)
    assert doubt(head(0.99, "out_of_scope")) == 0.5  # its confidence says nothing
    assert doubt(head(0.2, "heads_conflict")) == pytest.approx(0.8)


def test_cost_adds_up_over_heads_and_grows_with_the_level() -> None:
    heads = {"one": head(0.9), "two": head(0.7, "below_threshold")}
    assert expected_cost(heads, "low") == pytest.approx(0.4)
    assert expected_cost(heads, "medium") == pytest.approx(0.8)
    assert expected_cost(heads, "high") == pytest.approx(1.6)
    assert expected_cost(heads, "low", head_weights={"two": 3.0}) == pytest.approx(0.1 + 0.9)
    assert expected_cost(heads, "high", level_weights={"low": 1, "medium": 1, "high": 10}) == pytest.approx(4.0)


def test_what_training_has_not_seen_the_like_of_costs_more() -> None:
    assert strangeness(0.6, 0.3) == pytest.approx(2.0)
    assert strangeness(0.1, 0.3) == strangeness(0.0, 0.3) == 1.0  # a familiar text is worth no less for it
    assert strangeness(None, 0.3) == strangeness(0.6, None) == strangeness(0.6, 0.0) == 1.0
    heads = {"one": head(0.9), "two": head(0.7, "below_threshold")}
    assert expected_cost(heads, "medium", 1.5) == pytest.approx(1.2)


def test_the_dearest_come_first() -> None:
    cases = [Waiting("a", 0.1), Waiting("b", 0.5), Waiting("c", 0.3)]
    assert queue_order(cases, 10) == ["b", "c", "a"]
    assert queue_order(cases, 2) == ["b", "c"]
    assert queue_order([], 5) == []


def test_a_copy_of_the_case_before_waits_for_others() -> None:
    cases = [
        Waiting("first", 1.0, unit(1, 0, 0)),
        Waiting("copy", 0.9, unit(1, 0, 0)),
        Waiting("other", 0.2, unit(0, 1, 0)),
        Waiting("unlike", 0.15, None),
    ]
    assert queue_order(cases, 4) == ["first", "other", "unlike", "copy"]


def test_what_was_reviewed_before_counts() -> None:
    cases = [Waiting("near", 1.0, unit(1, 0.1)), Waiting("far", 0.5, unit(0, 1))]
    assert queue_order(cases, 1) == ["near"]
    assert queue_order(cases, 1, before=[unit(1, 0)]) == ["far"]
    assert queue_order(cases, 1, before=[unit(1, 0, 0)]) == ["near"]  # another model's vector


@given(st.lists(st.floats(0, 10), max_size=20), st.integers(0, 25))
def test_every_case_comes_once(costs: list[float], most: int) -> None:
    cases = [Waiting(str(i), cost, unit(1, i)) for i, cost in enumerate(costs)]
    order = queue_order(cases, most)
    assert len(order) == len(set(order)) == min(most, len(costs))
    if order:
        assert costs[int(order[0])] == max(costs)
