"""A linear model over runs of one to three tokens: what a bundle can say of a text without its encoder.

    ids (T,) --runs of 1, 2, 3--> n-grams (n,) --(1 + log count) x rarity, to length 1--> values (n,)
    logits (sum of K) = sum over n-grams of value x weights + bias

Numpy alone, and many texts at a time; a text's answer does not depend on its neighbours. A logit is a sum of what the
tokens say, so it can stand beside the encoder's, or be added to it, and be explained all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from complaints.errors import BundleError

FILE = "ngrams.npz"
LONGEST = 3
# An n-gram is one integer: its token ids + 1, so many bits each. No vocabulary has more tokens than that.
BITS = 20
# Texts are scored so many tokens at a time, which keeps what is in work near the processor.
TOKENS = 1 << 13

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """N-grams of several texts: `keys`, the `text` each stands in, the `place` it starts at in all tokens, `size`."""

    keys: Ids
    text: Ids
    place: Ids
    size: Ids


@dataclass(frozen=True, slots=True)
class NGrams:
    """The model: `keys` (F,) sorted, their `rarity` (F,), `weights` (F, sum of K) in steps of `scale` (F,), `bias`.

    `heads` names the heads and their K in the order of the columns; `blend` (number of heads,) is what a head's logits
    count beside the encoder's, from 0.
    """

    heads: dict[str, int]
    keys: Ids
    rarity: Floats
    weights: npt.NDArray[np.int8]
    scale: Floats
    bias: Floats
    blend: Floats

    def logits(self, rows: Sequence[npt.ArrayLike]) -> dict[str, Floats]:
        """Token ids of B texts, special tokens included -> head -> (B, K)."""
        return self.read(rows)[0]

    def read(self, rows: Sequence[npt.ArrayLike]) -> tuple[dict[str, Floats], Floats]:
        """Token ids of B texts -> their logits; and (B,) the share, 0 to 1, of a text's n-grams that have no weights.

        A text of which much is unseen is unlike those that the model has learned from.
        """
        ids = [np.asarray(row, dtype=np.int64) for row in rows]
        out, unseen = np.tile(self.bias, (len(ids), 1)), np.zeros(len(ids), dtype=np.float32)
        ends = np.cumsum([len(row) for row in ids])
        start = 0
        while start < len(ids):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + TOKENS, side="right")))
            self._add(ids[start:stop], out[start:stop], unseen[start:stop])
            start = stop
        return self.by_head(out), unseen

    def contributions(self, ids: npt.ArrayLike) -> dict[str, Floats]:
        """What each of T tokens says: head -> (T, K), which add up to the logits less `bias`.

        An n-gram's say is shared evenly by its tokens, and by the places where it stands.
        """
        row = np.asarray(ids, dtype=np.int64)
        shares = np.zeros((len(row), len(self.bias)), dtype=np.float32)
        found = find([row])
        where, known = self._look_up(found.keys)
        features, at, counts = np.unique(where[known], return_inverse=True, return_counts=True)
        values = self._values(features, counts, np.zeros(len(features), dtype=np.int64), 1) / counts
        places, sizes = found.place[known], found.size[known]
        says = self.weights[features[at]] * (values[at] * self.scale[features[at]] / sizes)[:, None]
        for step in range(LONGEST):
            inside = sizes > step
            np.add.at(shares, places[inside] + step, says[inside].astype(np.float32))
        return self.by_head(shares)

    def blended(self, parts: Mapping[str, Floats]) -> Floats:
        """Logits or contributions of this model, by head -> side by side, as they count beside the encoder's."""
        return np.concatenate([weight * parts[head] for head, weight in zip(self.heads, self.blend, strict=True)], -1)

    def by_head(self, joint: Floats) -> dict[str, Floats]:
        """Columns of all heads side by side -> head -> its own."""
        edges = np.cumsum(list(self.heads.values()))[:-1]
        return dict(zip(self.heads, np.split(joint, edges, axis=1), strict=True))

    def save(self, path: Path) -> None:
        """Write the model; `heads` is left to the bundle's manifest."""
        np.savez_compressed(
            path,
            steps=np.diff(self.keys, prepend=0),  # small numbers, which pack better
            rarity=self.rarity.astype(np.float16),
            weights=self.weights,
            scale=self.scale.astype(np.float16),
            bias=self.bias,
            blend=self.blend,
        )

    @classmethod
    def open(cls, path: Path, heads: Mapping[str, int]) -> NGrams:
        """Read what `save` wrote; raises BundleError where it cannot be read or is for other heads."""
        try:
            with path.open("rb") as raw, np.load(raw) as file:
                found = cls(
                    dict(heads),
                    np.cumsum(file["steps"]),
                    file["rarity"].astype(np.float32),
                    file["weights"],
                    file["scale"].astype(np.float32),
                    file["bias"],
                    file["blend"],
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BundleError(f"{path} cannot be read ({error}); copy the bundle again") from error
        features, width = len(found.keys), sum(heads.values())
        shapes = (found.weights.shape, found.bias.shape, found.blend.shape)
        if shapes != ((features, width), (width,), (len(heads),)):
            raise BundleError(
                f"{path}: weights, bias and blend are {shapes} where {features} n-grams and heads {dict(heads)} need "
                f"{((features, width), (width,), (len(heads),))}"
            )
        return found

    def _add(self, ids: Sequence[Ids], out: Floats, unseen: Floats) -> None:
        """Add to `out` (B, sum of K) what the n-grams of B texts say, to `unseen` (B,) the share that says nothing."""
        found = find(ids)
        where, known = self._look_up(found.keys)
        every = np.bincount(found.text, minlength=len(ids))
        unseen += np.bincount(found.text[~known], minlength=len(ids)) / np.maximum(every, 1)
        pairs, counts = np.unique(found.text[known] * len(self.keys) + where[known], return_counts=True)
        if not len(pairs):
            return
        text, features = np.divmod(pairs, len(self.keys))
        values = self._values(features, counts, text, len(ids)) * self.scale[features]
        starts = np.flatnonzero(np.diff(text, prepend=-1))
        out[text[starts]] += np.add.reduceat(self.weights[features] * values[:, None], starts, axis=0)

    def _look_up(self, keys: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """Row of each n-gram in the model, and whether it has one."""
        where = np.searchsorted(self.keys, keys)
        where[where == len(self.keys)] = 0
        return where, self.keys[where] == keys if len(self.keys) else np.zeros(len(keys), dtype=np.bool_)

    def _values(self, features: Ids, counts: Ids, text: Ids, texts: int) -> Floats:
        """What each n-gram of a text weighs; the squares of a text's sum to 1."""
        return weigh(self.rarity[features], counts, text, texts)


def weigh(rarity: Floats, counts: Ids, text: Ids, texts: int) -> Floats:
    """(1 + log count) x rarity of n-grams, divided by the length of the `text` that each belongs to."""
    values = (1 + np.log(counts)) * rarity.astype(np.float64)
    lengths = np.sqrt(np.bincount(text, weights=values * values, minlength=texts))
    return (values / lengths[text]).astype(np.float32)


def find(rows: Sequence[Ids]) -> Found:
    """All runs of one to LONGEST tokens of texts, none across the end of a text."""
    ids = np.concatenate([*rows, np.zeros(0, dtype=np.int64)]) + 1
    text = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    keys, owners, places, sizes = [ids], [text], [np.arange(len(ids))], [np.ones(len(ids), dtype=np.int64)]
    run = ids
    for size in range(2, LONGEST + 1):
        run = (run[:-1] << BITS) | ids[size - 1 :]
        whole = np.flatnonzero(text[: len(run)] == text[size - 1 :])
        keys.append(run[whole])
        owners.append(text[whole])
        places.append(whole)
        sizes.append(np.full(len(whole), size))
    return Found(*(np.concatenate(part) for part in (keys, owners, places, sizes)))
