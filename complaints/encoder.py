"""Texts -> logits, vectors and evidence on a CPU. The only file that knows the inference engine (ONNX Runtime).

Where the bundle has an n-gram model too (ngrams.py), its logits are added to the graph's; both are sums over tokens.

Each text is a batch of its own. The int8 graph scales its activations by the largest value in a batch, so in
a shared batch a text's answer would depend on its neighbours; alone it is the same, bit for bit, in a single
request, in a file of a million rows and in the evaluation. On a CPU that costs nothing (benchmarks/README.md).
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
from tokenizers import Encoding, Tokenizer

from complaints.bundle import Bundle, Length
from complaints.courtesy import matter, of_matter
from complaints.errors import BundleError, BundleMismatch
from complaints.ngrams import FILE as NGRAMS
from complaints.ngrams import NGrams
from complaints.text import READS_COURTESY

Logits = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

# Lengths run once on loading; a pass over 512 tokens would cost a start more than it saves the first caller.
WARM_UP_TOKENS = (16, 128)


OUTPUTS = ("logits", "vectors")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as the texts came.

    `logits`: head -> (B, K). `vectors`: (B, H) of length 1; texts that the model reads alike have an inner product
    near 1. `truncated`: (B,) True where tokens were left out. `unseen`: (B,) the share, 0 to 1, of a text's n-grams
    that training has not seen; None where the bundle has no n-grams.
    """

    logits: dict[str, Logits]
    vectors: Vectors
    truncated: npt.NDArray[np.bool_]
    unseen: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each token of one text says: `spans` (T, 2) characters of the cleaned text, `shares` head -> (T, K).

    Shares add up over tokens to the head's logits, less a bias that is the same for every text. Special tokens
    have empty spans.
    """

    spans: npt.NDArray[np.int64]
    shares: dict[str, Logits]


class Encoder:
    """One loaded graph, shared by `threads` threads; `encode` may be called from several threads at once."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Raises BundleError where the graph or tokenizer cannot be loaded, BundleMismatch where shapes differ."""
        self._heads = bundle.manifest.heads
        self._length = bundle.manifest.length
        self._reads_all = bundle.manifest.text_version == READS_COURTESY
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # parallel over texts: two threads of one beat one of two
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena keeps the peak of the longest text for ever
        options.log_severity_level = 3
        try:
            self._tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
            self._session = onnxruntime.InferenceSession(
                str(bundle.path / "graph.onnx"),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion"],  # one addition less, and eight times as slow (1.31)
            )
        except Exception as error:  # the engine raises its own, undocumented types
            raise BundleError(f"bundle {bundle.path}: the graph or tokenizer cannot be loaded: {error}") from error
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        if missing := {*OUTPUTS, "contributions"} - set(shapes):
            raise BundleMismatch(f"bundle {bundle.path}: the graph does not answer with {', '.join(sorted(missing))}")
        width, self._size = shapes["logits"][-1], shapes["vectors"][-1]
        if width != sum(self._heads.values()):
            raise BundleMismatch(
                f"bundle {bundle.path}: the graph answers with {width} logits, "
                f"but its heads {self._heads} need {sum(self._heads.values())}"
            )
        grams = bundle.path / NGRAMS
        self._ngrams = NGrams.open(grams, self._heads) if grams.exists() else None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._pool = ThreadPoolExecutor(threads, "encoder") if threads > 1 else None
        self._tokenizing = threading.Lock()
        for tokens in WARM_UP_TOKENS:
            self._run(np.ones(min(tokens, self._length.max_tokens), dtype=np.int64))
        self._tokenize(["您好"])  # now, and not with the first caller, the words of courtesy are read from their file

    @property
    def width(self) -> int:
        """H, the width of the vectors."""
        return int(self._size)

    def close(self) -> None:
        """Let the threads go; the encoder must not be used afterwards."""
        if self._pool is not None:
            self._pool.shutdown()

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Logits (B, K) a head and vectors (B, H) of cleaned texts, in the order of `texts`."""
        tokens = [cut_tokens(np.array(e.ids, dtype=np.int64), self._length) for e in self._tokenize(texts)]
        truncated = np.array([cut for _, cut in tokens], dtype=np.bool_)
        order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i][0]))
        runs = (tokens[i][0] for i in order)
        rows = list(self._pool.map(self._run, runs) if self._pool is not None else map(self._run, runs))
        joint = np.empty((len(tokens), sum(self._heads.values())), dtype=np.float32)
        vectors = np.empty((len(tokens), self._size), dtype=np.float32)
        for i, (logits, vector) in zip(order, rows, strict=True):
            joint[i], vectors[i] = logits, vector
        unseen = None
        if self._ngrams is not None:
            said, unseen = self._ngrams.read([ids for ids, _ in tokens])
            joint += self._ngrams.blended(said)
        return Encoded(self._by_head(joint), vectors, truncated, unseen)

    def explain(self, text: str) -> Contributions:
        """What each token that was read of a cleaned text says of each label; costs as much as one `encode`."""
        encoding = self._tokenize([text])[0]
        ids, _ = cut_tokens(np.array(encoding.ids, dtype=np.int64), self._length)
        where, _ = cut_tokens(np.arange(len(encoding.ids)), self._length)
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[where]
        if not self._reads_all:
            spans[spans[:, 1] > spans[:, 0]] += matter(text)[0]  # but for special tokens
        (batch,) = self._session.run(["contributions"], _inputs(ids))
        shares = batch[0]
        if self._ngrams is not None:
            shares = shares + self._ngrams.blended(self._ngrams.contributions(ids))
        return Contributions(spans, self._by_head(shares))

    def _by_head(self, joint: Logits) -> dict[str, Logits]:
        edges = np.cumsum(list(self._heads.values()))[:-1]
        return dict(zip(self._heads, np.split(joint, edges, axis=1), strict=True))

    def _tokenize(self, texts: Sequence[str]) -> list[Encoding]:
        if not self._reads_all:
            texts = [of_matter(text) for text in texts]
        if len(texts) == 1:  # here and now: a batch goes to threads of the tokenizer's own
            return [self._tokenizer.encode(texts[0])]
        with self._tokenizing:
            return self._tokenizer.encode_batch(list(texts))

    def _run(self, ids: Tokens) -> tuple[Logits, Vectors]:
        logits, vectors = self._session.run(OUTPUTS, _inputs(ids))
        return logits[0], vectors[0]


def _inputs(ids: Tokens) -> dict[str, Tokens]:
    batch = ids[np.newaxis]
    return {"input_ids": batch, "attention_mask": np.ones_like(batch)}


def cut_tokens(ids: Tokens, length: Length) -> tuple[Tokens, bool]:
    """Keep the first and last tokens of a sequence that is too long: (T,) -> (≤ max_tokens,), whether it was cut.

    The last `tail` tokens, the closing special token among them, and the first of what room is left.
    """
    if len(ids) <= length.max_tokens:
        return ids, False
    head = length.max_tokens - length.tail
    return np.concatenate([ids[:head], ids[len(ids) - length.tail :]]), True
