"""`jianwei predict`, file to file, as a user runs it: python -m benchmarks.bulk prints what 1k, 10k, 100k rows cost."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.rows import Measure, Taken
from benchmarks.texts import distinct, read, write
from jianwei.default_model import packaged_bundle

ROWS = (1_000, 10_000, 100_000)
# What an hour of one core is taken to cost, in US dollars: list prices of the large clouds are about this.
PRICE = 0.05


def command(source: Path, output: Path) -> list[str]:
    """A run over a file."""
    return [sys.executable, "-m", "jianwei", "predict", str(source), "-o", str(output), "--bundle", packaged_bundle()]


def predict(source: Path, output: Path) -> None:
    """Run it to its end."""
    quiet = subprocess.DEVNULL
    subprocess.run(command(source, output), check=True, stderr=quiet, stdout=quiet)  # noqa: S603  our own command


def whole_file(texts: Sequence[str], folder: Path) -> Measure:
    """A measurement of a whole run, from the command's start to the file's end, over these texts."""
    source, output = folder / "in.csv", folder / "out.csv"
    write(source, list(texts))

    def measure() -> Taken:
        start, work = time.perf_counter(), _children()
        predict(source, output)
        return Taken(len(texts), time.perf_counter() - start, _children() - work)

    return measure


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run over so many rows: seconds by the clock and of CPU, the greatest memory of all its processes in MB."""

    rows: int
    seconds: float
    cpu: float
    memory: float


def cost(texts: Sequence[str]) -> Cost:
    """Run once over these texts and watch its memory, looked at five times a second, shared pages counted once."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.csv", Path(folder) / "out.csv"
        write(source, list(texts))
        start, work, most = time.perf_counter(), _children(), 0.0
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command(source, output), stdout=quiet, stderr=quiet) as process:  # noqa: S603
            ended = threading.Event()
            threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
            while not ended.wait(0.2):
                most = max(most, _memory(process.pid))
        if process.returncode:
            raise RuntimeError(f"jianwei predict ended with {process.returncode}")
        return Cost(len(texts), time.perf_counter() - start, _children() - work, most)


def _memory(pid: int) -> float:
    total = 0.0
    try:
        for one in (top := psutil.Process(pid), *top.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:
        pass  # it has just ended
    return total / 1e6


def curve(texts: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Lines of a Markdown table: what files of so many rows cost, none of them like another."""
    lines = [
        f"| rows | seconds | rows/s | peak MB | core hours a million | USD a million at {PRICE} a core hour |",
        "|---|---|---|---|---|---|",
    ]
    for rows in sizes:
        found = cost(distinct(list(texts), rows))
        hours = found.cpu / found.rows * 1e6 / 3600
        lines.append(
            f"| {rows:,} | {found.seconds:.1f} | {rows / found.seconds:.0f} | {found.memory:.0f} | {hours:.2f} | "
            f"{hours * PRICE:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="a file of your own")
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores\n")
    print("\n".join(curve(read(options.texts), options.rows)))


if __name__ == "__main__":
    main()
