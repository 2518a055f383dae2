"""Commands from the outside in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jianwei.cli import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`jianwei …` in a home of its own: exit status, standard output, standard error."""
    monkeypatch.setenv("JIANWEI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JIANWEI_WORKERS", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it for good

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["jianwei", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run
