"""`jianwei evaluate`, from the outside in: which model is measured, on which rows, and what is said of the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from complaints.errors import InvalidInput
from jianwei.default_model import packaged_bundle
from serving.settings import Settings

Command = Callable[..., tuple[int, str, str]]
ROWS = [
    ("快递三天没动静", "logistics"), ("包裹压扁了里面全碎", "logistics"), ("派件员把东西放错小区", "logistics"),
    ("驿站关门一周取不到件", "logistics"), ("屏幕用两天就花屏", "quality"), ("空调不制冷还漏水", "quality"),
    ("锅底一洗就掉漆", "quality"), ("电池充一夜只用一小时", "quality"),
]  # fmt: skip


@pytest.fixture
def evaluate(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`jianwei evaluate …`, without the audit."""
    monkeypatch.setattr("training.audit.audit", lambda predictor, examples: {})
    return lambda *arguments: command("evaluate", *arguments)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe of ROWS by its name and its share of test rows."""
    rows = "".join(f"{text},{label}\n" for text, label in ROWS)
    (tmp_path / "rows.csv").write_text("text,d\n" + rows, encoding="utf-8")

    def write(name: str, test: float) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"name: {name}\ntaxonomy: consumer\nsources:\n  - {{file: rows.csv, heads: {{department: d}}}}\n"
            f"split: {{test: {test}, calibration: 0.25}}\n",
            encoding="utf-8",
        )
        return path

    return write


def test_rows_left_out_and_labels_unknown_to_the_model_are_told(
    evaluate: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "in.csv"
    rows = "".join(f"{text},{label}\n" for text, label in ROWS)
    path.write_text(
        f"text,d\n{rows}又一个,第十八部\n再一个,第十八部\n,quality\n没有标签,\n一,二,三\n", encoding="utf-8"
    )
    code, out, err = evaluate("--data", path, "--head", "department=d", "--json")
    assert code == 0, err
    assert json.loads(out)["heads"]["department"]["rows"] == len(ROWS)
    assert set(caplog.messages) >= {
        "head department: 2 rows are not counted, for their labels are unknown: '第十八部' (2)",
        "left out 1 rows: in.csv: no text",
        "left out 3 rows: in.csv: no label that is known",
        "left out 1 rows: in.csv: unreadable row (3 cells where the header has 2)",
    }


def test_a_recipe_is_measured_with_the_model_of_its_name(
    evaluate: Command, recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = evaluate(recipe("mine", 0.25))
    assert (code, "there is no registry" in err) == (2, True)  # and no other model was opened
    monkeypatch.setenv("JIANWEI_MODEL", "served")
    code, _, err = evaluate(recipe("consumer", 0.25))  # for which there is the packaged one
    assert (code, "model: consumer packaged" in err) == (0, True), err


def test_what_is_said_goes_before_the_name_of_the_recipe(
    evaluate: Command, recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(settings: Settings, model: str | None, bundle: Path | None) -> None:
        asked.append((model, bundle))
        raise InvalidInput("enough")

    monkeypatch.setattr("jianwei.work_commands._open", opened)
    path = recipe("mine", 0.25)
    for options in ((), ("--model", "other"), ("--bundle", "folder")):
        evaluate(path, *options)
    assert asked == [("mine", None), ("other", None), (None, Path("folder"))]


def test_a_recipe_without_a_test_part_says_so(evaluate: Command, recipe: Callable[..., Path]) -> None:
    code, _, err = evaluate(recipe("consumer", 0))
    assert code == 2
    assert "consumer.yaml has no test part" in err


@pytest.fixture
def page(evaluate: Command, tmp_path: Path) -> Callable[[], tuple[int, str]]:
    """Evaluate the packaged model on a few rows with a page: exit status and standard error."""
    (tmp_path / "in.csv").write_text("text,d\n" + "".join(f"{t},{d}\n" for t, d in ROWS), encoding="utf-8")

    def run() -> tuple[int, str]:
        code, _, err = evaluate(
            "--data", tmp_path / "in.csv", "--head", "department=d", "--bundle", packaged_bundle(),
            "--report", tmp_path / "page.html",
        )  # fmt: skip
        return code, err

    return run


def test_a_page_is_logged_to_mlflow_too(page: Callable[[], tuple[int, str]], tmp_path: Path) -> None:
    code, err = page()
    assert code == 0, err
    run_id = re.findall(r"logged to MLflow run (\w+)", err)[0]
    files = list((tmp_path / "home" / "artifacts" / "consumer" / run_id).rglob("report.html"))
    assert [file.read_text(encoding="utf-8") for file in files] == [(tmp_path / "page.html").read_text("utf-8")]


@pytest.mark.parametrize("registry", ["http://127.0.0.1:9", "sqlite:///{}/in.csv"])
def test_a_registry_that_is_dead_or_none_costs_no_page(
    page: Callable[[], tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    registry: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.format(tmp_path))
    code, err = page()
    assert code == 0, err
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    (warning,) = [one for one in caplog.messages if "MLflow" in one]
    assert warning.startswith("the page is written, but not logged to MLflow: see to MLFLOW_TRACKING_URI (")


def test_a_folder_that_is_not_there_is_told_before_the_work(evaluate: Command, recipe: Callable[..., Path]) -> None:
    code, _, err = evaluate(recipe("consumer", 0.25), "--report", "nowhere/page.html")
    assert code == 2
    assert "there is no folder nowhere" in err
    assert "model:" not in err
