"""The model that comes with the package: small, steady under changes that mean nothing, moved by those that do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import opencc
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from complaints.bundle import Bundle
from complaints.encoder import cut_tokens
from complaints.examples import NEAREST
from complaints.ngrams import FILE, NGrams
from complaints.predictor import Predictor
from complaints.records import Complaint, Prediction
from complaints.risk import Policy
from complaints.text import clean
from jianwei.default_model import packaged_bundle
from training.directions import directions
from training.evaluate import evaluate
from training.model import TriageModel, cut_vocabulary, load_base
from training.scope import foreign_texts
from training.sources import Example

CORPUS = Path(__file__).parents[2] / "data" / "corpus"
EVERY = 6  # of the written test rows, one in so many


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    lines = [
        json.loads(line) for path in sorted(CORPUS.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    return [row for row in lines if row["split"] == "test"][::EVERY]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Bundle.open(packaged_bundle()), Policy.load(), threads=2)


@pytest.fixture(scope="module")
def answers(predictor: Predictor, rows: list[dict[str, str]]) -> list[Prediction]:
    return predictor.predict([Complaint(text=row["text"]) for row in rows])


def test_it_is_small(predictor: Predictor) -> None:
    assert sum(file.stat().st_size for file in predictor.bundle.path.iterdir()) < 80e6


def test_it_knows_how_strange_a_text_is(predictor: Predictor, rows: list[dict[str, str]]) -> None:
    usual = predictor.read([Complaint(text=row["text"]) for row in rows])
    assert 0.3 < np.mean([one.strangeness == 1.0 for one in usual]) < 0.7  # by half of such texts it was set
    poems = predictor.read([Complaint(text=one.text) for one in foreign_texts("test") if one.kind == "poem"])
    assert np.median([one.strangeness for one in poems]) > 1.3


def test_it_has_learned(predictor: Predictor, rows: list[dict[str, str]]) -> None:
    heads = predictor.taxonomy.heads
    examples = [Example(Complaint(text=row["text"]), {h: row[h] for h in heads}, "corpus") for row in rows]
    found = evaluate(predictor, examples, quiet=True)
    guessed = {name: result.metrics(heads[name]) for name, result in found.items()}
    assert guessed["category"]["parent_accuracy"] > 0.6  # a fifth by the most frequent parent
    assert guessed["department"]["accuracy"] > 0.5
    assert guessed["sentiment"]["quadratic_kappa"] > 0.5
    assert guessed["propagation"]["quadratic_kappa"] > 0.5


def test_the_int8_graph_answers_as_the_weights_do(predictor: Predictor, rows: list[dict[str, str]]) -> None:
    bundle = predictor.bundle
    base = load_base(str(bundle.path), bundle.path)
    model = TriageModel(base.encoder, base.hidden, bundle.taxonomy, 0.0)
    model.load_state_dict(
        {name: value.float() for name, value in load_file(bundle.path / "weights.safetensors").items()}
    )
    model.eval()
    grams = NGrams.open(bundle.path / FILE, bundle.manifest.heads)
    cleaned, encoded = predictor.encode([Complaint(text=row["text"]) for row in rows])
    full = []
    for one in cleaned:
        whole = np.array(base.tokenizer.encode(one.text).ids)
        ids = torch.tensor(cut_tokens(whole, bundle.manifest.length)[0])[None]
        with torch.inference_mode():
            full.append(model(ids, torch.ones_like(ids))[0].numpy() + grams.blended(grams.logits(ids.numpy()))[0])
    for name, start in zip(encoded.logits, np.cumsum([0, *bundle.manifest.heads.values()]), strict=False):
        exact = np.stack(full)[:, start : start + bundle.manifest.heads[name]].argmax(axis=1)
        same = float(np.mean(exact == encoded.logits[name].argmax(axis=1)))
        assert same >= 0.93, name  # of all test rows 97 to 99 %; these are the hardest (experiments/LOG.md)
    assert np.linalg.norm(encoded.vectors, axis=1) == pytest.approx(1, abs=1e-3)


def test_answers_have_evidence_in_their_text(predictor: Predictor, rows: list[dict[str, str]]) -> None:
    few = [row for row in rows if len(row["text"]) >= 20][:20]
    without = 0
    for row, one in zip(
        few, predictor.predict([Complaint(text=row["text"]) for row in few], explain=True), strict=True
    ):
        without += len(set(predictor.taxonomy.heads) - {e.head for e in one.evidence})
        assert all(0 <= e.start < e.end <= len(row["text"]) and 0 < e.weight <= 1 for e in one.evidence)
        assert len(one.similar) == NEAREST
        assert all(near.labels.keys() == predictor.taxonomy.heads.keys() for near in one.similar)
    assert without <= 0.05 * len(few) * len(predictor.taxonomy.heads)  # nothing need speak for the usual answer


def test_foreign_texts_are_noticed_and_its_own_are_not(predictor: Predictor, rows: list[dict[str, str]]) -> None:
    assert predictor.calibration.scope is not None
    own, foreign = (
        np.mean([next(iter(one.heads.values())).reason == "out_of_scope" for one in predictor.predict(complaints)])
        for complaints in (
            [Complaint(text=row["text"]) for row in rows],
            [Complaint(text=one.text) for one in foreign_texts("test") if clean(one.text).chinese],
        )
    )
    assert own < 0.1
    assert foreign > 0.5


def test_the_cut_vocabulary_lacks_nothing_that_occurs(predictor: Predictor, rows: list[dict[str, str]]) -> None:
    tokenizer = Tokenizer.from_file(str(predictor.bundle.path / "tokenizer.json"))
    tokens = set(tokenizer.get_vocab())
    assert not any(t.startswith("##") and len(t) == 3 and "\u4e00" <= t[2] <= "\u9fff" for t in tokens)
    whole = json.loads(tokenizer.to_str())
    for character in [t for t in tokens if len(t) == 1 and "\u4e00" <= t <= "\u9fff"]:
        whole["model"]["vocab"].setdefault(f"##{character}", len(whole["model"]["vocab"]))
    before = Tokenizer.from_str(json.dumps(whole))
    assert before.get_vocab_size() > tokenizer.get_vocab_size() + 7000
    again, _ = cut_vocabulary(before)
    for row in rows:
        assert (
            before.encode(row["text"]).tokens
            == tokenizer.encode(row["text"]).tokens
            == again.encode(row["text"]).tokens
        )


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


CHANGES: dict[str, Callable[[str], str]] = {
    "full width": full_width,
    "traditional": opencc.OpenCC("s2t").convert,
    "invisible": "\u200b".join,
    "markup": lambda text: f"<div><p>{text}</p></div>",
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "polite": lambda text: f"您好，{text}",
    "number": lambda text: f"{text} 电话13800138000",
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_mean_nothing_change_little(
    change: str, predictor: Predictor, rows: list[dict[str, str]], answers: list[Prediction]
) -> None:
    longer = [i for i, row in enumerate(rows) if len(row["text"]) > 12 and "<" not in row["text"]]
    changed = predictor.predict([Complaint(text=CHANGES[change](rows[i]["text"])) for i in longer])
    least = 0.9 if change == "number" else 0.97
    for head in predictor.taxonomy.heads:
        same = [
            after.heads[head].top_k[0].label == answers[i].heads[head].top_k[0].label
            for i, after in zip(longer, changed, strict=True)
        ]
        assert np.mean(same) >= least, f"{head}: {np.mean(same):.3f}"


def test_going_public_raises_the_index(
    predictor: Predictor, rows: list[dict[str, str]], answers: list[Prediction]
) -> None:
    after = predictor.predict(
        [Complaint(text=row["text"] + " 视频已经发到抖音，几万人转发，记者也来采访了。") for row in rows]
    )
    rise = [b.risk.propagation.index - a.risk.propagation.index for a, b in zip(answers, after, strict=True)]
    assert np.mean(rise) > 1
    assert np.mean(np.array(rise) >= 0) > 0.9


# change -> the least share that does not go the wrong way, and that moves as it must where it can: what the model
# reaches, less what another processor's rounding may change. It misses three settlements in ten, and takes one refusal
# in ten for a threat; that an agent swore is no tone of the customer's (data/GUIDE.md).
WAYS = {
    "customer swears": (0.97, 0.95),
    "agent swears": (0.97, None),
    "settled, with thanks": (0.97, 0.6),
    "already public": (0.97, 0.95),
    "threat to go public": (0.97, 0.9),
    "will not go public": (0.85, None),
    "another fact, category": (0.95, 0.95),
    "another fact, department": (0.95, 0.95),
    "a fault turns dangerous": (0.92, 0.93),
}


def test_what_matters_moves_answers_the_right_way(predictor: Predictor) -> None:
    found = directions(predictor)
    assert found.keys() == WAYS.keys()
    for name, (kept, moved) in WAYS.items():
        assert found[name]["kept"] >= kept, f"{name}: {found[name]}"
        assert (found[name]["moved"] is None) == (moved is None), f"{name}: {found[name]}"
        assert moved is None or found[name]["moved"] >= moved, f"{name}: {found[name]}"


def test_the_card_holds_the_measured_figures(predictor: Predictor) -> None:
    bundle = predictor.bundle
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    for head in bundle.manifest.heads:
        assert f"{bundle.manifest.metrics[f'test/{head}/macro_f1']:.3f}" in card
    assert "staoxiao" in (bundle.path / "NOTICE").read_text(encoding="utf-8")
