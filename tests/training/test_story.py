"""The whole way of a data scientist: from a file of labels to a registered model, and back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner, Result

from complaints.bundle import Bundle
from complaints.examples import TEXTS, VECTORS
from complaints.predictor import read_calibration
from jianwei.cli import app

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def jianwei(home: Path, tiny_encoder: Path) -> Iterator[Command]:
    """Run a command as a user would, at a home of its own."""
    runner = CliRunner(
        env={"JIANWEI_HOME": str(home), "JIANWEI_BASE_MODEL": str(tiny_encoder), "MLFLOW_TRACKING_URI": ""}
    )

    def run(*arguments: object, ok: bool = True) -> Result:
        result = runner.invoke(app, [str(a) for a in arguments], catch_exceptions=True)
        if ok and result.exit_code and result.exception is not None:
            raise result.exception
        if ok:
            assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
        return result

    yield run
    mlflow.end_run()


@pytest.fixture(scope="module")
def taxonomy(jianwei: Command, labelled_file: Path, home: Path) -> Path:
    path = home / "mine.yaml"
    jianwei("taxonomy", "draft", labelled_file, "--head", "topic=主题", "--head", "mood=情绪", "-o", path)
    return path


RECIPE = """
name: mine
taxonomy: mine.yaml
sources:
  - {{file: {file}, text: 内容, heads: {{topic: 主题, mood: 情绪}}, show: true}}
fit: {{epochs: 25, patience: 25, learning_rate: 0.003, head_learning_rate: 0.01, batch_rows: 16}}
"""


@pytest.fixture(scope="module")
def trained(jianwei: Command, labelled_file: Path, taxonomy: Path, home: Path) -> Path:
    (home / "recipe.yaml").write_text(RECIPE.format(file=labelled_file), encoding="utf-8")
    said = jianwei("train", home / "recipe.yaml").output
    assert "mine version 1 (champion)" in said
    assert "SVM" in said
    return home / "models" / "mine-trained"


def test_draft_holds_the_labels_of_the_file(taxonomy: Path, jianwei: Command) -> None:
    shown = jianwei("taxonomy", "show", taxonomy).output
    assert all(label in shown for label in ("物流", "质量", "退款", "愤怒", "平静"))


def test_training_learns(trained: Path, jianwei: Command, labelled_file: Path) -> None:
    found = json.loads(
        jianwei(
            "evaluate", "--data", labelled_file, "--text", "内容", "--head", "topic=主题", "--model", "mine", "--json"
        ).stdout
    )
    topic = found["heads"]["topic"]
    assert topic["rows"] == 180
    assert topic["macro_f1"] > 0.6  # a third by chance
    low, high = topic["intervals"]["macro_f1"]
    assert low <= topic["macro_f1"] <= high
    assert {row["label"] for row in topic["classes"]} == {"物流", "质量", "退款"}


def test_the_run_says_what_it_did(trained: Path, home: Path) -> None:
    bundle = Bundle.open(trained)
    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = client.get_run(bundle.manifest.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["fit.seed"] == "1"
    assert "test/topic/macro_f1" in run.data.metrics
    assert "svm/topic/macro_f1" in run.data.metrics
    assert len(client.get_metric_history(run.info.run_id, "loss/topic")) >= 2
    names = {
        file.path
        for folder in ("", "confusion", "reliability")
        for file in client.list_artifacts(run.info.run_id, folder)
    }
    assert {"recipe.yaml", "report.json", "confusion/topic.png", "reliability/mood.png"} <= names
    assert {d.tags[0].value for d in run.inputs.dataset_inputs} == {"train", "calibration", "test"}
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert f"{run.data.metrics['test/topic/macro_f1']:.3f}" in card


def test_the_bundle_holds_all_that_serving_needs(trained: Path, labelled_rows: list[dict[str, str]]) -> None:
    bundle = Bundle.open(trained)
    assert {"graph.onnx", "calibration.json", "README.md", "NOTICE", TEXTS, VECTORS} <= set(bundle.manifest.files)
    calibration = read_calibration(bundle)
    assert calibration.scope is not None
    assert len(calibration.scope.weights) == 32
    for name, head in bundle.taxonomy.heads.items():
        assert set(calibration.heads[name].set_floors) == set(head.ids)
    shown = [json.loads(line) for line in (trained / TEXTS).read_text(encoding="utf-8").splitlines()]
    assert {row["text"] for row in shown} < {row["内容"] for row in labelled_rows}  # of the training part alone
    assert len(shown) == len({row["text"] for row in shown}) >= 100
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "Out of scope: AUROC" in card
    assert "| topic | " in card.split("## Beyond right and wrong")[1]  # faithfulness of the evidence


def test_an_answer_is_explained(trained: Path, jianwei: Command, labelled_rows: list[dict[str, str]]) -> None:
    text = labelled_rows[0]["内容"]
    got = json.loads(jianwei("predict", text, "--model", "mine").stdout)
    assert {one["head"] for one in got["evidence"]} <= {"topic", "mood"}
    assert got["evidence"]
    assert all(0 <= one["start"] < one["end"] <= len(text) for one in got["evidence"])
    assert len(got["similar"]) == 3
    assert got["similar"][0]["labels"].keys() == {"topic", "mood"}


def test_pyfunc_gives_the_same_answers(
    trained: Path, jianwei: Command, home: Path, labelled_rows: list[dict[str, str]]
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{home}/mlflow.db")
    texts = [row["内容"] for row in labelled_rows[:5]]
    table = mlflow.pyfunc.load_model("models:/mine/1").predict(pd.DataFrame({"text": texts}))
    for text, row in zip(texts, table.to_dict("records"), strict=True):
        alone = json.loads(jianwei("predict", text, "--model", "mine").stdout)["heads"]
        assert row["topic"] == alone["topic"]["label"]
        assert row["topic_confidence"] == alone["topic"]["confidence"]


def test_predict_writes_a_row_for_each(trained: Path, jianwei: Command, labelled_file: Path, tmp_path: Path) -> None:
    jianwei("predict", labelled_file, "-o", tmp_path / "out.csv", "--text", "内容", "--model", "mine")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 180
    assert rows[0]["topic"] in {"物流", "质量", "退款"}
    assert 0 < float(rows[0]["topic_confidence"]) <= 1


def test_versions_promote_and_roll_back(trained: Path, jianwei: Command, home: Path, tmp_path: Path) -> None:
    jianwei("models", "export", "mine", tmp_path / "carried")
    assert "version 2" in jianwei("models", "import", tmp_path / "carried").output
    assert "no earlier champion" in str(jianwei("models", "rollback", "mine", ok=False).exception)
    jianwei("models", "promote", "mine", "2", "--reason", "trial")
    assert "champion" in jianwei("models", "list", "mine").output.splitlines()[0]
    assert "version 1 again" in jianwei("models", "rollback", "mine").output
    assert "champion" in jianwei("models", "list", "mine").output.splitlines()[1]
    assert jianwei("models", "promote", "mine", "9", ok=False).exit_code != 0


def test_training_goes_on_from_a_bundle(trained: Path, jianwei: Command, labelled_file: Path, taxonomy: Path) -> None:
    said = jianwei(
        "train", "--data", labelled_file, "--text", "内容", "--taxonomy", taxonomy, "--name", "mine",
        "--head", "topic=主题", "--head", "mood=情绪", "--base", trained,
    ).output  # fmt: skip
    assert "champion is still 1" in said
    assert "SVM  champion" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train"], "either a recipe or --data"),
        (["train", "--data", "{file}", "--taxonomy", "consumer", "--head", "topic=主题"], "none of them in --head"),
        (
            ["train", "--data", "{file}", "--taxonomy", "{taxonomy}", "--head", "topic=没有", "--text", "内容"],
            "no column '没有'",
        ),
        (
            ["train", "--data", "{file}", "--taxonomy", "{taxonomy}", "--head", "topic=情绪", "--text", "内容"],
            "is not a label",
        ),
        (["train", "--data", "/nowhere.csv", "--taxonomy", "{taxonomy}", "--head", "topic=主题"], "nowhere.csv"),
        (["evaluate", "--data", "{file}", "--head", "oops", "--model", "mine"], "--head HEAD=COLUMN"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], says: str, trained: Path, jianwei: Command, labelled_file: Path, taxonomy: Path
) -> None:
    filled = [a.format(file=labelled_file, taxonomy=taxonomy) for a in arguments]
    result = jianwei(*filled, ok=False)
    assert says in str(result.exception)


def test_the_notebook_reads_the_run(trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANWEI_HOME", str(home))
    monkeypatch.setenv("JIANWEI_MODEL", "mine")
    notebook = nbformat.read(Path(__file__).parents[2] / "notebooks" / "errors.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the notebook's outputs"
    done = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(home)}}).execute()
    shown = "".join(str(output) for cell in done.cells for output in cell.get("outputs", []))
    assert "macro_f1" in shown
    assert "topic" in shown
