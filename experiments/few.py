"""How well training does with few labels: ours, plain fine-tuning and the SVM, on the same rows and the recipe's test.

    python experiments/few.py experiments/finance.yaml --datasets ../shared/datasets --sizes 8 32 128 --draws 2

So many rows a label are drawn from the recipe's training and calibration rows. Ours is fitted as `jianwei train` does:
contrast or fine-tuning, as it chooses, and n-grams; the recipe's epochs, for all its rows, are left to it too.
Frozen is a probe on the encoder as it was, and n-grams at their usual weight. Plain fine-tuning: a new linear layer,
5e-5 for all weights, as many steps as training takes when it fine-tunes, nothing said otherwise. All of them and the
SVM learn from all of the rows, but for those that choose an epoch, where they are many. Macro-F1 of the first head on
the test rows, in fp32.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from complaints.taxonomy import Taxonomy
from jianwei.default_model import packaged_base
from training.assemble import SERVED_TOKENS
from training.baseline import baseline
from training.batches import both_ends, encode, learned_length
from training.blend import USUAL, weigh_beside
from training.contrast import rows_a_label
from training.crossing import cross
from training.fit import FEWEST_TO_CHOOSE, few_rows, fit_few, fit_model, macro_f1, predict_logits
from training.model import TriageModel, load_base
from training.names import named
from training.ngrams import learn_ngrams
from training.probe import probe
from training.recipe import Recipe
from training.sources import Example, read_sources
from training.splits import Parts, split
from training.steady import fine_tune

WAYS = ("ours", "frozen", "plain fine-tuning", "SVM")
PLAIN = {"learning_rate": 5e-5, "head_learning_rate": 5e-5, "layer_decay": 1.0}


def drawn(examples: Sequence[Example], head: str, size: int, draw: random.Random) -> list[Example]:
    """So many examples of each label of a head, or all there are."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for one in examples:
        by_label[one.labels[head]].append(one)
    return [one for label in sorted(by_label) for one in draw.sample(by_label[label], min(size, len(by_label[label])))]


def learned(parts: Parts, taxonomy: Taxonomy, recipe: Recipe, way: str) -> float:
    """Macro-F1 on the test rows of what is fitted on the others."""
    fit = recipe.fit.model_copy(update={"epochs": None} | (PLAIN if way == "plain" else {}))
    recipe = recipe.model_copy(update={"fit": fit})
    torch.manual_seed(fit.seed)
    base = load_base(recipe.base, packaged_base())
    model = TriageModel(base.encoder, base.hidden, taxonomy, fit.dropout)
    both = [*parts.train, *parts.calibration]
    lengths = learned_length(both, base, fit), both_ends(SERVED_TOKENS)
    calibration, every = (encode(rows, base, taxonomy, lengths[0]) for rows in (parts.calibration, both))
    few = way == "ours" and few_rows(taxonomy, every, fit)
    # Where calibration rows choose nothing, nobody would set them apart.
    free = few or way == "frozen" or (way == "plain" and len(calibration) < FEWEST_TO_CHOOSE)
    learn = both if free else parts.train
    train = every if free else encode(parts.train, base, taxonomy, lengths[0])
    crossed = cross(model, base, taxonomy, recipe, both, lengths) if few else None
    if few:
        fit_few(model, base, taxonomy, train, fit, rows_a_label(taxonomy, train))
    elif way == "frozen":
        probe(model, taxonomy, train, fit, base.pad)
    elif way == "ours":
        fine_tune(model, base, taxonomy, (parts.train, parts.calibration), lengths[0], fit, lambda *_: None)
    else:
        fit_model(model, base, taxonomy, train, calibration, fit, lambda *_: None, warm=True)
    test = encode(parts.test, base, taxonomy, lengths[1])
    logits = predict_logits(model, test, fit, base.pad).clone()
    if way != "plain":
        names = named(taxonomy) if few else []
        ngrams = learn_ngrams([*learn, *names], base, taxonomy, lengths[1], fit)
        if crossed is not None:
            ngrams = weigh_beside(taxonomy, crossed.encoder, ngrams, crossed.ngrams, crossed.examples)
        elif way == "ours":
            seen = ngrams.by_head(predict_logits(model, calibration, fit, base.pad).numpy())
            heard = ngrams.logits([row.ids for row in encode(parts.calibration, base, taxonomy, lengths[1])])
            ngrams = weigh_beside(taxonomy, seen, ngrams, heard, parts.calibration)
        else:
            ngrams = replace(ngrams, blend=np.full(len(taxonomy.heads), USUAL, dtype=np.float32))
        logits += torch.from_numpy(ngrams.blended(ngrams.logits([row.ids for row in test])))
    return next(iter(macro_f1(taxonomy, logits, test).values()))


def main() -> None:
    """Print a line a size and draw, then the table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[8, 32, 128], help="rows a label")
    parser.add_argument("--draws", type=int, default=1)
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe)
    taxonomy = recipe.labels(options.recipe.parent)
    head = next(iter(taxonomy.heads))
    whole = split(read_sources(recipe, taxonomy, [options.recipe.parent, options.datasets]).examples, recipe.split)
    found: dict[int, list[list[float]]] = defaultdict(list)
    for size in options.sizes:
        for number in range(options.draws):
            rows = drawn([*whole.train, *whole.calibration], head, size, random.Random(number))  # noqa: S311
            bare = [replace(one, split=None) for one in rows]
            divided = split(bare, recipe.split.model_copy(update={"test": 0.0}))
            parts = Parts(divided.train, divided.calibration, whole.test, divided.groups, 0)
            scores = [learned(parts, taxonomy, recipe, way) for way in ("ours", "frozen", "plain")]
            scores.append(baseline(taxonomy, rows, whole.test)[head]["macro_f1"])
            found[size].append(scores)
            said = ", ".join(f"{way} {score:.3f}" for way, score in zip(WAYS, scores, strict=True))
            sys.stdout.write(f"{size} a label, draw {number}: {said}\n")
            sys.stdout.flush()
    sys.stdout.write(f"| rows a label | {' | '.join(WAYS)} |\n|---|---|---|---|---|\n")
    for size, scores in found.items():
        means = " | ".join(f"{statistics.mean(column):.3f}" for column in zip(*scores, strict=True))
        sys.stdout.write(f"| {size} | {means} |\n")


if __name__ == "__main__":
    main()
