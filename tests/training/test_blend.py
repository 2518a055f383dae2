"""The weight of the n-gram model beside the encoder."""

from __future__ import annotations

import numpy as np

from training.blend import FEWEST, USUAL, fit_blend


def _rows(rows: int, knows: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 4, rows)
    return (draw.normal(size=(rows, 4)) + knows * np.eye(4)[truth]).astype(np.float32), truth


def test_a_model_that_knows_nothing_gets_no_word() -> None:
    encoder, truth = _rows(800, 2.0, 1)
    noise, _ = _rows(800, 0.0, 2)
    assert fit_blend(encoder, noise, truth) == 0.0


def test_two_that_know_as_much_share_the_word_and_are_right_more_often() -> None:
    encoder, truth = _rows(800, 1.5, 1)
    other = (np.random.default_rng(3).normal(size=(800, 4)) + 1.5 * np.eye(4)[truth]).astype(np.float32)
    weight = fit_blend(encoder, other, truth)
    assert 0.5 <= weight <= 2.0
    blended, alone = (encoder + weight * other).argmax(axis=1), encoder.argmax(axis=1)
    assert (blended == truth).mean() > (alone == truth).mean() + 0.05


def test_the_scale_of_the_ngrams_is_made_up_for() -> None:
    encoder, truth = _rows(800, 1.5, 1)
    other = (np.random.default_rng(3).normal(size=(800, 4)) + 1.5 * np.eye(4)[truth]).astype(np.float32)
    assert fit_blend(encoder, other / 4, truth) > fit_blend(encoder, other, truth)


def test_few_rows_choose_nothing() -> None:
    encoder, truth = _rows(FEWEST - 1, 1.5, 1)
    assert fit_blend(encoder, encoder, truth) == USUAL


def test_an_ordinal_head_minds_how_far_it_misses() -> None:
    """The n-grams are right more often, and where they are wrong they are far off."""
    truth = np.tile([0, 1, 2, 3], 200)
    near = (2.0 * np.eye(4)[np.where(np.arange(800) % 5 < 3, truth, np.clip(truth + 1, 0, 3))]).astype(np.float32)
    far = (2.0 * np.eye(4)[np.where(np.arange(800) % 4 < 3, truth, 3 - truth)]).astype(np.float32)
    assert fit_blend(near, far, truth, ordinal=True) < fit_blend(near, far, truth)
