"""What a file of predictions looks like: CSV, JSONL, Parquet.

A worker turns a prediction into an answer, which is bytes; here answers and rows become the bytes of the output.
Parquet cannot be appended to: its rows are kept as lines of JSON, and become a Parquet file at the end.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from complaints.errors import InvalidInput
from complaints.files import Row
from complaints.predictor import Predictor
from complaints.records import Prediction
from complaints.taxonomy import Taxonomy

SUFFIXES = (".csv", ".jsonl", ".parquet")
BOM = b"\xef\xbb\xbf"  # how Excel knows UTF-8
GROUP = 8192  # rows of a Parquet row group

Answer = Callable[[Prediction], bytes]


class Format:
    """One output's columns and bytes; `answer` is what a worker makes of a prediction."""

    def __init__(self, suffix: str, columns: Sequence[str], taxonomy: Taxonomy, versions: Mapping[str, str]) -> None:
        """`columns` are those of the input; `versions` stand in every row, by name.

        Raises InvalidInput where `suffix` cannot be written here.
        """
        if suffix not in SUFFIXES:
            raise InvalidInput(f"cannot write {suffix or 'a file without suffix'}: use {', '.join(SUFFIXES)}")
        self._suffix, self._columns = suffix, list(columns)
        self._versions = dict(versions)
        self._added = [*added_columns(taxonomy), *versions]
        self.answer: Answer = whole_answer if suffix == ".jsonl" else table_answer
        if suffix == ".parquet":
            arrow()

    def head(self) -> bytes:
        """What stands before the first row."""
        return BOM + csv_lines([[*self._kept(), *self._added]]) if self._suffix == ".csv" else b""

    def rows(self, rows: Sequence[tuple[Row, bytes]]) -> bytes:
        """Rows of the input with their answers."""
        if self._suffix == ".jsonl":
            return b"".join(self._object(row, answer) for row, answer in rows)
        last = self._versions.values()
        table = [[*self._cells(row), *orjson.loads(answer), *last] for row, answer in rows]
        if self._suffix == ".csv":
            return csv_lines(table)
        return b"".join(orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE) for cells in table)

    def finish(self, part: Path, path: Path) -> None:
        """Make the output at `path` of the bytes at `part`, which is gone afterwards."""
        if self._suffix == ".parquet":
            self._parquet(part, path)
            part.unlink()
        else:
            part.replace(path)

    def _object(self, row: Row, answer: bytes) -> bytes:
        """A line of JSON; a row that was JSON goes out as it was."""
        whole = {"row": row.values if row.parsed is None else row.parsed, "prediction": orjson.Fragment(answer)}
        try:
            return orjson.dumps({"number": row.number} | whole | self._versions, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:  # a number of more than 64 bits, or very deep brackets
            whole["row"] = orjson.Fragment(json.dumps(row.parsed, ensure_ascii=False, separators=(",", ":")))
            return orjson.dumps({"number": row.number} | whole | self._versions, option=orjson.OPT_APPEND_NEWLINE)

    def _cells(self, row: Row) -> list[str | None]:
        return [row.values.get(column) for column in self._columns]

    def _kept(self) -> list[str]:
        """Names of the input's columns here: a label of the input must not pass for a prediction, nor be lost."""
        taken, names = {*self._columns, *self._added}, []
        for column in self._columns:
            name = column
            while name in self._added or (name != column and name in taken):
                name += "_input"
            taken.add(name)
            names.append(name)
        return names

    def _parquet(self, part: Path, path: Path) -> None:
        """The input's columns as strings, for that is what the reader makes of all formats."""
        pyarrow = arrow()
        numbers = {name for name in self._added if name.endswith("_confidence") or name == "propagation_index"}
        names = [*self._kept(), *self._added]
        types = [pyarrow.string()] * len(self._columns)
        types += [pyarrow.float64() if name in numbers else pyarrow.string() for name in self._added]
        schema = pyarrow.schema(list(zip(names, types, strict=True)))
        made = part.with_name(f"{part.name}-parquet")
        with (
            part.open("rb") as lines,
            pyarrow.parquet.ParquetWriter(made, schema, compression="zstd") as writer,
        ):
            for group in _groups(lines):
                columns = zip(*(orjson.loads(line) for line in group), strict=True)
                writer.write_table(pyarrow.table(dict(zip(names, map(list, columns), strict=True)), schema=schema))
        made.replace(path)


def _groups(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while group := list(islice(lines, GROUP)):
        yield group


def versions_of(predictor: Predictor, model: str) -> dict[str, str]:
    """Who answered, beside every answer; `model` says which model and version."""
    return {
        "model_version": model,
        "policy_version": predictor.policy.version,
        "taxonomy_version": predictor.taxonomy.version,
    }


def added_columns(taxonomy: Taxonomy) -> list[str]:
    """Names of what `table_answer` holds."""
    heads = [f"{head}{suffix}" for head in taxonomy.heads for suffix in ("", "_confidence", "_decision", "_reason")]
    return [*heads, "risk_level", "severity", "propagation_index", "warnings", "respond_by", "resolve_by"]


def table_answer(prediction: Prediction) -> bytes:
    """One prediction's values as a JSON list, in the order of `added_columns`."""
    values: list[str | float | None] = []
    for one in prediction.heads.values():
        values += [one.label, one.confidence, one.decision, one.reason]
    risk = prediction.risk
    values += [risk.level, risk.severity, risk.propagation.index, " ".join(prediction.warnings) or None]
    values += [due.isoformat() if due is not None else None for due in (risk.respond_by, risk.resolve_by)]
    return orjson.dumps(values)


def whole_answer(prediction: Prediction) -> bytes:
    """The prediction as JSON."""
    return orjson.dumps(prediction.model_dump())


def csv_lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as CSV in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def arrow() -> Any:
    """pyarrow with its Parquet part; raises InvalidInput where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidInput("writing Parquet needs pyarrow: pip install 'jianwei[parquet]'") from None
    return pyarrow
