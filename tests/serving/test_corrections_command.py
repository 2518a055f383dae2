"""`jianwei corrections export`: from what people said over HTTP to the file that training reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from getpass import getuser
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from complaints.corrections import read_corrections
from complaints.errors import InvalidInput
from jianwei.cli import app
from serving.champion import Fixed, Snapshot
from serving.settings import Settings
from serving.store.queries import Store


def test_what_people_said_becomes_a_file(
    served: Callable[..., AbstractContextManager[httpx.Client]], snapshot: Snapshot, tmp_path: Path
) -> None:
    runner, out = CliRunner(env={"JIANWEI_HOME": str(tmp_path)}), tmp_path / "corrections.jsonl"
    with served(Settings(home=tmp_path, workers=1), Fixed(snapshot)) as client:
        given = client.post("/v1/predictions", json={"text": "空调坏了，电话13812345678"}).json()
        word = {"head": "category", "label": "logistics.delay", "actor": "甲", "note": "其实是物流，回13812345678"}
        said = client.post(f"/v1/predictions/{given['id']}/corrections", json=word)
        assert said.status_code in (200, 201), said.text
        result = runner.invoke(app, ["corrections", "export", str(out)])
        assert result.exit_code == 0, result.exception
        assert "1 corrections" in result.output
        [one] = read_corrections(out)
        assert (one.prediction_id, one.head, one.label, one.actor) == (given["id"], "category", "logistics.delay", "甲")
        assert one.predicted == given["heads"]["category"]["label"]
        assert (one.model_name, one.model_version, one.kind) == ("consumer", "7", "explicit")
        assert "13812345678" not in one.text
        assert one.note == "其实是物流，回<手机号>"
        later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        assert "0 corrections" in runner.invoke(app, ["corrections", "export", str(out), "--since", later]).output
        assert list(read_corrections(out)) == []
        only = runner.invoke(app, ["corrections", "export", str(out), "--kind", "implicit"])
        assert "0 corrections" in only.output
        others = runner.invoke(app, ["corrections", "export", str(out), "--model", "other"])
        assert "0 corrections of other" in others.output
        assert client.get("/v1/corrections/export", params={"model": "other"}).text == ""
        assert len(client.get("/v1/corrections/export", params={"model": "consumer"}).text.splitlines()) == 1
        served_now = CliRunner(env={"JIANWEI_HOME": str(tmp_path), "JIANWEI_MODEL": "other"})
        assert "0 corrections of other" in served_now.invoke(app, ["corrections", "export", str(out)]).output
    store = Store(f"sqlite:///{tmp_path / 'jianwei.db'}")
    logged = store.logged(action="export")
    mine = [line for line in reversed(logged) if line.actor == f"cli:{getuser()}"]
    assert {line.subject for line in logged} == {"corrections"}
    both = ["explicit", "implicit"]
    assert [line.detail for line in mine] == [
        {"since": None, "kinds": both, "model": "consumer"},
        {"since": later, "kinds": both, "model": "consumer"},
        {"since": None, "kinds": ["implicit"], "model": "consumer"},
        {"since": None, "kinds": both, "model": "other"},
        {"since": None, "kinds": both, "model": "other"},
    ]
    store.close()


def test_a_date_that_is_none(tmp_path: Path) -> None:
    runner = CliRunner(env={"JIANWEI_HOME": str(tmp_path)})
    result = runner.invoke(app, ["corrections", "export", str(tmp_path / "x"), "--since", "昨天"])
    assert isinstance(result.exception, InvalidInput)
    assert "2026-03-01" in str(result.exception)
    assert not (tmp_path / "x").exists()
    with pytest.raises(StopIteration):
        next(tmp_path.iterdir())
