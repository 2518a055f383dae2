"""Torch weights -> the graph of a bundle: traced in fp32, then made int8 (quantize.py)."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.model import Traced, TriageModel
from training.quantize import Tokens, products, quantize

# What may be left in fp32, from the quickest graph to the one that loses nothing. The heads are: they are narrow.
FORMS = ("int8", "int8 but the last attention", "int8 feed-forward", "fp32")

# Products of a layer's attention: query, key, value, output.
ATTENTION = 4


def export_graph(model: TriageModel, path: Path, texts: Sequence[Tokens], form: str = FORMS[0]) -> None:
    """Write `model` as an ONNX graph, in one of FORMS; int8 is fitted to `texts`, token ids (T,) each.

    input_ids, attention_mask (B, T) int64 -> logits (B, sum of K), contributions (B, T, sum of K), vectors (B, H).
    """
    write_graph(trace(model), path, texts, form)


def write_graph(graph: onnx.ModelProto, path: Path, texts: Sequence[Tokens], form: str) -> None:
    """Write a traced graph in one of FORMS; the embedding table is kept in fp16."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    if form != "fp32":
        made = quantize(made, texts, exact=_exact(graph, form))
    onnx.save(_without_traces(_halve_tables(made)), path)


def _exact(graph: onnx.ModelProto, form: str) -> set[str]:
    last = max(i for i, node in enumerate(graph.graph.node) if node.op_type == "LayerNormalization")
    exact = {node.name for node in graph.graph.node[last:]}
    attention = [p.name for p in products(graph) if p.values.shape[0] == p.values.shape[1]]
    if form == "int8 but the last attention":  # a tenth more time for a tenth less error
        exact |= set(attention[-ATTENTION:])
    if form == "int8 feed-forward":
        exact |= set(attention)
    return exact


def trace(model: TriageModel) -> onnx.ModelProto:
    """The fp32 graph of a model, of any batch and length."""
    model.eval()
    ids = torch.ones(2, 16, dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(
            Traced(model),
            (ids, torch.ones_like(ids)),
            raw,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits", "contributions", "vectors"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        graph = onnx.load(raw)
    del graph.graph.value_info[:]  # shapes the exporter noted, which the rewritten graph does not keep
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own deprecations, and its word on packages that it looks for in vain."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # here, for importing torch sets it anew
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes, which name the source files of the machine that trained."""
    del graph.metadata_props[:], graph.graph.metadata_props[:]
    for part in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return graph


def _halve_tables(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Store the fp32 tables that are only looked up (Gather) as fp16, cast after the look-up."""
    inside = graph.graph
    tables = {t.name: t for t in inside.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2}
    nodes = []
    for node in inside.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        nodes.append(node)
        if table is None:
            continue
        values = numpy_helper.to_array(table)
        if values.dtype == np.float32:
            table.CopyFrom(numpy_helper.from_array(values.astype(np.float16), table.name))
        result = node.output[0]
        node.output[0] = f"{result}_half"
        nodes.append(helper.make_node("Cast", [f"{result}_half"], [result], to=TensorProto.FLOAT))
    del inside.node[:]
    inside.node.extend(nodes)
    return graph
