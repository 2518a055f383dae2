"""The corrections file: what serving hands to training, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from pathlib import Path

from pydantic import ValidationError

from complaints.errors import UnreadableFile
from complaints.records import Correction


def write_corrections(path: Path, corrections: Iterable[Correction]) -> int:
    """Write a corrections file, whole or not at all; returns how many."""
    written = 0
    temporary = path.with_name(f".{path.name}-part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for one in corrections:
                file.write(one.model_dump_json() + "\n")
                written += 1
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def read_corrections(path: Path) -> Iterator[Correction]:
    """Corrections in the order of the file; raises UnreadableFile naming the line that is none."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _read(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path} cannot be read: {error}") from error


def _read(path: Path, number: int, line: str) -> Correction:
    try:
        one = Correction.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the line"
        raise UnreadableFile(
            f"{path} line {number}: {where}: {fault['msg']}; write the file with `jianwei corrections export`"
        ) from None
    if one.given_at.tzinfo is None:  # times with a zone and without cannot be put in order
        return one.model_copy(update={"given_at": one.given_at.replace(tzinfo=UTC)})
    return one
