"""`jianwei models …`: who made which version champion is in the audit log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from getpass import getuser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jianwei.cli import app
from serving.settings import load_settings
from serving.store.queries import Store
from training.registry import Registry


def test_promotions_and_rollbacks_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANWEI_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it for good
    settings = load_settings()
    registry = Registry(settings.tracking_uri, settings.artifacts)
    for i in range(2):
        registry.register("m", f"file:///nowhere/{i}", None, {})

    def run(*arguments: str) -> int:
        return CliRunner().invoke(app, ["models", *arguments]).exit_code

    assert run("rollback", "m") == 1  # nothing was done, nothing is logged
    assert run("promote", "m", "1") == 0
    assert run("promote", "m", "2", "--force", "--reason", "更好") == 0
    assert run("rollback", "m", "--reason", "更差") == 0
    assert run("challenge", "m", "2") == 0
    assert run("challenge", "m") == 0
    store = Store(settings.database)
    assert [(one.action, one.subject, one.detail) for one in reversed(store.logged(actor=f"cli:{getuser()}"))] == [
        ("promote", "m 1", {"reason": "by hand"}),
        ("promote_forced", "m 2", {"reason": "更好"}),
        ("rollback", "m 1", {"reason": "更差"}),
        ("challenge", "m 2", {"reason": ""}),
        ("challenge", "m", {"reason": ""}),
    ]
    assert len(store.logged()) == 5
    store.close()


def test_a_version_whose_run_is_gone_for_good_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANWEI_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    settings = load_settings()
    registry = Registry(settings.tracking_uri, settings.artifacts)
    runs = [registry.client.create_run(registry.experiment("m")).info.run_id for _ in range(2)]
    for run in runs:
        registry.client.log_metric(run, "test/topic/macro_f1", 0.5)
        registry.register("m", f"runs:/{run}/bundle", run, {})
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:  # as `mlflow gc` does
        for table in ("metrics", "latest_metrics", "runs"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (runs[0],))
    listed = CliRunner().invoke(app, ["models", "list"])
    assert listed.exit_code == 0
    kept, gone = listed.output.splitlines()
    assert (kept.split()[-2:], "topic" in gone) == (["topic", "0.500"], False)
