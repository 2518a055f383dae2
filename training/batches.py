"""Examples -> batches of tokens: like lengths together, few shapes, bf16 where the processor has it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from complaints.bundle import Length
from complaints.courtesy import of_matter
from complaints.encoder import cut_tokens
from complaints.predictor import whole
from complaints.taxonomy import Taxonomy
from complaints.text import clean
from training.model import Base, targets
from training.recipe import Fit
from training.sources import Example

# Rows are sorted by length within windows of this many batches: like lengths together, order still random.
WINDOW = 20
STEP = 16
# Texts from which the usual length is taken, and how long it is at most: time grows with it, and more was not tried.
LOOKED_AT, MOST_USUAL = 2_000, 256
TAIL_SHARE = 4
# Instructions by which bf16 trained 2.6 times as fast as fp32 (AVX512-BF16), or is meant to.
HALVES = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and admissible labels of one example."""

    ids: list[int]
    admissible: Tensor


def read_text(example: Example) -> str:
    """The cleaned text of an example, as `predictor.py` reads it."""
    return clean(whole(example.complaint)).text


def encode(examples: Sequence[Example], base: Base, taxonomy: Taxonomy, length: Length) -> list[Encoded]:
    """Tokens and targets of examples, long texts cut as serving cuts them."""
    encodings = base.tokenizer.encode_batch([of_matter(read_text(example)) for example in examples])
    return [
        Encoded(cut_tokens(np.array(e.ids, dtype=np.int64), length)[0].tolist(), targets(taxonomy, example.labels))
        for e, example in zip(encodings, examples, strict=True)
    ]


def both_ends(tokens: int) -> Length:
    """So many tokens of a text, one in TAIL_SHARE of them from its end, where demands stand."""
    return Length(max_tokens=tokens, tail=tokens // TAIL_SHARE)


def padded(rows: Sequence[Sequence[int]], width: int, pad: int) -> tuple[Tensor, Tensor]:
    """Token ids of B texts -> (B, width) ids, (B, width) mask."""
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def usual_length(examples: Sequence[Example], base: Base) -> int:
    """Tokens, a multiple of STEP up to MOST_USUAL, that nine in ten of the examples' texts stay within."""
    step = max(1, len(examples) // LOOKED_AT)
    counts = [len(e.ids) for e in base.tokenizer.encode_batch([of_matter(read_text(one)) for one in examples[::step]])]
    return min(MOST_USUAL, _width(math.ceil(np.quantile(counts, 0.9))))


def learned_length(examples: Sequence[Example], base: Base, fit: Fit) -> Length:
    """What training reads of these examples' texts: what the recipe says, or else the usual length."""
    return both_ends(min(fit.max_tokens or usual_length(examples, base), base.max_tokens))


def batches(rows: Sequence[Encoded], fit: Fit, rng: random.Random | None) -> Iterator[list[int]]:
    """Batches, as indices into `rows`, under a budget of padded tokens; in random order with `rng`, else by length.

    Rows of like length stand together, the longest of a batch decides how many, and widths are multiples of STEP: so
    there are few different shapes, and the processor's kernels, which are compiled a shape, are compiled once.
    """
    order = list(range(len(rows)))
    if rng is not None:
        rng.shuffle(order)
    window = WINDOW * fit.batch_rows if rng is not None else len(order)
    made: list[list[int]] = []
    for start in range(0, len(order), max(1, window)):
        left = sorted(order[start : start + window], key=lambda i: -len(rows[i].ids))
        while left:
            room = max(1, min(fit.batch_rows, fit.batch_tokens // _width(len(rows[left[0]].ids))))
            made.append(left[:room])
            left = left[room:]
    if rng is not None:
        rng.shuffle(made)
    return iter(made)


def _width(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


def collate(batch: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T) ids, (B, T) mask, (B, sum of K) admissible labels; T is a multiple of STEP."""
    width = _width(max(len(row.ids) for row in batch))
    return *padded([row.ids for row in batch], width, pad), torch.stack([row.admissible for row in batch])


def halves() -> torch.autocast:
    """Matrix products in bf16 where the processor has instructions for them; elsewhere they would only be slower."""
    found = torch.cpu.get_capabilities()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=any(found.get(name) for name in HALVES))
