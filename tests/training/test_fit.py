"""Batches, learning rates, and logits that come back in the order of the rows."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.bundle import Length
from complaints.errors import InvalidInput
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training.fit import (
    Encoded,
    batches,
    collate,
    encode,
    fit_model,
    macro_f1,
    parameter_groups,
    predict_logits,
    read_text,
)
from training.model import Base, TriageModel, load_base, targets
from training.recipe import Fit
from training.sources import Example

Make = Callable[..., Example]
NONE = torch.zeros(12, dtype=torch.bool)


def rows_of(lengths: list[int]) -> list[Encoded]:
    return [Encoded([5] * n, NONE) for n in lengths]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), max_size=200),
    budget=st.integers(128, 1024),
    most=st.integers(1, 16),
    seed=st.none() | st.integers(0, 9),
)
def test_batches_hold_every_row_once_within_budget(
    lengths: list[int], budget: int, most: int, seed: int | None
) -> None:
    rows = rows_of(lengths)
    rng = None if seed is None else random.Random(seed)
    made = list(batches(rows, Fit(batch_tokens=budget, batch_rows=most), rng))
    assert sorted(id(row) for batch in made for row in batch) == sorted(map(id, rows))
    for batch in made:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(len(row.ids) for row in batch) <= budget


def test_batches_are_like_in_length_and_random_in_order() -> None:
    rng = random.Random(0)
    rows = rows_of([rng.randint(5, 200) for _ in range(400)])
    fit = Fit(batch_tokens=4096, batch_rows=16)
    made = list(batches(rows, fit, random.Random(1)))
    padded = sum(len(b) * max(len(row.ids) for row in b) for b in made)
    assert padded < 1.2 * sum(len(row.ids) for row in rows)
    widths = [max(len(row.ids) for row in b) for b in made]
    assert widths != sorted(widths)
    again = list(batches(rows, fit, random.Random(1)))
    assert [[id(r) for r in b] for b in made] == [[id(r) for r in b] for b in again]
    assert [[id(r) for r in b] for b in made] != [[id(r) for r in b] for b in batches(rows, fit, random.Random(2))]


def test_collate_pads_and_masks() -> None:
    one = torch.arange(12) == 1
    ids, mask, admissible = collate([Encoded([7, 8], NONE), Encoded([9, 9, 9, 9], one)], pad=3)
    assert ids.tolist() == [[7, 8, 3, 3], [9, 9, 9, 9]]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert admissible.tolist() == [NONE.tolist(), one.tolist()]


def test_parameter_groups_cover_all_once_and_rise_to_the_heads(model: TriageModel) -> None:
    fit = Fit(learning_rate=1e-4, head_learning_rate=1e-2, layer_decay=0.5, weight_decay=0.1)
    groups = parameter_groups(model, 2, fit)
    members = [id(p) for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    assert sorted(members) == sorted(id(p) for p in model.parameters())
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    rates: dict[str, set[object]] = {}
    for name, parameter in model.named_parameters():
        where = "heads" if name.startswith("heads.") else next((p for p in name.split(".") if p.isdigit()), "words")
        rates.setdefault(where, set()).add(rate[id(parameter)])
        assert decay[id(parameter)] == (0.1 if parameter.ndim == 2 else 0.0), name
    assert {k: [pytest.approx(v) for v in values] for k, values in rates.items()} == {
        "heads": [1e-2],
        "1": [1e-4],
        "0": [5e-5],
        "words": [2.5e-5],
    }


def test_predicted_logits_keep_the_order_of_the_rows(model: TriageModel) -> None:
    rng = random.Random(3)
    rows = [Encoded([3, *(rng.randint(6, 30) for _ in range(rng.randint(1, 40))), 4], NONE) for _ in range(30)]
    together = predict_logits(model, rows, Fit(batch_rows=7, batch_tokens=128), pad=0)
    assert together.shape == (30, 12)
    for row, logits in zip(rows, together, strict=True):
        ids, mask, _ = collate([row], 0)
        with torch.inference_mode():
            assert torch.allclose(model(ids, mask)[0], logits, atol=1e-5)


def test_predicted_logits_of_no_rows(model: TriageModel) -> None:
    assert predict_logits(model, [], Fit(), pad=0).shape == (0, 12)


def test_a_row_that_stands_twice_gets_its_logits_twice(model: TriageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *size: torch.full(size, float("nan")))  # what is unwritten shows
    row = Encoded([3, 8, 9, 4], NONE)
    found = predict_logits(model, [row, row, row], Fit(), pad=0)
    assert torch.allclose(found[0], found[2], atol=1e-5)
    assert torch.allclose(found[1], found[2], atol=1e-5)


def test_long_texts_are_cut_as_serving_cuts_them(base: Base, three: Taxonomy, example: Make) -> None:
    long, short = "快递" * 40 + "退款", "快递没到"
    found = encode([example(long), example(short, {"mood": "angry"})], base, three, Length(max_tokens=20, tail=5))
    whole = base.tokenizer.encode(read_text(example(long))).ids
    assert found[0].ids == whole[:15] + whole[-5:]
    assert found[1].ids == base.tokenizer.encode(short).ids
    assert torch.equal(found[1].admissible, targets(three, {"mood": "angry"}))


def test_texts_are_read_cleaned_with_the_title_first() -> None:
    made = Example(Complaint(text="電話 13800138000", title="標題"), {}, "s")
    assert read_text(made) == "标题 电话 <手机号>"


def test_macro_f1_counts_rows_known_by_a_leaf(three: Taxonomy) -> None:
    rows = [
        Encoded([3], targets(three, labels))
        for labels in (
            {"topic": "goods", "area": "home"},
            {"topic": "money", "area": "shop.online"},
            {"topic": "goods"},
        )
    ]
    logits = torch.zeros(3, 12)
    logits[:, 0] = 1.0  # always goods
    logits[:, 4] = 1.0  # always shop.online
    found = macro_f1(three, logits, rows)
    assert found == {"topic": pytest.approx((0.8 + 0) / 2), "area": pytest.approx(1.0)}


def fresh(tiny_encoder: object, three: Taxonomy) -> tuple[Base, TriageModel]:
    torch.manual_seed(1)
    base = load_base(str(tiny_encoder), tiny_encoder)  # type: ignore[arg-type]
    return base, TriageModel(base.encoder, base.hidden, three, 0.0)


def test_fit_keeps_the_best_epoch_and_logs_each(tiny_encoder: object, three: Taxonomy, example: Make) -> None:
    base, model = fresh(tiny_encoder, three)
    texts = [("快递一直没动静", "parcel"), ("屏幕出了问题", "goods"), ("退款让我再等等", "money")] * 8
    rows = encode([example(t, {"topic": label}) for t, label in texts], base, three, Length(max_tokens=32, tail=8))
    logged: list[tuple[dict[str, float], int]] = []
    fit = Fit(epochs=40, patience=10, learning_rate=1e-2, head_learning_rate=1e-2, batch_rows=8)
    best = fit_model(model, base, three, rows, rows, fit, lambda values, epoch: logged.append((values, epoch)))
    scores = [values["calibration_macro_f1/topic"] for values, _ in logged]
    assert [epoch for _, epoch in logged] == list(range(1, len(logged) + 1))
    assert all(values.keys() == {"loss/topic", "calibration_macro_f1/topic"} for values, _ in logged)
    assert best == scores.index(max(scores)) + 1
    assert len(logged) == min(40, best + 10)  # patience
    assert max(scores) > 0.9
    assert not model.training
    assert macro_f1(three, predict_logits(model, rows, fit, 0), rows)["topic"] == pytest.approx(max(scores))


def test_the_same_seed_fits_the_same_weights(tiny_encoder: object, three: Taxonomy, example: Make) -> None:
    made = []
    for _ in range(2):
        base, model = fresh(tiny_encoder, three)
        rows = encode(
            [example("快递没动静"), example("退款", {"topic": "money"})], base, three, Length(max_tokens=32, tail=8)
        )
        fit_model(model, base, three, rows, rows, Fit(epochs=2), lambda values, epoch: None)
        made.append(model.heads.weight.detach().clone())
    assert torch.equal(made[0], made[1])


def test_calibration_rows_that_cannot_be_scored_are_refused(
    tiny_encoder: object, three: Taxonomy, example: Make
) -> None:
    base, model = fresh(tiny_encoder, three)
    rows = encode([example("快递没动静", {"area": "home"})], base, three, Length(max_tokens=32, tail=8))
    with pytest.raises(InvalidInput, match="calibration"):
        fit_model(model, base, three, rows, rows, Fit(epochs=2), lambda values, epoch: None)
