"""The boundary between own and foreign texts: drawn, set so that few of its own are turned away, and measured."""

from __future__ import annotations

import numpy as np
import pytest

from complaints.decision import Scope
from training.scope import FALSE_ALARMS, fit_scope, foreign_texts, scope_report


def cloud(rng: np.random.Generator, centre: int, rows: int, spread: float = 0.25) -> np.ndarray:  # type: ignore[type-arg]
    """Unit vectors of 8 dimensions about one of the axes."""
    found = rng.normal(0, spread, (rows, 8))
    found[:, centre] += 1
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_own_and_foreign_are_told_apart_and_few_of_its_own_turned_away() -> None:
    rng = np.random.default_rng(0)
    calibration = cloud(rng, 0, 1000)
    scope = fit_scope(cloud(rng, 0, 600), cloud(rng, 3, 200), calibration)
    assert len(scope.weights) == 8
    kept = (scope.scores(calibration) >= scope.threshold).mean()
    assert 1 - FALSE_ALARMS <= kept <= 1 - FALSE_ALARMS + 0.002
    found = scope_report(scope, cloud(rng, 0, 1000), cloud(rng, 3, 400), ["code"] * 400)
    assert found["auroc"] > 0.99
    assert found["own_kept"] > 0.97
    assert found["foreign_caught"] > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_however_alike_they_are_99_in_100_of_calibration_are_let_in(seed: int) -> None:
    rng = np.random.default_rng(seed)
    calibration = cloud(rng, 0, 300)
    scope = fit_scope(cloud(rng, 0, 300), cloud(rng, 0, 100), calibration)
    assert (scope.scores(calibration) >= scope.threshold).mean() >= 0.99 - 1e-9


@pytest.mark.parametrize("rows", [10, 60, 99])
def test_of_few_calibration_rows_none_is_turned_away(rows: int) -> None:
    rng = np.random.default_rng(rows)
    calibration = cloud(rng, 0, rows)
    scope = fit_scope(cloud(rng, 0, 300), cloud(rng, 3, 100), calibration)
    assert (scope.scores(calibration) >= scope.threshold).all()


def test_few_own_rows_and_many_foreign_ones_are_weighed_alike() -> None:
    rng = np.random.default_rng(1)
    scope = fit_scope(cloud(rng, 0, 20), cloud(rng, 3, 600), cloud(rng, 0, 30))
    assert (scope.scores(cloud(rng, 0, 500)) > 0).mean() > 0.9


def test_the_report_by_hand() -> None:
    scope = Scope(weights=(1.0,), bias=0.0, threshold=0.0)
    own, foreign = np.array([[1.0], [0.5], [-0.5]]), np.array([[-1.0], [-0.2], [0.7], [-0.6]])
    found = scope_report(scope, own.astype(np.float32), foreign.astype(np.float32), ["a", "b", "b", "a"])
    assert found["own_kept"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["foreign_caught"] == 0.75
    assert (found["caught/a"], found["caught/b"]) == (1.0, 0.5)
    assert found["auroc"] == pytest.approx(9 / 12)  # pairs in which the own text scores higher


def test_foreign_texts_come_by_split() -> None:
    train, test = foreign_texts("train"), foreign_texts("test")
    assert len(train) > len(test) > 100
    assert {one.split for one in train} == {"train"}
    assert not {one.text for one in train} & {one.text for one in test}
    assert foreign_texts("calibration") == []
