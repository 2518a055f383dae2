"""The int8 graph: near the torch model, of any shape, and small in the places where it must be."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from complaints.bundle import Bundle
from complaints.encoder import Encoder
from training.export import FORMS, trace, write_graph
from training.model import Base, Traced, TriageModel


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(bundle.path / "graph.onnx")


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bundle.path / "graph.onnx", providers=["CPUExecutionProvider"])


def run(
    session: onnxruntime.InferenceSession, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    mask = np.ones_like(ids) if mask is None else mask
    return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])


def test_int8_logits_are_near_torch_s(
    bundle: Bundle, model: TriageModel, base: Base, labelled_rows: list[dict[str, str]]
) -> None:
    texts = [row["内容"] for row in labelled_rows[:80]]
    encoder = Encoder(bundle)
    found = np.concatenate(list(encoder.encode(texts).logits.values()), axis=1)
    encoder.close()
    with torch.inference_mode():
        tokens = [torch.tensor([base.tokenizer.encode(text).ids]) for text in texts]
        wanted = np.concatenate([model(ids, torch.ones_like(ids)).numpy() for ids in tokens])
    assert wanted.std(axis=0).min() > 0.01  # texts differ, or correlation would say nothing
    for column in range(wanted.shape[1]):
        assert np.corrcoef(found[:, column], wanted[:, column])[0, 1] > 0.98
    assert np.abs(found - wanted).mean() < 0.1 * wanted.std()


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 128), (3, 2), (7, 33)])
def test_any_batch_and_length(session: onnxruntime.InferenceSession, batch: int, tokens: int) -> None:
    rng = np.random.default_rng(0)
    found = run(session, rng.integers(6, 30, (batch, tokens)))
    assert found.shape == (batch, 12)
    ids = rng.integers(6, 30, (batch, tokens))
    outputs = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert [one.shape for one in outputs] == [(batch, 12), (batch, tokens, 12), (batch, 32)]
    assert all(np.isfinite(one).all() for one in [found, *outputs])


def test_padding_is_not_read(session: onnxruntime.InferenceSession) -> None:
    ids = np.array([[3, 8, 9, 10, 4, 0, 0, 0]])
    mask = (ids > 0).astype(np.int64)
    other = np.where(mask == 1, ids, 25)
    assert np.allclose(run(session, ids, mask), run(session, other, mask), atol=0.1)
    assert not np.allclose(run(session, ids, mask), run(session, other), atol=0.1)


def test_names_and_shapes(session: onnxruntime.InferenceSession) -> None:
    assert [i.name for i in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert {i.type for i in session.get_inputs()} == {"tensor(int64)"}
    assert [(o.name, o.type, len(o.shape), o.shape[-1]) for o in session.get_outputs()] == [
        ("logits", "tensor(float)", 2, 12),
        ("contributions", "tensor(float)", 3, 12),
        ("vectors", "tensor(float)", 2, 32),
    ]


def test_int8_contributions_and_vectors_are_near_torch_s(
    bundle: Bundle, model: TriageModel, base: Base, labelled_rows: list[dict[str, str]]
) -> None:
    texts = [row["内容"] for row in labelled_rows[:30]]
    encoder = Encoder(bundle)
    encoded = encoder.encode(texts)
    assert np.linalg.norm(encoded.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    found, wanted = [], []
    for i, text in enumerate(texts):
        said = np.concatenate(list(encoder.explain(text).shares.values()), axis=1)
        logits = np.concatenate([one[i] for one in encoded.logits.values()])
        assert said.sum(axis=0) == pytest.approx(logits - model.heads.bias.detach().numpy(), abs=1e-3)
        ids = torch.tensor([base.tokenizer.encode(text).ids])
        with torch.inference_mode():
            _, contributions, vectors = Traced(model)(ids, torch.ones_like(ids))
        assert float(vectors[0].numpy() @ encoded.vectors[i]) > 0.99
        found.append(said)
        wanted.append(contributions[0].numpy())
    encoder.close()
    assert np.corrcoef(np.concatenate(found).ravel(), np.concatenate(wanted).ravel())[0, 1] > 0.97


def test_the_graph_is_valid(graph: onnx.ModelProto) -> None:
    onnx.checker.check_model(graph)


def test_the_embedding_table_is_half(graph: onnx.ModelProto, model: TriageModel) -> None:
    words = model.encoder.get_input_embeddings().weight.detach().numpy()
    stored = {t.name: t for t in graph.graph.initializer}
    looked_up = [stored[n.input[0]] for n in graph.graph.node if n.op_type == "Gather" and n.input[0] in stored]
    tables = [t for t in looked_up if len(t.dims) == 2]
    assert tables
    assert {t.data_type for t in tables if t.data_type != TensorProto.INT64} == {TensorProto.FLOAT16}
    (table,) = [t for t in tables if tuple(t.dims) == words.shape]
    assert np.array_equal(numpy_helper.to_array(table), words.astype(np.float16))


def test_every_product_of_the_encoder_is_int8(graph: onnx.ModelProto, model: TriageModel) -> None:
    stored = {t.name: t for t in graph.graph.initializer}
    left = [n for n in graph.graph.node if n.op_type in ("MatMul", "Gemm") and {*n.input[:2]} & set(stored)]
    shapes = sorted(tuple(stored[name].dims) for n in left for name in n.input[:2] if name in stored)
    # The looks and the heads; and the way of the loud channels, twice a layer.
    assert shapes == sorted([(32, 3), (32, 12)] + 2 * [(32, 8), (8, 32)])
    products = [n for n in graph.graph.node if n.op_type == "MatMulInteger"]
    assert len(products) == 6 * 2  # query, key, value, output and two of the feed-forward a layer
    assert {stored[n.input[1]].data_type for n in products} == {TensorProto.INT8}


def test_no_pair_of_products_can_overflow_sixteen_bits(graph: onnx.ModelProto) -> None:
    stored = {t.name: t for t in graph.graph.initializer}
    largest = 0
    for node in graph.graph.node:
        if node.op_type == "MatMulInteger":
            weights = np.abs(numpy_helper.to_array(stored[node.input[1]]).astype(int))
            weights = np.vstack([weights, np.zeros((len(weights) % 2, weights.shape[1]), dtype=int)])
            assert (weights[0::2] + weights[1::2]).max() * 255 < 2**15
            largest = max(largest, int(weights.max()))
    assert largest > 64  # or the eighth bit would have been given up for nothing


def test_forms_are_ever_more_exact(model: TriageModel, base: Base, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    texts = [rng.integers(6, 30, 40) for _ in range(30)]
    fresh = [rng.integers(6, 30, 50)[np.newaxis] for _ in range(20)]
    with torch.inference_mode():
        wanted = [model(torch.tensor(ids), torch.ones_like(torch.tensor(ids))).numpy() for ids in fresh]
    errors = []
    graph = trace(model)
    for form in FORMS:
        write_graph(graph, tmp_path / "graph.onnx", texts, form)
        session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
        errors.append(np.mean([np.abs(run(session, ids) - w).mean() for ids, w in zip(fresh, wanted, strict=True)]))
    assert all(a > b for a, b in pairwise(errors))
    assert errors[-1] < 1e-3  # the embedding table is in half precision even here


def test_the_model_is_left_as_it_was(model: TriageModel, bundle: Bundle) -> None:
    assert not model.training
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in model.parameters())


def test_the_exporter_is_quiet_and_left_as_it_was(model: TriageModel, caplog: pytest.LogCaptureFixture) -> None:
    exporter = logging.getLogger("torch.onnx")
    with caplog.at_level(logging.WARNING, "torch.onnx"):
        trace(model)
        assert exporter.level == logging.WARNING
    assert [record.getMessage() for record in caplog.records if record.name.startswith("torch.onnx")] == []
