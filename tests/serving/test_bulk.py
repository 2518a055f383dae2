"""Files in, files out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from complaints.bundle import Bundle
from complaints.errors import InvalidInput, UnreadableFile
from complaints.files import DataFile, Row
from complaints.predictor import Predictor
from complaints.records import Complaint, Prediction
from serving.bulk import predict_file
from serving.champion import Snapshot


@pytest.fixture(scope="session")
def predictor(snapshot: Snapshot) -> Predictor:
    return snapshot.predictor


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(
        "id,内容,渠道\n"
        "1,空调坏了,weibo\n"
        "2,\"=cmd|'/c calc'!A1,\n换行\",app\n"
        "3,,app\n"
        "4,少一格\n"
        "5,   ,app\n"
        "6,客服态度差,app\n",
        encoding="gb18030",
    )
    return path


def read(path: Path) -> list[dict[str, str]]:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_csv(predictor: Predictor, source: Path) -> None:
    output = source.with_name("out.csv")
    counts = predict_file(predictor, source, output, text="内容", channel="渠道")
    rows = read(output)
    assert [row["id"] for row in rows] == ["1", "2", "6"]
    assert rows[1]["内容"] == "=cmd|'/c calc'!A1,\n换行"  # data stays as it came
    [alone] = predictor.predict([Complaint(text="空调坏了", channel="weibo")])
    category = alone.heads["category"]
    assert {
        "category": category.label,
        "category_confidence": str(category.confidence),
        "category_decision": category.decision,
        "risk_level": alone.risk.level,
        "severity": alone.risk.severity,
        "propagation_index": str(alone.risk.propagation.index),
        "warnings": "",
    }.items() <= rows[0].items()
    assert (counts.predicted, counts.failed) == (3, 3)
    assert counts.errors is not None
    assert [(row["row"], row["reason"]) for row in read(counts.errors)] == [
        ("3", "no text"),
        ("4", "2 cells where the header has 3"),
        ("5", "no text"),
    ]
    assert sorted(p.name for p in source.parent.iterdir()) == ["in.csv", "out.csv", "out.csv.errors.csv"]


def test_jsonl_and_parquet_agree_with_csv(predictor: Predictor, source: Path) -> None:
    outputs = {suffix: source.with_name(f"out{suffix}") for suffix in (".csv", ".jsonl", ".parquet")}
    for output in outputs.values():
        predict_file(predictor, source, output, text="内容")
    table = read(outputs[".csv"])
    lines = [json.loads(line) for line in outputs[".jsonl"].read_text(encoding="utf-8").splitlines()]
    assert [line["row"]["id"] for line in lines] == [row["id"] for row in table]
    assert [line["number"] for line in lines] == [1, 2, 6]
    assert (
        Prediction.model_validate_json(json.dumps(lines[0]["prediction"])).heads["category"].label
        == table[0]["category"]
    )
    parquet = pytest.importorskip("pyarrow.parquet").read_table(outputs[".parquet"]).to_pylist()
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in parquet] == table


def test_jsonl_that_is_hard_to_write_back(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = ['{"text":"空调坏了","x":"\\u0000"}', '{"text":"\\ud800"}', '{"text":"ok","x":"\\udfff"}', "{", '{"x":1}']
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for suffix in (".jsonl", ".csv", ".parquet"):
        counts = predict_file(predictor, source, tmp_path / f"out{suffix}")
        assert (counts.predicted, counts.failed) == (1, 4)


def test_dates_that_cannot_be_counted_from(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    days = ["2026-03-01T09:30:00", "9999-12-31T23:59:59", "0001-01-01T00:00:00", "soon", ""]
    source.write_text("text,at\n" + "".join(f"坏了,{day}\n" for day in days), encoding="utf-8")
    counts = predict_file(predictor, source, tmp_path / "out.jsonl", created_at="at")
    assert (counts.predicted, counts.failed) == (2, 3)
    first = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["prediction"]["risk"]["respond_by"].startswith("2026-03-01T")


def test_what_does_not_fit_is_refused_before_anything_is_written(predictor: Predictor, source: Path) -> None:
    before = source.read_bytes()
    (source.parent / "link.csv").symlink_to(source)
    for output in (source, source.parent / "link.csv", source.with_name("out.xls"), source.parent / "no" / "out.csv"):
        with pytest.raises(InvalidInput):
            predict_file(predictor, source, output, text="内容")
    with pytest.raises(UnreadableFile, match="'text'"):
        predict_file(predictor, source, source.with_name("out.csv"))
    assert source.read_bytes() == before
    assert sorted(p.name for p in source.parent.iterdir()) == ["in.csv", "link.csv"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_label_of_the_input_is_kept_beside_the_prediction(predictor: Predictor, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.csv").write_text("text,category,category_input\n坏了,x,y\n", encoding="utf-8")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / f"out{suffix}")
    [row] = [row for row in DataFile(tmp_path / f"out{suffix}") if isinstance(row, Row)]
    assert row.values["category_input_input"] == "x"
    assert row.values["category_input"] == "y"
    assert row.values["category"] in predictor.taxonomy.heads["category"].names


def test_no_errors_leave_no_file_of_errors(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\n坏了\n", encoding="utf-8")
    (tmp_path / "out.csv.errors.csv").write_text("of an earlier run")
    console = Console(file=StringIO())
    counts = predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", console=console)
    assert (counts.predicted, counts.failed, counts.errors) == (1, 0, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert "in.csv" in console.file.getvalue()  # type: ignore[attr-defined]


def test_memory_stays_flat(predictor: Predictor, tmp_path: Path) -> None:
    class Quick:
        """Tracing makes the model slow, and its memory is not what this is about."""

        taxonomy = predictor.taxonomy
        [answer] = predictor.predict([Complaint(text="空调坏了")])

        def predict(self, complaints: list[Complaint]) -> list[Prediction]:
            return [self.answer.model_copy() for _ in complaints]

    def peak(rows: int) -> int:
        source = tmp_path / f"{rows}.csv"
        source.write_text("text\n" + "空调坏了客服态度差\n" * rows, encoding="utf-8")
        tracemalloc.start()
        predict_file(Quick(), source, tmp_path / f"{rows}.out.csv")  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(4096) < 1.5 * peak(1024)


KILLED = """
import sys
from pathlib import Path
from complaints.bundle import Bundle
from complaints.predictor import Predictor
from complaints.risk import Policy
from serving.bulk import predict_file

print("go", flush=True)
predict_file(Predictor(Bundle.open(sys.argv[1]), Policy.load()), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_killed_run_leaves_nothing_that_looks_whole(bundle: Bundle, tmp_path: Path, wait_until: Any) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\n" + "空调坏了客服态度差\n" * 200_000, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(bundle.path), str(source), str(output)], stdout=subprocess.PIPE
    )
    wait_until(lambda: any(p.stat().st_size > 10_000 for p in tmp_path.glob(".out.csv-*")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not output.exists()
