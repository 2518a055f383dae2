"""Texts -> logits on a CPU. The only file that knows the inference engine (ONNX Runtime).

Each text is a batch of its own. The int8 graph scales its activations by the largest value in a batch, so in
a shared batch a text's answer would depend on its neighbours; alone it is the same, bit for bit, in a single
request, in a file of a million rows and in the evaluation. On a CPU that costs about 5 % (benchmarks/engine.py).
Work is handed to the threads longest first, so that none is left with a long text at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from complaints.bundle import Bundle, Length
from complaints.errors import BundleError, BundleMismatch

Logits = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

# Lengths run once on loading; a pass over 512 tokens would cost a start more than it saves the first caller.
WARM_UP_TOKENS = (16, 128)


@dataclass(frozen=True, slots=True)
class Encoded:
    """`logits`: head -> (B, K), rows as the texts came; `truncated`: (B,) True where tokens were left out."""

    logits: dict[str, Logits]
    truncated: npt.NDArray[np.bool_]


class Encoder:
    """One loaded graph, shared by `threads` threads; `encode` may be called from several threads at once."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Raises BundleError where the graph or tokenizer cannot be loaded, BundleMismatch where shapes differ."""
        self._heads = bundle.manifest.heads
        self._length = bundle.manifest.length
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # parallel over texts: two threads of one beat one of two
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena keeps the peak of the longest text for ever
        options.log_severity_level = 3
        try:
            self._tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
            self._session = onnxruntime.InferenceSession(
                str(bundle.path / "graph.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the engine raises its own, undocumented types
            raise BundleError(f"bundle {bundle.path}: the graph or tokenizer cannot be loaded: {error}") from error
        width = self._session.get_outputs()[0].shape[-1]
        if width != sum(self._heads.values()):
            raise BundleMismatch(
                f"bundle {bundle.path}: the graph answers with {width} logits, "
                f"but its heads {self._heads} need {sum(self._heads.values())}"
            )
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._pool = ThreadPoolExecutor(threads, "encoder") if threads > 1 else None
        self._tokenizing = threading.Lock()
        for tokens in WARM_UP_TOKENS:
            self._run(np.ones(min(tokens, self._length.max_tokens), dtype=np.int64))

    def close(self) -> None:
        """Let the threads go; the encoder must not be used afterwards."""
        if self._pool is not None:
            self._pool.shutdown()

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Logits of cleaned texts, (B, K) a head, in the order of `texts`."""
        tokens = [cut_tokens(ids, self._length) for ids in self._tokenize(texts)]
        truncated = np.array([cut for _, cut in tokens], dtype=np.bool_)
        order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i][0]))
        runs = (tokens[i][0] for i in order)
        rows = list(self._pool.map(self._run, runs) if self._pool is not None else map(self._run, runs))
        joint = np.empty((len(tokens), sum(self._heads.values())), dtype=np.float32)
        for i, row in zip(order, rows, strict=True):
            joint[i] = row
        edges = np.cumsum(list(self._heads.values()))[:-1]
        return Encoded(dict(zip(self._heads, np.split(joint, edges, axis=1), strict=True)), truncated)

    def _tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        with self._tokenizing:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def _run(self, ids: Tokens) -> Logits:
        batch = ids[np.newaxis]
        joint: Logits = self._session.run(None, {"input_ids": batch, "attention_mask": np.ones_like(batch)})[0][0]
        return joint


def cut_tokens(ids: Tokens, length: Length) -> tuple[Tokens, bool]:
    """Keep the first and last tokens of a sequence that is too long: (T,) -> (≤ max_tokens,), whether it was cut.

    The last `tail` tokens, the closing special token among them, and the first of what room is left.
    """
    if len(ids) <= length.max_tokens:
        return ids, False
    head = length.max_tokens - length.tail
    return np.concatenate([ids[:head], ids[len(ids) - length.tail :]]), True
