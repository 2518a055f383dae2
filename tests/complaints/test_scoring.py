"""Scores, expert rounds, and how observations become an index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.errors import InvalidInput
from complaints.experts import COLUMNS, FACTORS, flips, kendall, read_rounds, shifted
from complaints.policy import PACKAGED, Policy
from complaints.records import Observation
from complaints.scoring import degrees, evaluate
from complaints.spread import base, seen, update

POINTS = st.floats(1, 10)
START = datetime(2026, 3, 12, 2, tzinfo=UTC)


def test_nine_and_seven_are_sixteen_and_high(policy: Policy) -> None:
    score = evaluate(policy.scoring, {"business": 3, "financial": 2, "reputation": 9, "compliance": 5}, 7.0)
    assert (score.value, score.level) == (16, "high")


@given(POINTS)
def test_degrees_sum_to_one(points: float) -> None:
    found = degrees((2, 5, 8), points)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()


@settings(max_examples=200)
@given(st.lists(POINTS, min_size=5, max_size=5), st.integers(0, 4), st.floats(0, 9))
def test_more_points_never_lower_either_score(policy: Policy, points: list[float], which: int, more: float) -> None:
    worse = list(points)
    worse[which] = min(10.0, worse[which] + more)
    for method in ("sum", "fuzzy"):
        scoring = policy.scoring.model_copy(update={"method": method})
        before, after = (
            evaluate(scoring, dict(zip(FACTORS[:4], values[:4], strict=True)), values[4]) for values in (points, worse)
        )
        assert after.value >= before.value - 1e-3  # degrees are rounded for people
        if method == "fuzzy":
            assert sum(after.membership.values()) == pytest.approx(1, abs=1e-3)  # type: ignore[union-attr]


# ---- experts


def test_kendall_with_and_without_ties() -> None:
    table = np.array([[9, 4, 8, 7, 10], [8, 5, 9, 7, 10], [7, 4, 8, 9, 10.0]])
    agreement, p = kendall(table)
    # Without ties Friedman's chi-square is m(n - 1)W.
    chi, expected = scipy.stats.friedmanchisquare(*table.T)
    assert agreement == pytest.approx(chi / (3 * 4))
    assert p == pytest.approx(expected)
    tied = np.array([[9, 9, 8, 7, 7], [8, 8, 9, 7, 10], [7, 4, 8, 8, 10.0]])
    agreement, p = kendall(tied)
    chi, expected = scipy.stats.friedmanchisquare(*tied.T)
    assert agreement == pytest.approx(chi / (3 * 4))
    assert p == pytest.approx(expected)
    assert kendall(np.ones((3, 5))) == (0.0, 1.0)
    assert kendall(np.tile([1.0, 2, 3, 4, 5], (4, 1)))[0] == pytest.approx(1)


def test_the_packaged_rounds_come_to_agree(policy: Policy) -> None:
    first, last = read_rounds(Path(str(PACKAGED / "experts.csv")))
    assert last.agreement > first.agreement > 0.5
    assert last.p < 0.05
    assert sum(last.weights.values()) == pytest.approx(1, abs=1e-3)


def test_sensitivity(policy: Policy) -> None:
    weights = policy.scoring.fuzzy.weights
    assert flips(policy, weights) == 0
    changed = shifted(weights, "reputation", 0.2)
    assert sum(changed.values()) == pytest.approx(1)
    assert 0 < flips(policy, changed) < 0.1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("", "holds no scores"),
        ("1,a,business,11\n", r"2: score 11 is not between 1 and 10"),
        ("1,a,beauty,5\n", "'beauty' is no factor"),
        ("x,a,business,5\n", "round must be a whole number"),
        ("1,,business,5\n", "none of them empty"),
        ("1,a,business,5\n1,a,business,6\n", "scores business twice"),
        ("1,a,business,5\n", "gives no score for financial"),
        ("".join(f"1,a,{factor},5\n" for factor in FACTORS), "has one expert"),
    ],
)
def test_a_broken_file_of_rounds_is_refused(tmp_path: Path, rows: str, why: str) -> None:
    path = tmp_path / "e.csv"
    path.write_text(",".join(COLUMNS) + "\n" + rows, encoding="utf-8")
    with pytest.raises(InvalidInput, match=why):
        read_rounds(path)


# ---- observations


@settings(max_examples=200, deadline=None)
@given(
    st.floats(1, 10),
    st.floats(0, 3),
    st.floats(0, 12),
    st.floats(0, 2000),
    st.integers(0, 10**8),
    st.integers(0, 10**8),
)
def test_more_seen_never_lowers_the_index(
    policy: Policy, mean: float, deviation: float, pushes: float, hours: float, reads: int, more: int
) -> None:
    def index(count: int) -> float:
        observation = Observation(at=START + timedelta(hours=hours), reads=count)
        found = seen(policy.propagation.observing, [observation], START, policy.calendar)
        result = update(policy.propagation, (mean, deviation), pushes, found)
        assert 1 <= result.low <= result.value <= result.high <= 10
        return result.value

    assert index(reads + more) >= index(reads) - 1e-9
    assert index(10**9) >= update(policy.propagation, (mean, deviation), pushes, None).value - 1e-9


def test_an_observation_without_counts_says_nothing(policy: Policy) -> None:
    observing = policy.propagation.observing
    assert seen(observing, [Observation(at=START)], START, policy.calendar) is None
    assert seen(observing, [], START, policy.calendar) is None
    early = seen(observing, [Observation(at=START - timedelta(days=3), reads=0)], START, policy.calendar)
    assert early is not None
    assert (early.index, early.maturity) == (1.0, 0.0)
    assert seen(observing, [Observation(at=START, reads=0)], None, policy.calendar).maturity == 0  # type: ignore[union-attr]


def test_labels_without_anchors_are_not_guessed(policy: Policy) -> None:
    assert base(policy.propagation, {"none": 0.5, "some": 0.5}) == base(policy.propagation, None)
