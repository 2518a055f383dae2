"""Files, the corpus and corrections -> examples with partial labels."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from complaints.errors import InvalidInput, UnknownLabel, UnreadableFile
from complaints.files import BadRow, DataFile, Row
from complaints.records import LONGEST_TITLE, Complaint
from complaints.taxonomy import Head, Taxonomy, whole_number
from training.recipe import Recipe, Source, find

log = logging.getLogger(__name__)

SPLITS = ("train", "calibration", "test")
# Reasons told apart why rows of a file cannot be read.
KINDS = 5
# Labels without a row, or unknown, that are named.
NAMED = 10


@dataclass(frozen=True, slots=True)
class Example:
    """A complaint with the labels that are known of it; `labels` may name some heads only."""

    complaint: Complaint
    labels: dict[str, str]
    source: str
    split: str | None = None
    show: bool = False
    group: str = ""
    repeat: int = 1


@dataclass
class Read:
    """Examples, and what was left out on the way: reason -> rows; `columns`, head -> where its labels were read.

    `unknown`: head -> label that the taxonomy does not hold -> rows.
    """

    examples: list[Example]
    left_out: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def tell(self) -> None:
        """Warn of what was left out."""
        for reason, rows in self.left_out.items():
            log.warning("left out %d rows: %s", rows, reason)


def leaves(examples: Sequence[Example], name: str, head: Head) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Places of the examples that are labelled by a leaf of a head, and that leaf's number."""
    known = [i for i, example in enumerate(examples) if example.labels.get(name) in head.ids]
    return known, np.array([head.ids.index(examples[i].labels[name]) for i in known], dtype=np.int64)


def repeated(examples: Sequence[Example]) -> list[Example]:
    """Each example as often as it is read an epoch."""
    return [one for one in examples for _ in range(one.repeat)]


def sha1(text: str) -> str:
    """The key of a text in annotation files."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def read_sources(recipe: Recipe, taxonomy: Taxonomy, folders: list[Path], *, strict: bool = True) -> Read:
    """All rows of a recipe's sources; `folders` are searched for its files in turn, optional ones need not be there.

    Raises UnreadableFile for a missing file or column, UnknownLabel (naming file, row and value) for a label
    that neither the taxonomy nor `rename` knows. Not `strict`, such a label is only warned of, and its row is silent on
    its head: a model can be measured on the labels that it knows.
    """
    read = Read([])
    for source in recipe.sources:
        for head in source.heads:
            if head not in taxonomy.heads:
                raise UnknownLabel(
                    f"source {source.file}: no head {head!r} in taxonomy {taxonomy.name}: it has "
                    f"{', '.join(taxonomy.heads)}"
                )
        _read_source(source, taxonomy, folders, read, strict=strict)
    for head, found in read.unknown.items():
        shown = first_few([f"{label!r} ({rows})" for label, rows in found.most_common()])
        log.warning("head %s: %d rows are not counted, for their labels are unknown: %s", head, found.total(), shown)
    if not read.examples:
        raise UnreadableFile(f"no labelled row in {', '.join(s.file for s in recipe.sources)}: {dict(read.left_out)}")
    return read


def _read_source(source: Source, taxonomy: Taxonomy, folders: list[Path], read: Read, *, strict: bool) -> None:
    try:
        path = find(source.file, folders)
    except UnreadableFile as error:
        if not source.optional:
            raise
        log.warning("going on without a source: %s", error)
        return
    annotations = _annotations(find(source.annotations, folders), source) if source.annotations else None
    file = DataFile(path)
    inside = [source.text, *filter(None, [source.title, source.channel, source.split]), *source.where]
    file.require(inside if annotations is not None else [*inside, *source.heads.values()])
    read.digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    for head, column in source.heads.items():
        read.columns.setdefault(head, []).append(f"column {column!r} of {source.annotations or path.name}")
    reasons: set[str] = set()
    for row in file:
        if isinstance(row, BadRow):
            read.left_out[f"{path.name}: unreadable row ({_reason(row, reasons)})"] += 1
            continue
        values = row.values
        text = values.get(source.text)
        if any(values.get(column) != value for column, value in source.where.items()):
            continue
        if text is None or not text.strip():
            read.left_out[f"{path.name}: no text"] += 1
            continue
        if annotations is not None:
            known = annotations.pop(sha1(text), None)  # a text that stands twice counts once
            if known is None:
                continue
            values = values | known
        where = f"{path.name} row {row.number}"
        labels = dict(_labels(source, taxonomy, values, where, None if strict else read.unknown))
        if not labels:
            read.left_out[f"{path.name}: no label{'' if strict else ' that is known'}"] += 1
            continue
        split = values.get(source.split) if source.split else values.get("split") if annotations is not None else None
        split = source.parts.get(split, split) if split else None
        if split is not None and split not in SPLITS:
            raise UnreadableFile(
                f"{where}: split {split!r} is none of {', '.join(SPLITS)}; say what it means under `parts`"
            )
        title = values.get(source.title) if source.title else None
        channel = values.get(source.channel) if source.channel else None
        read.examples.append(
            Example(
                Complaint(text=text, title=title and title[:LONGEST_TITLE], channel=channel and channel[:200]),
                labels,
                path.stem,
                split,
                source.show,
                source.group or path.stem,
                source.repeat,
            )
        )


def _reason(row: BadRow, known: set[str]) -> str:
    """Why a row cannot be read, the first KINDS of reasons by their words."""
    if len(known) < KINDS:
        known.add(row.reason)
    return row.reason if row.reason in known else "other reasons"


def first_few(labels: Sequence[str]) -> str:
    """The first NAMED of labels, and how many more there are."""
    return ", ".join(labels[:NAMED]) + (f" and {len(labels) - NAMED} more" if len(labels) > NAMED else "")


def check_heads(read: Read, train: Sequence[Example], taxonomy: Taxonomy) -> None:
    """Raise InvalidInput for a head whose columns give the training part fewer than two labels to tell apart.

    A head that no source at hand has a column for is only warned of, for a recipe may be silent on it; so are labels
    without any row, and those without a row to learn from.
    """
    for name, head in taxonomy.heads.items():
        if name not in read.columns:
            log.warning("head %s: no source has labels of it, so that its answers are worth nothing", name)
            continue
        seen = {one.labels[name] for one in train if name in one.labels}
        if len(seen) < 2:
            raise InvalidInput(
                f"head {name!r}: {' and '.join(read.columns[name])} gives the training rows "
                f"{'no label' if not seen else f'the label {min(seen)!r} alone'}, and two are needed to learn from: "
                f"label more rows, or leave the head out (no --head {name}; of a recipe, its taxonomy and sources)"
            )
        known = {one.labels[name] for one in read.examples if name in one.labels}
        if missing := [label for label in head.ids if not known & {label, head.parent(label)}]:
            log.warning("head %s: no row is labelled %s", name, first_few(missing))
        if untaught := [one for one in head.ids if one in known and not seen & {one, head.parent(one)}]:
            count, shown = len(untaught), first_few(untaught)
            log.warning("head %s: %d labels have rows, but none to learn from: %s", name, count, shown)


def _labels(
    source: Source,
    taxonomy: Taxonomy,
    values: dict[str, str | None],
    where: str,
    unknown: dict[str, Counter[str]] | None,
) -> Iterator[tuple[str, str]]:
    """Head and label of a row; `unknown` counts the labels that are not known, which raise UnknownLabel without it."""
    for head, column in source.heads.items():
        value = values.get(column)
        rename = source.rename.get(head, {})
        value = value.strip() if value is not None else None
        number = whole_number(value) if value else value
        if number != value and not _known(value, rename, taxonomy, head) and _known(number, rename, taxonomy, head):
            value = number
        if value in rename:
            value = rename[value]
        if value is None or not value.strip():
            continue
        value = value.strip()
        if value not in taxonomy.heads[head].names:
            value = taxonomy.heads[head].called(value) or value
        try:
            label = taxonomy.resolve(head, value)
        except UnknownLabel as error:
            if unknown is not None:
                unknown[head][value] += 1
                continue
            raise UnknownLabel(
                f"{where}, column {column!r}: {error}; correct the file, add the label to the taxonomy "
                "(`jianwei taxonomy draft` writes one from a file's labels) or, in a recipe, add a rename"
            ) from error
        if label is not None:
            yield head, label


def _known(value: str | None, rename: Mapping[str, str | None], taxonomy: Taxonomy, head: str) -> bool:
    names = taxonomy.heads[head].names
    return value in rename or value in names or value in names.values() or value in taxonomy.former.get(head, {})


def _annotations(path: Path, source: Source) -> dict[str, dict[str, str | None]]:
    """sha1 -> row of labels, of the rows that speak of `source`. Raises UnreadableFile."""
    file = DataFile(path)
    file.require(["sha1", "source", *source.heads.values()])
    stem = Path(source.file).stem
    rows = []
    for row in file:
        if isinstance(row, Row):
            rows.append(row.values)
        else:
            log.warning("left out %s row %d: %s", path.name, row.number, row.reason)
    return {str(values["sha1"]): values for values in rows if values["source"] == stem}
