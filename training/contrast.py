"""With few rows: the encoder is bent until texts of one label lie together, before a probe reads them.

From so few rows heads learn little but what these rows share by chance, while pairs of them are many (SetFit: Tunstall
et al. 2022, Efficient Few-Shot Learning Without Prompts). The loss is the supervised contrastive one (Khosla et al.
2020) on the mean states that the probe reads.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from complaints.encoder import cut_tokens
from complaints.taxonomy import Taxonomy
from training.batches import Encoded, both_ends, collate, halves
from training.model import TriageModel

# Chosen by rows held out of the training parts of finance and citizen (experiments/LOG.md).
STEPS, RATE, RISE = 80, 5e-5, 5
TEMPERATURE = 0.1
# A batch is of one head, in turn: so many of its labels, about so many rows, so many tokens of each.
LABELS, ROWS, TOKENS = 8, 16, 128


def rows_a_label(taxonomy: Taxonomy, rows: Sequence[Encoded]) -> float:
    """Rows that say something of a head for each label that occurs, over all heads together.

    0 where rows speak of a head, but of fewer than two of its leaves: no probe can set it, however few they are.
    """
    admissible = torch.stack([row.admissible for row in rows])
    said = [int(part.any(dim=1).sum()) for part in admissible.split(list(taxonomy.sizes.values()), dim=1)]
    found = by_label(taxonomy, rows)
    if len(found) < sum(count > 0 for count in said):
        return 0.0
    return sum(said) / max(1, sum(map(len, found)))


def by_label(taxonomy: Taxonomy, rows: Sequence[Encoded]) -> list[list[list[int]]]:
    """Of each head of which two labels or more occur, the rows of each label that does, as indices into `rows`."""
    found, start = [], 0
    admissible = torch.stack([row.admissible for row in rows])
    for head in taxonomy.heads.values():
        part = admissible[:, start : start + head.size]
        start += head.size
        labels: dict[int, list[int]] = defaultdict(list)
        for i in (part.sum(dim=1) == 1).nonzero().flatten().tolist():
            labels[int(part[i].int().argmax())].append(i)
        if len(labels) > 1:
            found.append(list(labels.values()))
    return found


def contrast(model: TriageModel, taxonomy: Taxonomy, train: Sequence[Encoded], seed: int, pad: int) -> None:
    """Bend the encoder of `model` in place; its heads stay as they are. Nothing to do where no label has two rows."""
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    heads = [groups for groups in by_label(taxonomy, train) if max(map(len, groups)) > 1]
    if not heads:
        return
    length = both_ends(TOKENS)
    rows = [replace(row, ids=cut_tokens(np.array(row.ids, dtype=np.int64), length)[0].tolist()) for row in train]
    optimizer = torch.optim.AdamW(model.encoder.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / RISE))
    model.train()
    for step in track(range(STEPS), "contrast", console=Console(stderr=True)):
        chosen = _batch(heads[step % len(heads)], draw)
        ids, mask, _ = collate([rows[i] for i, _ in chosen], pad)
        with halves():
            states = model.read(ids, mask)[2]
        optimizer.zero_grad()
        together(states.float(), torch.tensor([label for _, label in chosen])).backward()
        torch.nn.utils.clip_grad_norm_(model.encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _batch(groups: list[list[int]], draw: random.Random) -> list[tuple[int, int]]:
    """Rows of at most LABELS labels, as many of each as there are up to a share of ROWS, with their label's number."""
    labels = draw.sample(range(len(groups)), min(LABELS, len(groups)))
    if all(len(groups[label]) < 2 for label in labels):  # nothing could be brought together
        labels[0] = draw.choice([i for i, rows in enumerate(groups) if len(rows) > 1])
    each = max(2, round(ROWS / len(labels)))
    return [(i, label) for label in labels for i in draw.sample(groups[label], min(each, len(groups[label])))]


def together(states: Tensor, labels: Tensor) -> Tensor:
    """Mean over rows that share their label of how unlikely those are among all others, by cosine / TEMPERATURE.

    `states` (B, H), `labels` (B,), of which at least two are alike.
    """
    unit = torch.nn.functional.normalize(states, dim=1)
    self = torch.eye(len(labels), dtype=torch.bool)
    log_p = (unit @ unit.T / TEMPERATURE).masked_fill(self, -1e4).log_softmax(dim=1)
    alike = (labels[:, None] == labels) & ~self
    counts = alike.sum(dim=1)
    return -((log_p * alike).sum(dim=1)[counts > 0] / counts[counts > 0]).mean()
