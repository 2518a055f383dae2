"""Going on from a trained model: what it knows is taken over, new rows are learned gently, old ones are read again.

Without old rows among the new ones a network forgets (Robins 1995, Catastrophic forgetting, rehearsal and
pseudorehearsal); small steps keep it near where it was, which is known to be good, and so do lower layers that stay
as they are (Howard and Ruder 2018, Universal Language Model Fine-tuning), which take less time besides.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from complaints.taxonomy import Taxonomy
from training.model import Base, TriageModel
from training.probe import UNSEEN
from training.recipe import Fit
from training.sources import Example, repeated

# A few epochs, and rates of this share of those from which a model is trained anew.
EPOCHS, RATE = 2, 0.2
# Calibration rows on which progress is shown; they choose nothing here.
SHOWN = 300


def inherit(model: TriageModel, base: Base, taxonomy: Taxonomy) -> None:
    """Take over looks and heads of the bundle that `base` was read from, head by head and label by label.

    A label that is new starts below the least likely of its head, with the mean of their weights; a head that is new
    starts as an untrained one does. Raises ValueError where `base` is no bundle's.
    """
    if base.learned is None:
        raise ValueError(f"{base.name} has no heads to go on from: a warm start needs a trained model")
    weights, old = base.learned.weights, base.learned.taxonomy
    old_rows, place, start = {}, 0, 0
    for name, head in old.heads.items():
        old_rows[name] = (list(old.heads).index(name), {label: place + i for i, label in enumerate(head.ids)})
        place += head.size
    with torch.no_grad():
        for look, (name, head) in enumerate(taxonomy.heads.items()):
            rows = range(start, start + head.size)
            start += head.size
            if name not in old_rows:
                continue
            old_look, labels = old_rows[name]
            model.looks.weight[look] = weights["looks.weight"][old_look]
            model.looks.bias[look] = weights["looks.bias"][old_look]
            mine = list(labels.values())
            for row, label in zip(rows, head.ids, strict=True):
                known = labels.get(label)
                if known is not None:
                    model.heads.weight[row] = weights["heads.weight"][known]
                    model.heads.bias[row] = weights["heads.bias"][known]
                else:
                    model.heads.weight[row] = weights["heads.weight"][mine].mean(dim=0)
                    model.heads.bias[row] = weights["heads.bias"][mine].min() - UNSEEN


def hold(model: TriageModel, layers: int) -> None:
    """Keep the embeddings and the lower half of an encoder of so many `layers` as they are (experiments/LOG.md)."""
    for name, parameter in model.encoder.named_parameters():
        depth = next((int(part) for part in name.split(".") if part.isdigit()), -1)  # embeddings have none
        if depth < layers // 2:
            parameter.requires_grad_(requires_grad=False)


def gentle(fit: Fit) -> Fit:
    """The recipe's settings with few epochs and low rates."""
    return fit.model_copy(
        update={
            "epochs": EPOCHS,
            "learning_rate": fit.learning_rate * RATE,
            "head_learning_rate": fit.head_learning_rate * RATE,
            "adversarial": 0.0,  # minutes count
        }
    )


def rehearsal(corrected: Sequence[Example], train: Sequence[Example], replay: float, seed: int) -> list[Example]:
    """The rows of a warm start: every corrected one as often as it says, and for each of them `replay` old ones.

    Old ones are drawn so that a label that is rare among them is not lost: one in two from the rarest labels first, a
    turn a label, the others at random.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    new = {id(one) for one in corrected}
    old = [one for one in train if id(one) not in new]
    draw.shuffle(old)
    most = min(len(old), round(replay * len(corrected)))
    turns: dict[tuple[str, str], list[int]] = {}
    for i, one in enumerate(old):
        for label in one.labels.items():
            turns.setdefault(label, []).append(i)
    chosen: dict[int, None] = {}
    queues = [iter(rows) for _, rows in sorted(turns.items(), key=lambda item: len(item[1]))]
    while queues and len(chosen) < most // 2:
        left = []
        for queue in queues:
            found = next((i for i in queue if i not in chosen), None)
            if found is not None and len(chosen) < most // 2:
                chosen[found] = None
                left.append(queue)
        queues = left
    for i in range(len(old)):
        if len(chosen) >= most:
            break
        chosen.setdefault(i)
    return [*repeated(corrected), *(old[i] for i in chosen)]
