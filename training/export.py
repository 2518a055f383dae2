"""Torch weights -> the int8 graph of a bundle."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from training.model import Traced, TriageModel


def export_graph(model: TriageModel, path: Path) -> None:
    """Write `model` as an int8 ONNX graph.

    input_ids, attention_mask (B, T) int64 -> logits (B, sum of K), contributions (B, T, sum of K), vectors (B, H).
    Weights of matrix products become int8 a column, activations are scaled at run time. Only 7 of the 8 bits are
    used (`reduce_range`): processors without VNNI add pairs of products in 16 bits, which overflows with 8 and
    turned answers into noise where it was tried. The embedding table is kept in fp16.
    """
    model.eval()
    ids = torch.ones(2, 16, dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        raw, quantized = Path(folder) / "raw.onnx", Path(folder) / "int8.onnx"
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
        del graph.graph.value_info[:]  # shapes the exporter noted; the quantizer trips over them
        onnx.save(graph, raw)
        quiet = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)
        quantize_dynamic(
            raw,
            quantized,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
        logging.getLogger().setLevel(quiet)
        onnx.save(_without_traces(_halve_tables(onnx.load(quantized))), path)


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
