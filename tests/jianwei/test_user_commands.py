"""`jianwei users …`, from the outside in."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from jianwei.cli import main
from serving import access
from serving.store.queries import Store


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.setenv("JIANWEI_HOME", str(tmp_path))

    def run(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["jianwei", "users", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_add_list_password_disable(command: Any, tmp_path: Path) -> None:
    assert command("add", "王芳", "--role", "lead", typed="correct horse\n")[0] == 0
    code, _, err = command("add", "李明", typed="short\n")
    assert (code, "10 to 200 characters" in err) == (2, True)
    code, _, err = command("add", "李明", "--role", "boss", typed="correct horse\n")
    assert (code, "analyst, lead, admin" in err) == (2, True)
    assert command("add", "王芳", typed="correct horse\n")[2] == "jianwei: there is a user 王芳 already\n"
    store, now = Store(f"sqlite:///{tmp_path / 'jianwei.db'}"), datetime.now(UTC)
    access.sign_in(store, "王芳", "correct horse", now)
    assert command("password", "王芳", typed="battery staple\n")[0] == 0
    access.sign_in(store, "王芳", "battery staple", now)
    assert command("list")[1] == "王芳\tlead\tmay sign in\n"
    assert command("disable", "王芳")[0] == 0
    assert "disabled" in command("list")[1]
    assert command("disable", "李明")[2] == "jianwei: there is no user 李明\n"
    said = [(one.action, one.subject, one.detail) for one in store.logged(actor=f"cli:{getuser()}")]
    assert said == [("disable_user", "王芳", {}), ("password", "王芳", {}), ("add_user", "王芳", {"role": "lead"})]
    store.close()


def test_role_and_enable(command: Any, tmp_path: Path) -> None:
    assert command("add", "王芳", typed="correct horse\n")[0] == 0
    store, now = Store(f"sqlite:///{tmp_path / 'jianwei.db'}"), datetime.now(UTC)
    token = access.sign_in(store, "王芳", "correct horse", now).token
    for role in access.ROLES:
        assert command("role", "王芳", role)[1] == f"王芳 is {role} now\n"
    with pytest.raises(access.SignInRefused):
        access.signed_in(store, token, now)
    assert access.sign_in(store, "王芳", "correct horse", now).person.role == "admin"
    code, _, err = command("role", "王芳", "boss")
    assert (code, "boss" in err) == (2, True)
    assert command("role", "李明", "lead")[2] == "jianwei: there is no user 李明\n"
    command("disable", "王芳")
    with pytest.raises(access.SignInRefused):
        access.sign_in(store, "王芳", "correct horse", now)
    assert command("enable", "王芳")[1] == "王芳 may sign in again\n"
    assert command("list")[1] == "王芳\tadmin\tmay sign in\n"
    assert access.sign_in(store, "王芳", "correct horse", now).person.role == "admin"
    assert command("enable", "李明")[2] == "jianwei: there is no user 李明\n"
    said = [(one.action, one.detail) for one in store.logged(actor=f"cli:{getuser()}", subject="王芳")]
    assert said[:3] == [("enable_user", {}), ("disable_user", {}), ("change_role", {"role": "admin"})]
    store.close()
