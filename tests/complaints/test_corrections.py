"""The corrections file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from complaints.corrections import read_corrections, write_corrections
from complaints.errors import UnreadableFile
from complaints.records import Correction


def _correction(number: int) -> Correction:
    return Correction(
        id=f"cor_{number}",
        prediction_id=f"pred_{number}",
        text="快递三天没动静，\n客服也不回😡",
        head="category",
        label="logistics.delay",
        predicted="service.attitude",
        decision="suggest",
        confidence=0.41,
        kind="explicit",
        actor="质检一组",
        given_at=datetime(2026, 3, 1, tzinfo=UTC),
        model_name="consumer",
        model_version="3",
        taxonomy_version="1.1.0",
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, some = tmp_path / "corrections.jsonl", [_correction(i) for i in range(3)]
    assert write_corrections(path, some) == 3
    assert list(read_corrections(path)) == some
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_made_by_hand_needs_no_model_nor_time_zone(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    said = _correction(1).model_dump(mode="json") | {"given_at": "2026-03-01T00:00:00"}
    path.write_text(json.dumps({key: value for key, value in said.items() if key != "model_name"}), "utf-8")
    assert list(read_corrections(path)) == [_correction(1).model_copy(update={"model_name": ""})]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    write_corrections(path, [_correction(1)])
    path.write_text(path.read_text("utf-8") + '{"id": "cor_2"}\n', "utf-8")
    with pytest.raises(UnreadableFile, match="line 2: prediction_id: Field required; write the file with"):
        list(read_corrections(path))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    path.write_bytes("快递".encode("gbk"))
    with pytest.raises(UnreadableFile, match="cannot be read"):
        list(read_corrections(path))


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    write_corrections(path, [_correction(1)])

    def breaks():
        yield _correction(2)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_corrections(path, breaks())
    assert [one.id for one in read_corrections(path)] == ["cor_1"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
