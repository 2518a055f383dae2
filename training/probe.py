"""A start for the heads: logistic regressions on what the encoder says before it is fine-tuned.

With few rows that is most of what can be learned; with many, fine-tuning starts from heads that already point the
right way and bends the encoder less (Kumar et al. 2022, Fine-tuning can distort pretrained features).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from complaints.taxonomy import Taxonomy
from training.batches import Encoded, batches, collate, halves
from training.model import TriageModel
from training.recipe import Fit

# More rows do not move the regressions enough to be worth their time.
MOST_ROWS = 6_000
# Of each label so many come first, lest a rare one has none among them; fewer where labels are so many.
FIRST = 20
C = 3.0
# Where a label has no row, its logit starts this far below the least likely one that has.
UNSEEN = 3.0


@torch.inference_mode()
def pooled_states(model: TriageModel, rows: Sequence[Encoded], fit: Fit, pad: int) -> np.ndarray:
    """(N, H) mean states of texts, as the heads of an untrained model see them."""
    model.eval()
    out = torch.empty(len(rows), model.heads.in_features)
    for batch in batches(rows, fit, None):
        ids, mask, _ = collate([rows[i] for i in batch], pad)
        with halves():
            out[batch] = model.read(ids, mask)[2].float()
    return out.numpy()


def probe(model: TriageModel, taxonomy: Taxonomy, train: Sequence[Encoded], fit: Fit, pad: int) -> None:
    """Set the heads of a `model` that is not fine-tuned to logistic regressions on at most MOST_ROWS of `train`.

    Rows known by a parent alone teach nothing here; a head of which fewer than two labels occur is left as it is.
    """
    draw = random.Random(fit.seed)  # noqa: S311 - a sample, no secret
    rows = _drawn(train, taxonomy, draw)
    states = pooled_states(model, rows, fit, pad)
    centre = states.mean(axis=0)
    scale = float(np.linalg.norm(states - centre, axis=1).mean()) or 1.0
    admissible = torch.stack([row.admissible for row in rows])
    start = 0
    for head in taxonomy.heads.values():
        part = slice(start, start + head.size)
        start += head.size
        known = (admissible[:, part].sum(dim=1) == 1).numpy()
        truth = admissible[known][:, part].int().argmax(dim=1).numpy()
        seen = np.unique(truth)
        if len(seen) < 2:
            continue
        found = LogisticRegression(C=C, max_iter=500).fit((states[known] - centre) / scale, truth)
        weights, bias = found.coef_, found.intercept_
        if len(seen) == 2:  # scikit-learn keeps one row for two labels
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        weights = weights / scale
        bias = bias - weights @ centre
        with torch.no_grad():
            model.heads.weight[part] = 0.0
            model.heads.bias[part] = float(bias.min()) - UNSEEN
            model.heads.weight[part.start + torch.tensor(seen)] = torch.tensor(weights, dtype=torch.float32)
            model.heads.bias[part.start + torch.tensor(seen)] = torch.tensor(bias, dtype=torch.float32)


def _drawn(train: Sequence[Encoded], taxonomy: Taxonomy, draw: random.Random) -> list[Encoded]:
    """At most MOST_ROWS rows, drawn: some of each label, and of the rest as they come."""
    rows = draw.sample(list(train), len(train))
    if len(rows) <= MOST_ROWS:
        return rows
    admissible = torch.stack([row.admissible for row in rows])
    first = max(1, min(FIRST, MOST_ROWS // (2 * admissible.shape[1])))
    chosen: dict[int, None] = {}
    ends = np.cumsum(list(taxonomy.sizes.values()))
    for of_head in np.split(admissible.numpy(), ends[:-1], axis=1):
        known = of_head & (of_head.sum(axis=1, keepdims=True) == 1)
        for of_label in known.T:
            chosen |= dict.fromkeys(np.flatnonzero(of_label)[:first].tolist())
    chosen |= dict.fromkeys(range(len(rows)))  # places that are there keep their place
    return [rows[i] for i in list(chosen)[:MOST_ROWS]]
