"""Seconds an epoch of training, ours against a plain loop, in turn: python -m benchmarks.training [RECIPE]

The plain loop is what a trainer does by default: fp32, batches of 16 in random order padded to the longest, fused
attention, dropout everywhere. Both read the same rows of the recipe with the same cut, and are timed on so many tokens
of them that a turn takes seconds.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from benchmarks.machine import described
from complaints.bundle import Bundle
from complaints.taxonomy import Taxonomy
from jianwei.default_model import packaged_base, packaged_bundle
from training.batches import Encoded, batches, both_ends, collate, encode, padded, usual_length
from training.fit import learn, parameter_groups
from training.model import TriageModel, load_base, losses
from training.recipe import Fit, Recipe
from training.sources import read_sources
from training.splits import split

# Real tokens read in a turn by each.
TOKENS = 16_000


class Plain(nn.Module):
    """The encoder as it comes, and a linear layer on its first token's state."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(packaged_base(), config=AutoConfig.from_pretrained(packaged_base()))
        self.encoder.float()
        self.heads = nn.Linear(self.encoder.config.hidden_size, sum(taxonomy.sizes.values()))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T) ids and mask -> (B, sum of K) logits."""
        return self.heads(self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0])


def plain_batches(rows: Sequence[Encoded], draw: random.Random) -> Iterator[list[Encoded]]:
    """Batches of 16 in random order."""
    order = draw.sample(rows, len(rows))
    return (order[i : i + 16] for i in range(0, len(order), 16))


def plain_step(model: Plain, taxonomy: Taxonomy, optimizer: torch.optim.Optimizer, batch: list[Encoded]) -> None:
    """One step of the plain loop."""
    width = max(len(row.ids) for row in batch)
    ids, mask = padded([row.ids for row in batch], width, 0)
    found = losses(taxonomy, model(ids, mask), torch.stack([row.admissible for row in batch]))
    optimizer.zero_grad()
    torch.stack(list(found.values())).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def main() -> None:
    """Time both in turn and print medians, spread and ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("experiments/consumer-written.yaml"))
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    recipe = Recipe.load(options.recipe)
    taxonomy = recipe.labels(options.recipe.parent)
    examples = read_sources(recipe, taxonomy, [options.recipe.parent, options.datasets]).examples
    base = load_base("packaged", packaged_base())
    read = split(examples, recipe.split).train
    tokens = recipe.fit.max_tokens or usual_length(read, base)
    rows = encode(read, base, taxonomy, both_ends(tokens))
    every = sum(len(row.ids) for row in rows)
    draw = random.Random(1)  # noqa: S311 - order of batches, no secret
    torch.manual_seed(1)
    plain, ours = Plain(taxonomy).train(), TriageModel(base.encoder, base.hidden, taxonomy, recipe.fit.dropout).train()
    simple = torch.optim.AdamW(plain.parameters(), lr=1e-5)
    layered = torch.optim.AdamW(parameter_groups(ours, base.layers, recipe.fit), fused=True)
    slow = itertools.chain.from_iterable(plain_batches(rows, draw) for _ in itertools.count())
    fast = itertools.chain.from_iterable(batches(rows, recipe.fit, draw) for _ in itertools.count())

    def plainly() -> float:
        began, read = time.perf_counter(), 0
        while read < TOKENS:
            batch = next(slow)
            plain_step(plain, taxonomy, simple, batch)
            read += sum(len(row.ids) for row in batch)
        return (time.perf_counter() - began) * every / read

    def as_we_do(fit: Fit) -> float:
        began, read = time.perf_counter(), 0
        while read < TOKENS:
            batch = [rows[i] for i in next(fast)]
            layered.zero_grad()
            learn(ours, taxonomy, collate(batch, 0), fit.adversarial)
            torch.nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
            layered.step()
            read += sum(len(row.ids) for row in batch)
        return (time.perf_counter() - began) * every / read

    once, twice = (recipe.fit.model_copy(update={"adversarial": length}) for length in (0.0, 0.5))
    ways = {
        "plain loop, fp32": plainly,
        "ours, every batch read once": lambda: as_we_do(once),
        "ours, adversarial": lambda: as_we_do(twice),
    }
    for way in ways.values():  # the first batches compile kernels
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            taken[name].append(way())
    lines = [*described(Bundle.open(packaged_bundle())), ""]
    lines += [f"{options.recipe.name}: {len(rows)} rows, {every} tokens an epoch; {options.rounds} rounds.", ""]
    lines += ["| | seconds an epoch, median [least–greatest] | times the plain loop |", "|---|---|---|"]
    first = taken["plain loop, fp32"]
    for name, seconds in taken.items():
        ratio = statistics.median(a / b for a, b in zip(first, seconds, strict=True))
        lines.append(
            f"| {name} | {statistics.median(seconds):.0f} [{min(seconds):.0f}–{max(seconds):.0f}] | {ratio:.2f} |"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
