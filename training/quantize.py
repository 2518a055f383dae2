"""An fp32 graph -> the same graph with its matrix products in int8, as near as int8 comes.

Plain dynamic quantisation lost a point of macro-F1 here (benchmarks/README.md), in two ways that this file mends.

A few channels of what a product reads are up to ten times louder than the rest, and one scale serves all of them:

- before a product they are split: channel c becomes n copies of an n-th each, appended to the input, with c's row of
  the weights repeated. The result is the same, and the scale that serves all is n times finer;
- behind a GELU, where the input is wide and copying it is dear, they go a way of their own in fp32, through both
  products: those columns of the first and rows of the second are left out of the int8 weights.

Weights are rounded one row after the other, each row taking up what the rows before it got wrong on real texts
(GPTQ: Frantar et al., 2022).

Processors without VNNI add two neighbouring products in 16 bits. 255 x 128 is the most that fits, so the weights of
two neighbours are kept to 128 together. A flat limit of 64 each, which is what is usual, leaves every column 64 steps
to a side; this one mostly 90 to 112.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]
Channels = npt.NDArray[np.int64]

PAIR = 128
LARGEST = 127
STEPS = (64, 72, 80, 90, 100, 112, 127)
# Channels of an input that are split, and that go their own way behind a GELU: each costs time.
SPLIT = 4
APART = 8
# Splitting must bring the squared error of rounding below this share of what it was.
WORTH = 0.6
# Share of the mean energy of channels that is added to each, so that rows are not fitted to the sample alone.
DAMPING = 0.01
BLOCK = 128
# Texts whose outer products are summed at a time: widening a sum to fp64 takes longer than making it.
TOGETHER = 16


@dataclass(frozen=True)
class Product:
    """A MatMul with constant weights: its node, what it reads, and weights (K, N)."""

    name: str
    source: str
    values: Array


@dataclass(frozen=True)
class Seen:
    """What a product reads: the largest absolute value of each channel (K,), and the sum of outer products (K, K)."""

    peaks: Array
    moments: Array


@dataclass(frozen=True)
class _Pair:
    """Two products around a GELU, the bias (K,) between, and the loud channels there."""

    first: Product
    second: Product
    bias: npt.NDArray[np.float32]
    loud: Channels


def products(model: onnx.ModelProto) -> list[Product]:
    """The products with constant weights, in the order of the graph."""
    stored = {t.name: t for t in model.graph.initializer}
    return [
        Product(n.name, n.input[0], numpy_helper.to_array(stored[n.input[1]]).astype(np.float64))
        for n in model.graph.node
        if n.op_type == "MatMul" and n.input[1] in stored
    ]


def observe(model: onnx.ModelProto, tokens: Sequence[Tokens]) -> dict[str, Seen]:
    """What products read on some texts, as token ids (T,) each: name of the input -> Seen."""
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    names = list(dict.fromkeys(p.source for p in products(model)))
    wider.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(wider.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen: dict[str, Seen] = {}
    for group in (tokens[i : i + TOGETHER] for i in range(0, len(tokens), TOGETHER)):
        inputs = [{"input_ids": ids[np.newaxis], "attention_mask": np.ones_like(ids[np.newaxis])} for ids in group]
        answers = [session.run(names, one) for one in inputs]
        for name, parts in zip(names, zip(*answers, strict=True), strict=True):
            rows = np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])
            one = Seen(np.abs(rows).max(axis=0).astype(np.float64), (rows.T @ rows).astype(np.float64))
            if name in seen:
                one = Seen(np.maximum(seen[name].peaks, one.peaks), seen[name].moments + one.moments)
            seen[name] = one
    return seen


def quantize(model: onnx.ModelProto, tokens: Sequence[Tokens], *, exact: Collection[str] = ()) -> onnx.ModelProto:
    """The graph with every product in int8 but those named in `exact`; `tokens` are some texts to fit it to."""
    return _Rewriting(model, observe(model, tokens), exact).run()


def copies(peaks: Array) -> npt.NDArray[np.int64]:
    """(K,) into how many copies each channel is best split; at most SPLIT channels into more than one.

    The rounding error of a channel is that of the common scale times its copies, which err alike; a finer scale needs
    more copies. Taken is the scale of least error over all channels.
    """
    best, least = np.ones(len(peaks), dtype=np.int64), WORTH * len(peaks) * peaks.max() ** 2
    floor = np.sort(peaks)[-SPLIT - 1] if len(peaks) > SPLIT else peaks.min()
    for scale in np.linspace(peaks.max(), max(floor, 1e-9), 50):
        found = np.maximum(1, np.ceil(peaks / scale - 1e-9)).astype(np.int64)
        error = scale**2 * float(np.square(found).sum())
        if error < least:
            best, least = found, error
    return best


def round_weights(weights: Array, moments: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(K, N) weights -> int8 and the scale (N,) of each column; `moments` (K, K) of what they are multiplied with."""
    moments = moments + np.diag(np.full(len(moments), DAMPING * np.diag(moments).mean() + 1e-9))
    scale = _scales(weights, np.diag(moments))
    onward = np.linalg.cholesky(np.linalg.inv(moments)).T
    left, found = weights.copy(), np.zeros_like(weights)
    for start in range(0, len(weights), BLOCK):
        end = min(start + BLOCK, len(weights))
        wrong = np.zeros((end - start, weights.shape[1]))
        for k in range(start, end):
            room = LARGEST if k % 2 == 0 else np.minimum(LARGEST, PAIR - np.abs(found[k - 1]))
            found[k] = np.clip(np.round(left[k] / scale), -room, room)
            wrong[k - start] = (left[k] - found[k] * scale) / onward[k, k]
            left[k + 1 : end] -= np.outer(onward[k, k + 1 : end], wrong[k - start])
        left[end:] -= onward[start:end, end:].T @ wrong
    return found.astype(np.int8), scale.astype(np.float32)


def _scales(weights: Array, energy: Array) -> Array:
    """(N,) the scale of each column, of STEPS the one with which plain rounding errs least."""
    most = np.abs(weights).max(axis=0) + 1e-12
    least, best = np.full(weights.shape[1], np.inf), most / STEPS[0]
    for steps in STEPS:
        found = np.round(weights * steps / most)
        even = found[0 : len(found) - 1 : 2]
        found[1::2] = np.clip(found[1::2], np.abs(even) - PAIR, PAIR - np.abs(even))
        error = energy @ np.square(found * most / steps - weights)
        better = error < least
        least, best = np.where(better, error, least), np.where(better, most / steps, best)
    return best


class _Rewriting:
    """One pass over a graph that replaces its products."""

    def __init__(self, model: onnx.ModelProto, seen: dict[str, Seen], exact: Collection[str]) -> None:
        self.seen = seen
        self.made = onnx.ModelProto()
        self.made.CopyFrom(model)
        self.graph = self.made.graph
        self.products = {p.name: p for p in products(model) if p.name not in exact}
        self.apart = self._behind_gelu()
        self.nodes: list[NodeProto] = []
        self.ready: dict[str, Channels] = {}

    def run(self) -> onnx.ModelProto:
        """The rewritten graph."""
        for node in self.graph.node:
            product = self.products.get(node.name)
            if product is None:
                self.nodes.append(node)
            else:
                self._product(product, node.output[0])
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [t for t in self.graph.initializer if t.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        return self.made

    def _behind_gelu(self) -> dict[str, _Pair]:
        """Name of either product -> the pair around a GELU that it belongs to."""
        made = {output: node for node in self.graph.node for output in node.output}
        stored = {t.name: t for t in self.graph.initializer}
        found: dict[str, _Pair] = {}
        for product in self.products.values():
            gelu = made.get(product.source)
            bias = made.get(gelu.input[0]) if gelu is not None and gelu.op_type == "Gelu" else None
            if bias is None or bias.op_type != "Add":
                continue
            first = next((made[i] for i in bias.input if i in made and made[i].name in self.products), None)
            added = next((stored[i] for i in bias.input if i in stored), None)
            if first is not None and added is not None:
                loud = np.argsort(-self.seen[product.source].peaks)[:APART]
                pair = _Pair(self.products[first.name], product, numpy_helper.to_array(added), np.sort(loud))
                found |= {first.name: pair, product.name: pair}
        return found

    def _product(self, product: Product, output: str) -> None:
        source, name = product.source, product.name
        values, pair = product.values.copy(), self.apart.get(name)
        if pair is not None and product is pair.first:
            values[:, pair.loud] = 0
        elif pair is not None:
            values[pair.loud] = 0
        channels = self._quantised(source, split=pair is None or product is pair.first)
        shares = 1.0 / np.bincount(channels)[channels]
        moments = self.seen[source].moments[np.ix_(channels, channels)] * np.outer(shares, shares)
        if pair is not None and product is pair.second:  # nothing is known of what stands in their place
            moments[pair.loud], moments[:, pair.loud] = 0, 0
        weights, scale = round_weights(values[channels], moments)
        stored = self._store(f"{name}_weights", weights)
        zeros = self._store(f"{name}_zeros", np.zeros(len(scale), dtype=np.int8))
        self._add("MatMulInteger", [f"{source}_u8", stored, f"{source}_zero", zeros], f"{name}_sums")
        self._add("Cast", [f"{name}_sums"], f"{name}_float", to=TensorProto.FLOAT)
        self._add("Mul", [f"{source}_scale", self._store(f"{name}_scales", scale)], f"{name}_scale")
        if pair is None or product is pair.first:
            self._add("Mul", [f"{name}_float", f"{name}_scale"], output)
        else:
            self._add("Mul", [f"{name}_float", f"{name}_scale"], f"{name}_quiet")
            self._add("Add", [f"{name}_quiet", self._own_way(pair)], output)

    def _own_way(self, pair: _Pair) -> str:
        """What the loud channels behind a GELU add to the second product, in fp32."""
        name = pair.second.name
        first = self._store(f"{name}_loud_first", pair.first.values[:, pair.loud].astype(np.float32))
        second = self._store(f"{name}_loud_second", pair.second.values[pair.loud].astype(np.float32))
        self._add("MatMul", [pair.first.source, first], f"{name}_loud")
        self._add("Add", [f"{name}_loud", self._store(f"{name}_loud_bias", pair.bias[pair.loud])], f"{name}_loud_in")
        self._add("Gelu", [f"{name}_loud_in"], f"{name}_loud_out")
        self._add("MatMul", [f"{name}_loud_out", second], f"{name}_loud_sum")
        return f"{name}_loud_sum"

    def _quantised(self, source: str, *, split: bool) -> Channels:
        """Quantise an input, once for all products that read it; gives the channel of each of its (longer) rows."""
        if source in self.ready:
            return self.ready[source]
        peaks = self.seen[source].peaks
        times = copies(peaks) if split else np.ones(len(peaks), dtype=np.int64)
        longer = source
        if times.max() > 1:
            longer = f"{source}_longer"
            share = self._store(f"{source}_share", (1.0 / times).astype(np.float32))
            self._add("Mul", [source, share], f"{source}_shared")
            parts = [f"{source}_shared"]
            for c in np.flatnonzero(times > 1):
                bounds = [
                    self._store(f"{source}_{c}_{end}", np.array([at])) for end, at in (("from", c), ("to", c + 1))
                ]
                self._add("Slice", [parts[0], *bounds, self._store("last_axis", np.array([-1]))], f"{source}_{c}")
                parts += [f"{source}_{c}"] * int(times[c] - 1)
            self._add("Concat", parts, longer, axis=-1)
        made = [f"{source}_u8", f"{source}_scale", f"{source}_zero"]
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [longer], made))
        self.ready[source] = np.concatenate([np.arange(len(times)), np.repeat(np.arange(len(times)), times - 1)])
        return self.ready[source]

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> None:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))

    def _store(self, name: str, values: npt.NDArray[np.generic]) -> str:
        if all(t.name != name for t in self.graph.initializer):
            self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
