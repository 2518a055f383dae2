"""`jianwei taxonomy …`, from the outside in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from complaints.taxonomy import Taxonomy
from jianwei.cli import main

Command = Callable[..., tuple[int, str, str]]


def test_whole_numbers_as_pandas_writes_them_become_plain_ids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,t\n一,2.0\n二,1.0\n三,\n四,2.0\n五,1.5\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["jianwei", "taxonomy", "draft", str(path), "--head", "topic=t"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert Taxonomy.parse(capsys.readouterr().out).heads["topic"].ids == ("2", "1", "1.5")


def test_odd_labels_are_warned_of_and_drafted(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,id\nRefund,a\nrefund,b\nRefund,c\nrefund,d\n", encoding="utf-8")
    code, out, err = command("taxonomy", "draft", path, "--head", "topic=t", "--head", "other=id")
    assert code == 0, err
    assert Taxonomy.parse(out).heads["topic"].ids == ("Refund", "refund")
    assert "warning: column 't' holds labels that differ in case" in err
    assert "warning: column 'id' holds 4 labels in 4 labelled rows" in err
