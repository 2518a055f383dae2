"""How fast the packaged model reads, against what a user would write instead; run by `make bench`.

Rows are measured in turn, round after round, so that a machine that slows down slows all of them down; read the
ratios. "plain" is transformers in fp32, the same weights, arrival order, batches of 16.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from complaints.bundle import Bundle
from complaints.encoder import Encoder
from complaints.text import clean
from jianwei.default_model import packaged_bundle
from training.model import TriageModel, load_base

TEXTS = 192
ROUNDS = 5
BATCH = 16


def corpus_texts() -> list[str]:
    """Texts of the project's corpus, spread over its files."""
    lines = [
        line for path in sorted(Path("data/corpus").glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    return [clean(json.loads(line)["text"]).text for line in lines[:: max(1, len(lines) // TEXTS)]][:TEXTS]


def plain(bundle: Bundle) -> Callable[[Sequence[str]], None]:
    base = load_base(str(bundle.path), bundle.path)
    model = TriageModel(base.encoder, base.hidden, bundle.taxonomy, 0.0).eval()
    base.encoder.set_attn_implementation("sdpa")  # as transformers has it; training takes the plain one

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> None:
        for start in range(0, len(texts), BATCH):
            ids = [e.ids[:512] for e in base.tokenizer.encode_batch(list(texts[start : start + BATCH]))]
            width = max(map(len, ids))
            rows = torch.tensor([row + [0] * (width - len(row)) for row in ids])
            model(rows, (rows != 0).long())

    return run


def in_company(encoder: Encoder, texts: Sequence[str]) -> float:
    """Largest change of a logit when eight texts of like length share a batch, as they never do here."""
    ordered = sorted(texts, key=len)[:: max(1, len(texts) // 64)]
    worst = 0.0
    for start in range(0, len(ordered) - 8, 8):
        ids = [np.array(encoder._tokenize([text])[0].ids) for text in ordered[start : start + 8]]
        width = max(map(len, ids))
        rows = np.array([np.pad(row, (0, width - len(row))) for row in ids])
        mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        joint = encoder._session.run(["logits"], {"input_ids": rows, "attention_mask": mask})[0]
        alone = np.stack([encoder._run(row)[0] for row in ids])
        worst = max(worst, float(np.abs(joint - alone).max()))
    return worst


def main() -> None:
    bundle = Bundle.open(packaged_bundle())
    texts = corpus_texts()
    cores = os.cpu_count() or 1
    one, all_cores = Encoder(bundle), Encoder(bundle, threads=cores)
    torch.set_num_threads(cores)
    rows: dict[str, Callable[[Sequence[str]], object]] = {
        f"plain transformers fp32, {cores} cores": plain(bundle),
        "encoder int8, 1 thread": one.encode,
        f"encoder int8, {cores} threads": all_cores.encode,
    }
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for run in rows.values():
        run(texts[:32])
    for _ in range(ROUNDS):
        for name, run in rows.items():
            start = time.perf_counter()
            run(texts)
            taken[name].append(time.perf_counter() - start)
    reference = next(iter(taken.values()))
    print(f"{len(texts)} texts, {ROUNDS} rounds in turn, median [min-max] texts/s, ratio to the first row by round")
    for name, seconds in taken.items():
        speed = [len(texts) / s for s in seconds]
        ratio = statistics.median(r / s for r, s in zip(reference, seconds, strict=True))
        print(f"{name:<40}{statistics.median(speed):>8.1f} [{min(speed):.1f}-{max(speed):.1f}]  x{ratio:.2f}")
    single = [texts[i] for i in range(0, len(texts), 4)]
    waits = []
    for text in single:
        start = time.perf_counter()
        one.encode([text])
        waits.append((time.perf_counter() - start) * 1e3)
    print(f"one text at a time: p50 {np.percentile(waits, 50):.1f} ms, p95 {np.percentile(waits, 95):.1f} ms")
    print(f"a logit moves by up to {in_company(one, texts):.3f} in a shared batch; alone it never moves")


if __name__ == "__main__":
    main()
