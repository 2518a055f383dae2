"""What a graph costs against fp32, and that one which costs too much is not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from complaints.bundle import Bundle
from complaints.encoder import Encoded, Encoder
from complaints.ngrams import FILE as NGRAMS
from complaints.ngrams import NGrams
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training import fidelity
from training.batches import read_text
from training.export import FORMS, trace
from training.fidelity import Fidelity, Written, compare, write_faithful
from training.model import Base, TriageModel, targets
from training.ngrams import fit_ngrams
from training.recipe import Promise
from training.sources import Example


def encoded(taxonomy: Taxonomy, rows: int, seed: int = 1) -> Encoded:
    rng = np.random.default_rng(seed)
    logits = {name: rng.normal(size=(rows, size)).astype(np.float32) for name, size in taxonomy.sizes.items()}
    return Encoded(logits, np.zeros((rows, 2), dtype=np.float32), np.zeros(rows, dtype=np.bool_))


def labelled(taxonomy: Taxonomy, answers: Encoded, head: str, sure: float = 8.0) -> list[Example]:
    """Examples that `answers` are right about, and surely so."""
    ids = taxonomy.heads[head].ids
    answers.logits[head][np.arange(len(answers.truncated)), answers.logits[head].argmax(axis=1)] += sure
    return [Example(Complaint(text="快递丢了"), {head: ids[k]}, "s") for k in answers.logits[head].argmax(axis=1)]


def test_what_is_the_same_costs_nothing(three: Taxonomy) -> None:
    answers = encoded(three, 300)
    found = compare("int8", three, Promise(), labelled(three, answers, "topic"), answers, answers)
    assert (found.lost, found.changed, found.moved, found.rows) == ({"topic": 0.0}, 0.0, 0.0, 300)
    assert found.holds


def test_labels_and_automatic_answers_are_counted(three: Taxonomy) -> None:
    exact = encoded(three, 400)
    examples = labelled(three, exact, "topic")
    served = encoded(three, 400)
    served.logits["topic"] = exact.logits["topic"].copy()
    served.logits["topic"][:8] = np.roll(exact.logits["topic"][:8], 1, axis=1)  # as sure, and wrong
    served.logits["topic"][8:20] = 0  # not sure of anything
    found = compare("int8", three, Promise(precision_target=0.9), examples, exact, served)
    assert found.lost["topic"] > 0.02
    assert 4 / 1200 < found.changed <= 8 / 1200  # of three heads' decisions; not all are above their threshold
    assert 16 / 1200 < found.moved <= 21 / 1200
    assert not found.holds
    assert "topic +" in str(found)
    assert found.metrics()["fidelity/form"] == 0


def test_a_parent_is_no_contradiction(three: Taxonomy) -> None:
    exact = encoded(three, 300)
    examples = labelled(three, exact, "area")
    served = encoded(three, 300)
    served.logits["area"] = exact.logits["area"].copy()
    shop = np.flatnonzero(exact.logits["area"].argmax(axis=1) < 2)
    served.logits["area"][shop[:20], :2] = 8  # either leaf of the shop
    found = compare("int8", three, Promise(), examples, exact, served)
    assert found.changed == 0
    assert found.moved > 0


@pytest.fixture(scope="module")
def traced(model: TriageModel) -> onnx.ModelProto:
    return trace(model)


@pytest.fixture
def untraced(traced: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that was traced before: it takes seconds."""
    monkeypatch.setattr(fidelity, "trace", lambda _: traced)


@pytest.fixture
def examples(labelled_rows: list[dict[str, str]], three: Taxonomy) -> list[Example]:
    ids = three.heads["topic"].ids
    return [
        Example(Complaint(text=row["内容"]), {"topic": ids[i % 3]}, "s") for i, row in enumerate(labelled_rows[:60])
    ]


@pytest.fixture
def ngrams(base: Base, bundle: Bundle, examples: list[Example]) -> NGrams:
    rows = [base.tokenizer.encode(read_text(one)).ids for one in examples]
    return fit_ngrams(
        bundle.taxonomy, rows, np.stack([targets(bundle.taxonomy, one.labels).numpy() for one in examples])
    )


@pytest.fixture
def write(
    base: Base, bundle: Bundle, examples: list[Example], ngrams: NGrams, tmp_path: Path, untraced: None
) -> Callable[[], Written]:
    """Write the graph to `graph.onnx` of the test's folder."""
    path = tmp_path / "graph.onnx"
    return lambda: write_faithful(None, path, base, Promise(), bundle.taxonomy, bundle.manifest, examples, ngrams)


@pytest.mark.parametrize("worse", range(len(FORMS)))
def test_a_graph_that_costs_too_much_is_not_written(
    write: Callable[[], Written],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    worse: int,
) -> None:
    def judged(form: str, *rest: object) -> Fidelity:
        return Fidelity(form, 60, {"topic": 0.0031 if form in FORMS[:worse] else 0.003}, 0.0, 0.5)

    monkeypatch.setattr(fidelity, "compare", judged)
    found = write()
    assert found.fidelity.form == FORMS[worse]
    assert sum("too much" in record.message for record in caplog.records) == worse
    kinds = [node.op_type for node in onnx.load(tmp_path / "graph.onnx").graph.node]
    assert kinds.count("MatMulInteger") == (12, 8, 4, 0)[worse]
    assert [p.name for p in tmp_path.iterdir()] == ["graph.onnx"]


def test_what_is_measured_and_calibrated_on_is_what_will_be_served(
    base: Base,
    bundle: Bundle,
    examples: list[Example],
    write: Callable[[], Written],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def judged(form: str, taxonomy: Taxonomy, promise: Promise, sample: list[Example], *both: Encoded) -> Fidelity:
        seen.append((sample, *both))
        return Fidelity(form, len(sample), {}, 0.0, 0.0)

    monkeypatch.setattr(fidelity, "compare", judged)
    monkeypatch.setattr(fidelity, "ROWS", 40)
    found = write()
    assert found.ngrams.blend.tolist() == [8.0] * len(bundle.taxonomy.heads)  # few rows to choose by
    found.ngrams.save(tmp_path / NGRAMS)
    base.tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder(Bundle(tmp_path, bundle.manifest, bundle.taxonomy))
    served = encoder.encode([read_text(one) for one in examples])
    encoder.close()
    ((sample, exact, there),) = seen
    some = [examples.index(one) for one in sample]
    assert len(some) == 40
    for head, logits in served.logits.items():
        np.testing.assert_allclose(found.answers.logits[head], logits, rtol=1e-3, atol=1e-3)  # rarity is kept in fp16
        np.testing.assert_allclose(there.logits[head], logits[some], rtol=1e-3, atol=1e-3)
        assert not np.array_equal(exact.logits[head], there.logits[head])
        np.testing.assert_allclose(exact.logits[head], there.logits[head], atol=0.5)
