"""Files of rows in, files of predictions out: as many rows as there are, in flat memory, whatever happens on the way.

    rows --windows--> complaints --those not met before, longest first--> workers --answers--> rows in their order

A window is written, and noted in a journal, when all of it is answered; the journal is how a killed run goes on. Cells
of the input go out as they came in, those that begin with = + - @ included: they are data, and a quote put before them
would change it for every program but a spreadsheet.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path

import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from complaints.errors import InvalidInput
from complaints.files import BadRow, DataFile, Row
from complaints.predictor import Predictor
from complaints.records import BARE_NUMBER, Complaint
from serving.bulk_journal import Journal
from serving.bulk_output import BOM, Format, csv_lines, versions_of
from serving.bulk_workers import Answers, Here, Processes

# Rows of a window, and characters in it, whichever comes first: enough that the workers are seldom waited for at its
# end, a few seconds of work that a kill can cost, and a few megabytes of memory.
ROWS, CHARACTERS = 2048, 4_000_000
# Windows that are read ahead while one is being answered.
AHEAD = 2
# Complaints handed to a worker at a time.
CHUNK = 32
# Names of dropped columns that are kept to be told.
DROPPED = 20
# Bytes of answers that are kept for the same complaint to come again.
KEPT = 32_000_000
# Deadlines are counted from created_at; at the ends of the calendar there is no room to count.
YEARS = (1970, 2200)
# Days as tables write them: 20260302, or 2026/3/2 and 2026-3-2 with or without 9:30 or 9:30:00.
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_LOOSE = re.compile(r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})(?: +(\d{1,2})(:\d\d(?::\d\d)?))?", re.ASCII)

# Answers to one chunk, when they are there, and the place in them.
_Awaited = tuple[Callable[[], Answers], int]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows were predicted, and how many were not; `errors` is the file that says why, None where none was.

    `resumed` of them were done by an earlier run that was cut short. `dropped` are columns, a few of them, that the
    output has no place for: rows of JSON far down named them first.
    """

    predicted: int
    failed: int
    errors: Path | None
    resumed: int = 0
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A row, and why it has no answer, its answer, or where that will be; `key` is the complaint's."""

    row: Row | BadRow
    key: bytes
    answer: str | bytes | _Awaited


def predict_file(  # noqa: PLR0913  a keyword a column
    predictor: Predictor,
    source: Path,
    output: Path,
    *,
    text: str = "text",
    title: str | None = None,
    channel: str | None = None,
    created_at: str | None = None,
    model: str | None = None,
    processes: int = 1,
    console: Console | None = None,
) -> Counts:
    """Predict every row of `source` into `output`: .csv (UTF-8 that Excel opens), .jsonl or .parquet.

    `text`, `title`, `channel` and `created_at` name columns of the input; all columns of the input come along.
    CSV and Parquet get `HEAD`, `HEAD_confidence`, `HEAD_decision`, `HEAD_reason` for each head, `risk_level`,
    `severity`, `propagation_index`, `warnings`, `respond_by`, `resolve_by`, an input column of such a name being kept
    as `NAME_input`; JSONL gets the row under `row`, as it was if it was JSON, and the whole prediction under
    `prediction`. All get `model_version` (`model`, or the bundle's name and digest), `policy_version` and
    `taxonomy_version`. Rows that cannot be read or have no text go
    to `<output>.errors.csv`. A run that was cut short goes on where it was when it is called again with the same file,
    model, policy and options. Files of more than a window are shared among `processes`. Progress is drawn on `console`
    where one is given. Raises InvalidInput where source and output do not fit, UnreadableFile where the source cannot
    be read, UnwritableFile where the disk is full or an unfinished run of another kind lies there.
    """
    data = DataFile(source)
    columns = {"text": text, "title": title, "channel": channel, "created_at": created_at}
    named = {field: column for field, column in columns.items() if column is not None}
    data.require(named.values())
    errors = output.with_name(f"{output.name}.errors.csv")
    versions = versions_of(predictor, model or f"{predictor.bundle.manifest.name} {predictor.bundle.digest[:12]}")
    suffix = output.suffix.lower()
    form = Format(suffix, data.columns, predictor.taxonomy, versions)
    _check(source, output, errors)
    if not _writable("".join(data.columns)):
        raise InvalidInput(f"{source} names a column with characters that are not Unicode; rename it")
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(output, errors, _run(predictor, source, named, versions)))
        mark = journal.mark
        dropped: dict[str, None] = {}
        if not mark.whole:
            if not mark.output + mark.errors:
                journal.commit(form.head(), BOM + csv_lines([["row", "reason"]]), predicted=0, failed=0)
            progress = stack.enter_context(_progress(console))
            # Counting reads the file once more: only where somebody sees the bar.
            total = data.count() if console is not None and console.is_terminal else None
            task = progress.add_task(source.name, total=total, completed=mark.rows)
            rows = data if suffix == ".jsonl" else _named(data, dropped)
            windows = _windows(islice(rows, mark.rows, None))
            ahead = list(islice(windows, 2))
            many = processes > 1 and len(ahead) == 2
            workers = Processes(predictor, form.answer, processes) if many else Here(predictor, form.answer)
            stack.callback(workers.close)
            for window in _answered(chain(ahead, windows), workers, named):
                _write(journal, form, window)
                progress.advance(task, len(window))
        journal.finish(form.finish)
        failed = journal.mark.failed
        return Counts(journal.mark.predicted, failed, errors if failed else None, mark.rows, tuple(dropped))


def _check(source: Path, output: Path, errors: Path) -> None:
    for path in (output, errors):
        if path.exists() and path.samefile(source):
            raise InvalidInput(f"{path} is the input: choose another output")
    if output.is_dir() or not output.parent.is_dir():
        raise InvalidInput(f"cannot write {output}: its folder must exist, and it must be a file")


def _named(data: DataFile, dropped: dict[str, None]) -> Iterator[Row | BadRow]:
    """The rows of a file; names that are not among its columns are put into `dropped`, as many as are told."""
    columns = set(data.columns)
    for row in data:
        if isinstance(row, Row) and len(dropped) < DROPPED:
            dropped.update(dict.fromkeys(name for name in row.values if name not in columns))
        yield row


def _run(predictor: Predictor, source: Path, named: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, str]:
    """What the answers depend on: an unfinished run goes on only where none of it has changed."""
    with source.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "input file": content,
        "model": f"{versions['model_version']} {predictor.bundle.digest}",
        "policy": predictor.policy.digest,
        "choice of columns": orjson.dumps(dict(named)).decode(),
        "version of jianwei": version("jianwei"),
    }


def _answered(
    windows: Iterable[list[Row | BadRow]], workers: Here | Processes, named: Mapping[str, str]
) -> Iterator[list[_Asked]]:
    """Windows with their answers, in order, while the next ones are already being worked at."""
    kept = _Kept()
    waiting: deque[list[_Asked]] = deque()
    for window in windows:
        waiting.append(_ask(window, workers, named, kept, waiting))
        if len(waiting) > AHEAD:
            yield _wait(waiting.popleft(), kept)
    while waiting:
        yield _wait(waiting.popleft(), kept)


def _ask(
    window: list[Row | BadRow],
    workers: Here | Processes,
    named: Mapping[str, str],
    kept: _Kept,
    waiting: Iterable[list[_Asked]],
) -> list[_Asked]:
    """Hand the complaints of a window that were not met before to the workers, the longest first."""
    coming: dict[bytes, _Awaited] = {
        one.key: one.answer for asked in waiting for one in asked if isinstance(one.answer, tuple)
    }
    new: dict[bytes, Complaint] = {}
    found: list[tuple[Row | BadRow, bytes, str | bytes | None]] = []
    for row in window:
        complaint = _complaint(row, named)
        if isinstance(complaint, str):
            found.append((row, b"", complaint))
            continue
        key = _key(complaint)
        answer = kept.get(key)
        if answer is None and key not in coming:
            new[key] = complaint
        found.append((row, key, answer))
    keys = sorted(new, key=lambda key: -len(new[key].text))
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        answers = workers.ask([new[key] for key in chunk])
        coming |= {key: (answers, at) for at, key in enumerate(chunk)}
    return [_Asked(row, key, coming[key] if answer is None else answer) for row, key, answer in found]


def _wait(window: list[_Asked], kept: _Kept) -> list[_Asked]:
    done = []
    for one in window:
        if isinstance(one.answer, tuple):
            answers, at = one.answer
            answer = answers()[at]
            kept.put(one.key, answer)
            done.append(_Asked(one.row, one.key, answer))
        else:
            done.append(one)
    return done


def _write(journal: Journal, form: Format, window: list[_Asked]) -> None:
    good = [(one.row, one.answer) for one in window if isinstance(one.row, Row) and isinstance(one.answer, bytes)]
    bad = [[one.row.number, one.answer] for one in window if isinstance(one.answer, str)]
    journal.commit(form.rows(good), csv_lines(bad), predicted=len(good), failed=len(bad))


class _Kept:
    """Answers by complaint, as many as KEPT bytes hold, the ones least lately used forgotten first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def get(self, key: bytes) -> bytes | None:
        if key in self._answers:
            self._answers.move_to_end(key)
        return self._answers.get(key)

    def put(self, key: bytes, answer: bytes) -> None:
        self._size += len(answer) - len(self._answers.get(key, b""))
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while self._size > KEPT:
            self._size -= len(self._answers.popitem(last=False)[1])


def _key(complaint: Complaint) -> bytes:
    """The same for complaints that are the same in everything a row can say."""
    said = [complaint.text, complaint.title, complaint.channel, complaint.created_at]
    return hashlib.blake2b(orjson.dumps(said), digest_size=16).digest()


def _complaint(row: Row | BadRow, named: Mapping[str, str]) -> Complaint | str:
    """The complaint of a row, or why there is none; what the reader cannot take is not quoted."""
    if isinstance(row, BadRow):
        return row.reason
    values = {field: value for field, column in named.items() if (value := row.values.get(column)) is not None}
    if not values.get("text", "").strip():
        return "no text"
    if not _writable("".join(value or "" for value in row.values.values())):
        return "characters that are not Unicode (lone surrogates)"
    return _checked(values, named)


def _checked(values: dict[str, str], named: Mapping[str, str]) -> Complaint | str:
    if "created_at" in values:
        values["created_at"] = _iso(values["created_at"])
        if BARE_NUMBER.fullmatch(values["created_at"]):
            return f"{named['created_at']}: a bare number is no date; write 2026-03-02 09:30 or 20260302"
    try:
        complaint = Complaint.model_validate(values)
    except ValidationError as error:
        return "; ".join(f"{named[str(one['loc'][0])]}: {one['msg']}" for one in error.errors())
    if complaint.created_at is not None and not YEARS[0] <= complaint.created_at.year < YEARS[1]:
        return f"{named['created_at']}: the year must be {YEARS[0]} to {YEARS[1] - 1}"
    return complaint


def _iso(said: str) -> str:
    """A date as tables write it, in ISO 8601; anything else as it is."""
    said = said.strip()
    if day := _COMPACT.fullmatch(said):
        return "-".join(day.groups())
    if day := _LOOSE.fullmatch(said):
        year, _, month, date, hour, rest = day.groups()
        return f"{year}-{month:0>2}-{date:0>2}" + (f"T{hour:0>2}{rest}" if hour else "")
    return said


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _windows(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    window: list[Row | BadRow] = []
    characters = 0
    for row in rows:
        window.append(row)
        if isinstance(row, Row):
            characters += sum(len(value or "") for value in row.values.values())
        if len(window) == ROWS or characters >= CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


class _Rate(ProgressColumn):
    """Rows a second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
        speed_estimate_period=300,  # rows come by the window
    )
