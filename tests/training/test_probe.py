"""The probe: a start for the heads that alone learns what is easy, and promises nothing of what it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from complaints.bundle import Length
from complaints.taxonomy import Taxonomy
from training.batches import Encoded, encode
from training.fit import macro_f1, predict_logits
from training.model import Base, TriageModel
from training.probe import pooled_states, probe
from training.recipe import Fit
from training.sources import Example

Make = Callable[..., Example]
NAMES = {"质量": "goods", "物流": "parcel", "退款": "money"}
TOPIC, AREA, MOOD = slice(0, 3), slice(3, 8), slice(8, 12)


pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def rows_with(
    fresh: tuple[Base, TriageModel], three: Taxonomy, example: Make, labelled_rows: list[dict[str, str]]
) -> Callable[..., list[Encoded]]:
    """The labelled rows of the topics named, with the labels that `more(i)` adds."""

    def make(topics: set[str], more: Callable[[int], dict[str, str]] = lambda i: {}) -> list[Encoded]:
        chosen = [row for row in labelled_rows if NAMES[row["主题"]] in topics]
        examples = [example(r["内容"], {"topic": NAMES[r["主题"]]} | more(i)) for i, r in enumerate(chosen)]
        return encode(examples, fresh[0], three, Length(max_tokens=64, tail=16))

    return make


def test_what_is_separable_is_learned_by_the_probe_alone(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows_with: Callable[..., list[Encoded]]
) -> None:
    model, rows = fresh[1], rows_with({"goods", "parcel", "money"})
    before = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("heads.")}
    assert macro_f1(three, predict_logits(model, rows, Fit(), 0), rows)["topic"] < 0.6
    probe(model, three, rows[:120], Fit(), 0)
    assert macro_f1(three, predict_logits(model, rows[120:], Fit(), 0), rows[120:])["topic"] > 0.8
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # heads alone have changed


def test_labels_without_rows_are_never_answered_and_two_are_enough(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows_with: Callable[..., list[Encoded]]
) -> None:
    model, rows = fresh[1], rows_with({"goods", "money"})
    probe(model, three, rows, Fit(), 0)
    assert macro_f1(three, predict_logits(model, rows, Fit(), 0), rows)["topic"] > 0.9
    everything = predict_logits(model, rows_with({"goods", "parcel", "money"}), Fit(), 0)[:, TOPIC]
    assert 1 not in everything.argmax(dim=1).tolist()
    assert (everything[:, 1] < everything[:, [0, 2]].max(dim=1).values - 2).all()


def test_heads_without_two_labels_are_left_as_they_are(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows_with: Callable[..., list[Encoded]]
) -> None:
    model = fresh[1]
    weight, bias = model.heads.weight.detach().clone(), model.heads.bias.detach().clone()
    rows = rows_with({"goods", "parcel"}, lambda i: {"area": ("home", "shop")[i % 2], "mood": "calm"})
    probe(model, three, rows, Fit(), 0)  # areas are known by the parent alone, moods are all one
    for part in (AREA, MOOD):
        assert torch.equal(model.heads.weight[part], weight[part])
        assert torch.equal(model.heads.bias[part], bias[part])
    assert not torch.equal(model.heads.weight[TOPIC], weight[TOPIC])


def test_rows_that_are_silent_on_a_head_do_not_teach_it(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows_with: Callable[..., list[Encoded]]
) -> None:
    model = fresh[1]
    angry = {"goods": "calm", "parcel": "angry"}
    rows = [
        *rows_with({"money"}),  # silent on mood
        *rows_with({"goods"}, lambda i: {"mood": angry["goods"]} if i % 2 else {"area": "home"}),
        *rows_with({"parcel"}, lambda i: {"mood": angry["parcel"]}),
    ]
    probe(model, three, rows, Fit(), 0)
    scores = macro_f1(three, predict_logits(model, rows, Fit(), 0), rows)
    assert scores["mood"] > 0.9
    assert scores["topic"] > 0.9


def test_states_come_in_the_order_of_the_rows_and_without_their_padding(
    fresh: tuple[Base, TriageModel], rows_with: Callable[..., list[Encoded]]
) -> None:
    model, rows = fresh[1], rows_with({"goods"})[:9]
    together = pooled_states(model, rows, Fit(batch_rows=4), 0)
    assert together.shape == (9, 32)
    with torch.inference_mode():
        for row, state in zip(rows, together, strict=True):
            ids = torch.tensor([row.ids])
            alone = model.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(dim=0)
            assert state == pytest.approx(alone.numpy(), abs=1e-4)


def test_a_rare_label_is_among_the_rows_drawn(
    fresh: tuple[Base, TriageModel],
    three: Taxonomy,
    rows_with: Callable[..., list[Encoded]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, rows = fresh[1], rows_with({"goods", "parcel"}) * 20
    monkeypatch.setattr("training.probe.MOST_ROWS", 48)  # 2 of each label: there are 12 labels
    read = []
    monkeypatch.setattr(
        "training.probe.pooled_states",
        lambda *given: read.append(given[1]) or pooled_states(*given),  # type: ignore[func-returns-value]
    )
    probe(model, three, [*rows, *rows_with({"money"})[:2]], Fit(), 0)
    [drawn] = read
    topics = torch.stack([row.admissible[TOPIC] for row in drawn]).int().sum(dim=0).tolist()
    assert len(drawn) == 48
    assert topics[2] == 2  # both there are, of 2402
    assert min(topics[:2]) > 10
