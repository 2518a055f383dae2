"""Let the base encoder read on over unlabelled texts, as the one that comes with the package did.

    texts - what measures later ─> masked tokens are guessed ─> mean of the weights before and after ─> a base folder

Masked-language training on the texts of a field (Gururangan et al. 2020, Don't Stop Pretraining), then the mean of the
weights of both (Wortsman et al. 2022, Robust fine-tuning of zero-shot models): the mean served few labels better than
either (LOG.md). Texts that are, or nearly are, a calibration or test row of a recipe under --protect are not read.
On one GPU 12 epochs over 8 million tokens take two minutes; on two cores one epoch takes half an hour.

    python experiments/adapt.py ../shared/datasets/*.parquet data/corpus/*.jsonl -o var/base \\
        --datasets ../shared/datasets var/likes --protect experiments/{consumer,finance,citizen,weibo,likes}.yaml
    jianwei train recipe.yaml --base var/base
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from complaints.bundle import Length
from complaints.files import DataFile, Row
from complaints.predictor import whole
from complaints.records import Complaint
from complaints.text import clean
from jianwei.default_model import packaged_base
from training.batches import halves, padded
from training.model import Base, load_base, quick
from training.recipe import Recipe
from training.sources import read_sources
from training.splits import near_duplicate_groups, split

log = logging.getLogger("adapt")

# Share of the tokens that are to be guessed: 8 in 10 of these are masked, 1 is another, 1 stands (Devlin et al. 2019).
GUESSED = 0.2
LENGTH = Length(max_tokens=256, tail=0)
TOKENS, RATE, HEAD_RATE, WARMUP = 1 << 15, 3e-4, 1e-3, 0.06
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Guesser(nn.Module):
    """An encoder, and what guesses its masked tokens: a layer, and the encoder's own table of tokens."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.encoder = quick(base.encoder)
        self.layer = nn.Sequential(nn.Linear(base.hidden, base.hidden), nn.GELU(), nn.LayerNorm(base.hidden))
        self.bias = nn.Parameter(torch.zeros(base.tokenizer.get_vocab_size()))

    def forward(self, ids: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """(B, T) ids, mask and chosen places -> (chosen, vocabulary) logits."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state[chosen]
        return self.layer(states) @ self.encoder.get_input_embeddings().weight.T + self.bias


def read_texts(files: list[Path]) -> list[str]:
    """Texts of data files, with their titles, as a model reads them; each once."""
    found: dict[str, None] = {}
    for path in files:
        file = DataFile(path)
        rows = [row.values for row in file if isinstance(row, Row)]
        if rows and "text" not in rows[0]:
            log.warning("%s has no column text: left out", path)
            continue
        for values in rows:
            if text := (values["text"] or "").strip():
                title = values.get("title")
                found.setdefault(clean(whole(Complaint(text=text[:10_000], title=title and title[:1000]))).text)
    return list(found)


def protected_texts(recipes: list[Path], datasets: list[Path]) -> list[str]:
    """Calibration and test rows of recipes."""
    found: list[str] = []
    for path in recipes:
        recipe = Recipe.load(path)
        parts = split(read_sources(recipe, recipe.labels(path.parent), [path.parent, *datasets]).examples, recipe.split)
        found += [clean(whole(one.complaint)).text for one in [*parts.calibration, *parts.test]]
    return found


def cut(base: Base, texts: list[str]) -> list[list[int]]:
    """Token ids of texts, longer ones in pieces; pieces too short to guess in are dropped."""
    pieces = []
    inside = LENGTH.max_tokens - 2
    for encoding in base.tokenizer.encode_batch(texts):
        first, *middle, last = encoding.ids
        for start in range(0, len(middle), inside):
            if len(piece := middle[start : start + inside]) > 5:
                pieces.append([first, *piece, last])
    return pieces


def batches(pieces: list[list[int]], draw: random.Random) -> list[list[list[int]]]:
    """Pieces of like length together, so many tokens a batch, in random order."""
    order = sorted(pieces, key=lambda ids: (len(ids), draw.random()))
    made: list[list[list[int]]] = [[]]
    for ids in order:
        if len(ids) * (len(made[-1]) + 1) > TOKENS:
            made.append([])
        made[-1].append(ids)
    draw.shuffle(made)
    return made


def hide(ids: Tensor, base: Base, size: int) -> tuple[Tensor, Tensor]:
    """(B, T) ids -> the same with some hidden, and which are to be guessed."""
    marks = [base.tokenizer.token_to_id(one) for one in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    chosen = ~torch.isin(ids, torch.tensor(marks, device=ids.device)) & (
        torch.rand(ids.shape, device=ids.device) < GUESSED
    )
    luck = torch.rand(ids.shape, device=ids.device)
    shown = torch.where(chosen & (luck < 0.8), base.tokenizer.token_to_id("[MASK]"), ids)
    return torch.where(chosen & (luck >= 0.9), torch.randint(size, ids.shape, device=ids.device), shown), chosen


def read_on(base: Base, pieces: list[list[int]], epochs: int) -> None:
    """Train the base's encoder in place to guess hidden tokens."""
    draw = random.Random(1)  # noqa: S311 - order of batches, no secret
    torch.manual_seed(1)
    model = Guesser(base).to(DEVICE).train()
    new = [model.bias, *model.layer.parameters()]
    groups = [{"params": list(model.encoder.parameters()), "lr": RATE}, {"params": new, "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    plan = [batch for _ in range(epochs) for batch in batches(pieces, draw)]
    rise = 1 + int(WARMUP * len(plan))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (len(plan) - step) / max(1, len(plan) - rise))
    )
    losses: list[float] = []
    for number, batch in enumerate(track(plan, "reading", console=Console(stderr=True))):
        width = max(map(len, batch))
        ids, mask = (part.to(DEVICE) for part in padded(batch, width, 0))
        shown, chosen = hide(ids, base, len(model.bias))
        chosen &= mask.bool()
        with torch.autocast("cuda", dtype=torch.bfloat16) if DEVICE == "cuda" else halves():
            logits = model(shown, mask, chosen)
        loss = nn.functional.cross_entropy(logits.float(), ids[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (number + 1) % max(1, len(plan) // epochs) == 0:
            log.info("loss %.3f", sum(losses) / len(losses))
            losses.clear()
    model.cpu()


def main() -> None:
    """Read texts, leave out what measures, train, average, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+", help="data files with a column text (and title)")
    parser.add_argument("--protect", type=Path, nargs="*", default=[], help="recipes whose test rows stay unread")
    parser.add_argument("--datasets", type=Path, nargs="*", default=[], help="folders of these recipes' files")
    parser.add_argument("--base", default="packaged", help="encoder to start from: a hub name or a folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the encoder")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    base = load_base(options.base, packaged_base())
    kept = protected_texts(options.protect, options.datasets)
    texts = read_texts(options.texts)
    groups = near_duplicate_groups([*kept, *texts], 0.6)
    measuring = set(groups[: len(kept)])
    read = [text for text, group in zip(texts, groups[len(kept) :], strict=True) if group not in measuring]
    pieces = cut(base, read)
    log.info("%d texts, %d of them measure; %d tokens", len(texts), len(texts) - len(read), sum(map(len, pieces)))
    before = {name: value.clone() for name, value in base.encoder.state_dict().items()}
    read_on(base, pieces, options.epochs)
    after = base.encoder.state_dict()
    base.encoder.load_state_dict({name: (value + before[name]) / 2 for name, value in after.items()})
    base.encoder.config.base_model = f"{base.name}, read on over unlabelled texts"
    base.encoder.half().save_pretrained(options.output)
    base.tokenizer.save(str(options.output / "tokenizer.json"), pretty=False)
    sys.stdout.write(f"{options.output}: start from it with jianwei train … --base {options.output}\n")


if __name__ == "__main__":
    main()
