"""How much the n-gram model's word counts beside the encoder's: one weight a head, chosen on calibration rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from complaints.decision import softmax
from complaints.encoder import Logits
from complaints.ngrams import NGrams
from complaints.taxonomy import Taxonomy
from training.calibrate import Labels, fit_temperature
from training.sources import Example, leaves

log = logging.getLogger(__name__)

# Weights that are tried; an n-gram logit is a margin of a linear SVM, an encoder's logit a log-probability.
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
# On fewer rows the best weight is a matter of luck, and this one stands (experiments/LOG.md).
FEWEST, USUAL = 100, 8.0


def weigh_beside(
    taxonomy: Taxonomy,
    encoder: Mapping[str, Logits],
    ngrams: NGrams,
    said: Mapping[str, Logits],
    examples: Sequence[Example],
) -> NGrams:
    """`ngrams` with the weights that suit N `examples`; `encoder` and `said` are the logits of both, head -> (N, K)."""
    blend = []
    for name, head in taxonomy.heads.items():
        known, truth = leaves(examples, name, head)
        blend.append(fit_blend(encoder[name][known], said[name][known], truth, ordinal=head.kind == "ordinal"))
    log.info("n-grams count %s", " ".join(f"{head} {w:g}" for head, w in zip(taxonomy.heads, blend, strict=True)))
    return replace(ngrams, blend=np.array(blend, dtype=np.float32))


def fit_blend(encoder: Logits, ngrams: Logits, truth: Labels, *, ordinal: bool = False) -> float:
    """The weight w for which `encoder` + w * `ngrams`, both (N, K), is least surprised by `truth` (N,).

    Surprise is the mean negative log-likelihood, each weight at the temperature that suits it best; of an ordinal head
    the ranked probability score (Epstein 1969), to which a far miss is worse than a near one.
    """
    if len(truth) < FEWEST:
        return USUAL
    surprise = _ranked if ordinal else _unlikely
    return min(WEIGHTS, key=lambda weight: surprise(encoder + np.float32(weight) * ngrams, truth))


def _unlikely(logits: Logits, truth: Labels) -> float:
    p = softmax(logits, fit_temperature(logits, truth))
    return float(-np.log(np.clip(p[np.arange(len(truth)), truth], 1e-12, None)).mean())


def _ranked(logits: Logits, truth: Labels) -> float:
    below: npt.NDArray[np.float64] = softmax(logits, fit_temperature(logits, truth)).cumsum(axis=1)
    return float(np.square(below - (np.arange(logits.shape[1]) >= truth[:, None])).sum(axis=1).mean())
