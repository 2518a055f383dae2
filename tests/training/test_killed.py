"""A training run that is killed leaves no half model behind: no version, no finished run, no bundle."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from training.registry import Registry

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds for imports and one epoch on a busy machine; a few are enough on an idle one

TAXONOMY = """
name: short
title: 短
version: 1.0.0
heads:
  topic:
    name: 主题
    kind: flat
    labels: [{id: goods, name: 质量}, {id: parcel, name: 物流}, {id: money, name: 退款}]
"""
RECIPE = """
name: short
taxonomy: short.taxonomy.yaml
sources: [{{file: {file}, text: 内容, heads: {{topic: 主题}}}}]
fit: {{epochs: 100000, patience: 100000, batch_rows: 8}}
"""


def ask(database: Path, query: str) -> list[tuple[object, ...]]:
    """Rows of a query, read-only; none while the tables are still being made."""
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory,
    new_registry: Callable[[Path], str],
    tiny_encoder: Path,
    labelled_file: Path,
) -> Iterator[Path]:
    """The home of a run that was killed after its first epoch was logged."""
    home = tmp_path_factory.mktemp("home")
    new_registry(home)
    (home / "short.taxonomy.yaml").write_text(TAXONOMY, encoding="utf-8")
    (home / "recipe.yaml").write_text(RECIPE.format(file=labelled_file), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JIANWEI_HOME": str(home),
        "JIANWEI_BASE_MODEL": str(tiny_encoder),
        "MLFLOW_TRACKING_URI": "",
        "OMP_NUM_THREADS": "1",
    }
    with (home / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", "from jianwei.cli import main; main()", "train", str(home / "recipe.yaml")],
            stdout=said, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + PATIENCE
            while not ask(home / "mlflow.db", "select 1 from metrics where key = 'loss/topic'"):
                assert process.poll() is None, (home / "said.txt").read_text(encoding="utf-8")
                assert time.monotonic() < until, f"no epoch within {PATIENCE} s"
                time.sleep(0.2)
            assert process.poll() is None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait(timeout=30)
        assert code == -signal.SIGKILL
        yield home


def test_no_version_is_registered(killed: Path) -> None:
    assert ask(killed / "mlflow.db", "select count(*) from metrics where key = 'loss/topic'")[0][0]  # it did train
    for table in ("registered_models", "model_versions", "registered_model_aliases"):
        assert ask(killed / "mlflow.db", f"select count(*) from {table}") == [(0,)]


def test_no_run_is_finished(killed: Path) -> None:
    assert [status for (status,) in ask(killed / "mlflow.db", "select status from runs")] in (["RUNNING"], ["FAILED"])


def test_no_bundle_is_left(killed: Path) -> None:
    assert not (killed / "models" / "short-trained").exists()
    assert not list(killed.rglob("bundle.json"))
    assert not list(killed.rglob("graph.onnx"))


def test_the_database_can_be_used_afterwards(killed: Path) -> None:
    with closing(sqlite3.connect(killed / "mlflow.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    registry = Registry(f"sqlite:///{killed}/mlflow.db")
    assert registry.versions() == []
    assert registry.champion("short") is None
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
