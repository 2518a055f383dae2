"""Rows of a data file as they stand: CSV (UTF-8, GBK, UTF-16), JSONL, Excel, Parquet, read as a stream.

A row that cannot be read is not an error but a `BadRow` with its number and reason, so that one broken line
does not cost the rest of the file. A file that cannot be read at all raises UnreadableFile.
"""

from __future__ import annotations

import codecs
import csv
import json
import logging
import math
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TextIO, TypeVar

from complaints.errors import UnreadableFile

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".xlsx", ".parquet")
LONGEST_FIELD = 4 * 1024 * 1024
# Text with fewer broken bytes than this share of its multi-byte characters is damaged, not of another encoding.
DAMAGE = 0.02
# Bytes at a file's start that tell text from binary data.
BEGINNING = 64 * 1024
# JSON rows may leave out what they have not; the columns are those that this many first rows name.
HEADER_ROWS = 1000
# Physical lines of one record of a CSV from which on it is looked at: are they rows that a quote has swallowed?
SPAN = 50
# Share of such lines, read as rows, that must have the header's number of cells.
ROWLIKE = 0.8
_HALF = re.compile("[\ud800-\udfff]")
# Stands where bytes could not be decoded; no decoder makes it of good bytes, as U+FFFD is made of its own.
_BROKEN = "\udcff"
# Excel's own first line, which names the delimiter.
_SEP = re.compile(r'sep=([^"\s]|\t)\s*', re.IGNORECASE)
# Bytes that text seldom has and binary data has everywhere.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
# What encodings are called where people read of them.
_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "gb18030": "GBK", "utf-16": "UTF-16"}
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
# NaN and its like are no JSON and must not go into any; the decoder of `json` takes them.
_DECODER = json.JSONDecoder(parse_constant=lambda name: None if name == "NaN" else name)
_OPEN = "a quote is opened here and not closed: the lines after it are read as rows of their own"
_NEVER = "a quote is opened here and never closed: the lines after it are read as rows of their own"
# What openpyxl, pyarrow and those below them raise at a damaged file; SyntaxError is every XML parser's.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    SyntaxError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
# What Python's own types say to a value that they cannot hold: no UTF-8, a year after 9999, an unknown time zone.
_NO_VALUE = (ValueError, OverflowError, LookupError)

log = logging.getLogger(__name__)

_Read = TypeVar("_Read")


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _BROKEN, error.end


codecs.register_error("complaints.files", _mark)


@dataclass(frozen=True, slots=True)
class Row:
    """`number` counts data rows from 1; `values` by column name, None where the cell is empty.

    `parsed` is a JSON row as it was, before its values became text; None in other formats.
    """

    number: int
    values: dict[str, str | None]
    parsed: dict[str, Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    number: int
    reason: str


class DataFile:
    """A data file, opened far enough to know its `columns` and `encoding`; iterate for its rows.

    `encoding` is None for binary formats. Every iteration reads the file from its start again. Of a workbook the first
    sheet is read, and a warning logged where there are more.
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
        self._needed: set[str] = set()
        self._advice = ""  # what to do, where the first sheet is not the one of the data
        try:
            self.columns = self._columns()
        except csv.Error as error:
            raise UnreadableFile(f"{self.path} cannot be read ({error}); save it as UTF-8") from error

    def __iter__(self) -> Iterator[Row | BadRow]:
        if self.suffix == ".parquet":
            return self._undamaged(self._parquet())
        if self.suffix == ".xlsx":
            return self._undamaged(self._excel())
        return self._jsonl() if self.suffix in (".jsonl", ".ndjson") else self._csv()

    def count(self) -> int:
        """How many rows there are; a Parquet file says so, others are read for it."""
        if self.suffix == ".parquet":
            return int(self._open_parquet().metadata.num_rows)
        return sum(1 for _ in self)

    def require(self, columns: Iterable[str]) -> None:
        """Raise UnreadableFile unless every one of `columns` is there.

        Rows are bad, from then on, where one of them holds a formula that was never computed.
        """
        columns = list(columns)
        self._needed.update(columns)
        if missing := [column for column in columns if column not in self.columns]:
            raise UnreadableFile(
                f"{self.path} has no column {', '.join(map(repr, missing))}; "
                f"it has {', '.join(map(repr, self.columns))}{self._advice}"
            )

    def _columns(self) -> list[str]:
        if self.suffix == ".parquet":
            return _once(self.path, [str(name) for name in self._open_parquet().schema_arrow.names])
        if self.suffix == ".xlsx":
            header = next(self._undamaged(self._sheet(told=True)), ())
            return _header(self.path, [_text(cell) or "" for cell in header], self._advice)
        if self.suffix in (".jsonl", ".ndjson"):
            rows = islice((row for row in self._jsonl() if isinstance(row, Row)), HEADER_ROWS)
            columns = list(dict.fromkeys(column for row in rows for column in row.values))
            if not columns:
                raise UnreadableFile(f"{self.path} holds no JSON object; JSONL has one object a line")
            return columns
        with self._open() as file:
            names = next(csv.reader(file, self._dialect(file)), [])
            return _header(self.path, [name.replace(_BROKEN, "\ufffd").replace("\0", "\ufffd") for name in names])

    def _open(self) -> TextIO:
        return self.path.open(encoding=self.encoding, errors="complaints.files", newline="")

    def _spoilt(self, text: str) -> str | None:
        """Why a row with this text cannot be used, if so: bytes were no characters, or NUL, as crashes leave them."""
        if _BROKEN in text:
            return f"bytes that are not {_NAMES[self.encoding or '']}"
        return "a NUL byte" if "\0" in text else None

    def _undamaged(self, read: Iterator[_Read]) -> Iterator[_Read]:
        """What is `read`; raises UnreadableFile where the file turns out to be damaged."""
        count = 0
        try:
            for one in read:
                yield one
                count += 1
        except _DAMAGED as error:
            raise UnreadableFile(
                f"{self.path} is damaged: {count} rows could be read, and no further ({error}); get another copy of it"
            ) from error

    def _dialect(self, file: TextIO) -> type[csv.Dialect]:
        """How the file is written; `file`, just opened, stands at the header afterwards."""
        line = file.readline(100_000)
        said = _SEP.fullmatch(line)
        if said is None:
            file.seek(0)
        counts = {delimiter: line.count(delimiter) for delimiter in ",\t;|"}

        class Dialect(csv.excel):
            delimiter = max(counts, key=lambda d: counts[d]) if said is None else said[1]

        return Dialect

    def _csv(self) -> Iterator[Row | BadRow]:
        csv.field_size_limit(LONGEST_FIELD)
        with self._open() as file:
            dialect = self._dialect(file)
            lines = _Lines(file, dialect, len(self.columns))
            reader = csv.reader(lines, dialect)
            next(reader)
            number = 0
            while True:
                number += 1
                lines.begin()
                cells, reason = [], None
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except _Swallowed:
                    reason = _OPEN
                except csv.Error as error:
                    reason = str(error)
                if reason is None and lines.ended:  # it asked for more lines than there are
                    reason = _NEVER
                elif reason is None and lines.torn():
                    reason = _OPEN
                if reason is not None:
                    yield BadRow(number, reason)
                    lines.again()
                    reader = csv.reader(lines, dialect)
                    continue
                _trim(cells, len(self.columns))
                if not cells:
                    number -= 1  # an empty line is no row
                elif (reason := self._spoilt("".join(cells))) is not None:
                    yield BadRow(number, reason)
                elif len(cells) != len(self.columns):
                    yield BadRow(number, f"{len(cells)} cells where the header has {len(self.columns)}")
                else:
                    yield Row(number, dict(zip(self.columns, (cell or None for cell in cells), strict=True)))

    def _jsonl(self) -> Iterator[Row | BadRow]:
        with self._open() as file:
            number = 0
            while line := file.readline():
                if not line.strip():
                    continue
                number += 1
                if (reason := self._spoilt(line)) is not None:
                    yield BadRow(number, reason)
                    continue
                try:
                    value = _DECODER.decode(line)
                except (ValueError, RecursionError) as error:
                    yield BadRow(number, f"not JSON: {error}")
                    continue
                if not isinstance(value, dict):
                    yield BadRow(number, "not a JSON object")
                elif _HALF.search(json.dumps(value, ensure_ascii=False)):
                    yield BadRow(number, "half a character (a lone surrogate)")
                else:
                    yield Row(number, {key: _text(item) for key, item in value.items()}, value)

    def _sheet(self, *, formulas: bool = False, cells: bool = False, told: bool = False) -> Iterator[tuple[Any, ...]]:
        """Values of the first sheet, or formulas where there are any, or whole cells; `told` warns of more sheets."""
        import openpyxl  # here, for it takes a while to import and few files are Excel

        try:
            book = openpyxl.load_workbook(self.path, read_only=True, data_only=not formulas)
        except _DAMAGED as error:
            raise UnreadableFile(
                f"{self.path} is not a readable .xlsx file ({error}); save it from Excel again"
            ) from error
        sheet = book.worksheets[0]
        if told and len(book.worksheets) > 1:
            log.warning("%s has %d sheets: only the first, %r, is read", self.path, len(book.worksheets), sheet.title)
            self._advice = (
                f". Of its {len(book.worksheets)} sheets only the first, {sheet.title!r}, is read: put the data on the "
                "first sheet, or save it as CSV"
            )
        sheet.reset_dimensions()  # some programs write a size that is not the sheet's, and rows beyond it were lost
        try:
            yield from sheet.iter_rows(values_only=not cells)
        finally:
            book.close()

    def _excel(self) -> Iterator[Row | BadRow]:
        # A second reading takes as long as the first: only where there are formulas at all.
        twice = bool(self._needed) and _has_formulas(self.path)
        rows = self._sheet(cells=twice)
        formulas = self._sheet(formulas=True) if twice else repeat(())
        next(rows)
        next(formulas)
        number = 0
        for row, written in zip(rows, formulas, strict=False):
            cells = tuple(cell.value for cell in row) if twice else row
            missing = [
                column
                for column, cell, formula in zip(self.columns, row, written, strict=False)
                # A formula that gave the empty text has a type: "str".
                if column in self._needed and formula is not None and cell.value is None and cell.data_type != "str"
            ]
            if not missing and all(cell is None for cell in cells):
                continue
            number += 1
            if missing:
                names = ", ".join(map(repr, missing))
                yield BadRow(number, f"{names}: a formula without a value; open the file in Excel and save it")
                continue
            texts = _trim([_text(cell) or "" for cell in cells], len(self.columns))
            if len(texts) > len(self.columns):
                yield BadRow(number, f"{len(texts)} cells where the header has {len(self.columns)}")
                continue
            texts += [""] * (len(self.columns) - len(texts))
            yield Row(number, {column: text or None for column, text in zip(self.columns, texts, strict=True)})

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
            for values in _python(_whole_microseconds(batch)):
                number += 1
                try:
                    if isinstance(values, Exception):
                        raise values
                    row = Row(number, {key: _text(value) for key, value in values.items()})
                except UnicodeDecodeError:
                    yield BadRow(number, "bytes that are not UTF-8")
                except _NO_VALUE as error:
                    yield BadRow(number, f"a value that cannot be read: {error}")
                else:
                    yield row


class _Swallowed(Exception):
    """A quote that was not closed has taken rows for a cell's text."""


class _Lines:
    """Physical lines of a CSV for its reader, those of the record at hand kept, so that they can be read again.

    `ended`: the reader asked for more lines than there are.
    """

    def __init__(self, file: TextIO, dialect: type[csv.Dialect], columns: int) -> None:
        self._file, self._dialect, self._columns = file, dialect, columns
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []
        self._look = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line; raises _Swallowed where the lines since `begin` are rows rather than a cell's."""
        line = self._waiting.popleft() if self._waiting else self._file.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self._taken.append(line)
        if len(self._taken) == self._look:
            if self._rows_within():
                raise _Swallowed
            self._look *= 2  # looking every time would be quadratic
        return line

    def begin(self) -> None:
        """A new record begins with the next line."""
        self._taken.clear()
        self._look = SPAN + 1
        self.ended = False

    def again(self) -> None:
        """Give all lines of this record but its first again."""
        self._waiting.extendleft(reversed(self._taken[1:]))

    def torn(self) -> bool:
        """Whether a record of several lines, whose quotes do not match, is rows: the next row's quote closed it."""
        if len(self._taken) < 2:
            return False
        try:
            list(csv.reader(self._taken, self._dialect, strict=True))
        except csv.Error:
            return self._rows_within()
        return False

    def _rows_within(self) -> bool:
        """Whether the lines after the first read as rows of the file; nobody can tell where rows are one cell."""
        if self._columns < 2:
            return False
        try:
            rows = [_trim(row, self._columns) for row in csv.reader(self._taken[1:], self._dialect)]
        except csv.Error:
            return False
        right = sum(len(row) == self._columns for row in rows)
        return right > 0 and right >= ROWLIKE * sum(1 for row in rows if row)


def _trim(cells: list[str], columns: int) -> list[str]:
    """Drop empty cells beyond the header, as Excel writes them; returns `cells`."""
    while len(cells) > columns and not cells[-1]:
        cells.pop()
    return cells


def detect_encoding(path: Path) -> str:
    """utf-8, utf-8-sig (with a mark), gb18030 (GBK, GB2312 too) or utf-16; raises UnreadableFile for binary files."""
    with path.open("rb") as file:
        start = file.read(BEGINNING)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in start and len(_CONTROL.findall(start)) > 1 + len(start) // 1000:
        raise UnreadableFile(f"{path} is binary, not text; export it as CSV, JSONL, .xlsx or Parquet")
    broken, multibyte = _damage(path, "utf-8")
    if broken <= DAMAGE * multibyte:
        return "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"
    broken_gbk, multibyte_gbk = _damage(path, "gb18030")
    # Much of damaged UTF-8 is GBK as well, of other characters; of GBK, most is no UTF-8.
    if broken_gbk == 0 or (broken_gbk <= DAMAGE * multibyte_gbk and broken > multibyte):
        return "gb18030"
    raise UnreadableFile(f"{path} is neither UTF-8 nor GBK; save it as UTF-8")


def _damage(path: Path, encoding: str) -> tuple[int, int]:
    """Broken bytes, and multi-byte characters, of a file read in an encoding."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="surrogateescape")
    broken = multibyte = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(1 << 20)
            text = decoder.decode(chunk, final=not chunk)
            replaced = len(_HALF.findall(text))
            if chunk or not multibyte:  # a last character cut in two is a short copy, not another encoding
                broken += replaced
            multibyte += len(text) - len(text.encode("ascii", "ignore")) - replaced
            if not chunk:
                return broken, multibyte


def _header(path: Path, cells: list[str], advice: str = "") -> list[str]:
    columns = [cell.strip() for cell in cells]
    while columns and not columns[-1]:
        columns.pop()
    if not any(columns):
        raise UnreadableFile(f"{path} has no header: its first row must name the columns{advice}")
    return _once(path, columns)


def _once(path: Path, columns: list[str]) -> list[str]:
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise UnreadableFile(f"{path} names column {', '.join(map(repr, twice))} twice; rename one")
    return columns


def _has_formulas(path: Path) -> bool:
    """Whether any sheet of a workbook holds a formula."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.startswith("xl/worksheets/"):
                continue
            with archive.open(name) as sheet:
                end = b""
                while chunk := sheet.read(1 << 20):
                    if _FORMULA.search(end + chunk):
                        return True
                    end = chunk[-64:]
    return False


def _whole_microseconds(batch: Any) -> Any:
    """A batch without nanoseconds, which Python's own times do not have."""
    import pyarrow

    for i, one in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(one.type) and one.type.unit == "ns":
            kind = pyarrow.timestamp("us", one.type.tz)
        elif pyarrow.types.is_duration(one.type) and one.type.unit == "ns":
            kind = pyarrow.duration("us")
        else:
            continue
        batch = batch.set_column(i, one.name, batch.column(i).cast(kind, safe=False))
    return batch


def _python(batch: Any) -> list[dict[str, Any] | Exception]:
    """The rows of a batch; in place of a row with a value that Python cannot hold, the error."""
    try:
        rows: list[dict[str, Any] | Exception] = batch.to_pylist()
    except _NO_VALUE as error:
        if batch.num_rows == 1:
            return [error]
        half = batch.num_rows // 2
        return _python(batch.slice(0, half)) + _python(batch.slice(half))
    return rows


def _plain(value: object) -> str:
    """What JSON cannot say, as text; raises UnicodeDecodeError for bytes that are none."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode()
    if value is None or value == "":
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain).strip('"')
