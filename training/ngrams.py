"""Fit the linear model over n-grams of tokens that a bundle may carry beside its encoder."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from complaints.bundle import Length
from complaints.ngrams import NGrams, find, weigh
from complaints.taxonomy import Taxonomy
from training.augment import again
from training.batches import encode
from training.model import Base
from training.recipe import Fit
from training.sources import Example, repeated

# The n-grams that stand in most texts: 63 labels of int8 each come to 6 MB. More did not better calibration rows.
FEATURES = 100_000
FEWEST = 2
# Chosen on calibration rows of `consumer` (experiments/LOG.md). BALANCE 0 takes labels as often as they come, 1 as
# if all came equally often.
COST = 0.3
BALANCE = 0.5


def learn_ngrams(examples: Sequence[Example], base: Base, taxonomy: Taxonomy, length: Length, fit: Fit) -> NGrams:
    """The model of training rows, each as often as it is read an epoch, and of some of them said otherwise besides.

    Without those it takes politeness for a sign of where a text came from.
    """
    read = repeated(examples)
    read += [said for _, said in again(read, fit.augment, random.Random(fit.seed))]  # noqa: S311 - no secret
    rows = encode(read, base, taxonomy, length)
    return fit_ngrams(taxonomy, [row.ids for row in rows], np.stack([row.admissible.numpy() for row in rows]))


def fit_ngrams(taxonomy: Taxonomy, rows: Sequence[npt.ArrayLike], admissible: npt.NDArray[np.bool_]) -> NGrams:
    """The model of N texts' token ids; `admissible` (N, sum of K) as `training.model.targets` makes it.

    One linear SVM against the rest a label, on the rows whose leaf of the head is known. A head of which fewer than two
    labels occur says nothing.
    """
    ids = [np.asarray(row, dtype=np.int64) for row in rows]
    found = find(ids)
    every, at = np.unique(found.keys, return_inverse=True)
    pairs, counts = np.unique(found.text * len(every) + at, return_counts=True)
    text, features = np.divmod(pairs, len(every))
    texts = np.bincount(features, minlength=len(every))
    kept = np.sort(np.argsort(-texts, kind="stable")[:FEATURES])
    kept = kept[texts[kept] >= FEWEST]
    rarity = (np.log((1 + len(ids)) / (1 + texts[kept])) + 1).astype(np.float32)
    place = np.full(len(every), -1)
    place[kept] = np.arange(len(kept))
    inside = place[features] >= 0
    text, features, counts = text[inside], place[features[inside]], counts[inside]
    matrix = csr_matrix((weigh(rarity[features], counts, text, len(ids)), (text, features)), (len(ids), len(kept)))
    weights = np.zeros((len(kept), admissible.shape[1]), dtype=np.float32)
    bias = np.zeros(admissible.shape[1], dtype=np.float32)
    start = 0
    for head in taxonomy.heads.values():
        part = slice(start, start + head.size)
        start += head.size
        known = np.flatnonzero(admissible[:, part].sum(axis=1) == 1)
        labels = admissible[known, part].argmax(axis=1)
        if len(np.unique(labels)) > 1:
            weights[:, part], bias[part] = _fit(matrix[known], labels, head.size)
    top = np.abs(weights).max(axis=1)
    scale = (top / 127).astype(np.float16).astype(np.float32)  # as it is stored
    scale[scale == 0] = 1  # says nothing, or too little for fp16
    steps = np.round(weights / scale[:, None]).clip(-127, 127).astype(np.int8)
    rarity = rarity.astype(np.float16).astype(np.float32)
    alone = np.zeros(len(taxonomy.sizes), dtype=np.float32)
    return NGrams(dict(taxonomy.sizes), every[kept], rarity, steps, scale, bias, alone)


def _fit(matrix: csr_matrix, labels: npt.NDArray[np.int64], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (F, K) and bias (K,) of one head; labels that do not occur get the lowest bias of those that do."""
    counts = np.bincount(labels, minlength=size)
    present = np.flatnonzero(counts)
    share = {int(k): float((len(labels) / counts[k]) ** BALANCE) for k in present}
    mean = sum(share[k] * counts[k] for k in share) / len(labels)
    model = LinearSVC(C=COST, class_weight={k: one / mean for k, one in share.items()}, tol=1e-3, random_state=0)
    model.fit(matrix, labels)
    found, intercept = model.coef_, model.intercept_
    if len(present) == 2:
        found, intercept = np.concatenate([-found, found]), np.concatenate([-intercept, intercept])
    weights = np.zeros((matrix.shape[1], size), dtype=np.float32)
    weights[:, present] = found.T
    bias = np.full(size, intercept.min(), dtype=np.float32)
    bias[present] = intercept
    return weights, bias
