"""`jianwei corrections …`: what people said of predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from complaints.errors import InvalidInput
from jianwei.user_commands import operator

app = typer.Typer(help="People's corrections: export them for training.", no_args_is_help=True)


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="File to write: one JSON object a line, personal data masked")],
    since: Annotated[
        str | None, typer.Option(help="Only words from then on: 2026-03-01, or with a time; UTC without a time zone")
    ] = None,
    kind: Annotated[
        Literal["all", "explicit", "implicit"], typer.Option(help="Said by a person, or read off a closed ticket")
    ] = "all",
    model: Annotated[
        str | None, typer.Option(help="Only words on answers of this registered model (default: the one served)")
    ] = None,
) -> None:
    """Write what people said of a model's predictions, with the model, its answer, who said it and when.

    jianwei corrections export corrections.jsonl
    """
    from complaints.corrections import write_corrections
    from serving.settings import load_settings
    from serving.store.queries import Store

    if since is None:
        begin = None
    else:
        try:
            begin = datetime.fromisoformat(since)
        except ValueError:
            raise InvalidInput(
                f"--since {since!r} is no date: write 2026-03-01, or 2026-03-01T08:00:00+08:00"
            ) from None
        begin = begin if begin.tzinfo is not None else begin.replace(tzinfo=UTC)
    settings = load_settings()
    name = model or settings.model
    store = Store(settings.database)
    try:
        kinds = ("explicit", "implicit") if kind == "all" else (kind,)
        detail: dict[str, object] = {"since": begin, "kinds": kinds, "model": name}
        store.log(operator(), "export", "corrections", detail, datetime.now(UTC))
        written = write_corrections(output, store.export(begin, kinds=kinds, model=name))
    finally:
        store.close()
    typer.echo(f"{written} corrections of {name} -> {output}")
