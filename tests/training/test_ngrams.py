"""Fitting the linear model over n-grams."""

from __future__ import annotations

import numpy as np
import pytest

from complaints.bundle import Length
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training import ngrams
from training.batches import encode
from training.model import Base
from training.ngrams import fit_ngrams
from training.sources import Example

TOPICS = {"质量": "goods", "物流": "parcel", "退款": "money"}


@pytest.fixture
def fitted(base: Base, three: Taxonomy, labelled_rows: list[dict[str, str]]) -> tuple[list[list[int]], np.ndarray]:
    """Token ids and admissible labels; nothing is known of `mood`, and of `area` little but the parent."""
    examples = []
    for i, row in enumerate(labelled_rows):
        labels = {"topic": TOPICS[row["主题"]], "area": "shop" if i % 3 else "home.door" if i % 2 else "home.phone"}
        examples.append(Example(Complaint(text=row["内容"]), labels, "s"))
    rows = encode(examples, base, three, Length(max_tokens=64, tail=16))
    return [row.ids for row in rows], np.stack([row.admissible.numpy() for row in rows])


def test_it_learns(three: Taxonomy, fitted: tuple[list[list[int]], np.ndarray]) -> None:
    rows, admissible = fitted
    model = fit_ngrams(three, rows[:120], admissible[:120])
    logits = model.logits(rows[120:])
    assert (logits["topic"].argmax(axis=1) == admissible[120:, :3].argmax(axis=1)).mean() > 0.9
    assert not logits["mood"].any()  # of a head without labels nothing is known
    leaves = logits["area"].argmax(axis=1)
    assert set(leaves) <= {three.heads["area"].ids.index("home.door"), three.heads["area"].ids.index("home.phone")}


def test_it_is_the_same_again(three: Taxonomy, fitted: tuple[list[list[int]], np.ndarray]) -> None:
    one, other = fit_ngrams(three, *fitted), fit_ngrams(three, *fitted)
    assert np.array_equal(one.weights, other.weights)
    assert np.array_equal(one.keys, other.keys)


def test_no_more_than_so_many(
    three: Taxonomy, fitted: tuple[list[list[int]], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngrams, "FEATURES", 50)
    model = fit_ngrams(three, *fitted)
    assert model.weights.shape == (50, 12)
    assert np.all(np.diff(model.keys) > 0)
