"""Write likes.csv (title, text, spread, split) beside the datasets: `python experiments/likes.py DATASETS OUTPUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

MANY = 3


def main() -> None:
    """Read, divide by time, write."""
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    rows = pd.read_parquet(source / "citizen_message_likes.parquet").sort_values("time")
    rows["spread"] = (rows["likes"] >= MANY).map({True: "many", False: "few"})
    newest = rows["time"].rank(method="first") > len(rows) * 2 / 3
    rows["split"] = newest.map({True: "test", False: ""})
    rows[["title", "text", "spread", "split"]].to_csv(output / "likes.csv", index=False)
    sys.stdout.write(f"{output / 'likes.csv'}: {len(rows)} rows, {int(newest.sum())} of them test\n")


if __name__ == "__main__":
    main()
