"""The int8 rewriting: loud channels split, weights rounded with what is known of their inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.quantize import PAIR, copies, observe, quantize, round_weights

Array = npt.NDArray[np.float64]


def layer(first: Array, second: Array, loud: Array) -> onnx.ModelProto:
    """(1, T) ids -> a table of their states, which has loud channels -> product, bias, GELU, product."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(50, len(first))) * loud
    stored = {"table": table, "first": first, "bias": rng.normal(size=first.shape[1]) / 4, "second": second}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["states"]),
        helper.make_node("MatMul", ["states", "first"], ["product"], name="first"),
        helper.make_node("Add", ["product", "bias"], ["added"], name="added"),
        helper.make_node("Gelu", ["added"], ["bent"]),
        helper.make_node("MatMul", ["bent", "second"], ["result"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(n, TensorProto.INT64, [1, None]) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, None, second.shape[1]])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {i.name: ids[np.newaxis] for i in session.get_inputs()}
    return np.asarray(session.run(None, inputs)[0])


@pytest.fixture
def weights() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(48, 96)), rng.normal(size=(96, 16))
    first[:, 5] *= 8  # a channel that is loud behind the GELU
    return first, second


def test_loud_channels_do_not_coarsen_the_rest(weights: tuple[Array, Array]) -> None:
    rng = np.random.default_rng(3)
    loud = np.ones(48)
    loud[[7, 20]] = 30, 12
    model, even = layer(*weights, loud), layer(*weights, np.ones(48))
    texts = [rng.integers(0, 50, 30) for _ in range(20)]
    ids = rng.integers(0, 50, 40)
    errors = []
    for one in (model, even):
        wanted, found = run(one, ids), run(quantize(one, texts), ids)
        errors.append(float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)))
    assert errors[0] < 0.02
    assert errors[0] < 2 * errors[1]


def test_exact_products_stay(weights: tuple[Array, Array]) -> None:
    model = layer(*weights, np.ones(48))
    ids = np.arange(40)
    names = [n.name for n in quantize(model, [ids], exact=["first"]).graph.node if n.op_type == "MatMul"]
    assert names == ["first"]
    assert np.array_equal(run(quantize(model, [ids], exact=["first", "second"]), ids), run(model, ids))


def test_what_is_seen_is_what_is_read(weights: tuple[Array, Array]) -> None:
    model = layer(*weights, np.ones(48))
    table = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float64)
    seen = observe(model, [np.array([3, 4]), np.array([5])])["states"]
    assert seen.peaks == pytest.approx(np.abs(table[3:6]).max(axis=0))
    assert seen.moments == pytest.approx(table[3:6].T @ table[3:6], rel=1e-4, abs=1e-4)


def test_the_loudest_are_split_and_no_others() -> None:
    peaks = np.full(512, 4.0)
    assert copies(peaks).tolist() == [1] * 512
    peaks[[3, 9]] = 34, 11
    found = copies(peaks)
    assert (found[[3, 9]] >= [6, 2]).all()
    assert found.sum() - found[[3, 9]].sum() == 510
    peaks[:40] = 8  # too many to split: it would not pay
    peaks[[3, 9]] = 8
    assert copies(peaks).tolist() == [1] * 512


def test_rounding_knows_what_the_weights_are_multiplied_with() -> None:
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 64)) + rng.normal(size=(400, 64)) / 10
    weights = rng.normal(size=(64, 20))
    found, scale = round_weights(weights, inputs.T @ inputs)
    assert (np.abs(found[0::2].astype(int)) + np.abs(found[1::2].astype(int))).max() <= PAIR
    flat = np.abs(weights).max(axis=0) / 64
    plain = np.round(weights / flat) * flat
    errors = [np.linalg.norm(inputs @ (one - weights)) for one in (found * scale, plain)]
    assert errors[0] < errors[1] / 2


def test_columns_of_nothing_stay_nothing() -> None:
    found, scale = round_weights(np.zeros((4, 3)), np.zeros((4, 4)))
    assert not found.any()
    assert np.isfinite(scale).all()
