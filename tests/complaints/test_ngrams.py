"""A linear model over n-grams of tokens, in numpy alone."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from complaints.errors import BundleError
from complaints.ngrams import BITS, LONGEST, TOKENS, NGrams

HEADS = {"topic": 3, "mood": 2}
ROWS = [[1, 4, 5, 4, 5, 2], [1, 2], [1, 6, 7, 6, 7, 6, 7, 8, 2], [], [4], [900_000, 901_000]]


def key(*ids: int) -> int:
    joined = 0
    for one in ids:
        joined = joined << BITS | one + 1
    return joined


@pytest.fixture
def model() -> NGrams:
    rng = np.random.default_rng(5)
    runs = [(1,), (2,), (4,), (5,), (4, 5), (5, 4), (1, 4, 5), (6,), (6, 7), (7, 6, 7), (8, 2), (0,), (2, 4)]
    keys = np.sort([key(*run) for run in runs])
    weights = rng.integers(-127, 128, (len(keys), 5)).astype(np.int8)
    return NGrams(
        HEADS,
        keys,
        rng.uniform(1, 4, len(keys)).astype(np.float16).astype(np.float32),
        weights,
        rng.uniform(0.01, 0.02, len(keys)).astype(np.float16).astype(np.float32),
        rng.normal(size=5).astype(np.float32),
        np.array([0.5, 2], dtype=np.float32),
    )


def by_hand(model: NGrams, ids: list[int]) -> np.ndarray:
    counts = Counter(key(*ids[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(ids) - n + 1))
    place = {int(k): i for i, k in enumerate(model.keys)}
    values = {place[k]: (1 + math.log(c)) * float(model.rarity[place[k]]) for k, c in counts.items() if k in place}
    length = math.sqrt(sum(v * v for v in values.values()))
    out = model.bias.astype(np.float64)
    for i, value in values.items():
        out = out + value / length * float(model.scale[i]) * model.weights[i].astype(np.float64)
    return out


def joint(logits: dict[str, np.ndarray]) -> np.ndarray:
    assert list(logits) == list(HEADS)
    return np.concatenate(list(logits.values()), axis=1)


def test_logits(model: NGrams) -> None:
    found = joint(model.logits(ROWS))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [by_hand(model, row) for row in ROWS], atol=1e-5)
    assert np.array_equal(found[3], model.bias)  # nothing known is said of it
    assert np.array_equal(found[5], model.bias)


def test_what_is_unseen_is_told(model: NGrams) -> None:
    logits, unseen = model.read(ROWS)
    assert np.array_equal(joint(logits), joint(model.logits(ROWS)))
    for row, share in zip(ROWS, unseen, strict=True):
        runs = [key(*row[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(row) - n + 1)]
        assert share == pytest.approx(np.mean([run not in model.keys for run in runs]) if runs else 0.0)
    assert unseen[5] == 1.0
    assert unseen[4] == 0.0
    assert np.array_equal(unseen, np.concatenate([model.read([row])[1] for row in ROWS]))
    assert model.read([])[1].shape == (0,)


def test_neighbours_do_not_matter(model: NGrams) -> None:
    rng = np.random.default_rng(7)
    rows = [rng.integers(0, 10, rng.integers(0, 60)).tolist() for _ in range(TOKENS // 10)]
    assert sum(map(len, rows)) > 2 * TOKENS
    together = joint(model.logits(rows))
    alone = np.concatenate([joint(model.logits([row])) for row in rows])
    assert np.array_equal(together, alone)
    assert joint(model.logits([])).shape == (0, 5)


def test_contributions_add_up(model: NGrams) -> None:
    for row in ROWS:
        shares = joint(model.contributions(row))
        assert shares.shape == (len(row), 5)
        np.testing.assert_allclose(shares.sum(axis=0) + model.bias, joint(model.logits([row]))[0], atol=1e-5)
    assert not joint(model.contributions([900_000]))[0].any()


def test_a_contribution_stands_where_the_words_stand(model: NGrams) -> None:
    shares = joint(model.contributions([8, 2, 9, 9]))  # the run (8, 2) and the token 2 are known, 9 is not
    assert shares[:2].any(axis=1).all()
    assert not shares[2:].any()


def test_saved_and_opened(model: NGrams, tmp_path: Path) -> None:
    path = tmp_path / "ngrams.npz"
    model.save(path)
    again = NGrams.open(path, HEADS)
    assert np.array_equal(joint(again.logits(ROWS)), joint(model.logits(ROWS)))


def test_what_cannot_be_opened(model: NGrams, tmp_path: Path) -> None:
    path = tmp_path / "ngrams.npz"
    model.save(path)
    with pytest.raises(BundleError, match=r"need \(\(13, 6\), \(6,\), \(3,\)\)"):
        NGrams.open(path, HEADS | {"more": 1})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="copy the bundle again"):
        NGrams.open(path, HEADS)
    with pytest.raises(BundleError, match="copy the bundle again"):
        NGrams.open(tmp_path / "none.npz", HEADS)
