"""`jianwei data …`: look at data before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jianwei.work_commands import DATASETS, parse_heads

app = typer.Typer(help="Data: check a file before training on it; examine the corpus.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="CSV (GBK too), JSONL, .xlsx, Parquet")],
    text: Annotated[str, typer.Option(help="Column of the complaint")] = "text",
    head: Annotated[
        list[str] | None, typer.Option("--head", help="HEAD=COLUMN of labels; once a head", metavar="HEAD=COLUMN")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON")] = False,
) -> None:
    """Tell what is in a file: rows, encoding, duplicates, labels, conflicts, likely personal data.

    jianwei data check tickets.csv --text 内容 --head department=部门
    """
    from training.check import check_file

    found = check_file(file, text, parse_heads(head) if head else {})
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        typer.echo(found.describe())


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder that holds corpus/ and annotations/")] = Path("data"),
    taxonomy: Annotated[str, typer.Option(help="Taxonomy of the labels")] = "consumer",
    datasets: Annotated[
        Path, typer.Option(envvar="JIANWEI_DATASETS", help="Folder of the real texts; without it they are left out")
    ] = DATASETS,
) -> None:
    """Examine the project's own corpus: counts, near-duplicates, leaks, agreement, difficulty, doubtful labels.

    jianwei data report
    """
    from complaints.bundle import Bundle
    from complaints.cores import usable_cores
    from complaints.predictor import Predictor
    from complaints.risk import Policy
    from complaints.taxonomy import Taxonomy
    from jianwei.default_model import packaged_bundle
    from training.corpus import describe

    predictor = Predictor(Bundle.open(packaged_bundle()), Policy.load(), threads=usable_cores())
    typer.echo(describe(folder, datasets, Taxonomy.load(taxonomy), predictor))
