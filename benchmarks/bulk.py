"""`jianwei predict` on a file, from its start to the file's end, against the plain pipeline on texts of the same file.

python -m benchmarks.bulk. Wall-clock rates are what a user sees on an idle machine; CPU seconds a text are steadier on
a shared one. Both are taken in turn, round after round, and the ratio is that of a round. "plain" is as in engine.py:
logits alone, no risk, no file.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.engine import plain
from complaints.bundle import Bundle
from complaints.files import DataFile, Row
from complaints.text import clean
from jianwei.default_model import packaged_bundle


def corpus(rows: int) -> list[str]:
    """Texts of the project's corpus, file by file in turn; beyond its end they begin again, each with a number."""
    files = [
        [str(row.values["text"]) for row in DataFile(path) if isinstance(row, Row)]
        for path in sorted(Path("data/corpus").glob("*.jsonl"))
    ]
    mixed = [file[i] for i in range(max(map(len, files))) for file in files if i < len(file)]
    return [mixed[i] if i < len(mixed) else f"{mixed[i % len(mixed)]} {i}" for i in range(rows)]


def write(path: Path, texts: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(texts)])


def command(source: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "jianwei", "predict", str(source), "-o", str(output), "--bundle", packaged_bundle()]


def predict(source: Path, output: Path) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run(command(source, output), check=True, stderr=quiet, stdout=quiet)  # noqa: S603  our own command


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000, help="of the file")
    parser.add_argument("--plain", type=int, default=192, help="texts for the plain pipeline, which is slow")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    texts = corpus(options.rows)
    few = [clean(text).text for text in texts[:: max(1, len(texts) // options.plain)]][: options.plain]
    run = plain(Bundle.open(packaged_bundle()))
    run(few[:16])
    walls, works = [], []
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.csv", Path(folder) / "out.csv"
        write(source, texts)
        for _ in range(options.rounds):
            wall, work = time.perf_counter(), time.process_time()
            run(few)
            slow = (time.perf_counter() - wall) / len(few), (time.process_time() - work) / len(few)
            wall, work = time.perf_counter(), children()
            predict(source, output)
            quick = (time.perf_counter() - wall) / len(texts), (children() - work) / len(texts)
            walls.append(slow[0] / quick[0])
            works.append(slow[1] / quick[1])
            print(
                f"plain {1 / slow[0]:.1f} texts/s, {slow[1] * 1e3:.1f} CPU ms; predict {1 / quick[0]:.1f} rows/s, "
                f"{quick[1] * 1e3:.2f} CPU ms; x{walls[-1]:.1f} by the clock, x{works[-1]:.1f} by CPU",
                flush=True,
            )
    print(
        f"{len(texts)} rows, {cores} cores: x{statistics.median(walls):.1f} by the clock, "
        f"x{statistics.median(works):.1f} by CPU seconds"
    )


if __name__ == "__main__":
    main()
