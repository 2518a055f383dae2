"""Files in, files out."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import tracemalloc
from datetime import datetime
from io import StringIO
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from complaints.bundle import Bundle
from complaints.errors import InvalidInput, UnreadableFile, UnwritableFile
from complaints.files import HEADER_ROWS, DataFile, Row
from complaints.policy import Policy
from complaints.predictor import Predictor
from complaints.records import Complaint, Prediction
from serving import bulk, bulk_journal, bulk_workers
from serving.bulk import predict_file
from serving.bulk_journal import Journal
from serving.bulk_output import table_answer
from serving.champion import Snapshot
from serving.routes.schemas import ComplaintIn


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
    assert [line["row"]["内容"] for line in lines] == [row["内容"] for row in table]
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
    for suffix in (".csv", ".parquet"):
        predict_file(predictor, source, tmp_path / f"out{suffix}", created_at="at")
        dated, undated = (row.values for row in DataFile(tmp_path / f"out{suffix}") if isinstance(row, Row))
        for due in ("respond_by", "resolve_by"):
            assert dated[due] is not None
            assert datetime.fromisoformat(dated[due]) == datetime.fromisoformat(first["prediction"]["risk"][due])
            assert undated[due] is None


def test_dates_as_tables_write_them(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_as: list[datetime | None] = []

    def noted(self: Predictor, complaints: list[Complaint]) -> list[Prediction]:
        read_as.extend(complaint.created_at for complaint in complaints)
        return ask(self, complaints)

    ask = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", noted)
    days = {
        "20260302": "2026-03-02T00:00",
        "2026/3/2": "2026-03-02T00:00",
        "2026/03/02 9:05": "2026-03-02T09:05",
        "2026/3/2 19:05:07": "2026-03-02T19:05:07",
        "2026-3-2 9:05": "2026-03-02T09:05",
        " 2026-03-02 10:00 ": "2026-03-02T10:00",
    }
    bad = ["202603021000", "45000.5", "1772000000", "-5", "20261302", "2026/13/2", "2026/3-2"]
    source = tmp_path / "in.csv"
    source.write_text("text,at\n" + "".join(f"坏了,{day}\n" for day in (*days, *bad)), encoding="utf-8")
    counts = predict_file(predictor, source, tmp_path / "out.csv", created_at="at")
    assert (counts.predicted, counts.failed) == (len(days), len(bad))
    assert set(read_as) == {datetime.fromisoformat(day) for day in days.values()}
    assert counts.errors is not None
    reasons = [row["reason"] for row in read(counts.errors)]
    assert reasons[:4] == ["at: a bare number is no date; write 2026-03-02 09:30 or 20260302"] * 4
    assert all(reason.startswith("at: Input should be a valid datetime") for reason in reasons[4:])


@pytest.mark.parametrize("number", ["20260302", "202603021000", "45000.5", "-5", ".5", "5."])
def test_the_service_takes_no_number_for_a_date(number: str) -> None:
    with pytest.raises(ValidationError, match="write it in ISO 8601"):
        ComplaintIn.model_validate({"text": "坏了", "created_at": number})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_row_names_who_answered(predictor: Predictor, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.csv").write_text("text,model_version\n坏了,x\n不制冷,y\n", encoding="utf-8")
    said = {"model_version": f"consumer {predictor.bundle.digest[:12]}", "policy_version": predictor.policy.version}
    said["taxonomy_version"] = predictor.taxonomy.version
    for given in (None, "consumer 17 0123456789ab"):
        predict_file(predictor, tmp_path / "in.csv", tmp_path / f"out{suffix}", model=given)
        rows = [row.values for row in DataFile(tmp_path / f"out{suffix}") if isinstance(row, Row)]
        assert len(rows) == 2
        for row in rows:
            assert said.items() <= row.items()
        assert suffix == ".jsonl" or [row["model_version_input"] for row in rows] == ["x", "y"]
        said["model_version"] = "consumer 17 0123456789ab"


def test_json_goes_out_as_it_came(predictor: Predictor, tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    came = [
        {"text": "空调坏了", "vip": True, "empty": "", "tags": ["a", 1.5, None], "n": 3.0, "who": {"id": 7}},
        {"text": "空调坏了", "id": 123456789012345678901234567890, "late": None},
        {"text": "空调坏了", "deep": deep},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in came), encoding="utf-8")
    predict_file(predictor, source, tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["row"] for line in lines] == came
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert all(line["prediction"]["heads"] for line in lines)


def test_columns_that_the_output_has_no_place_for_are_told(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text":"坏了"}\n' * HEADER_ROWS + '{"text":"坏了","late":1}\n' * 2, encoding="utf-8")
    for suffix in (".csv", ".parquet"):
        assert predict_file(predictor, source, tmp_path / f"out{suffix}").dropped == ("late",)
    assert predict_file(predictor, source, tmp_path / "out.jsonl").dropped == ()
    with (tmp_path / "out.jsonl").open(encoding="utf-8") as lines:
        assert json.loads(list(lines)[-1])["row"] == {"text": "坏了", "late": 1}


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


@pytest.mark.parametrize("suffix", [".CSV", ".Jsonl", ".PARQUET"])
def test_the_case_of_the_outputs_suffix_is_nothing(predictor: Predictor, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.csv").write_text("text\n坏了\n", encoding="utf-8")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / f"OUT{suffix}")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / f"out{suffix.lower()}")
    assert (tmp_path / f"OUT{suffix}").read_bytes() == (tmp_path / f"out{suffix.lower()}").read_bytes()


@pytest.mark.parametrize("terminal", [True, False])
def test_rows_are_counted_only_for_eyes(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    counted: list[DataFile] = []

    def count(self: DataFile) -> int:
        counted.append(self)
        return 1

    monkeypatch.setattr(DataFile, "count", count)
    (tmp_path / "in.csv").write_text("text\n坏了\n", encoding="utf-8")
    console = Console(file=StringIO(), force_terminal=terminal)
    assert predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", console=console).predicted == 1
    assert len(counted) == terminal


def test_one_worker_writes_each_window_before_it_reads_the_next_ones_texts(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    ask, commit = Predictor.predict, Journal.commit

    def asked(self: Predictor, complaints: list[Complaint]) -> list[Prediction]:
        done.append("ask")
        return ask(self, complaints)

    def committed(self: Journal, *args: Any, **kwargs: Any) -> None:
        done.append("commit")
        commit(self, *args, **kwargs)

    monkeypatch.setattr(bulk, "ROWS", 4)
    monkeypatch.setattr(Predictor, "predict", asked)
    monkeypatch.setattr(Journal, "commit", committed)
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"第{i}单坏了\n" for i in range(16)), encoding="utf-8")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv")
    assert done == ["commit", *["ask", "commit"] * 4]  # the first is of the header


def test_a_killed_worker_is_told_plainly_whenever_it_is_met(predictor: Predictor) -> None:
    others = set(active_children())
    workers = bulk_workers.Processes(predictor, table_answer, 1)
    try:
        answers = workers.ask([Complaint(text="空调坏了")])
        [worker] = set(active_children()) - others
        worker.kill()
        for ask in (answers, lambda: workers.ask([Complaint(text="空调坏了")])):
            with pytest.raises(UnwritableFile, match="give the same command again"):
                ask()
    finally:
        workers.close()


def test_memory_stays_flat(predictor: Predictor, tmp_path: Path) -> None:
    class Quick:
        """Tracing makes the model slow, and its memory is not what this is about."""

        taxonomy, bundle, policy = predictor.taxonomy, predictor.bundle, predictor.policy
        [answer] = predictor.predict([Complaint(text="空调坏了")])

        def predict(self, complaints: list[Complaint]) -> list[Prediction]:
            return [self.answer.model_copy() for _ in complaints]

    def peak(rows: int) -> int:
        source = tmp_path / f"{rows}.csv"
        source.write_text("text\n" + "".join(f"空调坏了客服态度差{i}\n" for i in range(rows)), encoding="utf-8")
        tracemalloc.start()
        predict_file(Quick(), source, tmp_path / f"{rows}.out.csv")  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, kept = bulk.ROWS, bulk.KEPT
    bulk.ROWS, bulk.KEPT = 128, 20_000
    try:
        peak(10)
        assert peak(4096) < 1.5 * peak(1024)
    finally:
        bulk.ROWS, bulk.KEPT = few, kept


def test_the_same_complaint_is_answered_once(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS", 4)
    asked: list[str] = []
    ask = Predictor.predict

    def counted(self: Predictor, complaints: list[Complaint]) -> list[Prediction]:
        asked.extend(complaint.text for complaint in complaints)
        return ask(self, complaints)

    monkeypatch.setattr(Predictor, "predict", counted)
    texts = ["空调坏了", "客服态度差，让我等", "空调坏了", *["空调坏了"] * 9, "快递弄丢了", "客服态度差，让我等"]
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts), encoding="utf-8")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv")
    assert asked == ["客服态度差，让我等", "空调坏了", "快递弄丢了"]  # the longest of a window first
    assert [row["text"] for row in read(tmp_path / "out.csv")] == texts


def test_processes_answer_as_one_does(predictor: Predictor, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ROWS", 16)
    alone, shared = rows.with_name("alone.jsonl"), rows.with_name("shared.jsonl")
    one = predict_file(predictor, rows, alone)
    assert predict_file(predictor, rows, shared, processes=2).predicted == one.predicted
    assert shared.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize(("rows_of", "characters", "shared"), [(2048, 20, 1), (4, 4_000_000, 0), (3, 4_000_000, 1)])
def test_whatever_ends_the_first_window_the_rest_is_shared(
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows_of: int,
    characters: int,
    shared: int,
) -> None:
    started = []

    class Noted(bulk_workers.Processes):
        def __init__(self, *args: Any) -> None:
            started.append(args)
            super().__init__(*args)

    monkeypatch.setattr(bulk, "Processes", Noted)
    monkeypatch.setattr(bulk, "ROWS", rows_of)
    monkeypatch.setattr(bulk, "CHARACTERS", characters)
    (tmp_path / "in.csv").write_text("text\n" + "空调坏了，客服态度差\n" * 4, encoding="utf-8")
    done = predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv", processes=2)
    assert (len(started), done.predicted) == (shared, 4)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Four hundred rows, most of them different, one in twenty bad, some the same again, in words of two lines."""
    path = tmp_path / "in.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "id"])
        for i in range(400):
            text = "" if i % 20 == 7 else f"第{i % 130}单，空调坏了\n" + "客服不理" * (i % 7)
            writer.writerow([text, i])
    return path


KILLED = """
import sys
import time
from pathlib import Path
from complaints.bundle import Bundle
from complaints.policy import Policy
from complaints.predictor import Predictor
from serving import bulk
from serving.bulk_journal import Journal

commit = Journal.commit

def late(journal, *args, **kwargs):
    commit(journal, *args, **kwargs)
    if journal.mark.rows > 320:  # however late the kill comes, it comes before the end
        time.sleep(600)

if __name__ == "__main__":
    bulk.ROWS = 8
    Journal.commit = late
    predictor = Predictor(Bundle.open(sys.argv[1]), Policy.load())
    bulk.predict_file(predictor, Path(sys.argv[2]), Path(sys.argv[3]), processes=int(sys.argv[4]))
"""


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_run_killed_twice_gives_what_an_unbroken_one_gives(
    bundle: Bundle,
    predictor: Predictor,
    rows: Path,
    suffix: str,
    wait_until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unbroken, output = rows.with_name(f"unbroken{suffix}"), rows.with_name(f"out{suffix}")
    predict_file(predictor, rows, unbroken)
    script = rows.with_name("run.py")
    script.write_text(KILLED)
    journal = rows.with_name(f".out{suffix}.journal")
    for windows, processes in ((3, 2), (9, 1)):
        with subprocess.Popen([sys.executable, script, bundle.path, rows, output, str(processes)]) as process:
            try:
                wait_until(
                    lambda n=windows: journal.exists() and journal.read_bytes().count(b"\n") > n,
                    seconds=120,  # two more interpreters start, on a machine that may be busy
                )
                workers = children(process.pid)
            finally:
                process.kill()
        assert not output.exists()
        wait_until(lambda pids=tuple(workers): not any(map(living, pids)))
        with rows.with_name(f".out{suffix}.part").open("ab") as part:
            part.write("半".encode()[:2])  # a tail that was being written
        with journal.open("ab") as file:
            file.write(b'{"rows":')
    monkeypatch.setattr(bulk, "ROWS", 50)
    done = predict_file(predictor, rows, output)
    assert done.resumed >= 8 * 8
    assert (done.predicted, done.failed) == (380, 20)
    if suffix == ".parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table
        assert table(output).equals(table(unbroken))
    else:
        assert output.read_bytes() == unbroken.read_bytes()
    assert done.errors is not None
    assert done.errors.read_bytes() == unbroken.with_name(f"{unbroken.name}.errors.csv").read_bytes()
    assert not list(rows.parent.glob(".*"))


def living(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Stopped(Exception):
    pass


def stopped(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Make the next run end after so many windows, as if killed."""
    commit, left = Journal.commit, [after]

    def once(self: Journal, *args: Any, **kwargs: Any) -> None:
        if not left[0]:
            monkeypatch.setattr(Journal, "commit", commit)
            raise Stopped
        left[0] -= 1
        commit(self, *args, **kwargs)

    monkeypatch.setattr(bulk, "ROWS", 16)
    monkeypatch.setattr(Journal, "commit", once)


def test_going_on_with_something_else_is_refused(
    predictor: Predictor, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = rows.with_name("out.csv")
    stopped(monkeypatch, 3)
    with pytest.raises(Stopped):
        predict_file(predictor, rows, output)
    with pytest.raises(
        UnwritableFile, match=r"another choice of columns: .* remove .*\.out\.csv\.journal to start over"
    ):
        predict_file(predictor, rows, output, title="id")
    before = rows.read_bytes()
    rows.write_bytes(before + "又一行,401\n".encode())
    with pytest.raises(UnwritableFile, match="another input file"):
        predict_file(predictor, rows, output)
    rows.write_bytes(before)
    other = Predictor(predictor.bundle, Policy.load().model_copy(update={"version": "other", "_text": ""}))
    other.policy._text = None
    with pytest.raises(UnwritableFile, match="another policy"):
        predict_file(other, rows, output)
    with pytest.raises(UnwritableFile, match="another model"):
        predict_file(predictor, rows, output, model="consumer 17 0123456789ab")
    journal = rows.with_name(".out.csv.journal")
    begun = journal.read_bytes()
    journal.write_bytes(begun.replace(b'"format":3', b'"format":2', 1))
    with pytest.raises(UnwritableFile, match="another format"):
        predict_file(predictor, rows, output)
    journal.write_bytes(begun)
    assert predict_file(predictor, rows, output).resumed == 32  # the head of the table was the first


def test_a_run_that_ended_in_the_middle_of_its_end(
    predictor: Predictor, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = rows.with_name("out.csv")
    with monkeypatch.context() as patch:
        patch.setattr(bulk_journal, "_to_disk", lambda path: (_ for _ in ()).throw(Stopped()))
        with pytest.raises(Stopped):
            predict_file(predictor, rows, output)
    whole = output.read_bytes()
    done = predict_file(predictor, rows, output)
    assert (done.predicted, done.failed, done.resumed) == (380, 20, 400)
    assert output.read_bytes() == whole
    assert not list(rows.parent.glob(".*"))


def test_two_runs_at_once(predictor: Predictor, rows: Path) -> None:
    output = rows.with_name("out.csv")
    with (
        Journal(output, output.with_name("out.csv.errors.csv"), {}),
        pytest.raises(UnwritableFile, match="another run"),
    ):
        predict_file(predictor, rows, output)


def test_a_full_disk(predictor: Predictor, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, append, left = rows.with_name("out.csv"), bulk_journal._append, [9]

    def full(file: Any, added: bytes) -> None:
        left[0] -= 1
        if left[0] == 0:
            file.write(added[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, added)

    monkeypatch.setattr(bulk, "ROWS", 16)
    monkeypatch.setattr(bulk_journal, "_append", full)
    with pytest.raises(UnwritableFile, match="16 rows are done and kept; make room"):
        predict_file(predictor, rows, output)
    assert predict_file(predictor, rows, output).resumed == 16
    predict_file(predictor, rows, output.with_name("again.csv"))
    assert output.read_bytes() == output.with_name("again.csv").read_bytes()
