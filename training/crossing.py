"""Where rows are few, none is set apart for calibration: models that have not seen a row answer for it.

The rows are divided into folds, a model is fitted on all but one, and says what it makes of that one (cross-fitting).
The model that is served has then read every row, and what is known of its sureness comes of every row too.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold

from complaints.bundle import Length
from complaints.encoder import Logits
from complaints.ngrams import NGrams
from complaints.taxonomy import Taxonomy
from training.batches import Encoded, encode
from training.contrast import rows_a_label
from training.fit import fit_few, predict_logits
from training.model import Base, TriageModel
from training.names import named
from training.ngrams import learn_ngrams
from training.recipe import Recipe
from training.sources import Example
from training.splits import near_duplicate_groups, text_of

log = logging.getLogger(__name__)

FOLDS = 4


@dataclass(frozen=True)
class Crossed:
    """What is said of N examples by models that have not seen them; logits, head -> (N, K), of encoder and n-grams.

    `unseen` (N,) is the share of each text's n-grams that the model which answers for it had not seen.
    """

    examples: list[Example]
    encoder: dict[str, Logits]
    ngrams: dict[str, Logits]
    unseen: npt.NDArray[np.float32]

    def without(self, others: Sequence[Example]) -> Crossed:
        """The same without some of the examples, known by their texts."""
        out = {text_of(one) for one in others}
        return self._only([i for i, one in enumerate(self.examples) if text_of(one) not in out])

    def apart(self, near: float) -> Crossed:
        """The same with one row of each group of near-duplicates, for what is promised counts rows as independent."""
        groups = near_duplicate_groups([text_of(one) for one in self.examples], near)
        first = {group: i for i, group in reversed(list(enumerate(groups)))}
        return self._only(sorted(first.values()))

    def _only(self, kept: list[int]) -> Crossed:
        encoder, ngrams = ({head: said[kept] for head, said in part.items()} for part in (self.encoder, self.ngrams))
        return Crossed([self.examples[i] for i in kept], encoder, ngrams, self.unseen[kept])

    def logits(self, weighed: NGrams) -> dict[str, Logits]:
        """Both together, head -> (N, K), the n-grams by the weights of `weighed`."""
        added = weighed.by_head(weighed.blended(self.ngrams))
        return {head: said + added[head] for head, said in self.encoder.items()}


def cross(
    model: TriageModel,
    base: Base,
    taxonomy: Taxonomy,
    recipe: Recipe,
    examples: Sequence[Example],
    lengths: tuple[Length, Length],
) -> Crossed | None:
    """Fit copies of an untrained `model` on all but a fold of `examples`, in turn; None where there are no folds.

    Near-duplicates stand in one fold. `lengths`: of what is learned from, and of what is answered for.
    """
    fold = _folds(examples, taxonomy, recipe)
    if fold is None:
        return None
    log.info(
        "%d fits of up to %d rows: %d models that answer for rows that they have not seen, so that none is set apart, "
        "then the one that is served",
        FOLDS + 1,
        len(examples),
        FOLDS,
    )
    pad, names = base.pad, named(taxonomy)
    short, long = (encode(examples, base, taxonomy, length) for length in lengths)
    repeats = [one.repeat for one in examples]
    a_label = rows_a_label(taxonomy, _repeated(short, repeats, range(len(short))))
    encoder = torch.empty(len(examples), sum(taxonomy.sizes.values()))
    said = {head: np.empty((len(examples), size), dtype=np.float32) for head, size in taxonomy.sizes.items()}
    unseen = np.empty(len(examples), dtype=np.float32)
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        log.info("fit %d of %d: %d rows, to answer for %d others", number + 1, FOLDS + 1, len(inside), len(outside))
        one = copy.deepcopy(model)
        fit_few(one, base, taxonomy, _repeated(short, repeats, inside), recipe.fit, a_label)
        encoder[outside] = predict_logits(one, [long[i] for i in outside], recipe.fit, pad)
        ngrams = learn_ngrams([*(examples[i] for i in inside), *names], base, taxonomy, lengths[1], recipe.fit)
        heard, unseen[outside] = ngrams.read([long[i].ids for i in outside])
        for head, found in heard.items():
            said[head][outside] = found
    return Crossed(list(examples), ngrams.by_head(encoder.numpy()), said, unseen)


def _repeated(rows: Sequence[Encoded], repeats: Sequence[int], chosen: Iterable[int]) -> list[Encoded]:
    return [rows[i] for i in chosen for _ in range(repeats[i])]


def _folds(examples: Sequence[Example], taxonomy: Taxonomy, recipe: Recipe) -> npt.NDArray[np.int64] | None:
    """(N,) fold of each example, the labels of the first head spread evenly; None where no label has FOLDS groups."""
    first = next(iter(taxonomy.heads))
    labels = [one.labels.get(first, "") for one in examples]
    groups = near_duplicate_groups([text_of(one) for one in examples], recipe.split.near_duplicate)
    if max(len({g for g, mine in zip(groups, labels, strict=True) if mine == label}) for label in set(labels)) < FOLDS:
        return None
    found = np.empty(len(examples), dtype=np.int64)
    divide = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=recipe.split.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label with fewer rows than folds is missing from some
        for number, (_, outside) in enumerate(divide.split(labels, labels, groups)):
            found[outside] = number
    return found
