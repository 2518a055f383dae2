"""What is in a file of labelled rows, before anyone trains on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from pydantic import BaseModel, Field

from complaints.files import BadRow, DataFile
from complaints.taxonomy import whole_number
from complaints.text import MASKS, clean, mask
from training.splits import near_duplicate_pairs

# A label with fewer rows than this can neither be learned nor measured.
RARE = 10
NEAR = 0.6
EXAMPLES = 5


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
                lines.append(f"  rare (under {RARE} rows): {', '.join(self.rare[head])}")
            if self.conflicts[head]:
                shown = ", ".join("/".join(map(str, rows)) for rows in self.conflicts[head][:EXAMPLES])
                lines.append(f"  same text, different label: {len(self.conflicts[head])} texts (rows {shown})")
        kinds = ", ".join(f"{kind} {rows}" for kind, rows in self.personal.items())
        lines.append(f"likely personal data (masked before the model reads it): {kinds or 'none found'}")
        return "\n".join(lines)


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
            value = row.values.get(column)
            given[head].append(whole_number(value.strip()) if value else None)
    lengths = sorted(map(len, texts)) or [0]
    same: dict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(texts):
        same[one].append(i)
    near = {later for _, later, _ in near_duplicate_pairs(texts, NEAR) if same[texts[later]][0] == later}
    counts = {head: Counter(v for v in values if v) for head, values in given.items()}
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
        labels={head: dict(found.most_common()) for head, found in counts.items()},
        rare={head: [label for label, n in found.items() if n < RARE] for head, found in counts.items()},
        unlabelled={head: sum(v is None for v in values) for head, values in given.items()},
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
