"""What is in a file of labelled rows, before anyone trains on it."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from complaints.files import BadRow, DataFile
from complaints.taxonomy import whole_number
from complaints.text import MASKS, clean, mask
from training.sources import first_few
from training.splits import near_duplicate_pairs

# A label with fewer rows than this can neither be learned nor measured.
RARE = 10
NEAR = 0.6
EXAMPLES = 5
# Labels a row from which on hardly two rows share one: so are identifiers and free text, and no labels.
IDENTIFIER = 0.5


class Check(BaseModel):
    """The findings; row numbers count data rows from 1."""

    file: str
    encoding: str | None = Field(description="None for binary formats")
    columns: list[str]
    rows: int
    unreadable: dict[int, str] = Field(description="Row -> reason, the first few")
    unreadable_rows: int
    empty_texts: int
    longest: int = Field(description="Characters")
    median: int = Field(description="Characters")
    not_chinese: int
    duplicates: int = Field(description="Rows whose cleaned text stood before")
    near_duplicates: int = Field(description=f"Further rows at least {NEAR} alike (Jaccard of character 3-grams)")
    labels: dict[str, dict[str, int]] = Field(description="Head -> label -> rows")
    rare: dict[str, list[str]] = Field(description=f"Head -> labels of fewer than {RARE} rows")
    unlabelled: dict[str, int]
    warnings: dict[str, list[str]] = Field(description="Head -> what is odd about its labels, and what to do")
    conflicts: dict[str, list[list[int]]] = Field(description="Head -> rows of equal text and different labels")
    personal: dict[str, int] = Field(description="Kind of personal number -> rows")

    def describe(self) -> str:
        """The findings in plain words."""
        lines = [
            f"{self.file}: {self.rows} rows, {self.encoding or 'binary'}, columns {', '.join(self.columns)}",
            f"text: median {self.median}, longest {self.longest} characters; empty {self.empty_texts}, "
            f"not Chinese {self.not_chinese}",
            f"duplicates: {self.duplicates} rows; near-duplicates: {self.near_duplicates} more",
        ]
        if self.unreadable_rows:
            shown = "; ".join(f"row {row}: {reason}" for row, reason in self.unreadable.items())
            lines.append(f"unreadable: {self.unreadable_rows} rows ({shown})")
        for head, counts in self.labels.items():
            lines.append(f"{head}: {len(counts)} labels, {self.unlabelled[head]} rows without one")
            lines += [f"  {rows:>7}  {label}" for label, rows in counts.items()]
            if self.rare[head]:
                lines.append(f"  rare (under {RARE} rows): {first_few(self.rare[head])}")
            if self.conflicts[head]:
                shown = ", ".join("/".join(map(str, rows)) for rows in self.conflicts[head][:EXAMPLES])
                lines.append(f"  same text, different label: {len(self.conflicts[head])} texts (rows {shown})")
            lines += [f"  warning: {warning}" for warning in self.warnings[head]]
        kinds = ", ".join(f"{kind} {rows}" for kind, rows in self.personal.items())
        lines.append(f"likely personal data (masked before the model reads it): {kinds or 'none found'}")
        return "\n".join(lines)


def label_warnings(column: str, counts: Mapping[str, int]) -> list[str]:
    """What is odd about the labels of a column, and what to do; `counts`: label -> rows, in the order to name them."""
    warnings = []
    single = [repr(label) for label, rows in counts.items() if rows == 1]
    labelled = sum(counts.values())
    if len(counts) > IDENTIFIER * labelled:
        warnings.append(
            f"column {column!r} holds {len(counts)} labels in {labelled} labelled rows, too many to learn from: if "
            "they are identifiers or free text, name another column in --head, else label more rows"
        )
    elif single:
        warnings.append(
            f"column {column!r} holds {len(single)} labels of one row, which cannot be learned: {first_few(single)}; "
            "label more rows, or merge them into other labels in the file"
        )
    alike: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        alike[_folded(label)].append(label)
    groups = [" = ".join(f"{label!r} ({counts[label]})" for label in group) for group in alike.values() if group[1:]]
    if groups:
        warnings.append(
            f"column {column!r} holds labels that differ in case, width, white space or punctuation alone, and are "
            f"learned as different ones: {first_few(groups)}; write each in one way in the file"
        )
    return warnings


def _folded(label: str) -> str:
    """A label without what typing changes; signs before a digit stay, for -1 is not 1, nor 1.5 15."""
    text = "".join(unicodedata.normalize("NFKC", label).casefold().split())
    letters = (
        c
        for c, after in zip(text, text[1:] + " ", strict=True)
        if after.isdigit() or unicodedata.category(c)[0] not in "PC"
    )
    return "".join(letters) or text


def check_file(path: Path, text: str, heads: dict[str, str]) -> Check:
    """Read all of `path`; `text` and the values of `heads` are columns. Raises UnreadableFile."""
    file = DataFile(path)
    file.require([text, *heads.values()])
    unreadable: dict[int, str] = {}
    bad = empty = foreign = rows = 0
    texts: list[str] = []
    numbers: list[int] = []
    given: dict[str, list[str | None]] = {head: [] for head in heads}
    personal: Counter[str] = Counter()
    for row in file:
        rows += 1
        if isinstance(row, BadRow):
            bad += 1
            if len(unreadable) < EXAMPLES:
                unreadable[row.number] = row.reason
            continue
        raw = row.values.get(text) or ""
        cleaned = clean(raw)
        if not cleaned.text:
            empty += 1
            continue
        foreign += not cleaned.chinese
        personal.update(set(MASKS.findall(mask(raw))) - set(MASKS.findall(raw)))
        texts.append(cleaned.text)
        numbers.append(row.number)
        for head, column in heads.items():
            given[head].append(whole_number((row.values.get(column) or "").strip()) or None)
    lengths = sorted(map(len, texts)) or [0]
    same: dict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(texts):
        same[one].append(i)
    near = {later for _, later, _ in near_duplicate_pairs(texts, NEAR) if same[texts[later]][0] == later}
    counts = {head: dict(Counter(v for v in values if v).most_common()) for head, values in given.items()}
    return Check(
        file=str(path),
        encoding=file.encoding,
        columns=file.columns,
        rows=rows,
        unreadable=unreadable,
        unreadable_rows=bad,
        empty_texts=empty,
        longest=lengths[-1],
        median=lengths[len(lengths) // 2],
        not_chinese=foreign,
        duplicates=len(texts) - len(same),
        near_duplicates=len(near),
        labels=counts,
        rare={head: [label for label, n in found.items() if n < RARE] for head, found in counts.items()},
        unlabelled={head: sum(v is None for v in values) for head, values in given.items()},
        warnings={head: label_warnings(heads[head], found) for head, found in counts.items()},
        conflicts={
            head: [
                [numbers[i] for i in group]
                for group in same.values()
                if len({values[i] for i in group if values[i]}) > 1
            ]
            for head, values in given.items()
        },
        personal=dict(personal),
    )
