"""`jianwei users …`: who may sign in to the pages."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated, Literal

import typer

app = typer.Typer(help="People who may sign in to the pages: add, list, change, disable.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What they sign in with")]


@app.command()
def add(
    name: Name, role: Annotated[str, typer.Option(help="analyst, lead (unmasks, promotes) or admin")] = "analyst"
) -> None:
    """Add a person; the password is asked for, or read from standard input.

    jianwei users add 王芳 --role lead
    """
    from datetime import UTC, datetime

    from serving.access import add_user
    from serving.settings import load_settings
    from serving.store.queries import Store

    store, now = Store(load_settings().database), datetime.now(UTC)
    add_user(store, name, role, _password(), now)
    store.log(operator(), "add_user", name, {"role": role}, now)
    typer.echo(f"{name} may sign in as {role}")


@app.command("list")
def list_users() -> None:
    """Print everybody, disabled ones too."""
    from serving.settings import load_settings
    from serving.store.queries import Store

    for user in Store(load_settings().database).list_users():
        state = f"disabled {user.disabled_at:%Y-%m-%d}" if user.disabled_at else "may sign in"
        typer.echo(f"{user.name}\t{user.role}\t{state}")


@app.command()
def password(name: Name) -> None:
    """Give a person another password; they are signed out everywhere and no longer locked."""
    from datetime import UTC, datetime

    from serving.access import set_password
    from serving.settings import load_settings
    from serving.store.queries import Store

    store = Store(load_settings().database)
    set_password(store, name, _password())
    store.log(operator(), "password", name, {}, datetime.now(UTC))
    typer.echo(f"{name} has another password")


@app.command()
def role(
    name: Name,
    role: Annotated[Literal["analyst", "lead", "admin"], typer.Argument(help="lead unmasks and promotes")],
) -> None:
    """Give a person another role; they are signed out everywhere, and sign in again with it.

    jianwei users role 王芳 admin
    """
    from datetime import UTC, datetime

    from serving.settings import load_settings
    from serving.store.queries import Store

    store = Store(load_settings().database)
    store.change_user(name, role=role)
    store.log(operator(), "change_role", name, {"role": role}, datetime.now(UTC))
    typer.echo(f"{name} is {role} now")


@app.command()
def disable(name: Name) -> None:
    """Sign a person out and let them in no more; what they said stays theirs."""
    from datetime import UTC, datetime

    from serving.settings import load_settings
    from serving.store.queries import Store

    store, now = Store(load_settings().database), datetime.now(UTC)
    store.change_user(name, disabled_at=now)
    store.log(operator(), "disable_user", name, {}, now)
    typer.echo(f"{name} may no longer sign in")


@app.command()
def enable(name: Name) -> None:
    """Let a disabled person sign in again, with the password and the role that they had.

    jianwei users enable 王芳
    """
    from datetime import UTC, datetime

    from serving.settings import load_settings
    from serving.store.queries import Store

    store = Store(load_settings().database)
    store.enable_user(name)
    store.log(operator(), "enable_user", name, {}, datetime.now(UTC))
    typer.echo(f"{name} may sign in again")


def operator() -> str:
    """Who is at the command line, as the audit log has it: the user of the operating system."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"cli:{os.getuid()}"


def _password() -> str:
    """Twice from the terminal, or the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")
