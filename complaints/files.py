"""Rows of a data file as they stand: CSV (UTF-8, GBK, UTF-16), JSONL, Excel, Parquet, read as a stream.

A row that cannot be read is not an error but a `BadRow` with its number and reason, so that one broken line
does not cost the rest of the file. A file that cannot be read at all raises UnreadableFile.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from complaints.errors import UnreadableFile

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".xlsx", ".parquet")
LONGEST_FIELD = 4 * 1024 * 1024
# UTF-8 with fewer broken bytes than this share of its multi-byte characters is damaged UTF-8, not another encoding.
DAMAGE = 0.02
# JSON rows may leave out what they have not; the columns are those that this many first rows name.
HEADER_ROWS = 1000
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """`number` counts data rows from 1; `values` by column name, None where the cell is empty."""

    number: int
    values: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    number: int
    reason: str


class DataFile:
    """A data file, opened far enough to know its `columns` and `encoding`; iterate for its rows.

    `encoding` is None for binary formats. Every iteration reads the file from its start again.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises UnreadableFile, saying what to do."""
        self.path = Path(path)
        if not self.path.is_file():
            raise UnreadableFile(f"{self.path} does not exist or is not a file")
        if self.path.stat().st_size == 0:
            raise UnreadableFile(f"{self.path} is empty")
        self.suffix = self.path.suffix.lower()
        if self.suffix not in SUFFIXES:
            raise UnreadableFile(f"{self.path}: cannot read {self.suffix or 'no suffix'}; use {', '.join(SUFFIXES)}")
        binary = self.suffix in (".xlsx", ".parquet")
        self.encoding = None if binary else detect_encoding(self.path)
        try:
            self.columns = self._columns()
        except (UnicodeDecodeError, csv.Error) as error:
            raise UnreadableFile(f"{self.path} cannot be read ({error}); save it as UTF-8") from error

    def __iter__(self) -> Iterator[Row | BadRow]:
        if self.suffix == ".parquet":
            return self._parquet()
        if self.suffix == ".xlsx":
            return self._excel()
        return self._jsonl() if self.suffix in (".jsonl", ".ndjson") else self._csv()

    def require(self, columns: Iterable[str]) -> None:
        """Raise UnreadableFile unless every one of `columns` is there."""
        if missing := [column for column in columns if column not in self.columns]:
            raise UnreadableFile(
                f"{self.path} has no column {', '.join(map(repr, missing))}; "
                f"it has {', '.join(map(repr, self.columns))}"
            )

    def _columns(self) -> list[str]:
        if self.suffix == ".parquet":
            return [str(name) for name in self._open_parquet().schema_arrow.names]
        if self.suffix == ".xlsx":
            header = next(self._sheet(), ())
            return _header(self.path, [_text(cell) or "" for cell in header])
        if self.suffix in (".jsonl", ".ndjson"):
            rows = islice((row for row in self._jsonl() if isinstance(row, Row)), HEADER_ROWS)
            columns = list(dict.fromkeys(column for row in rows for column in row.values))
            if not columns:
                raise UnreadableFile(f"{self.path} holds no JSON object; JSONL has one object a line")
            return columns
        with self._open() as file:
            return _header(self.path, next(csv.reader(file, self._dialect()), []))

    def _open(self) -> TextIO:
        errors = "replace" if self.encoding == "utf-8-sig" else "strict"
        return self.path.open(encoding=self.encoding, errors=errors, newline="")

    def _dialect(self) -> type[csv.Dialect]:
        with self._open() as file:
            line = file.readline(100_000)
        counts = {delimiter: line.count(delimiter) for delimiter in ",\t;|"}

        class Dialect(csv.excel):
            delimiter = max(counts, key=lambda d: counts[d])

        return Dialect

    def _csv(self) -> Iterator[Row | BadRow]:
        csv.field_size_limit(LONGEST_FIELD)
        ended = False

        def lines() -> Iterator[str]:
            nonlocal ended
            yield from file
            ended = True

        with self._open() as file:
            reader = csv.reader(lines(), self._dialect(), strict=False)
            next(reader)
            number = 0
            while True:
                number += 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except (csv.Error, UnicodeDecodeError) as error:
                    yield BadRow(number, str(error))
                    if isinstance(error, UnicodeDecodeError):  # the decoder cannot go on behind it
                        return
                    continue
                if ended:  # it asked for more lines than there are
                    yield BadRow(number, "a quote is opened here and never closed: all that follows is in one cell")
                    return
                while len(cells) > len(self.columns) and not cells[-1]:
                    cells.pop()
                if not cells:
                    number -= 1  # an empty line is no row
                elif len(cells) != len(self.columns):
                    yield BadRow(number, f"{len(cells)} cells where the header has {len(self.columns)}")
                elif any("\ufffd" in cell for cell in cells):
                    yield BadRow(number, "bytes that are not UTF-8")
                else:
                    yield Row(number, dict(zip(self.columns, (cell or None for cell in cells), strict=True)))

    def _jsonl(self) -> Iterator[Row | BadRow]:
        with self._open() as file:
            number = 0
            while True:
                try:
                    line = file.readline()
                except UnicodeDecodeError as error:
                    yield BadRow(number + 1, str(error))
                    return
                if not line:
                    return
                if not line.strip():
                    continue
                number += 1
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield BadRow(number, f"not JSON: {error}")
                    continue
                if not isinstance(value, dict):
                    yield BadRow(number, "not a JSON object")
                elif _HALF.search(json.dumps(value, ensure_ascii=False)):
                    yield BadRow(number, "half a character (a lone surrogate)")
                elif "\ufffd" in line:
                    yield BadRow(number, "bytes that are not UTF-8")
                else:
                    yield Row(number, {key: _text(item) for key, item in value.items()})

    def _sheet(self) -> Iterator[tuple[Any, ...]]:
        import openpyxl  # here, for it takes a while to import and few files are Excel

        try:
            book = openpyxl.load_workbook(self.path, read_only=True, data_only=True)
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise UnreadableFile(
                f"{self.path} is not a readable .xlsx file ({error}); save it from Excel again"
            ) from error
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some programs write a size that is not the sheet's, and rows beyond it were lost
        try:
            yield from sheet.iter_rows(values_only=True)
        finally:
            book.close()

    def _excel(self) -> Iterator[Row | BadRow]:
        rows = self._sheet()
        next(rows)
        for number, cells in enumerate((row for row in rows if any(cell is not None for cell in row)), start=1):
            padded = (*cells, *[None] * len(self.columns))
            yield Row(number, {column: _text(cell) for column, cell in zip(self.columns, padded, strict=False)})

    def _open_parquet(self) -> Any:
        try:
            import pyarrow.parquet
        except ImportError:
            raise UnreadableFile(f"reading {self.path} needs pyarrow: pip install 'jianwei[parquet]'") from None
        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (pyarrow.ArrowException, OSError) as error:
            raise UnreadableFile(f"{self.path} is not a readable Parquet file: {error}") from error

    def _parquet(self) -> Iterator[Row | BadRow]:
        number = 0
        for batch in self._open_parquet().iter_batches(batch_size=4096):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, {key: _text(value) for key, value in values.items()})


def detect_encoding(path: Path) -> str:
    """utf-8-sig, gb18030 (GBK and GB2312 within it) or utf-16; raises UnreadableFile for binary files."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    broken, multibyte, nul = _utf8_damage(path)
    if nul:
        raise UnreadableFile(f"{path} is binary, not text; export it as CSV, JSONL, .xlsx or Parquet")
    if broken <= DAMAGE * multibyte:
        return "utf-8-sig"
    decoder = codecs.getincrementaldecoder("gb18030")()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path} is neither UTF-8 nor GBK; save it as UTF-8") from None
    return "gb18030"


def _utf8_damage(path: Path) -> tuple[int, int, bool]:
    """Broken sequences, multi-byte characters, and whether a NUL byte occurs, read as UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    broken = multibyte = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(1 << 20)
            if b"\0" in chunk:
                return 0, 0, True
            text = decoder.decode(chunk, final=not chunk)
            replaced = len(_HALF.findall(text))
            if chunk or not multibyte:  # a last character cut in two is a short copy, not another encoding
                broken += replaced
            multibyte += len(text) - len(text.encode("ascii", "ignore")) - replaced
            if not chunk:
                return broken, multibyte, False


def _header(path: Path, cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    if not any(columns):
        raise UnreadableFile(f"{path} has no header: its first row must name the columns")
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise UnreadableFile(f"{path} names column {', '.join(map(repr, twice))} twice; rename one")
    return columns


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip('"')
