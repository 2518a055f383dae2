"""`jianwei models …`: the registry."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from complaints.errors import InvalidInput
from jianwei.user_commands import operator

if TYPE_CHECKING:
    from training.registry import Registry

app = typer.Typer(help="Versions of models: list, promote, roll back, export, import.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Registered model")]
Why = Annotated[str, typer.Option(help="Why; written on the version")]


@app.command("list")
def list_versions(name: Annotated[str | None, typer.Argument(help="One model; all by default")] = None) -> None:
    """List versions, newest first, with their aliases and main test figures."""
    registry = _registry()
    for version in registry.versions(name):
        shown = "  ".join(
            f"{key.split('/')[1]} {value:.3f}"
            for key, value in sorted(registry.metrics(version).items())
            if key.endswith("/macro_f1") and key.startswith("test/")
        )
        typer.echo(
            f"{version.name} {version.version:>3}  {version.created_at:%Y-%m-%d %H:%M}  "
            f"{','.join(version.aliases) or '-':<10}  {version.tags.get('gate', '-'):<7}  {shown}"
        )


@app.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument()],
    reason: Annotated[str | None, typer.Option(help="Why; written on the version")] = None,
    force: Annotated[bool, typer.Option(help="Although its gate did not let it pass; needs --reason")] = False,
) -> None:
    """Make a version the champion; services that follow it swap within seconds.

    A version that did not pass its gate is refused, with the classes and numbers that speak against it; and so is one
    that was not measured against today's champion.
    """
    if force and not reason:
        raise InvalidInput("--force goes against the gate: say why with --reason, it is written on the version")
    why = reason or "by hand"
    _registry().promote(name, version, why, force=force)
    typer.echo(f"champion of {name} is now version {version}; the way back: jianwei models rollback {name}")
    _log("promote_forced" if force else "promote", f"{name} {version}", why)


@app.command()
def rollback(name: Name, reason: Why = "by hand") -> None:
    """Make the champion before this one champion again."""
    version = _registry().rollback(name, reason)
    typer.echo(f"champion of {name} is version {version} again")
    _log("rollback", f"{name} {version}", reason)


@app.command()
def challenge(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="Version; none ends the challenge")] = None,
) -> None:
    """Let a version answer a share of the live traffic in shadow; nobody is told its answers but `GET /v1/shadow`."""
    _registry().set_challenger(name, version)
    typer.echo(f"challenger of {name}: {version or 'none'}")
    _log("challenge", f"{name} {version or ''}".strip(), "")


@app.command()
def compare(name: Name, version: Annotated[str, typer.Argument()]) -> None:
    """Show how a version compared with the champion of its time, and what the gate said."""
    found = _registry().comparison(name, version)
    if found is None:
        raise InvalidInput(f"{name} version {version} was not compared with any champion")
    typer.echo(f"{'rows':<8}{'head':<14}{'label':<28}{'n':>6}{'measure':>10}{'champion':>10}{'candidate':>11}  95 %")
    for where, heads in found["sets"].items():
        for head, one in heads.items():
            lines = [("", one["rows"], "macro-F1", one["macro_f1"]), ("", one["rows"], "accuracy", one["accuracy"])]
            lines += [(c["label"], c["rows"], key, c[key]) for c in one["classes"] for key in ("recall", "f1")]
            for label, rows, measure, change in lines:
                typer.echo(
                    f"{where:<8}{head:<14}{label:<28}{rows:>6}{measure:>10}{change['champion']:>10.3f}"
                    f"{change['candidate']:>11.3f}  {change['low']:+.3f} {change['high']:+.3f}"
                )
    for where, unknown in found.get("left_out", {}).items():
        for head, rows in unknown.items():
            typer.echo(f"{where:<8}{head:<14}{rows} rows are not compared: one of the two does not know their labels")
    typer.echo(f"time a text x {found['speed']}, bytes x {found['size']}")
    typer.echo("gate: " + ("passed" if found["gate"]["passed"] else "refused"))
    for reason in found["gate"]["reasons"]:
        typer.echo(f"  {reason['text']}")


@app.command("export")
def export_bundle(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Folder to write the bundle to; must not exist")],
    version: Annotated[str, typer.Option(help="Version or alias")] = "champion",
) -> None:
    """Write a version's bundle to a folder, to carry it elsewhere."""
    if folder.exists():
        raise InvalidInput(f"{folder} exists already; name a new folder")
    from serving.champion import fetch
    from serving.settings import load_settings

    settings = load_settings()
    path, number = fetch(settings.tracking_uri, name, version, settings.models)
    shutil.copytree(path, folder)
    typer.echo(f"{name} version {number} -> {folder}")


@app.command("import")
def import_bundle(folder: Annotated[Path, typer.Argument(help="A bundle's folder")]) -> None:
    """Register a bundle that was made elsewhere as a new version; nothing is promoted."""
    from complaints.bundle import Bundle
    from serving.settings import load_settings
    from training.registry import Registry

    bundle, settings = Bundle.open(folder), load_settings()
    version = Registry(settings.tracking_uri, settings.artifacts).register_bundle(bundle, "import")
    typer.echo(
        f"registered {bundle.manifest.name} version {version}: jianwei models promote {bundle.manifest.name} {version}"
    )


def _log(action: str, subject: str, reason: str) -> None:
    """A line in the audit log, after the deed: a store that cannot be reached stands in the way of no rollback."""
    from serving.settings import load_settings
    from serving.store.queries import Store

    store = Store(load_settings().database)
    try:
        store.log(operator(), action, subject, {"reason": reason}, datetime.now(UTC))
    finally:
        store.close()


def _registry() -> Registry:
    from jianwei.default_model import open_registry
    from serving.settings import load_settings

    return open_registry(load_settings())
