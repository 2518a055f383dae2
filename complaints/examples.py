"""Examples that a bundle may show beside an answer: the nearest ones, by the model's own vectors.

A bundle holds texts only where its recipe says that a source may be shown (`show: true`): `examples.jsonl` with text
and labels, `examples.npy` with their vectors (N, H) in fp16, in the same order.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from complaints.bundle import Bundle
from complaints.encoder import Vectors
from complaints.errors import BundleError
from complaints.records import Similar

TEXTS, VECTORS = "examples.jsonl", "examples.npy"
NEAREST = 3


class Examples:
    """Known examples and their vectors, (N, H); N may be 0."""

    def __init__(self, rows: list[tuple[str, dict[str, str]]], vectors: npt.NDArray[np.float16]) -> None:
        self._rows = rows
        self._vectors = vectors

    @classmethod
    def open(cls, bundle: Bundle) -> Examples:
        """The examples in a bundle; none where it has none. Raises BundleError where they are damaged."""
        if TEXTS not in bundle.manifest.files:
            return cls([], np.zeros((0, 1), dtype=np.float16))
        try:
            lines = (bundle.path / TEXTS).read_text(encoding="utf-8").rstrip("\n").split("\n")
            rows = [(str(row["text"]), dict(row["labels"])) for row in map(json.loads, lines)]
            vectors = np.load(bundle.path / VECTORS, allow_pickle=False)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"bundle {bundle.path}: its examples cannot be read: {error}") from error
        if vectors.ndim != 2 or len(rows) != len(vectors):
            raise BundleError(f"bundle {bundle.path}: {len(rows)} examples, but vectors of shape {vectors.shape}")
        return cls(rows, vectors)

    @property
    def width(self) -> int | None:
        """H, the width of the vectors; None where there is no example."""
        return int(self._vectors.shape[1]) if self._rows else None

    def nearest(self, vector: npt.NDArray[np.float32]) -> tuple[Similar, ...]:
        """The NEAREST examples to a unit vector (H,), most similar first."""
        if not self._rows:
            return ()
        alike = self._vectors.astype(np.float32) @ vector
        best = np.argsort(-alike, kind="stable")[:NEAREST]
        return tuple(
            Similar(
                text=self._rows[i][0],
                labels=self._rows[i][1],
                similarity=round(float(np.clip(alike[i], -1, 1)), 4),
            )
            for i in best
        )


def write_examples(folder: Path, rows: list[tuple[str, dict[str, str]]], vectors: Vectors) -> None:
    """Write examples, (text, labels) a row, and their vectors (N, H) into a bundle's folder."""
    lines = [json.dumps({"text": text, "labels": labels}, ensure_ascii=False) for text, labels in rows]
    (folder / TEXTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(folder / VECTORS, vectors.astype(np.float16))
