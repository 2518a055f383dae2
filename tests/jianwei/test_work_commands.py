"""`jianwei predict`, from the outside in, with the model that comes with the package."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from complaints.bundle import Bundle
from complaints.policy import Policy
from complaints.taxonomy import Taxonomy
from jianwei.default_model import packaged_bundle
from serving.settings import load_settings
from training.registry import Registry

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def packaged() -> str:
    """What the packaged model is called in answers."""
    return f"consumer packaged {Bundle.open(packaged_bundle()).digest[:12]}"


def said(err: str) -> list[str]:
    """Lines of the command; those of JSON are of services that other tests have running."""
    return [line for line in err.splitlines() if not line.startswith("{")]


def test_one_complaint_says_who_answered(command: Command, packaged: str) -> None:
    code, out, err = command("predict", "快递三天没动静")
    assert (code, said(err)) == (0, [f"model: {packaged}"])
    answer = json.loads(out)
    assert answer["heads"]["category"]["label"]
    assert (answer["model_version"], answer["policy_version"], answer["taxonomy_version"]) == (
        packaged,
        Policy.load().version,
        Taxonomy.load("consumer").version,
    )
    code, _, err = command("predict", "快递三天没动静", "--bundle", packaged_bundle())
    assert (code, said(err)) == (0, [f"model: {packaged.replace('packaged', 'bundle')}"])
    code, _, err = command("predict", "快递三天没动静", "--channel", "渠道")
    assert code == 2
    assert "--created-at and --channel name columns of a file" in err


def test_time_and_channel_of_a_file(command: Command, packaged: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(
        "内容,时间,渠道\n空调不制冷,2026-03-02 10:00:00,weibo\n空调不制冷,2026-03-02 10:00:00,app\n"
        "空调不制冷,昨天,app\n空调不制冷,,app\n",
        encoding="utf-8",
    )
    code, out, err = command(
        "predict", source, "-o", output, "--text", "内容", "--created-at", "时间", "--channel", "渠道"
    )
    assert code == 0, err
    assert out == f"3 rows -> {output}; 1 could not be read, see {output}.errors.csv\n"
    assert f"model: {packaged}\n" in err
    with output.open(encoding="utf-8-sig", newline="") as file:
        public, private, undated = csv.DictReader(file)
    assert public["respond_by"].startswith("2026-03-02T1")
    assert public["resolve_by"].startswith("2026-03-")
    assert float(public["propagation_index"]) > float(private["propagation_index"])
    assert (undated["respond_by"], undated["resolve_by"]) == ("", "")
    assert {row["model_version"] for row in (public, private, undated)} == {packaged}
    assert "时间: Input should be a valid datetime" in (tmp_path / "out.csv.errors.csv").read_text(encoding="utf-8-sig")


def test_what_is_not_in_the_output_is_told(command: Command, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text('{"text":"坏了"}\n' * 1000 + '{"text":"坏了","备注":"急"}\n', encoding="utf-8")
    code, _, err = command("predict", source, "-o", output)
    assert code == 0
    assert f"not in {output}, for no early row has them: columns '备注'; write .jsonl to keep them\n" in err
    book = openpyxl.Workbook()
    book.worksheets[0].title = "三月"
    book.worksheets[0].append(["text"])
    book.worksheets[0].append(["=A1"])
    book.create_sheet("四月")
    book.save(tmp_path / "in.xlsx")
    code, out, err = command("predict", tmp_path / "in.xlsx", "-o", output)
    assert (code, out) == (0, f"0 rows -> {output}; 1 could not be read, see {output}.errors.csv\n")
    assert "a formula without a value" in (tmp_path / "out.csv.errors.csv").read_text(encoding="utf-8-sig")


def test_a_registry_without_a_champion_leaves_the_packaged_model(command: Command, packaged: str) -> None:
    settings = load_settings()
    registry = Registry(settings.tracking_uri, settings.artifacts)
    assert command("predict", "快递三天没动静")[2].endswith(f"model: {packaged}\n")
    registry.register("consumer", "file:///nowhere", None, {})
    assert command("predict", "快递三天没动静")[2].endswith(f"model: {packaged}\n")
    code, _, err = command("predict", "快递三天没动静", "--model", "consumer@nobody")
    assert (code, "nobody not found" in err) == (2, True)
    version = registry.register_bundle(Bundle.open(packaged_bundle()), "packaged")
    registry.promote("consumer", version, "test")
    assert command("predict", "快递三天没动静")[2].endswith(f"model: {packaged.replace('packaged', version)}\n")


def test_a_registry_that_does_not_answer_is_an_error(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as nobody:  # bound, and not listening: whoever connects is refused
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        code, out, err = command("predict", "快递三天没动静")
    assert (code, out) == (2, "")
    assert "the model registry does not answer, so it is not known which version of consumer to use" in err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mlflow.db").write_bytes(b"not a database" * 100)
    code, out, err = command("predict", "快递三天没动静")
    assert (code, out) == (2, "")
    assert "the model registry does not answer" in err
    assert "Traceback" not in err
