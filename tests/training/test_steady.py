"""A model learns to say of a text said otherwise what it says of the text, and its labels besides."""

from __future__ import annotations

import random

import pytest
import torch

from complaints.taxonomy import Taxonomy
from training.batches import Encoded
from training.fit import predict_logits
from training.model import Base, TriageModel, targets
from training.recipe import Fit
from training.steady import apart, by_head, steady

pytestmark = pytest.mark.usefixtures("whole")


def test_log_probabilities_are_a_heads_own(three: Taxonomy) -> None:
    parts = by_head(torch.randn(5, 12), three)
    assert [part.shape[1] for part in parts] == list(three.sizes.values())
    assert all(torch.allclose(part.exp().sum(dim=1), torch.ones(5)) for part in parts)


def test_only_the_same_word_is_not_apart(three: Taxonomy) -> None:
    one, other = (by_head(torch.randn(5, 12, generator=torch.Generator().manual_seed(s)), three) for s in (1, 2))
    assert apart(one, one) == pytest.approx(0, abs=1e-6)
    assert apart(one, other) > 0.1
    assert apart(one[:1] + other[1:], other) < apart(one, other)  # heads add up


@pytest.mark.parametrize("epochs", [1, 3])
def test_what_is_said_of_texts_said_otherwise_comes_nearer_to_what_was_said_of_them(
    fresh: tuple[Base, TriageModel], three: Taxonomy, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    base, model = fresh
    monkeypatch.setattr("training.steady.LABELS", 0.0)
    with torch.no_grad():
        model.heads.weight.normal_(0, 1, generator=torch.Generator().manual_seed(1))
    draw = random.Random(1)
    texts = [[draw.randrange(6, 40) for _ in range(12)] for _ in range(160)]
    plain = [Encoded([3, *text, 4], targets(three, {"topic": "goods"})) for text in texts]
    greeted = [Encoded([3, *[41, 42, 43] * 6, *text, 4], targets(three, {"topic": "goods"})) for text in texts]
    fit = Fit(steady=epochs, learning_rate=2e-3, batch_rows=2, dropout=0)
    before = [by_head(predict_logits(model, rows, fit, 0), three) for rows in (plain, greeted)]
    read: list[int] = []

    def otherwise(_: random.Random) -> list[Encoded]:
        read.append(1)
        return greeted

    steady(model, base, three, plain, otherwise, fit)
    assert len(read) == epochs
    assert not model.training
    after = by_head(predict_logits(model, greeted, fit, 0), three)
    assert apart(after, before[0]) < 0.8 * apart(before[1], before[0])


def test_labels_count_beside_it(
    fresh: tuple[Base, TriageModel], three: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = fresh
    monkeypatch.setattr("training.steady.LABELS", 30.0)
    rows = [Encoded([3, 8 + i % 20, 9, 4], targets(three, {"topic": "money"})) for i in range(40)]
    fit = Fit(steady=2, learning_rate=4e-3, batch_rows=8)
    place = three.heads["topic"].ids.index("money")
    before = by_head(predict_logits(model, rows, fit, 0), three)[0][:, place].mean()
    steady(model, base, three, rows, lambda _: rows, fit)
    assert by_head(predict_logits(model, rows, fit, 0), three)[0][:, place].mean() > before + 0.1
