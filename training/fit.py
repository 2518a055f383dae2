"""Fitting the weights: batches of like length under a token budget, early stopping on calibration data."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sklearn.metrics import f1_score
from torch import Tensor

from complaints.bundle import Length
from complaints.encoder import cut_tokens
from complaints.errors import InvalidInput
from complaints.taxonomy import Taxonomy
from complaints.text import clean
from training.model import Base, TriageModel, losses, targets
from training.recipe import Fit
from training.sources import Example

# Rows are sorted by length within windows of this many batches: like lengths together, order still random.
WINDOW = 20
# With few rows an epoch is a handful of steps, in which an encoder learns nothing.
FEWEST_EPOCHS, MOST_EPOCHS, FEWEST_STEPS = 3, 40, 300


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and admissible labels of one example."""

    ids: list[int]
    admissible: Tensor


def read_text(example: Example) -> str:
    """The cleaned text of an example, as `predictor.py` reads it."""
    complaint = example.complaint
    return clean(f"{complaint.title}\n{complaint.text}" if complaint.title else complaint.text).text


def encode(examples: Sequence[Example], base: Base, taxonomy: Taxonomy, length: Length) -> list[Encoded]:
    """Tokens and targets of examples, long texts cut as serving cuts them."""
    encodings = base.tokenizer.encode_batch([read_text(example) for example in examples])
    return [
        Encoded(cut_tokens(np.array(e.ids, dtype=np.int64), length)[0].tolist(), targets(taxonomy, example.labels))
        for e, example in zip(encodings, examples, strict=True)
    ]


def batches(rows: Sequence[Encoded], fit: Fit, rng: random.Random | None) -> Iterator[list[Encoded]]:
    """Batches under a budget of padded tokens; in random order with `rng`, by length alone without."""
    order = list(range(len(rows)))
    if rng is not None:
        rng.shuffle(order)
    window = WINDOW * fit.batch_rows if rng is not None else len(order)
    made: list[list[Encoded]] = []
    for start in range(0, len(order), max(1, window)):
        batch: list[Encoded] = []
        for i in sorted(order[start : start + window], key=lambda i: len(rows[i].ids)):
            if batch and (len(batch) == fit.batch_rows or (len(batch) + 1) * len(rows[i].ids) > fit.batch_tokens):
                made.append(batch)
                batch = []
            batch.append(rows[i])
        if batch:
            made.append(batch)
    if rng is not None:
        rng.shuffle(made)
    return iter(made)


def collate(batch: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T) ids, (B, T) mask, (B, sum of K) admissible labels."""
    width = max(len(row.ids) for row in batch)
    ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in batch])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in batch])
    return ids, mask, torch.stack([row.admissible for row in batch])


def parameter_groups(model: TriageModel, layers: int, fit: Fit) -> list[dict[str, object]]:
    """Parameters with their learning rates: heads fastest, each layer below the top slower by `layer_decay`."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("heads."):
            rate = fit.head_learning_rate
        else:
            parts = name.split(".")
            depth = next((int(part) + 1 for part in parts if part.isdigit()), 0)  # embeddings are depth 0
            rate = fit.learning_rate * fit.layer_decay ** (layers - depth)
        decay = 0.0 if parameter.ndim < 2 else fit.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]


def fit_model(
    model: TriageModel,
    base: Base,
    taxonomy: Taxonomy,
    train: Sequence[Encoded],
    calibration: Sequence[Encoded],
    fit: Fit,
    log_metrics: Callable[[dict[str, float], int], None],
) -> int:
    """Fit `model` in place and leave it with the weights of its best epoch; returns that epoch, counted from 1.

    Best by the mean over heads of macro-F1 on calibration rows. `log_metrics` receives the losses and macro-F1 a
    head after every epoch. Raises InvalidInput where no calibration row is labelled by a leaf.
    """
    if not macro_f1(taxonomy, torch.zeros(len(calibration), model.heads.out_features), calibration):
        raise InvalidInput("no calibration row carries a leaf's label, by which the best epoch is chosen: add rows")
    rng = random.Random(fit.seed)  # noqa: S311 - order of batches, no secret
    pad = base.tokenizer.token_to_id("[PAD]") or 0
    optimizer = torch.optim.AdamW(parameter_groups(model, base.layers, fit), fused=True)
    steps = sum(1 for _ in batches(train, fit, random.Random(0)))  # noqa: S311
    epochs = fit.epochs or max(FEWEST_EPOCHS, min(MOST_EPOCHS, math.ceil(FEWEST_STEPS / steps)))
    patience = fit.patience or max(2, epochs // 4)
    planned = epochs * steps
    rise = max(1, int(fit.warmup * planned))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, max(0.0, (planned - step) / max(1, planned - rise)))
    )
    best, best_epoch, kept = -1.0, 0, copy.deepcopy(model.state_dict())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=planned)
        for epoch in range(1, epochs + 1):
            model.train()
            sums: dict[str, list[float]] = {}
            for batch in batches(train, fit, rng):
                ids, mask, admissible = collate(batch, pad)
                found = losses(taxonomy, model(ids, mask), admissible)
                optimizer.zero_grad()
                torch.stack(list(found.values())).sum().backward()
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
            shown = " ".join(f"{head} {score:.3f}" for head, score in scores.items())
            progress.console.print(f"epoch {epoch}: calibration macro-F1 {shown}")
            if mean > best:
                best, best_epoch, kept = mean, epoch, copy.deepcopy(model.state_dict())
            elif epoch - best_epoch >= patience:
                progress.update(bar, total=progress.tasks[0].completed)
                break
    model.load_state_dict(kept)
    model.eval()
    return best_epoch


@torch.inference_mode()
def predict_logits(model: TriageModel, rows: Sequence[Encoded], fit: Fit, pad: int) -> Tensor:
    """(len(rows), sum of K) logits in the order of `rows`."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))  # the order of batches()
    out = torch.empty(len(rows), model.heads.out_features)
    done = 0
    for batch in batches(rows, fit, None):
        ids, mask, _ = collate(batch, pad)
        out[order[done : done + len(batch)]] = model(ids, mask)
        done += len(batch)
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
