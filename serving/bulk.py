"""Files of rows in, files of predictions out; memory stays flat however long the file.

Rows keep their order. The output is written beside its place and moved there at the end, so that a run that was
killed leaves nothing that looks whole. Cells of the input go out as they came in, those that begin with = + - @
included: they are data, and a quote put before them would change it for every program but a spreadsheet.
"""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from complaints.errors import InvalidInput
from complaints.files import BadRow, DataFile, Row
from complaints.predictor import Predictor
from complaints.records import Complaint, Prediction
from complaints.taxonomy import Taxonomy

# Rows predicted and written at a time: enough to sort by length over all threads, a megabyte or two of memory.
CHUNK = 512
SUFFIXES = (".csv", ".jsonl", ".parquet")
# Deadlines are counted from created_at; at the ends of the calendar there is no room to count.
YEARS = (1970, 2200)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows were predicted, and how many were not; `errors` is the file that says why, None where none was."""

    predicted: int
    failed: int
    errors: Path | None


class _Writer(Protocol):
    def write(self, rows: Sequence[tuple[Row, Prediction]]) -> None: ...


def predict_file(
    predictor: Predictor,
    source: Path,
    output: Path,
    *,
    text: str = "text",
    title: str | None = None,
    channel: str | None = None,
    created_at: str | None = None,
    console: Console | None = None,
) -> Counts:
    """Predict every row of `source` into `output`: .csv (UTF-8 that Excel opens), .jsonl or .parquet.

    `text`, `title`, `channel` and `created_at` name columns of the input; all columns of the input come along.
    CSV and Parquet get `HEAD`, `HEAD_confidence`, `HEAD_decision`, `HEAD_reason` for each head, `risk_level`,
    `severity`, `propagation_index`, `warnings`, an input column of such a name being kept as `NAME_input`; JSONL
    gets the row under `row` and the whole prediction under `prediction`. Rows that cannot be read or have no text go
    to `<output>.errors.csv`. Progress is drawn on `console` where one is given. Raises InvalidInput where source and
    output do not fit, UnreadableFile where the source cannot be read.
    """
    data = DataFile(source)
    columns = {"text": text, "title": title, "channel": channel, "created_at": created_at}
    named = {field: column for field, column in columns.items() if column is not None}
    data.require(named.values())
    errors = output.with_name(f"{output.name}.errors.csv")
    _check(source, output, errors)
    written = _columns(predictor.taxonomy)
    if not _writable("".join(data.columns)):
        raise InvalidInput(f"{source} names a column with characters that are not Unicode; rename it")
    predicted = failed = 0
    with ExitStack() as stack:
        out = stack.enter_context(_beside(output))
        refused = stack.enter_context(_beside(errors))
        writer = stack.enter_context(_writer(out, output.suffix, data.columns, written))
        faults = csv.writer(stack.enter_context(_open_csv(refused)))
        faults.writerow(["row", "reason"])
        progress = stack.enter_context(_progress(console))
        task = progress.add_task(source.name, total=None)
        for chunk in _chunks(data):
            good: list[tuple[Row, Complaint]] = []
            for row in chunk:
                one = _complaint(row, named)
                if isinstance(one, Complaint) and isinstance(row, Row):
                    good.append((row, one))
                else:
                    faults.writerow([row.number, one])
            predictions = predictor.predict([complaint for _, complaint in good])
            writer.write([(row, prediction) for (row, _), prediction in zip(good, predictions, strict=True)])
            predicted, failed = predicted + len(good), failed + len(chunk) - len(good)
            progress.advance(task, len(chunk))
    if not failed:
        errors.unlink()
    return Counts(predicted, failed, errors if failed else None)


def _check(source: Path, output: Path, errors: Path) -> None:
    if output.suffix not in SUFFIXES:
        raise InvalidInput(f"cannot write {output.suffix or 'a file without suffix'}: use {', '.join(SUFFIXES)}")
    for path in (output, errors):
        if path.exists() and path.samefile(source):
            raise InvalidInput(f"{path} is the input: choose another output")
    if output.is_dir() or not output.parent.is_dir():
        raise InvalidInput(f"cannot write {output}: its folder must exist, and it must be a file")


def _complaint(row: Row | BadRow, named: Mapping[str, str]) -> Complaint | str:
    """The complaint of a row, or why there is none; what the reader cannot take is not quoted."""
    if isinstance(row, BadRow):
        return row.reason
    values = {field: value for field, column in named.items() if (value := row.values.get(column)) is not None}
    if not values.get("text", "").strip():
        return "no text"
    if not _writable("".join(value or "" for value in row.values.values())):
        return "characters that are not Unicode (lone surrogates)"
    try:
        complaint = Complaint.model_validate(values)
    except ValidationError as error:
        return "; ".join(f"{named[str(one['loc'][0])]}: {one['msg']}" for one in error.errors())
    if complaint.created_at is not None and not YEARS[0] <= complaint.created_at.year < YEARS[1]:
        return f"{named['created_at']}: the year must be {YEARS[0]} to {YEARS[1] - 1}"
    return complaint


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _chunks(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    chunk: list[Row | BadRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _columns(taxonomy: Taxonomy) -> list[str]:
    heads = [f"{head}{suffix}" for head in taxonomy.heads for suffix in ("", "_confidence", "_decision", "_reason")]
    return [*heads, "risk_level", "severity", "propagation_index", "warnings"]


def _kept(columns: Sequence[str], added: Sequence[str]) -> list[str]:
    """Names of the input's columns in the output: a label of the input must not pass for a prediction, nor be lost."""
    taken, names = {*columns, *added}, []
    for column in columns:
        name = column
        while name in added or (name != column and name in taken):
            name += "_input"
        taken.add(name)
        names.append(name)
    return names


def _values(prediction: Prediction) -> list[str | float | None]:
    """One prediction's values, in the order of `_columns`."""
    values: list[str | float | None] = []
    for one in prediction.heads.values():
        values += [one.label, one.confidence, one.decision, one.reason]
    risk = prediction.risk
    return [*values, risk.level, risk.severity, risk.propagation.index, " ".join(prediction.warnings) or None]


@contextmanager
def _writer(path: Path, suffix: str, columns: list[str], added: list[str]) -> Iterator[_Writer]:
    if suffix == ".parquet":
        with _Parquet(path, columns, added) as writer:
            yield writer
    elif suffix == ".csv":
        with _open_csv(path) as file:
            yield _Csv(file, columns, added)
    else:
        with path.open("wb") as file:
            yield _Jsonl(file)


class _Csv:
    def __init__(self, file: TextIO, columns: list[str], added: list[str]) -> None:
        self._columns = columns
        self._writer = csv.writer(file)
        self._writer.writerow([*_kept(columns, added), *added])

    def write(self, rows: Sequence[tuple[Row, Prediction]]) -> None:
        for row, prediction in rows:
            self._writer.writerow([*(row.values.get(column) for column in self._columns), *_values(prediction)])


class _Jsonl:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, rows: Sequence[tuple[Row, Prediction]]) -> None:
        for row, prediction in rows:
            one = {"number": row.number, "row": row.values, "prediction": prediction.model_dump()}
            self._file.write(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE))


class _Parquet:
    """One row group a chunk; the input's columns as strings, for that is what the reader makes of all formats."""

    def __init__(self, path: Path, columns: list[str], added: list[str]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InvalidInput(f"writing {path.name} needs pyarrow: pip install 'jianwei[parquet]'") from None
        self._arrow, self._columns, self._added = pyarrow, columns, added
        numbers = {name for name in added if name.endswith("_confidence") or name == "propagation_index"}
        fields = [(name, pyarrow.string()) for name in _kept(columns, added)]
        fields += [(name, pyarrow.float64() if name in numbers else pyarrow.string()) for name in added]
        self._schema = pyarrow.schema(fields)
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: Sequence[tuple[Row, Prediction]]) -> None:
        kept = zip(self._columns, _kept(self._columns, self._added), strict=True)
        table: dict[str, list[Any]] = {name: [row.values.get(column) for row, _ in rows] for column, name in kept}
        answers = [_values(prediction) for _, prediction in rows]
        table |= {name: [answer[i] for answer in answers] for i, name in enumerate(self._added)}
        if rows:
            self._writer.write_table(self._arrow.table(table, schema=self._schema))


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary file in the same folder: moved to `path`, and on disk, at the end; removed if it comes to no end."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _open_csv(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8-sig", newline="")  # the mark at the start is how Excel knows UTF-8


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=console is None,
    )
