"""How much of what the processor can do in int8 is used: python -m benchmarks.roof.

The roof is the best rate that the engine's own int8 matrix product reaches on large matrices on one core, in
operations (a multiplication and an addition are two). A text's operations are those of its matrix products: for each
layer and token 2 x (4 H² + 2 H F) of the weights and 4 T H of attention; the embeddings and heads are nothing beside
them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from complaints.bundle import Bundle
from complaints.encoder import cut_tokens

# (rows, inner, columns): large, and those of a layer over many tokens.
SHAPES = ((512, 512, 2048), (512, 2048, 512), (1024, 1024, 1024), (2048, 2048, 2048))
SECONDS = 0.3


def peak() -> float:
    """Operations a second of one core, int8."""
    return max(_product(*shape) for shape in SHAPES)


def _product(rows: int, inner: int, columns: int) -> float:
    weights = np.random.default_rng(0).integers(-127, 127, (inner, columns), dtype=np.int8)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [rows, columns])],
        [helper.make_tensor("b", TensorProto.INT8, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    given = {"a": np.random.default_rng(1).integers(0, 255, (rows, inner), dtype=np.uint8)}
    session.run(None, given)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, given)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best


def operations(bundle: Bundle, texts: Sequence[str]) -> float:
    """Of one text in the mean, as it is read: cut where too long, no padding."""
    shape = json.loads((bundle.path / "encoder.json").read_text(encoding="utf-8"))
    hidden, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
    found = []
    for one in tokenizer.encode_batch(list(texts)):
        tokens = len(cut_tokens(np.array(one.ids), bundle.manifest.length)[0])
        found.append(layers * tokens * (2 * (4 * hidden**2 + 2 * hidden * inner) + 4 * tokens * hidden))
    return float(np.mean(found))
