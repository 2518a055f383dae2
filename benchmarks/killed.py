"""`jianwei predict` on a long file, killed at random and given again, against a run that nobody breaks.

python -m benchmarks.killed. Prints whether both outputs are the same, byte for byte. `--distinct` numbers the texts, so
that none is answered from memory: 200,000 rows then take as long as they take.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bulk import command, corpus, predict, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = corpus(options.rows if options.distinct else 4000)
    texts = [texts[i % len(texts)] for i in range(options.rows)]
    draw = random.Random(options.seed)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder:
        source, whole, broken = (Path(folder) / name for name in ("in.csv", "whole.csv", "broken.csv"))
        write(source, texts)
        start = time.monotonic()
        predict(source, whole)
        taken = time.monotonic() - start
        print(f"unbroken: {taken:.0f} s", flush=True)
        for kill in range(options.kills):
            wait = draw.uniform(0.25, 0.75) * taken / options.kills
            with subprocess.Popen(command(source, broken), stderr=subprocess.DEVNULL) as process:  # noqa: S603
                time.sleep(wait)
                process.kill()
            journal = broken.with_name(f".{broken.name}.journal")
            last = journal.read_bytes().splitlines()[-1].decode() if journal.exists() else "no journal yet"
            print(f"kill {kill + 1} after {wait:.0f} s: {last}", flush=True)
        predict(source, broken)
        same = whole.read_bytes() == broken.read_bytes()
        lines = broken.read_bytes().count(b"\n")
        print(
            f"{lines} lines, {'the same' if same else 'NOT THE SAME'} as unbroken; "
            f"left over: {[p.name for p in Path(folder).glob('.*')]}"
        )
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
