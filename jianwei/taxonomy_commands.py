"""`jianwei taxonomy …`: label sets."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from complaints.errors import InvalidInput

# Characters of an id or name in a taxonomy (complaints/taxonomy.py).
LONGEST = 120

app = typer.Typer(help="Label sets: draft one from your data, show one.", no_args_is_help=True)


@app.command()
def draft(
    file: Annotated[Path, typer.Argument(help="File of labelled rows: CSV, JSONL, .xlsx, Parquet")],
    head: Annotated[list[str], typer.Option("--head", help="HEAD=COLUMN; once a head", metavar="HEAD=COLUMN")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="YAML to write (default: print)")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the taxonomy (default: the file's)")] = None,
) -> None:
    """Write a taxonomy from the labels that occur in a file, the most frequent first.

    jianwei taxonomy draft tickets.csv --head department=部门 -o mine.yaml

    The labels' own words become ids. Then edit it: names, order (for kind: ordinal), parents and leaves.
    """
    from complaints.files import BadRow, DataFile
    from complaints.taxonomy import Head, Label, Taxonomy, whole_number
    from jianwei.work_commands import parse_heads
    from training.check import label_warnings

    columns = parse_heads(head)
    data = DataFile(file)
    data.require(columns.values())
    counts: dict[str, Counter[str]] = {one: Counter() for one in columns}
    for row in data:
        if isinstance(row, BadRow):
            continue
        for one, column in columns.items():
            value = whole_number((row.values.get(column) or "").strip())
            if value:
                counts[one][value] += 1
    heads = {}
    for one, found in counts.items():
        if len(found) < 2:
            raise InvalidInput(
                f"column {columns[one]!r} holds {len(found)} different labels; a head needs at least two"
            )
        if long := [value for value in found if len(value) > LONGEST]:
            raise InvalidInput(
                f"column {columns[one]!r} holds a label of {len(long[0])} characters, {long[0][:20]!r}…, and {LONGEST} "
                "are the most: is it the column of the labels? Name another in --head, or shorten the label in the file"
            )
        ordered = dict(found.most_common())
        for warning in label_warnings(columns[one], ordered):
            typer.echo(f"warning: {warning}", err=True)
        labels = tuple(Label(id=value, name=value) for value in ordered)
        heads[one] = Head(name=columns[one], kind="flat", labels=labels)
    stem = (
        "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in file.stem).strip("-_") or "taxonomy"
    )
    if name is not None and not 0 < len(name.strip()) <= LONGEST:
        raise InvalidInput(f"--name has {len(name.strip())} characters: say 1 to {LONGEST}")
    drafted = Taxonomy(name=name or stem[:LONGEST], title=file.stem[:LONGEST], version="1.0.0", heads=heads)
    if output is None:
        sys.stdout.write(drafted.dump())
        return
    if output.exists():
        raise InvalidInput(f"{output} exists already; name another file")
    output.write_text(drafted.dump(), encoding="utf-8")
    typer.echo(f"{output}: " + ", ".join(f"{one} {value.size} labels" for one, value in heads.items()))


@app.command()
def show(taxonomy: Annotated[str, typer.Argument(help="File, or packaged name")] = "consumer") -> None:
    """Check a taxonomy and print its heads and labels."""
    from complaints.taxonomy import Taxonomy

    found = Taxonomy.load(taxonomy)
    typer.echo(f"{found.name} {found.version} {found.title}")
    for one, head in found.heads.items():
        typer.echo(f"\n{one} {head.name} ({head.kind}, {head.size})")
        for label in head.ids:
            typer.echo(f"  {label:<28} {head.names[label]}")
