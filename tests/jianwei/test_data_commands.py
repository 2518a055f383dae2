"""`jianwei data …`, from the outside in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., tuple[int, str, str]]


def test_findings_as_json(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,t\n一,退款\n二,退款\n三,多,了\n四,退 款\n五,退 款\n", encoding="utf-8")
    code, out, err = command("data", "check", path, "--head", "topic=t", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["unreadable"] == {"3": "3 cells where the header has 2"}
    assert found["encoding"] == "utf-8"
    (warning,) = found["warnings"]["topic"]
    assert "'退款' (2) = '退 款' (2)" in warning
