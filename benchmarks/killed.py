"""`jianwei predict` on a long file, killed at random and given again, against a run that nobody breaks.

python -m benchmarks.killed. Prints whether both outputs are the same, byte for byte. `--distinct` numbers the texts, so
that none is answered from memory: 200,000 rows then take as long as they take.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bulk import command, predict
from benchmarks.texts import distinct, read, write


def done(journal: Path) -> int:
    """Rows that a journal tells of; a last line that is being written does not count."""
    if not journal.exists():
        return 0
    lines = journal.read_bytes().split(b"\n")[1:-1]
    return int(json.loads(lines[-1])["rows"]) if lines else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = distinct(read(), options.rows if options.distinct else 4000)
    texts = [texts[i % len(texts)] for i in range(options.rows)]
    draw = random.Random(options.seed)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder:
        source, whole, broken = (Path(folder) / name for name in ("in.csv", "whole.csv", "broken.csv"))
        write(source, texts)
        start = time.monotonic()
        predict(source, whole)
        taken = time.monotonic() - start
        print(f"unbroken: {taken:.0f} s", flush=True)
        journal = broken.with_name(f".{broken.name}.journal")
        for rows in sorted(draw.randrange(options.rows) for _ in range(options.kills)):
            with subprocess.Popen(command(source, broken), stderr=subprocess.DEVNULL) as process:  # noqa: S603
                while process.poll() is None and done(journal) < rows:
                    time.sleep(0.05)
                time.sleep(draw.random())  # anywhere in what follows
                process.kill()
            print(f"killed with {done(journal)} rows done", flush=True)
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
