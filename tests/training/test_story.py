"""The whole way of a data scientist: from a file of labels to a registered model, and back."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner, Result

from complaints.bundle import Bundle
from complaints.corrections import write_corrections
from complaints.errors import InvalidInput
from complaints.examples import TEXTS, VECTORS
from complaints.predictor import Predictor, read_calibration
from complaints.records import Complaint, Correction
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from jianwei.cli import app
from training.model import load_base
from training.recipe import Recipe
from training.registry import Registry
from training.sources import SPLITS, read_sources

Command = Callable[..., Result]
WORDS = ["退款", "货款", "退钱", "换货"]
HAPPENED = ["拖了很久不到账", "被店家扣下了", "让我再等一个月", "一直没有动静", "说好了又变卦"]


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


def test_the_same_rows_and_seed_give_the_same_numbers(
    trained: Path, labelled_file: Path, home: Path, tiny_encoder: Path
) -> None:
    """In another process, in which strings have other hashes."""
    written = RECIPE.replace("name: mine", "name: same").format(file=labelled_file)
    (home / "same.yaml").write_text(written, encoding="utf-8")
    variables = {"JIANWEI_HOME": str(home), "JIANWEI_BASE_MODEL": str(tiny_encoder), "MLFLOW_TRACKING_URI": ""}
    other = str(int(os.environ.get("PYTHONHASHSEED", "random") == "7") + 7)
    said = subprocess.run(
        [sys.executable, "-m", "jianwei", "train", str(home / "same.yaml")],
        cwd=Path(__file__).parents[2],
        env=os.environ | variables | {"PYTHONHASHSEED": other},
        check=True,
        capture_output=True,
        text=True,
    )
    assert [word for word in ("torchvision", "type hints", "Warning") if word in said.stderr] == []
    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = (Bundle.open(path).manifest.run_id for path in (trained, home / "models" / "same-trained"))
    first, again = (client.get_run(run).data.metrics for run in runs)
    told = [key for key in first if not key.startswith("system/")]
    assert 0 < first["loss/topic"] < 1  # the labels alone are all right, and would tell little
    assert {key: again[key] for key in told} == pytest.approx({key: first[key] for key in told}, abs=5e-4, nan_ok=True)


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


def test_pyfunc_reads_titles_and_empty_cells(trained: Path, jianwei: Command, home: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{home}/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/mine/1")
    text, title = "让我再等一个月，客服也不回", "退款一直不到账"
    texts, titles = [text, text, text, None, float("nan")], [title, None, "长" * 5000, title, None]
    rows = pd.DataFrame({"text": texts, "title": titles})
    answers = model.predict(rows)
    assert len(answers) == 5
    assert answers["topic_decision"].tolist()[4] == "review"
    predictor = Predictor(Bundle.open(trained), Policy.load())
    wanted = [predictor.predict([Complaint(text=text, title=one)])[0] for one in (title, None, "长" * 1000)]
    predictor.close()
    assert [one.heads["topic"].confidence for one in wanted] == answers["topic_confidence"].tolist()[:3]
    assert wanted[0].heads["topic"].top_k != wanted[1].heads["topic"].top_k  # titles are read
    assert model.predict(pd.DataFrame({"text": [text]}))["topic_confidence"][0] == answers["topic_confidence"][1]


def test_predict_writes_a_row_for_each(trained: Path, jianwei: Command, labelled_file: Path, tmp_path: Path) -> None:
    jianwei("predict", labelled_file, "-o", tmp_path / "out.csv", "--text", "内容", "--model", "mine")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 180
    assert rows[0]["topic"] in {"物流", "质量", "退款"}
    assert 0 < float(rows[0]["topic_confidence"]) <= 1


def test_measuring_on_what_was_learned_is_told(
    trained: Path, jianwei: Command, labelled_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renamed, other = tmp_path / "renamed.jsonl", tmp_path / "other.jsonl"
    renamed.write_bytes(labelled_file.read_bytes())
    other.write_bytes(labelled_file.read_bytes() + b"\n")
    for path in (renamed, other):
        told = "--head", "topic=主题", "--head", "mood=情绪", "--text", "内容", "--model", "mine", "--json"
        jianwei("evaluate", "--data", path, *told)
    (warning,) = [one for one in caplog.messages if "this very file" in one]
    assert warning.startswith("renamed.jsonl: the model was made from this very file")


def test_versions_promote_and_roll_back(trained: Path, jianwei: Command, home: Path, tmp_path: Path) -> None:
    jianwei("models", "export", "mine", tmp_path / "carried")
    assert "version 2" in jianwei("models", "import", tmp_path / "carried").output
    assert "no earlier champion" in str(jianwei("models", "rollback", "mine", ok=False).exception)
    assert "not measured" in str(jianwei("models", "promote", "mine", "2", ok=False).exception)
    jianwei("models", "promote", "mine", "2", "--force", "--reason", "trial")
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


@pytest.fixture(scope="module")
def few(jianwei: Command, labelled_file: Path, home: Path) -> Path:
    written = RECIPE.replace("name: mine", "name: few", 1).replace("mood: 情绪", "").split("fit:")[0]
    (home / "few.yaml").write_text(
        written.format(file=labelled_file).replace("mine.yaml", "topic.yaml"), encoding="utf-8"
    )
    jianwei("taxonomy", "draft", labelled_file, "--head", "topic=主题", "-o", home / "topic.yaml")
    jianwei("train", home / "few.yaml")
    return home / "models" / "few-trained"


def test_few_rows_are_all_learned_from_and_the_card_says_so(few: Path) -> None:
    bundle = Bundle.open(few)
    assert bundle.manifest.metrics["calibration/folds"] == 4
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    learned = json.loads((few / "calibration.json").read_text(encoding="utf-8"))["heads"]["topic"]["thresholds"]
    assert "none was set apart for calibration" in card
    assert ("Head topic: no label decides alone" in card) is not any(learned.values())


def test_no_warm_start_is_calibrated_on_rows_that_its_base_has_learned(few: Path, jianwei: Command, home: Path) -> None:
    write_corrections(home / "one.jsonl", [correction(1, "退款拖了很久，没人理", "退款")])
    for recipe, says in (((), "RECIPE"), ((home / "few.yaml",), f"{home / 'few.yaml'}")):
        name = () if recipe else ("--name", "few")
        said = jianwei("train", *recipe, "--warm-start", "champion", "--data", home / "one.jsonl", *name, ok=False)
        assert isinstance(said.exception, InvalidInput)
        assert f"jianwei train {says} --corrections FILE" in str(said.exception)


ODD = """
name: odd
taxonomy: odd-labels.yaml
sources:
  - {{file: "工单（1+2）&3.jsonl", text: 内容, heads: {{部门（一级）: 主题}}}}
split: {{test: 0}}
fit: {{epochs: 1, steady: 0}}
"""


def test_ordinary_names_are_logged_and_without_a_test_part_nothing_is_called_one(
    jianwei: Command, labelled_file: Path, home: Path
) -> None:
    shutil.copy(labelled_file, home / "工单（1+2）&3.jsonl")
    jianwei("taxonomy", "draft", labelled_file, "--head", "部门（一级）=主题", "-o", home / "odd-labels.yaml")
    (home / "odd.yaml").write_text(ODD.format(), encoding="utf-8")
    said = jianwei("train", home / "odd.yaml").output
    assert "There was no test part." in said
    bundle = Bundle.open(home / "models" / "odd-trained")
    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = client.get_run(bundle.manifest.run_id)
    assert "sha256.工单_1_2__3.jsonl" in run.data.params
    assert "calibration/部门_一级_/macro_f1" in run.data.metrics
    assert "calibration/部门（一级）/macro_f1" in bundle.manifest.metrics
    assert not [key for key in (*run.data.metrics, *bundle.manifest.metrics) if key.startswith("test/")]
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "There was no test part." in card
    assert "## Calibration: all" in card
    assert "## Test" not in card


WORSE = """
name: mine
taxonomy: mine.yaml
sources:
  - {{file: {file}, text: 内容, heads: {{topic: 主题, mood: 情绪}}, show: true}}
fit: {{epochs: 25, patience: 25, learning_rate: 0.003, head_learning_rate: 0.01, batch_rows: 16}}
gate: {{fewest: 5, head_margin: 0.9, slower: 5}}
"""


def test_a_champion_that_does_not_open_any_more_stops_no_training_and_stays(
    jianwei: Command, labelled_file: Path, home: Path, taxonomy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "lost").mkdir()
    (home / "lost" / "manifest.txt").write_text("nothing of it is left", encoding="utf-8")
    registry = Registry(f"sqlite:///{home}/mlflow.db")
    registry.promote("lost", registry.register("lost", f"file://{home}/lost", None, {}), "first version")
    written = ODD.replace("odd-labels", "lost-labels").replace("name: odd", "name: lost")
    (home / "lost.yaml").write_text(written.format(), encoding="utf-8")
    shutil.copy(labelled_file, home / "工单（1+2）&3.jsonl")
    jianwei("taxonomy", "draft", labelled_file, "--head", "部门（一级）=主题", "-o", home / "lost-labels.yaml")
    said = jianwei("train", home / "lost.yaml", "--promote", ok=False)
    assert said.exit_code == 1
    assert "registered: lost version 2; champion is still 1" in said.output
    assert "champion lost version 1 cannot be opened" in caplog.text


def test_a_head_whose_column_is_empty_is_not_trained(
    jianwei: Command, labelled_rows: list[dict[str, str]], home: Path, taxonomy: Path
) -> None:
    rows = [row | {"情绪": ""} for row in labelled_rows]
    (home / "silent.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = jianwei(
        "train", "--data", home / "silent.jsonl", "--text", "内容", "--taxonomy", taxonomy, "--name", "silent",
        "--head", "topic=主题", "--head", "mood=情绪", ok=False,
    )  # fmt: skip
    assert isinstance(said.exception, InvalidInput)
    assert "head 'mood': column '情绪' of silent.jsonl gives the training rows no label" in str(said.exception)


@pytest.mark.parametrize("left_out", ["propagation", "department"])
def test_the_table_of_responsibility_stays_with_its_own_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, left_out: str
) -> None:
    asked: list[Taxonomy] = []

    def run(_: Recipe, taxonomy: Taxonomy, **__: object) -> None:
        asked.append(taxonomy)
        raise InvalidInput("far enough")

    monkeypatch.setattr("training.train.train", run)
    whole = Taxonomy.load("consumer")
    heads = [part for head in whole.heads if head != left_out for part in ("--head", f"{head}={head}")]
    (tmp_path / "rows.csv").write_text(",".join(["text", *whole.heads]), encoding="utf-8")
    command = ["train", "--data", str(tmp_path / "rows.csv"), "--taxonomy", "consumer", *heads]
    CliRunner(env={"JIANWEI_HOME": str(tmp_path)}).invoke(app, command)
    kept = left_out == "propagation"
    assert asked[0].responsibility == (whole.responsibility if kept else None)
    assert ("responsibility" in caplog.text) is not kept


def far_enough(*_: object, **__: object) -> None:
    """In place of what takes long and is not looked at."""
    raise InvalidInput("far enough")


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("split", ["train", "test", ""], 'split: "split"'),
        (
            "集合",
            ["训练", "验证集", "Test"],
            'split: "集合", parts: {"Test": "test", "训练": "train", "验证集": "calibration"}',
        ),
        ("split", ["train", "train", "train"], None),
        ("split", ["dev", "valid", "dev"], None),
        ("grade", ["train", "test", "A"], None),
        ("mood", ["train", "test", "test"], None),
    ],
)
def test_parts_that_a_file_names_are_not_passed_over_in_silence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    column: str,
    values: list[str],
    says: str | None,
) -> None:
    monkeypatch.setattr("training.train.train", far_enough)
    rows = "".join(f"快递{i},logistics,{value}\n" for i, value in enumerate(values))
    (tmp_path / "rows.csv").write_text(f"text,d,{column}\n{rows}", encoding="utf-8")
    heads = ["--head", "department=d", "--head", "sentiment=mood"] if column == "mood" else ["--head", "department=d"]
    command = ["train", "--data", "rows.csv", "--datasets", str(tmp_path), "--taxonomy", "consumer", *heads]
    CliRunner(env={"JIANWEI_HOME": str(tmp_path / "home")}).invoke(app, command)
    told = [line for line in caplog.messages if "seems to name parts" in line]
    assert [line.partition("whose source says ")[2] for line in told] == ([] if says is None else [says])


def test_texts_that_stand_with_two_labels_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A leaf and its parent do not contradict each other; equal texts are those that are equal once cleaned."""
    monkeypatch.setattr("training.train.split", far_enough)
    rows = [
        ("快递三天没动静", "logistics"),
        ("快递三天没动静 ", "quality"),
        ("屏幕碎了", "quality"),
        ("屏幕碎了", "quality"),
    ]
    parent = Taxonomy.load("consumer").heads["category"].parents[0]
    leaf = next(one for one in Taxonomy.load("consumer").heads["category"].ids if one.startswith(f"{parent}."))
    lines = [f"{text},{label},{(parent, leaf)[i % 2]}\n" for i, (text, label) in enumerate(rows)]
    (tmp_path / "rows.csv").write_text("text,d,c\n" + "".join(lines), encoding="utf-8")
    command = ["train", "--data", str(tmp_path / "rows.csv"), "--taxonomy", "consumer"]
    command += ["--head", "department=d", "--head", "category=c"]
    CliRunner(env={"JIANWEI_HOME": str(tmp_path / "home")}).invoke(app, command)
    told = [line for line in caplog.messages if "two different labels" in line]
    assert [line.partition(";")[0] for line in told] == [
        "head department: 1 texts stand with two different labels or more"
    ]


def test_a_label_that_is_too_long_is_refused_in_plain_words(jianwei: Command, tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(f"text,t\n一,goods\n二,{'很长' * 70}\n", encoding="utf-8")
    said = jianwei("taxonomy", "draft", tmp_path / "long.csv", "--head", "topic=t", ok=False)
    assert isinstance(said.exception, InvalidInput)
    assert "column 't' holds a label of 140 characters" in str(said.exception)


def correction(number: int, text: str, label: str) -> Correction:
    return Correction(
        id=f"cor_{number:04d}", prediction_id=f"pred_{number}", text=text, head="topic", label=label, predicted="物流",
        decision="suggest", confidence=0.4, kind="explicit", actor="质检一组", model_name="mine", model_version="1",
        taxonomy_version="1", given_at=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number),
    )  # fmt: skip


def test_a_candidate_that_is_worse_on_one_class_is_refused(
    trained: Path, jianwei: Command, labelled_rows: list[dict[str, str]], labelled_file: Path, home: Path
) -> None:
    """People call every refund a delivery: the model that believes them never says refund again."""
    refunds = [row["内容"] for row in labelled_rows if row["主题"] == "退款"]
    write_corrections(home / "wrong.jsonl", [correction(i, text, "物流") for i, text in enumerate(refunds)])
    (home / "worse.yaml").write_text(WORSE.format(file=labelled_file), encoding="utf-8")
    result = jianwei("train", home / "worse.yaml", "--corrections", home / "wrong.jsonl", "--promote", ok=False)
    assert result.exit_code == 1
    assert "gate: refused" in result.output
    version = re.findall(r"registered: mine version (\d+); champion is still 1", result.output)[0]
    for said in (result.output, str(jianwei("models", "promote", "mine", version, ok=False).exception)):
        assert re.search(r"topic 退款 \(退款\): recall fell from [01]\.\d{3} to 0\.000 on \d+ rows \(test\)", said)
        assert "topic 质量" not in said
    assert "reason" in str(jianwei("models", "promote", "mine", version, "--force", ok=False).exception)
    shown = jianwei("models", "compare", "mine", version).output
    assert "gate: refused" in shown
    assert re.search(r"test +topic +退款 +\d+ +recall", shown)
    assert "refused" in jianwei("models", "list", "mine").output
    jianwei("models", "challenge", "mine", version)
    assert "challenger" in jianwei("models", "list", "mine").output
    jianwei("models", "challenge", "mine")
    listed = jianwei("models", "list", "mine").output.splitlines()
    assert not any("challenger" in line for line in listed if line.startswith("mine"))


def test_corrections_are_learned_from_where_the_champion_stands(trained: Path, jianwei: Command, home: Path) -> None:
    texts = [f"{word}{what}，{i}号" for i, (word, what) in enumerate(itertools.product(WORDS, HAPPENED))]
    write_corrections(home / "new.jsonl", [correction(i, text, "退款") for i, text in enumerate(texts)])
    said = jianwei("train", "--warm-start", "champion", "--data", home / "new.jsonl", "--name", "mine").output
    version = re.findall(r"registered: mine version (\d+)", said)[0]
    assert re.search(r"gate: (passed|refused)", said)
    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = client.get_run(client.get_model_version("mine", version).run_id)
    assert run.data.params["base"].startswith("mine (from ")
    assert run.data.tags["jianwei.warm"] == "True"
    assert run.data.metrics["test/topic/macro_f1"] > 0.6  # not forgotten
    counts = json.loads(Path(client.download_artifacts(run.info.run_id, "corrections.json", str(home))).read_text())
    assert counts["texts settled"] == counts["texts trained on"] + counts["texts held out, newest"] == len(texts)
    assert counts["texts held out, newest"] > 0
    card = Path(client.download_artifacts(run.info.run_id, "model/artifacts", str(home))).rglob("README.md")
    assert "not measured after a warm start" in next(card).read_text(encoding="utf-8")
    again = jianwei("train", "--warm-start", version, "--data", home / "new.jsonl", "--name", "mine", ok=False)
    assert again.exit_code == 0, again.exception  # its own recipe was kept with it


def test_a_warm_start_finds_the_packaged_model_before_anything_was_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the project's recipe, which reads what is at hand; a package without the project says what to do."""
    asked: list[tuple[Recipe, list[Path]]] = []

    def run(recipe: Recipe, _: object, *, folders: list[Path], **__: object) -> None:
        asked.append((recipe, folders))
        raise InvalidInput("far enough")

    monkeypatch.setattr("training.train.train", run)
    write_corrections(tmp_path / "new.jsonl", [correction(1, "退款拖了很久", "退款")])
    command = ["train", "--warm-start", "champion", "--data", str(tmp_path / "new.jsonl"), "--datasets", str(tmp_path)]

    def refused() -> str:
        return str(CliRunner(env={"JIANWEI_HOME": str(tmp_path)}).invoke(app, command).exception)

    assert refused() == "far enough"
    [(recipe, folders)] = asked
    assert recipe.name == "consumer"
    assert load_base(recipe.base, tmp_path).learned is not None
    read = read_sources(recipe, Taxonomy.load("consumer"), folders)
    assert {one.split for one in read.examples} == set(SPLITS)
    monkeypatch.setattr("jianwei.default_model.packaged_recipe", lambda: None)
    assert "consumer version 1 came without its recipe" in refused()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train"], "either a recipe or --data"),
        (["train", "--warm-start", "champion", "--name", "mine"], "a warm start learns corrections: say --data"),
        (["train", "--warm-start", "champion", "--name", "mine", "--data", "/nowhere.jsonl"], "nowhere.jsonl"),
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
        (
            ["train", "--data", "{file}", "--taxonomy", "{taxonomy}", "--head", "topic=主题", "--name", "投诉"],
            "'投诉' cannot name a model: say --name",
        ),
        (["taxonomy", "draft", "{file}", "--head", "topic=主题", "--name", "长" * 121], "--name has 121 characters"),
        (["train", "recipe.yaml", "--name", "other", "--text", "内容"], "--name, --text: a recipe says that itself"),
        (["train", "recipe.yaml", "--warm-start", "champion", "--name", "mine"], "--name: a recipe says that itself"),
        (
            ["train", "--warm-start", "champion", "--data", "{file}", "--taxonomy", "{taxonomy}", "--base", "packaged"],
            "--taxonomy, --base: a warm start goes on",
        ),
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
