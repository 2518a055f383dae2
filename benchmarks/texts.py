"""The texts that are measured on: the project's own, or a user's file."""

from __future__ import annotations

import csv
import random
from itertools import islice
from pathlib import Path

from complaints.files import DataFile, Row

CORPUS = Path(__file__).parents[1] / "data" / "corpus"


def read(file: Path | None = None, column: str = "text") -> list[str]:
    """All texts of a file, of the corpus where none is given, in an order drawn once: arrival is no order of length."""
    files = [DataFile(file)] if file is not None else [DataFile(path) for path in sorted(CORPUS.glob("*.jsonl"))]
    for one in files:
        one.require([column])
    texts = [row.values[column] or "" for one in files for row in one if isinstance(row, Row)]
    found = [text for text in texts if text.strip()]
    random.Random(0).shuffle(found)  # noqa: S311 - no secret
    return found


def distinct(texts: list[str], rows: int) -> list[str]:
    """So many texts of like lengths, none twice: beyond their end they begin again, each with a number."""
    return [texts[i] if i < len(texts) else f"{texts[i % len(texts)]} {i}" for i in range(rows)]


def write(path: Path, texts: list[str]) -> None:
    """A CSV file with the columns id and text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        rows = iter(enumerate(texts))
        while part := list(islice(rows, 10_000)):
            writer.writerows(part)
