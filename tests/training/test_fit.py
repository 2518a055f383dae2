"""Learning rates, logits that come back in the order of the rows, and the epoch that is kept."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from complaints.bundle import Length
from complaints.errors import InvalidInput
from complaints.taxonomy import Taxonomy
from training.batches import Encoded, collate, encode
from training.fit import fit_model, learn, macro_f1, parameter_groups, predict_logits
from training.model import Base, TriageModel, load_base, losses, targets
from training.recipe import Fit
from training.sources import Example

Make = Callable[..., Example]


pytestmark = pytest.mark.usefixtures("whole")

NONE = torch.zeros(12, dtype=torch.bool)


def test_parameter_groups_cover_all_once_and_rise_to_the_heads(model: TriageModel) -> None:
    fit = Fit(learning_rate=1e-4, head_learning_rate=1e-2, layer_decay=0.5, weight_decay=0.1)
    groups = parameter_groups(model, 2, fit)
    members = [id(p) for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    assert sorted(members) == sorted(id(p) for p in model.parameters())
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    rates: dict[str, set[object]] = {}
    for name, parameter in model.named_parameters():
        where = (
            "heads"
            if name.startswith(("heads.", "looks."))
            else next((p for p in name.split(".") if p.isdigit()), "words")
        )
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


@pytest.mark.parametrize("from_probe", [True, False])
def test_fit_keeps_the_best_epoch_and_logs_each(
    tiny_encoder: object, three: Taxonomy, example: Make, monkeypatch: pytest.MonkeyPatch, from_probe: bool
) -> None:
    monkeypatch.setattr("training.fit.FEWEST_TO_CHOOSE", 24)
    if not from_probe:
        monkeypatch.setattr("training.fit.probe", lambda *arguments: None)
    base, model = fresh(tiny_encoder, three)
    texts = [("快递一直没动静", "parcel"), ("屏幕出了问题", "goods"), ("退款让我再等等", "money")] * 8
    rows = encode([example(t, {"topic": label}) for t, label in texts], base, three, Length(max_tokens=32, tail=8))
    logged: list[tuple[dict[str, float], int]] = []
    fit = Fit(epochs=40, patience=10, learning_rate=1e-2, head_learning_rate=1e-2, batch_rows=8)
    best = fit_model(model, base, three, rows, rows, fit, lambda values, epoch: logged.append((values, epoch)))
    scores = [values["calibration_macro_f1/topic"] for values, _ in logged]
    assert [epoch for _, epoch in logged] == list(range(len(logged)))
    assert logged[0][0].keys() == {"rows_a_label", "calibration_macro_f1/topic"}
    assert all(values.keys() == {"loss/topic", "calibration_macro_f1/topic"} for values, _ in logged[1:])
    assert best == scores.index(max(scores))
    assert len(logged) == 1 + min(40, best + 10)  # patience
    assert max(scores) > 0.9
    assert from_probe == (scores[0] > 0.9)
    assert not model.training
    assert macro_f1(three, predict_logits(model, rows, fit, 0), rows)["topic"] == pytest.approx(max(scores))


def test_with_few_calibration_rows_the_last_epoch_stands(
    tiny_encoder: object, three: Taxonomy, example: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = fresh(tiny_encoder, three)
    rows = encode(
        [example("快递没动静"), example("退款", {"topic": "money"})], base, three, Length(max_tokens=32, tail=8)
    )
    seen: list[torch.Tensor] = []
    fit = Fit(epochs=4, patience=1)
    best = fit_model(
        model, base, three, rows, rows, fit, lambda values, epoch: seen.append(model.heads.weight.detach().clone())
    )
    assert best == 4
    assert len(seen) == 5
    assert torch.equal(model.heads.weight, seen[-1])
    assert not torch.equal(seen[-1], seen[-2])


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


def _gradients(model: TriageModel, three: Taxonomy, rows: list[Encoded], adversarial: float) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.eval()  # nothing is dropped: what differs is the second reading
    learn(model, three, collate(rows, 0), adversarial)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_an_adversarial_reading_adds_gradients_where_the_loss_is_higher_and_leaves_the_weights(
    model: TriageModel, three: Taxonomy
) -> None:
    labels = [{"topic": "goods", "mood": "calm"}, {"topic": "money", "mood": "furious"}]
    rows = [Encoded([3, 8 + i, 9, 20 + i, 4], targets(three, one)) for i, one in enumerate(labels)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    once, twice = (_gradients(model, three, rows, length) for length in (0.0, 0.5))
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name], atol=1e-6), name
    # the second reading's own gradients are those at the moved embeddings
    table = model.encoder.get_input_embeddings().weight
    found = once["encoder.embeddings.word_embeddings.weight"]
    with torch.no_grad():
        table += 0.5 * found / found.norm()
    moved = _gradients(model, three, rows, 0.0)
    with torch.inference_mode():
        ids, mask, admissible = collate(rows, 0)
        higher = sum(losses(three, model(ids, mask), admissible).values())
    with torch.no_grad():
        table.copy_(before["encoder.embeddings.word_embeddings.weight"])
        lower = sum(losses(three, model(ids, mask), admissible).values())
    assert higher > lower
    for name, value in twice.items():
        assert torch.allclose(value, once[name] + moved[name], atol=1e-5), name
