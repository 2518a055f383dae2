"""With few rows the encoder is bent so that texts of a label lie together, for every head, and nothing else happens."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from complaints.bundle import Length
from complaints.taxonomy import Taxonomy
from training.batches import Encoded, encode
from training.contrast import LABELS, ROWS, _batch, contrast, rows_a_label, together
from training.fit import fit_few, fit_model, macro_f1, predict_logits
from training.model import Base, TriageModel, targets
from training.probe import pooled_states
from training.recipe import Fit
from training.sources import Example

Make = Callable[..., Example]
NAMES = {"质量": "goods", "物流": "parcel", "退款": "money"}
MOODS = {"愤怒": "angry", "平静": "calm"}


pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def rows(
    fresh: tuple[Base, TriageModel], three: Taxonomy, example: Make, labelled_rows: list[dict[str, str]]
) -> list[Encoded]:
    examples = [example(r["内容"], {"topic": NAMES[r["主题"]], "mood": MOODS[r["情绪"]]}) for r in labelled_rows]
    return encode(examples, fresh[0], three, Length(max_tokens=64, tail=16))


def bare(three: Taxonomy, *labels: dict[str, str]) -> list[Encoded]:
    return [Encoded([3, 8 + i, 9, 4], targets(three, one)) for i, one in enumerate(labels)]


def apart(states: np.ndarray, labels: np.ndarray) -> float:
    """Mean cosine between texts of a label, less that between texts of two."""
    unit = states - states.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike, cosine = labels[:, None] == labels, unit @ unit.T
    return float(cosine[alike].mean() - cosine[~alike].mean())


def test_rows_a_label_are_an_average_over_the_labels_that_occur_of_all_heads(three: Taxonomy) -> None:
    topics = [{"topic": "goods"}] * 5 + [{"topic": "money"}] * 3
    moods = [{"mood": "calm"}, {"mood": "angry"}]
    areas = [{"area": "shop.online"}, {"area": "home.door"}, {"area": "home"}, {"area": "home"}]
    assert rows_a_label(three, bare(three, *topics)) == 4
    assert rows_a_label(three, bare(three, *topics, *moods)) == 2.5
    assert rows_a_label(three, bare(three, *areas)) == 2  # a row known by a parent says something too
    assert rows_a_label(three, bare(three, *moods, {})) == 1


def test_rows_are_not_called_few_where_a_probe_cannot_set_a_head(three: Taxonomy) -> None:
    topics = [{"topic": "goods"}, {"topic": "money"}]
    assert rows_a_label(three, bare(three, *topics, {"mood": "calm"})) == 0
    assert rows_a_label(three, bare(three, *topics, {"area": "home"}, {"area": "shop"})) == 0
    assert rows_a_label(three, bare(three, {})) == 0


def test_a_head_known_by_parents_alone_is_fine_tuned(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], example: Make
) -> None:
    base, model = fresh
    texts = [("快递没动静", {"area": "home"}), ("退款弄错了", {"area": "shop"})]
    more = encode([example(*one) for one in texts], base, three, Length(max_tokens=64, tail=16))
    assert fit_model(model, base, three, rows[:30] + more, rows[60:80], Fit(), lambda *_: None) > 0


def test_what_is_alike_and_near_costs_less_than_what_is_alike_and_far() -> None:
    states = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    near, far = (together(states, torch.tensor(labels)) for labels in ([0, 0, 1, 1], [0, 1, 0, 1]))
    assert near < 0.1
    assert far > 5
    alone = together(states, torch.tensor([0, 0, 1, 2]))  # rows without one of their label only stand apart
    assert 0 < alone < 0.1


def test_a_batch_has_several_rows_of_several_labels() -> None:
    draw = random.Random(1)
    groups = [[10 * label + i for i in range(1 + label % 4)] for label in range(20)]
    for _ in range(50):
        batch = _batch(groups, draw)
        labels = [label for _, label in batch]
        assert len(set(labels)) == LABELS
        assert len(batch) <= ROWS
        assert len({i for i, _ in batch}) == len(batch)
        assert all(i in groups[label] for i, label in batch)
        assert len(batch) > len(set(labels))  # something to bring together
    lonely = [[i] for i in range(30)] + [[30, 31]]
    assert all(len(_batch(lonely, draw)) > LABELS for _ in range(50))


def test_texts_of_a_label_come_together_for_every_head_and_the_heads_stay(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.contrast.RATE", 1e-3)  # the encoder of the tests is small and knows nothing
    model = fresh[1]
    heads = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("encoder.")}
    truth = torch.stack([row.admissible for row in rows]).int()
    topics, moods = truth[:, :3].argmax(dim=1).numpy(), truth[:, 8:].argmax(dim=1).numpy()
    before = pooled_states(model, rows, Fit(), 0)
    contrast(model, three, rows[:60], 1, 0)
    after = pooled_states(model, rows, Fit(), 0)
    for labels in (topics, moods):
        assert apart(after[60:], labels[60:]) > apart(before[60:], labels[60:]) + 0.2
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in heads.items())
    assert not model.training


def test_one_row_a_label_changes_nothing(fresh: tuple[Base, TriageModel], three: Taxonomy) -> None:
    model = fresh[1]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    contrast(model, three, bare(three, {"topic": "goods"}, {"topic": "money"}, {"area": "home"}), 1, 0)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("few", [True, False])
def test_training_chooses_by_rows_a_label_and_says_so(
    fresh: tuple[Base, TriageModel],
    three: Taxonomy,
    rows: list[Encoded],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    few: bool,
) -> None:
    base, model = fresh
    bent: list[int] = []
    monkeypatch.setattr("training.fit.contrast", lambda _model, _taxonomy, train, *_: bent.append(len(train)))
    monkeypatch.setattr("training.fit.FEW", 25 if few else 24)  # 60 rows of two moods and three topics
    logged: list[tuple[dict[str, float], int]] = []
    with caplog.at_level(logging.INFO):
        best = fit_model(
            model, base, three, rows[:60], rows[60:80], Fit(), lambda values, epoch: logged.append((values, epoch))
        )
    names = 2 * (3 + 5 + 4)  # what the labels of the three heads are called, twice each
    assert (best, len(logged), logged[0][0]["rows_a_label"]) == (0, 1, 24)  # no epochs, of which one could be chosen
    assert bent == ([60 + names] if few else [])
    assert ("few a label (24): contrast" in caplog.text, "some a label (24): fine-tuned" in caplog.text) == (
        few,
        not few,
    )


def test_some_rows_a_label_are_fine_tuned_all_layers_alike(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.FEW", 1)
    monkeypatch.setattr("training.fit.SMALL_RATE", 1e-3)
    base, model = fresh
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit_few(model, base, three, rows[:60], Fit(), 24)
    after = model.state_dict()
    for part in ("embeddings.word", "layer.0.attention", "looks."):
        assert any(part in name and not torch.equal(after[name], value) for name, value in before.items()), part
    assert macro_f1(three, predict_logits(model, rows[60:], Fit(), 0), rows[60:])["topic"] > 0.75
    assert not model.training


def test_few_rows_are_fine_tuned_where_epochs_are_asked_for_and_a_warm_start_is_never_bent(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = fresh
    bent: list[int] = []
    monkeypatch.setattr("training.fit.contrast", lambda _model, _taxonomy, train, *_: bent.append(len(train)))
    assert fit_model(model, base, three, rows[:30], rows[60:80], Fit(epochs=2), lambda *_: None) == 2
    assert fit_model(model, base, three, rows[:30], rows[60:80], Fit(), lambda *_: None, warm=True) > 0
    assert bent == []


def test_many_rows_are_fine_tuned_however_many_labels_share_them(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.contrast", lambda *_: pytest.fail("bent"))
    monkeypatch.setattr("training.fit.MANY", 60)
    monkeypatch.setattr("training.fit.FEWEST_STEPS", 1)
    base, model = fresh
    logged: list[int] = []
    fit_model(model, base, three, rows[:60], rows[60:80], Fit(), lambda _, epoch: logged.append(epoch))
    assert max(logged) == 3


def test_few_rows_are_learned(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.contrast.RATE", 1e-3)
    base, model = fresh
    fit_model(model, base, three, rows[:24], rows[24:48], Fit(), lambda *_: None)
    assert macro_f1(three, predict_logits(model, rows[48:], Fit(), 0), rows[48:])["topic"] > 0.9


def test_progress_is_shown_on_standard_error(
    fresh: tuple[Base, TriageModel], three: Taxonomy, rows: list[Encoded], capsys: pytest.CaptureFixture[str]
) -> None:
    contrast(fresh[1], three, rows[:12], 1, 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "contrast" in err
    assert "100%" in err
