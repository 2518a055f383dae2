"""A warm start: what a bundle had learned is taken over, and old rows are read again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from complaints.bundle import Bundle
from complaints.taxonomy import Taxonomy
from training.fit import learn
from training.model import Base, TriageModel, load_base, targets
from training.recipe import Fit
from training.sources import Example
from training.warm import EPOCHS, gentle, hold, inherit, rehearsal

IDS = torch.tensor([[3, 7, 8, 9, 4], [3, 9, 4, 0, 0]])
MASK = (IDS != 0).long()


def test_it_answers_as_the_bundle_did(bundle: Bundle, model: TriageModel, three: Taxonomy, tiny_encoder: Path) -> None:
    base = load_base(str(bundle.path), tiny_encoder)
    again = TriageModel(base.encoder, base.hidden, three, 0.0).eval()
    inherit(again, base, three)
    with torch.no_grad():
        before, after = model(IDS, MASK), again(IDS, MASK)
    assert torch.allclose(before, after, atol=0.05)  # the bundle holds halves
    assert before.std() > 0.3


def test_labels_and_heads_that_are_new(bundle: Bundle, three: Taxonomy, tiny_encoder: Path) -> None:
    data = yaml.safe_load(three.dump())
    data["heads"]["topic"]["labels"].insert(1, {"id": "fresh", "name": "新的"})
    heads = data["heads"]
    data |= {"version": "2.1.0", "heads": {"mood": heads["mood"], "topic": heads["topic"], "new": heads["area"]}}
    grown = Taxonomy.parse(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), "grown")
    base = load_base(str(bundle.path), tiny_encoder)
    assert base.learned is not None
    made = TriageModel(base.encoder, base.hidden, grown, 0.0)
    fresh_head = made.heads.weight[8:].clone()
    inherit(made, base, grown)
    old, bias = base.learned.weights["heads.weight"], base.learned.weights["heads.bias"]
    assert torch.equal(made.heads.weight[:4], old[8:12])  # mood stood last
    assert torch.equal(made.heads.weight[[4, 6, 7]], old[:3])
    assert torch.allclose(made.heads.weight[5], old[:3].mean(dim=0))
    assert made.heads.bias[5] < bias[:3].min()
    assert torch.equal(made.heads.weight[8:], fresh_head)
    assert torch.equal(made.looks.weight[0], base.learned.weights["looks.weight"][2])


def test_the_lower_half_stays_and_the_rest_learns(model: TriageModel, base: Base, three: Taxonomy) -> None:
    held = copy.deepcopy(model)
    hold(held, base.layers)
    learn(held, three, (IDS, MASK, torch.stack([targets(three, {"topic": one}) for one in ("goods", "money")])), 0.0)
    learned = {name for name, one in held.named_parameters() if one.grad is not None}
    layers = {name for name, _ in held.named_parameters() if ".layer." in name}
    lower = {name for name in layers if int(name.split(".layer.")[1].split(".")[0]) < base.layers // 2}
    assert lower
    assert layers & learned == layers - lower
    assert not any("embeddings" in name for name in learned)
    assert {"heads.weight", "looks.weight"} <= learned


def test_an_encoder_without_heads_is_refused(base: Base, three: Taxonomy) -> None:
    made = TriageModel(base.encoder, base.hidden, three, 0.0)
    with pytest.raises(ValueError, match="no heads to go on from"):
        inherit(made, base, three)


def test_settings_are_gentler() -> None:
    fit = Fit()
    soft = gentle(fit)
    assert soft.epochs == EPOCHS
    assert soft.learning_rate < fit.learning_rate / 2
    assert soft.head_learning_rate < fit.head_learning_rate / 2


def test_old_rows_are_read_again_the_rare_ones_surely(example: Callable[..., Example]) -> None:
    old = [example(f"旧{i}", {"topic": "goods" if i else "money"}) for i in range(1000)]
    new = [Example(one.complaint, one.labels, "corrections", repeat=2) for one in (example("新一"), example("新二"))]
    rows = rehearsal(new, [*old, *new], 5.0, seed=1)
    texts = Counter(one.complaint.text for one in rows)
    assert texts["新一"] == texts["新二"] == 2
    assert len(rows) == 4 + 10
    assert texts["旧0"] == 1  # the only one of its label
    assert max(texts[one.complaint.text] for one in old) == 1
    assert rehearsal(new, [*old, *new], 5.0, seed=1) == rows
    assert len(rehearsal(new, [*old[:3], *new], 5.0, seed=1)) == 4 + 3  # there are no more
    assert len(rehearsal(new, [*old, *new], 0.0, seed=1)) == 4
