"""A fitted model becomes a bundle: graph, calibration, scope, examples; then metrics, card and notice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from complaints.bundle import Bundle, Length, Manifest
from complaints.decision import Calibration
from complaints.encoder import Encoded
from complaints.examples import TEXTS, Examples
from complaints.ngrams import NGrams
from complaints.predictor import Predictor, read_calibration
from complaints.records import Complaint
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from complaints.text import mask
from training.assemble import SERVED_TOKENS, draft, finish, new_manifest
from training.audit import audit
from training.batches import TAIL_SHARE, encode
from training.evaluate import evaluate, report
from training.fidelity import Fidelity, Written
from training.model import TriageModel, load_base
from training.probe import probe
from training.recipe import Recipe
from training.sources import Example
from training.splits import Parts

NAMES = {"质量": "goods", "物流": "parcel", "退款": "money"}
MOODS = {"平静": "calm", "愤怒": "angry"}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    source = {"file": "tickets.jsonl", "heads": {"topic": "主题"}}
    return Recipe.model_validate({"name": "three", "taxonomy": "three", "sources": [source]})


@pytest.fixture(scope="module")
def parts(labelled_rows: list[dict[str, str]]) -> Parts:
    """Every second training row may be shown; the head `area` has no label at all."""
    made = [
        Example(
            Complaint(text=row["内容"]),
            {"topic": NAMES[row["主题"]], "mood": MOODS[row["情绪"]]},
            "tickets",
            show=i % 2 == 0,
        )
        for i, row in enumerate(labelled_rows)
    ]
    made[0] = replace(made[0], complaint=Complaint(text=f"{made[0].complaint.text}，回电13812345678"))
    return Parts(made[:100], made[100:150], made[150:], 180, 0)


@pytest.fixture(scope="module")
def drafted(
    tiny_encoder: Path, three: Taxonomy, recipe: Recipe, parts: Parts, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    torch.manual_seed(1)
    base = load_base(str(tiny_encoder), tiny_encoder)
    model = TriageModel(base.encoder, base.hidden, three, 0.0)
    probe(model, three, encode(parts.train, base, three, Length(max_tokens=64, tail=16)), recipe.fit, 0)
    manifest = new_manifest(recipe, base, three, "run", "0")
    assert manifest.length == Length(max_tokens=128, tail=128 // TAIL_SHARE)  # the encoder has 128 places
    assert SERVED_TOKENS > 128
    return draft(tmp_path_factory.mktemp("made") / "draft", model, base, recipe, three, manifest, parts)


def test_it_is_calibrated_on_what_its_graph_answers(drafted: Bundle, parts: Parts) -> None:
    calibration = read_calibration(drafted)
    assert drafted.manifest.metrics["fidelity/changed"] <= 0.002
    assert set(calibration.heads) == {"topic", "area", "mood"}
    assert set(calibration.heads["topic"].set_floors) == {"goods", "parcel", "money"}
    assert calibration.heads["area"].set_floors == {}  # no row speaks of it
    assert set(calibration.heads["area"].thresholds.values()) == {None}
    predictor = Predictor(drafted, Policy.load())
    assert calibration.scope is not None
    vectors = predictor.encode([one.complaint for one in parts.calibration])[1].vectors
    assert np.mean(calibration.scope.scores(vectors) >= calibration.scope.threshold) >= 0.97
    predictor.close()


def test_only_training_texts_that_may_be_shown_travel(drafted: Bundle, parts: Parts) -> None:
    lines = [json.loads(line) for line in (drafted.path / TEXTS).read_text(encoding="utf-8").splitlines()]
    assert [(row["text"], row["labels"]) for row in lines] == [
        (mask(one.complaint.text), one.labels) for one in parts.train if one.show
    ]
    assert "13812345678" in parts.train[0].complaint.text
    assert not any("13812345678" in row["text"] for row in lines)
    predictor = Predictor(drafted, Policy.load())
    first = parts.train[0].complaint
    (got,) = predictor.predict([first], explain=True)
    assert got.similar[0].text == mask(first.text)
    assert got.similar[0].similarity > 0.99
    assert Examples.open(drafted).width == 32
    # Half of the texts that the bundle was calibrated on are no stranger to it than usual.
    read = predictor.read([one.complaint for one in parts.calibration])
    assert sum(one.strangeness == 1.0 for one in read) >= len(read) / 2
    assert all(one.strangeness >= 1.0 for one in read)
    predictor.close()


@pytest.mark.parametrize("short", [False, True])
def test_the_finished_bundle_says_how_good_it_is(drafted: Bundle, parts: Parts, tmp_path: Path, short: bool) -> None:
    tested = (
        [replace(one, complaint=Complaint(text=one.complaint.text[:12])) for one in parts.test] if short else parts.test
    )
    predictor = Predictor(drafted, Policy.load())
    found = report(predictor, evaluate(predictor, tested, quiet=True), tested) | audit(predictor, tested)
    assert (found["evidence"] == {}) is short  # nothing can be deleted from texts of a few characters
    assert found["scope"].keys() >= {"auroc", "own_kept", "foreign_caught"}
    made = finish(tmp_path / "made", drafted, found, {"topic": {"macro_f1": 0.5}}, parts)
    assert made.manifest.metrics["test/topic/macro_f1"] == found["heads"]["topic"]["macro_f1"]
    assert Calibration.model_validate_json((made.path / "calibration.json").read_text("utf-8")) == predictor.calibration
    assert set(made.manifest.files) == {*drafted.manifest.files, "README.md", "NOTICE"}
    card = (made.path / "README.md").read_text(encoding="utf-8")
    assert f"{found['heads']['topic']['macro_f1']:.3f} [" in card  # with its interval
    assert "train 100, calibration 50, test 30" in card
    assert f"AUROC {found['scope']['auroc']:.3f}" in card
    predictor.close()


def test_without_texts_to_show_there_are_no_examples(
    tiny_encoder: Path, three: Taxonomy, recipe: Recipe, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.assemble.write_faithful", pretend)
    monkeypatch.setattr("training.assemble.Encoder", Silent)
    base = load_base(str(tiny_encoder), tiny_encoder)
    model = TriageModel(base.encoder, base.hidden, three, 0.0)
    hidden = Parts([replace(one, show=False) for one in parts.train], parts.calibration, parts.test, 180, 0)
    made = draft(tmp_path / "draft", model, base, recipe, three, new_manifest(recipe, base, three, "run", "0"), hidden)
    assert TEXTS not in made.manifest.files
    assert Examples.open(made).nearest(np.zeros(32, dtype=np.float32)) == ()


def pretend(
    model: TriageModel,
    path: Path,
    base: object,
    promise: object,
    taxonomy: Taxonomy,
    manifest: Manifest,
    examples: list[Example],
    ngrams: NGrams,
    *,
    weigh: bool,
) -> Written:
    """An empty graph that loses nothing."""
    path.touch()
    answers = Silent(Bundle(path, manifest, taxonomy), threads=1).encode([one.complaint.text for one in examples])
    return Written(Fidelity("int8", 1, {"topic": 0.0}, 0.0, 0.0), ngrams, answers)


class Silent:
    """An encoder that says something of every text without reading it."""

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        self.sizes = bundle.manifest.heads

    def encode(self, texts: list[str]) -> Encoded:
        rng = np.random.default_rng(len(texts))
        logits = {name: rng.normal(size=(len(texts), size)).astype(np.float32) for name, size in self.sizes.items()}
        vectors = rng.normal(size=(len(texts), 32)).astype(np.float32)
        return Encoded(logits, vectors, np.zeros(len(texts), dtype=np.bool_))

    def close(self) -> None:
        pass
