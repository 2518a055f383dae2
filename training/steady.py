"""After fitting: the model learns to say of a text said otherwise what it says of the text itself.

What it says of its own training rows is softer than their labels, and right more often where those are not. Learned
once more from that, it is steadier, and a little better, than its teacher (Furlanello et al. 2018, Born-Again Neural
Networks; experiments/LOG.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from complaints.bundle import Length
from complaints.taxonomy import Taxonomy
from training.augment import again
from training.batches import Encoded, batches, collate, encode, halves
from training.fit import fit_model, parameter_groups, predict_logits
from training.model import Base, TriageModel, losses
from training.recipe import Fit
from training.sources import Example

# Of the rates at which it was fitted, those of all layers and of the heads; they rise over so many steps and fall to 0.
RATE, RISE = 0.5, 20
# What the rows' labels count beside the teacher's word.
LABELS = 0.3


def fine_tune(
    model: TriageModel,
    base: Base,
    taxonomy: Taxonomy,
    parts: tuple[Sequence[Example], Sequence[Example]],
    length: Length,
    fit: Fit,
    log_metrics: Callable[[dict[str, float], int], None],
    *,
    warm: bool = False,
) -> int:
    """Fit the model in place on training rows, said otherwise too, and steady it; returns the epoch that was kept.

    `parts`: the training rows, each as often as it is read an epoch, and the calibration rows that choose the epoch. A
    `warm` model is not steadied.
    """
    rows, _ = parts
    read = [encode(part, base, taxonomy, length) for part in parts]

    def vary(draw: random.Random, share: float = fit.augment) -> list[Encoded]:
        said = again(rows, share, draw)
        varied = list(read[0])
        for (i, _), one in zip(said, encode([e for _, e in said], base, taxonomy, length), strict=True):
            varied[i] = one
        return varied

    best = fit_model(model, base, taxonomy, read[0], read[1], fit, log_metrics, vary, warm=warm)
    if best and fit.steady and fit.augment and not warm:
        steady(model, base, taxonomy, read[0], lambda draw: vary(draw, 1.0), fit)
    return best


def steady(
    model: TriageModel,
    base: Base,
    taxonomy: Taxonomy,
    train: Sequence[Encoded],
    otherwise: Callable[[random.Random], Sequence[Encoded]],
    fit: Fit,
) -> None:
    """Fit `model` in place for `fit.steady` epochs; `otherwise` gives the rows of `train`, each said otherwise."""
    pad = base.pad
    rng = random.Random(fit.seed)  # noqa: S311 - order of batches, no secret
    teacher = by_head(predict_logits(model, train, fit, pad), taxonomy)
    rate = RATE * fit.learning_rate
    gentler = fit.model_copy(update={"learning_rate": rate, "head_learning_rate": rate})
    optimizer = torch.optim.AdamW(parameter_groups(model, base.layers, gentler), fused=True)
    planned = []
    for _ in range(fit.steady):
        read = otherwise(rng)
        planned += [(batch, read) for batch in batches(read, fit, rng)]
    fall = max(1, len(planned) - RISE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / RISE, (len(planned) - step) / fall)
    )
    model.train()
    for batch, read in track(planned, "steadying", console=Console(stderr=True)):
        ids, mask, admissible = collate([read[i] for i in batch], pad)
        with halves():
            logits = model(ids, mask)
        loss = apart(by_head(logits.float(), taxonomy), [said[batch] for said in teacher])
        loss = loss + LABELS * torch.stack(list(losses(taxonomy, logits.float(), admissible).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def by_head(logits: Tensor, taxonomy: Taxonomy) -> list[Tensor]:
    """(B, sum of K) logits -> (B, K) log-probabilities a head."""
    return [part.log_softmax(dim=1) for part in logits.split(list(taxonomy.sizes.values()), dim=1)]


def apart(said: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """How far `said` is from the teacher's word, log-probabilities (B, K) a head: mean divergence, heads added up."""
    pairs = zip(said, teacher, strict=True)
    return torch.stack([(word.exp() * (word - one)).sum(dim=1).mean() for one, word in pairs]).sum()
