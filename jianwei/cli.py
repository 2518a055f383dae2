"""`jianwei …`: the door. Thin: options in, a room's function called, words out. Heavy imports stay inside commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from complaints.errors import JianweiError
from jianwei import (
    correction_commands,
    data_commands,
    model_commands,
    policy_commands,
    risk_commands,
    taxonomy_commands,
    train_command,
    user_commands,
    work_commands,
)

app = typer.Typer(
    help="见微: Chinese complaint triage. What it is about, who must act, how customers feel, how far it may spread.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app, name="data")
app.add_typer(taxonomy_commands.app, name="taxonomy")
app.add_typer(model_commands.app, name="models")
app.add_typer(correction_commands.app, name="corrections")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(risk_commands.app, name="risk")
app.add_typer(user_commands.app, name="users")
app.command()(train_command.train)
app.command()(work_commands.evaluate)
app.command()(work_commands.predict)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 needs no API key")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default: 8000)")] = None,
    model: Annotated[str | None, typer.Option(help="Registered model whose champion is served")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of databases and models (default: var)")] = None,
) -> None:
    """Serve predictions over HTTP.

    Example: jianwei serve --port 8080

    The first start registers the model that comes with the package as champion. Settings also come from
    JIANWEI_… variables: HOME, HOST, PORT, API_KEYS, MODEL, POLICY, PILOT_POLICY, PILOT_SHARE, PILOT_LINES,
    CUSTOMER_KEY, DATABASE_URL, WORKERS, QUEUE, TIMEOUT, POLL, AUDIT_SHARE, SECOND_SHARE, REVIEW_BUDGET,
    LEASE_MINUTES, SHADOW_SHARE.
    """
    from serving.settings import load_settings

    settings = load_settings(host=host, port=port, model=model, home=home)
    from complaints.policy import Policy
    from jianwei.default_model import ensure_champion, first_start, open_registry
    from serving.memory import share_one_arena
    from serving.store.database import Database

    share_one_arena()
    for policy in filter(None, (settings.policy, settings.pilot_policy)):
        Policy.load(policy)  # what is wrong with it is said in plain words, before anything starts
    Database(settings.database).close()  # likewise
    first = first_start(settings)
    if first is None:
        ensure_champion(settings)
    from serving.app import create_app, listen

    sys.stderr.write(f"serving {settings.model} on http://{settings.host}:{settings.port} (/openapi.json)\n")
    service = create_app(settings, models=lambda: open_registry(settings), first=first)
    listen(service, settings.host, settings.port)


def main() -> None:
    """Run the command line; errors meant for people are printed without a stack trace, exit status 2."""
    try:
        app()
    except (JianweiError, OSError) as error:  # OSError: a full disk, a folder that may not be written to
        sys.stderr.write(f"jianwei: {error}\n")
        sys.exit(2)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"jianwei: this command needs {error.name}: pip install 'jianwei[training]'\n")
        sys.exit(2)
