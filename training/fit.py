"""Fitting the weights, by how many rows there are.

With few rows a label the encoder is bent by contrast and a probe reads it. With some hundred rows it is fine-tuned in
small steps, all layers alike, to the end. With more the steps are larger, a probe is where they start, and the best
epoch on calibration data is kept.
"""

from __future__ import annotations

import copy
import logging
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)
from sklearn.metrics import f1_score
from torch import Tensor

from complaints.errors import InvalidInput
from complaints.taxonomy import Taxonomy
from training.batches import Encoded, batches, both_ends, collate, encode, halves
from training.contrast import contrast, rows_a_label
from training.model import Base, TriageModel, losses
from training.names import named
from training.probe import probe
from training.recipe import Fit
from training.sources import repeated

log = logging.getLogger(__name__)

# Below so many rows a label, contrast and a probe are better than fine-tuning (experiments/LOG.md).
FEW = 64
# Where some hundred rows are fine-tuned: the rate of all weights, and steps at least.
SMALL_RATE, SMALL_STEPS = 5e-5, 250
# Tokens of a label's name, at most.
SHORT = 32
# So many rows are not few, however many labels share them: some can be set apart for calibration.
MANY = 1_000
# With few rows an epoch is a handful of steps, in which an encoder learns nothing.
FEWEST_EPOCHS, MOST_EPOCHS, FEWEST_STEPS = 3, 40, 500
# On fewer calibration rows the best epoch is a matter of luck: the last one, with the lowest rate, stands.
FEWEST_TO_CHOOSE = 200


def parameter_groups(model: TriageModel, layers: int, fit: Fit) -> list[dict[str, object]]:
    """Parameters with their learning rates: heads fastest, each layer below the top slower by `layer_decay`."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith(("heads.", "looks.")):
            rate = fit.head_learning_rate
        else:
            parts = name.split(".")
            depth = next((int(part) + 1 for part in parts if part.isdigit()), 0)  # embeddings are depth 0
            rate = fit.learning_rate * fit.layer_decay ** (layers - depth)
        decay = 0.0 if parameter.ndim < 2 else fit.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]


def few_rows(taxonomy: Taxonomy, rows: Sequence[Encoded], fit: Fit) -> bool:
    """Whether these training rows are so few that `fit_few` is better for them.

    Below MANY, unless `fit` asks for epochs or a head is known by parents alone, which no probe can read.
    """
    return fit.epochs is None and len(rows) < MANY and rows_a_label(taxonomy, rows) > 0


def fit_few(
    model: TriageModel, base: Base, taxonomy: Taxonomy, rows: Sequence[Encoded], fit: Fit, a_label: float
) -> None:
    """Fit `model` in place to few rows, and to what their labels are called, in the way of so many rows `a_label`.

    It is given, for models of a part of the rows are to be fitted as that of all of them is.
    """
    names = encode(repeated(named(taxonomy)), base, taxonomy, both_ends(SHORT))
    every = [*rows, *names]
    if a_label < FEW:
        contrast(model, taxonomy, every, fit.seed, base.pad)
        probe(model, taxonomy, every, fit, base.pad)
    else:  # a probe is no better start than new heads here
        fit_small(model, base, taxonomy, every, fit)
    model.eval()


def way_of_few(rows: float) -> str:
    """In words, what `fit_few` does with so many rows a label."""
    if rows < FEW:
        return f"few a label ({rows:.0f}): contrast and a probe, no fine-tuning unless epochs are asked for"
    return f"some a label ({rows:.0f}): fine-tuned in small steps"


def fit_small(model: TriageModel, base: Base, taxonomy: Taxonomy, rows: Sequence[Encoded], fit: Fit) -> None:
    """Fine-tune `model` in place in small steps, at the same rate everywhere; nothing chooses an epoch."""
    rates = {"learning_rate": SMALL_RATE, "head_learning_rate": SMALL_RATE, "layer_decay": 1.0}
    optimizer = torch.optim.AdamW(parameter_groups(model, base.layers, fit.model_copy(update=rates)), fused=True)
    rng = random.Random(fit.seed)  # noqa: S311 - order of batches, no secret
    steps = sum(1 for _ in batches(rows, fit, random.Random(0)))  # noqa: S311
    planned = [batch for _ in range(usual_epochs(steps, SMALL_STEPS)) for batch in batches(rows, fit, rng)]
    schedule = schedule_of(optimizer, len(planned), fit)
    model.train()
    for batch in track(planned, "training", console=Console(stderr=True)):
        optimizer.zero_grad()
        learn(model, taxonomy, collate([rows[i] for i in batch], base.pad), fit.adversarial)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def usual_epochs(steps: int, fewest: int) -> int:
    """How often rows that make so many `steps` an epoch are read, to make `fewest` steps in all if that can be."""
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, math.ceil(fewest / steps)))


def schedule_of(optimizer: torch.optim.Optimizer, planned: int, fit: Fit) -> torch.optim.lr_scheduler.LambdaLR:
    """Rates that rise over the first steps of those `planned`, and fall to 0 at the last."""
    rise = max(1, int(fit.warmup * planned))
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, max(0.0, (planned - step) / max(1, planned - rise)))
    )


def fit_model(  # noqa: PLR0913 - a model, what it reads, and how
    model: TriageModel,
    base: Base,
    taxonomy: Taxonomy,
    train: Sequence[Encoded],
    calibration: Sequence[Encoded],
    fit: Fit,
    log_metrics: Callable[[dict[str, float], int], None],
    vary: Callable[[random.Random], Sequence[Encoded]] | None = None,
    *,
    warm: bool = False,
) -> int:
    """Fit `model` in place and leave it with the weights of its best epoch; returns that epoch, 0 being the probe.

    Of few rows it is what `fit_few` makes. Best by the mean over heads of macro-F1 on calibration rows, if there
    are FEWEST_TO_CHOOSE. `log_metrics` receives the rows a label and, after every epoch, the losses and macro-F1 a
    head; `vary`, where given, says the rows otherwise before each.
    A `warm` model goes on from the heads that it has, and its last epoch stands: calibration rows say nothing of what
    it is to learn from the newest ones. Raises InvalidInput where no calibration row has a leaf's label.
    """
    if not macro_f1(taxonomy, torch.zeros(len(calibration), model.heads.out_features), calibration):
        raise InvalidInput("no calibration row carries a leaf's label, by which the best epoch is chosen: add rows")
    rng = random.Random(fit.seed)  # noqa: S311 - order of batches, no secret
    pad = base.pad
    rows = rows_a_label(taxonomy, train)
    few = few_rows(taxonomy, train, fit) and not warm
    if few:
        log.info("few rows: %s", way_of_few(rows))
        fit_few(model, base, taxonomy, train, fit, rows)
    elif not warm:
        probe(model, taxonomy, train, fit, pad)
    optimizer = torch.optim.AdamW(parameter_groups(model, base.layers, fit), fused=True)
    steps = sum(1 for _ in batches(train, fit, random.Random(0)))  # noqa: S311
    usual = 0 if few else usual_epochs(steps, FEWEST_STEPS)
    epochs = usual if fit.epochs is None else fit.epochs
    patience = fit.patience or epochs
    planned = epochs * steps
    schedule = schedule_of(optimizer, planned, fit)
    chooses = len(calibration) >= FEWEST_TO_CHOOSE and not warm
    scores = macro_f1(taxonomy, predict_logits(model, calibration, fit, pad), calibration)
    log_metrics({"rows_a_label": rows} | {f"calibration_macro_f1/{head}": one for head, one in scores.items()}, 0)
    best, best_epoch, kept = float(np.mean(list(scores.values()))), 0, copy.deepcopy(model.state_dict())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.console.print(f"{len(train)} rows, {epochs} epochs of {steps} steps, from a probe: {_shown(scores)}")
        bar = progress.add_task("training", total=planned)
        for epoch in range(1, epochs + 1):
            model.train()
            sums: dict[str, list[float]] = {}
            read = vary(rng) if vary is not None else train
            for batch in batches(read, fit, rng):
                optimizer.zero_grad()
                found = learn(model, taxonomy, collate([read[i] for i in batch], pad), fit.adversarial)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                for head, loss in found.items():
                    sums.setdefault(head, []).append(loss.item())
                progress.advance(bar)
            scores = macro_f1(taxonomy, predict_logits(model, calibration, fit, pad), calibration)
            mean = float(np.mean(list(scores.values())))
            log_metrics(
                {f"loss/{head}": float(np.mean(values)) for head, values in sums.items()}
                | {f"calibration_macro_f1/{head}": score for head, score in scores.items()},
                epoch,
            )
            progress.console.print(f"epoch {epoch}: {_shown(scores)}")
            if mean > best or not chooses:
                best, best_epoch, kept = mean, epoch, copy.deepcopy(model.state_dict())
            elif epoch - best_epoch >= patience:
                progress.update(bar, total=progress.tasks[0].completed)
                break
    model.load_state_dict(kept)
    model.eval()
    return best_epoch


def learn(
    model: TriageModel, taxonomy: Taxonomy, batch: tuple[Tensor, Tensor, Tensor], adversarial: float
) -> dict[str, Tensor]:
    """Add up the gradients of a batch (as `collate` makes it); returns its losses.

    With `adversarial` the batch is read once more with its tokens' embeddings moved so far, in length, to where the
    loss rises fastest (Miyato et al. 2017, Adversarial Training Methods for Semi-Supervised Text Classification).
    """
    ids, mask, admissible = batch

    def backward() -> dict[str, Tensor]:
        with halves():
            logits = model(ids, mask)
        found = losses(taxonomy, logits.float(), admissible)
        torch.stack(list(found.values())).sum().backward()
        return found

    found = backward()
    if adversarial:
        table = model.encoder.get_input_embeddings().weight  # type: ignore[operator]
        there = table.grad * (adversarial / table.grad.norm().clamp_min(1e-8))
        with torch.no_grad():
            table += there
        backward()
        with torch.no_grad():
            table -= there
    return found


def _shown(scores: dict[str, float]) -> str:
    return "calibration macro-F1 " + " ".join(f"{head} {score:.3f}" for head, score in scores.items())


@torch.inference_mode()
def predict_logits(model: TriageModel, rows: Sequence[Encoded], fit: Fit, pad: int) -> Tensor:
    """(len(rows), sum of K) logits in the order of `rows`."""
    model.eval()
    out = torch.empty(len(rows), model.heads.out_features)
    for batch in batches(rows, fit, None):
        ids, mask, _ = collate([rows[i] for i in batch], pad)
        with halves():
            out[batch] = model(ids, mask).float()
    return out


def macro_f1(taxonomy: Taxonomy, logits: Tensor, rows: Sequence[Encoded]) -> dict[str, float]:
    """Head -> macro-F1 over the labels that occur, of rows labelled by a leaf."""
    admissible = torch.stack([row.admissible for row in rows])
    scores = {}
    start = 0
    for name, head in taxonomy.heads.items():
        part, mask = logits[:, start : start + head.size], admissible[:, start : start + head.size]
        start += head.size
        known = mask.sum(dim=1) == 1
        if known.any():
            truth, guess = mask[known].int().argmax(dim=1).numpy(), part[known].argmax(dim=1).numpy()
            scores[name] = float(f1_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0))
    return scores
