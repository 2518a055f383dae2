"""Distances between samples, by numbers computed by hand."""

from __future__ import annotations

import math
import random

import pytest

from complaints.agreement import Agreement, agreement, reliability
from complaints.drift import _chi_squared, jensen_shannon, lengths, psi, vocabulary


def test_psi_by_hand() -> None:
    found = psi({"a": 30, "b": 70}, {"a": 50, "b": 50})
    # Half a count more of each: 30.5/101, 70.5/101 against 50.5/101 twice.
    p, q = (30.5 / 101, 70.5 / 101), (0.5, 0.5)
    assert found.value == pytest.approx(sum((x - y) * math.log(x / y) for x, y in zip(p, q, strict=True)))
    assert found.value == pytest.approx(0.1659, abs=1e-4)
    assert found.chance == pytest.approx(3.841 * (1 / 100 + 1 / 100), rel=0.03)  # tables: 3.841 at one degree
    assert found.real
    assert found.moved[0][0] in ("a", "b")
    assert dict(found.moved)["b"] == pytest.approx(70.5 / 101 - 0.5)


def test_psi_of_nothing_and_of_the_same() -> None:
    assert psi({}, {}).value == 0
    assert psi({"a": 3}, {}).value == 0
    assert psi({"a": 3}, {"a": 9}).value == 0
    assert psi({"a": 5, "b": 5}, {"a": 50, "b": 50}).value == pytest.approx(0, abs=1e-12)
    assert psi({"a": 100}, {"b": 100}).value < 20  # and not infinite


def test_chance_is_seldom_exceeded() -> None:
    rng = random.Random(1)
    kinds = [f"{i}" for i in range(30)]

    def draw(n: int) -> dict[str, int]:
        drawn = rng.choices(kinds, k=n)
        return {kind: drawn.count(kind) for kind in kinds}

    over = sum((one := psi(draw(300), draw(1200))).value > one.chance for _ in range(200))
    assert over / 200 < 0.1


@pytest.mark.parametrize(("degrees", "table"), [(1, 3.841), (5, 11.070), (30, 43.773), (100, 124.342)])
def test_the_quantile_is_that_of_the_tables(degrees: int, table: float) -> None:
    assert _chi_squared(degrees) == pytest.approx(table, rel=0.03)


def test_jensen_shannon_by_hand() -> None:
    assert jensen_shannon({"a": 1}, {"b": 1}) == pytest.approx(1)
    assert jensen_shannon({"a": 2, "b": 2}, {"a": 1, "b": 1}) == 0
    # p = (1, 0), q = (1/2, 1/2), middle (3/4, 1/4): 1/2 ld 4/3 + 1/4 ld 2/3 + 1/4 ld 2
    by_hand = 0.5 * math.log2(4 / 3) + 0.25 * math.log2(2 / 3) + 0.25
    assert jensen_shannon({"a": 4}, {"a": 2, "b": 2}) == pytest.approx(by_hand) == pytest.approx(0.3113, abs=1e-4)
    assert jensen_shannon({}, {"a": 1}) == 0


def test_lengths() -> None:
    rng = random.Random(0)
    usual = [rng.randint(10, 200) for _ in range(1000)]
    assert not lengths([rng.randint(10, 200) for _ in range(300)], usual).real
    longer = lengths([rng.randint(150, 300) for _ in range(300)], usual)
    assert longer.real
    assert longer.moved[0][0].endswith("–∞")
    assert lengths([5] * 10, [7] * 10).value > 0
    assert lengths([], [1]).value == 0


def test_new_words_are_named() -> None:
    rng = random.Random(0)
    words = [f"词{i}" for i in range(50)]

    def texts(n: int, extra: str | None = None) -> list[list[str]]:
        return [[*rng.choices(words, k=8), *([extra] if extra else [])] for _ in range(n)]

    same = vocabulary(texts(200), texts(800))
    assert same.value < 1.5 * same.chance
    moved = vocabulary(texts(200, "快充"), texts(800))
    assert moved.value > 1.5 * moved.chance
    assert moved.moved[0][0] == "快充"
    assert vocabulary([], texts(5)).value == 0


def test_kappa_by_hand() -> None:
    # Cohen's own kind of table: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: (0.7 - 0.5) / 0.5
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = agreement(pairs)
    assert (found.pairs, found.same, found.kappa) == (50, pytest.approx(0.7), pytest.approx(0.4))
    assert agreement([]) == Agreement(0, 0.0, None)
    assert agreement([("a", "a")] * 3).kappa is None
    assert agreement([("a", "b"), ("b", "a")]).kappa == pytest.approx(-1)


def test_reliability_by_hand() -> None:
    bins, error = reliability([(0.95, True), (0.95, False), (1.0, True), (0.3, False)])
    assert [(one.count, round(one.confidence, 4), round(one.right, 4)) for one in bins] == [
        (1, 0.3, 0.0), (3, 0.9667, 0.6667),
    ]  # fmt: skip
    assert error == pytest.approx((0.3 + 3 * 0.3) / 4)
    assert reliability([]) == ([], 0.0)
