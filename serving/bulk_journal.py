"""How far a run over a file has come, on disk beside its output, so that a killed run goes on where it was.

    .OUT.part, .OUT.errors.csv.part   bytes of the output and of the bad rows, as far as they have come
    .OUT.journal                      line 1: what the run is of; each further line: rows done, and bytes that hold them

A line is written when the bytes it tells of are on the disk. Whoever goes on cuts both files to what the last whole
line tells, so nothing is lost, repeated or half-written.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Self

import orjson

from complaints.errors import UnwritableFile

# Changes whenever the same run would write other bytes, or the same file be read as other rows.
FORMAT = 3
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Mark:
    """So many `rows` of the input are done: `predicted` or `failed`; the files hold `output` and `errors` bytes."""

    rows: int = 0
    predicted: int = 0
    failed: int = 0
    output: int = 0
    errors: int = 0
    whole: bool = False


class Journal:
    """One run's journal and its two growing files; use as a context. `mark` says how far it has come."""

    def __init__(self, output: Path, errors: Path, run: Mapping[str, str]) -> None:
        """`run` says what the answers depend on, by names that people read.

        Raises UnwritableFile where the journal there is of another run, or another process is at it.
        """
        self._path = output.with_name(f".{output.name}.journal")
        self._parts = [path.with_name(f".{path.name}.part") for path in (output, errors)]
        self._targets = (output, errors)
        self._run = dict(run)
        self.mark = Mark()
        self.resumed = False

    def __enter__(self) -> Self:
        self._file = self._path.open("a+b")
        try:
            self._lock()
            self._resume()
            self._files = [] if self.mark.whole else [part.open("ab") for part in self._parts]
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._files, self._file):
            try:
                file.close()
            except OSError:  # what a full disk did not take; the next run cuts it off anyway
                continue

    def commit(self, output: bytes, errors: bytes, *, predicted: int, failed: int) -> None:
        """Add the bytes of so many further rows; they are on disk when this returns.

        Raises UnwritableFile where the disk is full; what was committed before is kept.
        """
        old = self.mark
        mark = replace(
            old,
            rows=old.rows + predicted + failed,
            predicted=old.predicted + predicted,
            failed=old.failed + failed,
            output=old.output + len(output),
            errors=old.errors + len(errors),
        )
        with self._room():
            for file, added in zip(self._files, (output, errors), strict=True):
                if added:
                    _append(file, added)
            self._note(asdict(mark))
        self.mark = mark

    def finish(self, make: Callable[[Path, Path], None]) -> None:
        """Put both files in their places, `make(part, output)` the first, and remove the journal.

        A kill in the middle is made good by the next run, which finds the journal whole.
        """
        (part, bad), (output, errors) = self._parts, self._targets
        with self._room():
            if not self.mark.whole:
                self.mark = replace(self.mark, whole=True)
                self._note(asdict(self.mark))
            if self.mark.failed:
                if bad.exists():
                    bad.replace(errors)
            else:
                bad.unlink(missing_ok=True)
                errors.unlink(missing_ok=True)
            if part.exists():
                make(part, output)
            _to_disk(output)
            self._path.unlink()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnwritableFile(
                f"another run is writing {self._targets[0]}: let it finish, or stop it, or choose another output"
            ) from None

    def _resume(self) -> None:
        self._file.seek(0)
        lines, kept = [], 0
        for line in self._file:
            try:
                lines.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                break  # a line that was being written; nothing stands behind it
            kept += len(line)
        first = {"format": FORMAT, "run": self._run}
        if len(lines) > 1 and lines[0] != first:
            self._refuse(lines[0].get("run", {}) if lines[0].get("format") == FORMAT else self._run)
        if lines[:1] != [first]:  # nothing was done yet, whatever it was to be of
            lines, kept = [], 0
        self._file.truncate(kept)
        if not lines:
            with self._room():
                self._note(first)
        self.mark = Mark(**lines[-1]) if len(lines) > 1 else Mark()
        self.resumed = self.mark.rows > 0
        if self.mark.whole:
            return
        sizes = [part.stat().st_size if part.exists() else 0 for part in self._parts]
        if sizes[0] < self.mark.output or sizes[1] < self.mark.errors:
            raise UnwritableFile(
                f"{self._parts[0]} or {self._parts[1]} is shorter than {self._path} tells: "
                f"remove {self._path} to start over"
            )
        for part, size in zip(self._parts, (self.mark.output, self.mark.errors), strict=True):
            with part.open("ab") as file:
                file.truncate(size)

    def _refuse(self, old: Mapping[str, str]) -> None:
        other = [name for name in self._run if old.get(name) != self._run[name]]
        raise UnwritableFile(
            f"an unfinished run lies beside {self._targets[0]}, of another {' and another '.join(other) or 'format'}: "
            f"go on with what it was begun with, or remove {self._path} to start over"
        )

    def _note(self, line: Mapping[str, object]) -> None:
        _append(self._file, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UnwritableFile(
                f"no room left for {self._targets[0]}: {self.mark.rows} rows are done and kept; make room and give the "
                "same command again, it goes on from there"
            ) from error


def _append(file: IO[bytes], added: bytes) -> None:
    file.write(added)
    file.flush()
    os.fsync(file.fileno())


def _to_disk(path: Path) -> None:
    """The bytes of a file, and its name in its folder."""
    for one in (path, path.parent):
        handle = os.open(one, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
