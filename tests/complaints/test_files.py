"""Data files as people have them: any encoding, any damage, one broken line never costs the rest."""

from __future__ import annotations

import csv
import json
import logging
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from random import Random

import openpyxl
import pytest

from complaints.errors import UnreadableFile
from complaints.files import BadRow, DataFile, Row

TABLE = "编号,内容\n1,快递一直没有动静\n2,屏幕坏了没人管\n"
ROWS = [{"编号": "1", "内容": "快递一直没有动静"}, {"编号": "2", "内容": "屏幕坏了没人管"}]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(data: str | bytes, name: str = "t.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode(encoding))
        return path

    return put


def values(path: Path) -> list[dict[str, str | None]]:
    """Every row's values; a bad row fails the test."""
    rows = list(DataFile(path))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.values for row in rows if isinstance(row, Row)]


# ---- text in every encoding


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("gbk", "gb18030"),
        ("gb2312", "gb18030"),
        ("gb18030", "gb18030"),
        ("utf-16", "utf-16"),
    ],
)
def test_encodings(write: Write, encoding: str, found: str) -> None:
    path = write(TABLE, encoding=encoding)
    assert DataFile(path).encoding == found
    assert DataFile(path).columns == ["编号", "内容"]
    assert values(path) == ROWS


def test_utf16_big_endian(write: Write) -> None:
    assert values(write(b"\xfe\xff" + TABLE.encode("utf-16-be"))) == ROWS


def test_ascii_is_utf8(write: Write) -> None:
    path = write("a,b\n1,2\n")
    assert DataFile(path).encoding == "utf-8"
    assert values(path) == [{"a": "1", "b": "2"}]


def test_rare_characters_of_gb18030(write: Write) -> None:
    path = write("姓,内容\n㐀,𠮷野家太咸😡\n", encoding="gb18030")
    assert values(path) == [{"姓": "㐀", "内容": "𠮷野家太咸😡"}]


def test_utf16_without_a_mark_is_refused_as_binary(write: Write) -> None:
    with pytest.raises(UnreadableFile, match=r"binary.*export it as CSV"):
        DataFile(write(TABLE, encoding="utf-16-le"))


def test_what_is_neither_is_refused(write: Write) -> None:
    with pytest.raises(UnreadableFile, match="neither UTF-8 nor GBK; save it as UTF-8"):
        DataFile(write(b"a,b\n\xff\xff\xff,1\n"))


def test_a_broken_byte_in_a_long_utf8_file_costs_one_row(write: Write) -> None:
    lines = [f"{i},快递一直没有动静".encode() for i in range(40)]
    lines[7] = lines[7][:-1]
    rows = list(DataFile(write("编号,内容\n".encode() + b"\n".join(lines) + b"\n")))
    assert len(rows) == 40
    assert rows[7] == BadRow(8, "bytes that are not UTF-8")
    assert [row.number for row in rows if isinstance(row, BadRow)] == [8]


def test_a_long_utf8_file_cut_in_a_character_loses_its_last_row(write: Write) -> None:
    whole = "编号,内容\n" + "".join(f"{i},快递一直没有动静\n" for i in range(40))
    rows = list(DataFile(write(whole.encode()[:-2])))
    assert [isinstance(row, BadRow) for row in rows] == [False] * 39 + [True]


def test_a_short_utf8_file_cut_in_a_character_loses_its_last_row(write: Write) -> None:
    rows = list(DataFile(write(TABLE.encode()[:-2])))
    assert [type(row) for row in rows] == [Row, BadRow]


@pytest.mark.parametrize("broken", [b"\x80", "快递".encode("gbk")[:-1], b"\xff"])
def test_a_broken_byte_in_a_gbk_file_costs_one_row(write: Write, broken: bytes) -> None:
    lines = [f"{i},快递一直没有动静".encode("gbk") for i in range(40)]
    lines[7] = b"7," + broken
    path = write("编号,内容\n".encode("gbk") + b"\n".join(lines) + b"\n")
    assert DataFile(path).encoding == "gb18030"
    rows = list(DataFile(path))
    assert len(rows) == 40
    assert [row for row in rows if isinstance(row, BadRow)] == [BadRow(8, "bytes that are not GBK")]


def test_a_short_gbk_file_cut_in_a_character_loses_its_last_row(write: Write) -> None:
    rows = list(DataFile(write(TABLE.encode("gbk")[:-2])))
    assert [type(row) for row in rows] == [Row, BadRow]


def test_a_gbk_file_with_much_damage_is_refused(write: Write) -> None:
    lines = [f"{i},快递".encode("gbk") + b"\x80" * (i % 3 == 0) for i in range(40)]
    with pytest.raises(UnreadableFile, match="neither UTF-8 nor GBK"):
        DataFile(write(b"a,b\n" + b"\n".join(lines)))


def test_utf8_with_much_damage_is_not_taken_for_gbk(write: Write) -> None:
    text = "问题" * 40 + "\n"  # in GBK it is more characters, and they are as good
    with pytest.raises(UnreadableFile, match="neither UTF-8 nor GBK"):
        DataFile(write(("内容\n" + text).encode() + b"\xff\n" * 2))


@pytest.mark.parametrize("start", [0, 1])
def test_bytes_of_chance_are_refused(write: Write, start: int) -> None:
    chance = Random(start)
    with pytest.raises(UnreadableFile, match=r"binary|neither UTF-8 nor GBK"):
        DataFile(write(chance.randbytes(200_000)))
    with pytest.raises(UnreadableFile, match="neither UTF-8 nor GBK"):
        DataFile(write(bytes(byte for byte in chance.randbytes(200_000) if byte > 31)))


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "utf-16"])
def test_a_nul_byte_costs_one_row(write: Write, encoding: str) -> None:
    rows = list(DataFile(write(TABLE + "3,丢\0了\n4,坏了\n", encoding=encoding)))
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert [row for row in rows if isinstance(row, BadRow)] == [BadRow(3, "a NUL byte")]
    rows = list(DataFile(write('{"a": "x"}\n{"a": "\0"}\n{"a": "y"}\n', "t.jsonl", encoding)))
    assert [row for row in rows if isinstance(row, BadRow)] == [BadRow(2, "a NUL byte")]


def test_a_tail_of_nul_bytes_as_a_crash_leaves_it_costs_one_row(write: Write) -> None:
    rows = list(DataFile(write(TABLE + "3,坏了\n" * 10_000 + "\0" * 4096)))
    assert [row for row in rows if isinstance(row, BadRow)] == [BadRow(10_003, "a NUL byte")]


def test_a_replacement_character_in_valid_utf8_is_no_damage(write: Write) -> None:
    path = write(TABLE + "3,乱\ufffd码\n")
    assert DataFile(path).encoding == "utf-8"
    assert values(path)[2] == {"编号": "3", "内容": "乱\ufffd码"}
    assert values(write('{"内容": "乱\ufffd码"}\n', "t.jsonl")) == [{"内容": "乱\ufffd码"}]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_half_a_character_in_utf16_costs_its_row_alone(write: Write, encoding: str, name: str) -> None:
    head, line = (
        ("编号,内容\n", "{},快递{}没有动静\n") if name == "t.csv" else ("", '{{"编号": {}, "内容": "快递{}丢了"}}\n')
    )
    text = "\ufeff" + head + "".join(line.format(i, "😡" if i == 3001 else "一直") for i in range(1, 5001))
    emoji = "😡".encode(encoding)
    rows = list(DataFile(write(text.encode(encoding).replace(emoji, emoji[:2]), name)))
    assert len(rows) == 5000
    assert [row for row in rows if isinstance(row, BadRow)] == [BadRow(3001, "bytes that are not UTF-16")]
    assert isinstance(rows[-1], Row)
    assert rows[-1].values["编号"] == "5000"


def test_a_broken_byte_in_the_header_keeps_the_rows(write: Write) -> None:
    text = TABLE + "".join(f"{i},快递一直没有动静\n" for i in range(3, 40))
    file = DataFile(write(text.encode().replace("内容".encode(), "内容".encode()[:-1], 1)))
    assert file.columns == ["编号", "内\ufffd"]
    assert len(list(file)) == 39


def test_utf16_cut_in_a_character_ends_in_a_bad_row(write: Write) -> None:
    rows = list(DataFile(write(TABLE.encode("utf-16")[:-1])))
    assert isinstance(rows[0], Row)
    assert isinstance(rows[-1], BadRow)


# ---- CSV


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiters(write: Write, delimiter: str) -> None:
    assert values(write(TABLE.replace(",", delimiter))) == ROWS


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends(write: Write, newline: str) -> None:
    assert values(write(TABLE.replace("\n", newline))) == ROWS


def test_quoted_newlines_commas_and_quotes(write: Write) -> None:
    path = write('编号,内容\n1,"第一行\n第二行，""坏了"",没人管"\n2,好\n')
    assert values(path) == [
        {"编号": "1", "内容": '第一行\n第二行，"坏了",没人管'},
        {"编号": "2", "内容": "好"},
    ]


@pytest.mark.parametrize(
    ("open_row", "after"),
    [('3,"屏幕坏了', []), ('3,"屏幕坏了\n4,没人管\n5,还是没人管\n', [("4", "没人管"), ("5", "还是没人管")])],
)
def test_a_quote_that_is_never_closed_is_a_bad_row_and_not_a_long_text(
    write: Write, open_row: str, after: list[tuple[str, str]]
) -> None:
    rows = list(DataFile(write(TABLE + open_row)))
    assert [row.values for row in rows[:2] if isinstance(row, Row)] == ROWS
    assert isinstance(rows[2], BadRow)
    assert rows[2].number == 3
    assert "never closed" in rows[2].reason
    assert rows[3:] == [Row(int(number), {"编号": number, "内容": text}) for number, text in after]


def test_an_open_quote_that_a_quote_far_below_closes_costs_its_row_alone(write: Write) -> None:
    lines = [f"{i},快递{i}没有动静" for i in range(1, 1001)]
    lines[2], lines[10], lines[899] = '3,"快递丢了', '11,"坏了，\n还是，""坏""的"', '900,屏幕19"'
    rows = list(DataFile(write("编号,内容\n" + "\n".join(lines) + "\n")))
    assert [row for row in rows if isinstance(row, BadRow)] == [
        BadRow(3, "a quote is opened here and not closed: the lines after it are read as rows of their own")
    ]
    assert [row.number for row in rows] == list(range(1, 1001))
    assert rows[10] == Row(11, {"编号": "11", "内容": '坏了，\n还是，"坏"的'})
    assert rows[899] == Row(900, {"编号": "900", "内容": '屏幕19"'})


def test_an_open_quote_that_the_next_rows_quote_closes_costs_its_row_alone(write: Write) -> None:
    rows = list(DataFile(write('编号,内容\n1,"快递丢了\n2,"屏幕坏了"\n3,"没人管, 没人理"\n')))
    assert [type(row) for row in rows] == [BadRow, Row, Row]
    assert rows[2] == Row(3, {"编号": "3", "内容": "没人管, 没人理"})


def test_a_cell_of_many_lines_is_no_open_quote(write: Write) -> None:
    said = "\n".join(f"第{i}次，客服说“等”" + ", 再等, 还等" * (i % 3) for i in range(400))
    sloppy = '"他说\n很"好"了'  # no writer's, but people's
    path = write(f'编号,内容\n1,"{said}"\n2,{sloppy}\n3,好\n')
    assert [row["内容"] for row in values(path)] == [said, '他说\n很好"了', "好"]


def test_whatever_a_writer_of_csv_writes_is_read(write: Write) -> None:
    texts = ['"', '""', 'a"\n"b', "甲,乙\n丙,丁", '"甲",乙\r\n"丙",丁', "\n".join(["说,话"] * 40), '1,"好"\n2,"坏"']
    written = StringIO()
    csv.writer(written).writerows([["编号", "内容"], *([i, text] for i, text in enumerate(texts))])
    assert [row["内容"] for row in values(write(written.getvalue()))] == texts


def test_an_open_quote_in_one_column_costs_its_row_alone(write: Write) -> None:
    rows = list(DataFile(write('内容\n快递丢了\n"屏幕坏了\n' + "没人管\n" * 3)))
    assert [type(row) for row in rows] == [Row, BadRow, Row, Row, Row]


def test_an_open_quote_in_a_long_file_takes_no_memory(write: Write) -> None:
    path = write('编号,内容\n1,"快递丢了\n' + "2,屏幕坏了没人管，客服让我一直等\n" * 50_000)
    file = DataFile(path)
    tracemalloc.start()
    bad = sum(isinstance(row, BadRow) for row in file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bad == 1
    assert most < 1_000_000  # the file has two and a half million bytes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
@pytest.mark.parametrize(("said", "delimiter"), [("sep=;", ";"), ("SEP=,", ","), ("sep=\t", "\t"), ("sep=^", "^")])
def test_excels_line_that_names_the_delimiter_is_no_header(
    write: Write, encoding: str, said: str, delimiter: str
) -> None:
    path = write(f"{said}\r\n" + TABLE.replace(",", delimiter), encoding=encoding)
    assert DataFile(path).columns == ["编号", "内容"]
    assert values(path) == ROWS


@pytest.mark.parametrize("last", ['3,屏幕19"\n', '3,屏幕19"', '3,"屏幕\n坏了"', '3,"屏幕坏了"\n'])
def test_quotes_at_the_end_that_are_none_or_closed(write: Write, last: str) -> None:
    rows = list(DataFile(write(TABLE + last)))
    assert all(isinstance(row, Row) for row in rows)
    assert len(rows) == 3


def test_ragged_rows_are_bad_and_the_rest_is_read(write: Write) -> None:
    rows = list(DataFile(write("a,b\n1,2\n3\n4,5,6\n7,8\n")))
    assert rows == [
        Row(1, {"a": "1", "b": "2"}),
        BadRow(2, "1 cells where the header has 2"),
        BadRow(3, "3 cells where the header has 2"),
        Row(4, {"a": "7", "b": "8"}),
    ]


def test_empty_cells_are_none_and_empty_lines_no_rows(write: Write) -> None:
    assert list(DataFile(write("a,b\n\n1,\n\n,2\n"))) == [Row(1, {"a": "1", "b": None}), Row(2, {"a": None, "b": "2"})]


def test_one_column(write: Write) -> None:
    assert values(write("内容\n快递丢了\n屏幕坏了，没人管\n", "t.txt")) == [
        {"内容": "快递丢了"},
        {"内容": "屏幕坏了，没人管"},
    ]


def test_a_file_is_read_again_from_its_start(write: Write) -> None:
    file = DataFile(write(TABLE))
    assert list(file) == list(file)


def test_header_alone_has_no_rows(write: Write) -> None:
    assert list(DataFile(write("a,b"))) == []


def test_trailing_delimiters_as_excel_writes_them(write: Write) -> None:
    assert values(write("a,b,,\n1,2,,\n")) == [{"a": "1", "b": "2"}]


def test_a_cell_beyond_the_bound_is_a_bad_row(write: Write) -> None:
    rows = list(DataFile(write("a,b\n1," + "x" * (4 * 1024 * 1024 + 1) + "\n2,y\n")))
    assert isinstance(rows[0], BadRow)
    assert rows[-1] == Row(rows[-1].number, {"a": "2", "b": "y"})


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"", "t.csv", "is empty"),
        (b"a,a\n1,2\n", "t.csv", "names column 'a' twice; rename one"),
        (b"a, a \n1,2\n", "t.csv", "names column 'a' twice"),
        (b",,\n1,2,3\n", "t.csv", "no header: its first row must name the columns"),
        (b"\n\n", "t.csv", "no header"),
        (b"a,b\n\x00\x01\x02,1\n", "t.csv", "is binary, not text; export it"),
        (b"%PDF-1.7", "t.pdf", r"cannot read \.pdf; use \.csv"),
        (b"x", "t", "cannot read no suffix"),
        (b"a,b\n1,2\n", "t.xlsx", r"not a readable \.xlsx file .*save it from Excel again"),
        (b"a,b\n1,2\n", "t.parquet", "not a readable Parquet file"),
        (b"\n  \n", "t.jsonl", "holds no JSON object; JSONL has one object a line"),
        (b'[{"a": 1}]', "t.jsonl", "holds no JSON object"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(write: Write, data: bytes, name: str, said: str) -> None:
    with pytest.raises(UnreadableFile, match=said) as refused:
        DataFile(write(data, name))
    assert name in str(refused.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="does not exist"):
        DataFile(tmp_path / "none.csv")
    with pytest.raises(UnreadableFile, match="not a file"):
        DataFile(tmp_path)


def test_a_missing_column_is_named_with_those_there_are(write: Write) -> None:
    file = DataFile(write(TABLE))
    file.require(["内容"])
    with pytest.raises(UnreadableFile, match="has no column '正文', '标题'; it has '编号', '内容'"):
        file.require(["内容", "正文", "标题"])


# ---- JSONL


def test_jsonl_with_broken_lines(write: Write) -> None:
    lines = [
        '{"内容": "甲", "数": 3}',
        "{broken",
        "",
        '["a"]',
        "7",
        '{"内容": null, "数": 2.0}',
        '{"内容": "丙", "数": true}',
    ]
    rows = list(DataFile(write("\n".join(lines), "t.jsonl")))
    assert [type(row) for row in rows] == [Row, BadRow, BadRow, BadRow, Row, Row]
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.values for row in rows if isinstance(row, Row)] == [
        {"内容": "甲", "数": "3"},
        {"内容": None, "数": "2"},
        {"内容": "丙", "数": "true"},
    ]
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason.startswith("not JSON")


def test_jsonl_whose_first_line_is_broken_takes_its_columns_from_the_next(write: Write) -> None:
    assert DataFile(write('{x\n{"内容": "甲"}\n', "t.ndjson")).columns == ["内容"]


def test_jsonl_values_that_are_no_text(write: Write) -> None:
    row = {"表": ["坏", 1], "物": {"颜色": "红"}, "行": "甲\u2028乙"}
    assert values(write(json.dumps(row, ensure_ascii=False), "t.jsonl")) == [
        {"表": '["坏", 1]', "物": '{"颜色": "红"}', "行": "甲\u2028乙"}
    ]


def test_a_line_of_brackets_is_a_bad_row(write: Write) -> None:
    rows = list(DataFile(write('{"a": "x"}\n' + "[" * 200_000 + '\n{"a": "y"}\n', "t.jsonl")))
    assert [type(row) for row in rows] == [Row, BadRow, Row]


def test_half_a_character_in_json_is_a_bad_row(write: Write) -> None:
    rows = list(DataFile(write('{"a": "x"}\n{"a": "\\ud83d"}\n', "t.jsonl")))
    assert [type(row) for row in rows] == [Row, BadRow]


def test_not_a_number_is_an_empty_cell(write: Write) -> None:
    assert values(write('{"a": NaN, "b": "x"}\n', "t.jsonl")) == [{"a": None, "b": "x"}]


def test_json_rows_keep_what_they_were(write: Write) -> None:
    row = {
        "内容": "甲",
        "空": "",
        "真": True,
        "数": 3.0,
        "列": ["a", {"b": None}],
        "长": 123456789012345678901234567890,
    }
    [read] = list(DataFile(write(json.dumps(row) + "\n", "t.jsonl")))
    assert isinstance(read, Row)
    assert read.parsed == row
    [read] = list(DataFile(write('{"a": NaN, "b": -Infinity}\n', "t.jsonl")))
    assert read == Row(1, {"a": None, "b": "-Infinity"})
    assert isinstance(read, Row)
    assert read.parsed == {"a": None, "b": "-Infinity"}


# ---- Excel


def workbook(path: Path, rows: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def test_excel_with_numbers_and_empty_rows(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "t.xlsx",
        [
            ["编号", "内容", "金额"],
            [13800138000, "快递丢了", 19.5],
            [],
            [2, None, 3.0],
            ["0012", "第一行\n第二行", True],
        ],
    )
    file = DataFile(path)
    assert (file.encoding, file.columns) == (None, ["编号", "内容", "金额"])
    assert list(file) == [
        Row(1, {"编号": "13800138000", "内容": "快递丢了", "金额": "19.5"}),
        Row(2, {"编号": "2", "内容": None, "金额": "3"}),
        Row(3, {"编号": "0012", "内容": "第一行\n第二行", "金额": "true"}),
    ]
    assert list(file) == list(file)


@pytest.mark.parametrize("said", ["A1", "A1:B2"])
def test_excel_with_a_size_that_is_not_its_own(tmp_path: Path, said: str) -> None:
    whole = workbook(tmp_path / "whole.xlsx", [["编号", "内容"], [1, "快递丢了"], [2, "屏幕坏了"]])
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'ref="A1:B3"', f'ref="{said}"'.encode()))
    assert b"A1:B3" not in zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml")
    assert values(path) == values(whole) == [{"编号": "1", "内容": "快递丢了"}, {"编号": "2", "内容": "屏幕坏了"}]


def test_excel_dates_are_text(tmp_path: Path) -> None:
    from datetime import datetime

    path = workbook(tmp_path / "t.xlsx", [["时间"], [datetime(2026, 3, 15, 10, 30)]])  # noqa: DTZ001 - Excel has no zones
    assert values(path) == [{"时间": "2026-03-15 10:30:00"}]


def test_excel_with_several_sheets_says_which_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].title = "三月"
    book.worksheets[0].append(["内容"])
    book.create_sheet("四月").append(["另一页"])
    book.save(tmp_path / "t.xlsx")
    with caplog.at_level(logging.WARNING):
        file = DataFile(tmp_path / "t.xlsx")
        assert (file.columns, list(file)) == (["内容"], [])
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 't.xlsx'} has 2 sheets: only the first, '三月', is read"
    ]
    with pytest.raises(
        UnreadableFile, match=r"it has '内容'\. Of its 2 sheets only the first, '三月', is read: put the data"
    ):
        file.require(["正文"])
    caplog.clear()
    one = DataFile(workbook(tmp_path / "u.xlsx", [["内容"]]))
    with pytest.raises(UnreadableFile, match=r"it has '内容'$"):
        one.require(["正文"])
    assert not caplog.records


def test_excel_with_an_empty_first_sheet_says_what_to_do(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("数据").append(["内容"])
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(UnreadableFile, match=r"no header.*put the data on the first sheet, or save it as CSV"):
        DataFile(tmp_path / "t.xlsx")


def test_excel_formulas_that_were_never_computed(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["内容", "备注"],
        ["甲", "=1+1"],
        ["=A2", None],
        ["=A2", "乙"],
        [None, "丙"],
        ["=A9", None],
    ]
    file = DataFile(workbook(tmp_path / "t.xlsx", rows))
    assert next(row.values for row in file if isinstance(row, Row)) == {"内容": "甲", "备注": None}
    file.require(["内容"])
    reason = "'内容': a formula without a value; open the file in Excel and save it"
    assert list(file) == [
        Row(1, {"内容": "甲", "备注": None}),
        BadRow(2, reason),
        BadRow(3, reason),
        Row(4, {"内容": None, "备注": "丙"}),
        BadRow(5, reason),
    ]


def test_excel_formulas_with_values_are_read(tmp_path: Path) -> None:
    whole = workbook(tmp_path / "whole.xlsx", [["内容", "标题"], ["甲乙丙", 1], ["丁", "=A1"], ["=A2", "=A3"]])
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            sheet = old.read(name)
            for cell, kind, value in (("B3", "str", ""), ("A4", "str", "甲"), ("B4", "n", "7")):
                sheet = re.sub(
                    rf'<c r="{cell}"[^>]*>(<f>[^<]*</f>)<v */>'.encode(),
                    rf'<c r="{cell}" t="{kind}">\1<v>{value}</v>'.encode(),
                    sheet,
                )
            new.writestr(name, sheet)
    file = DataFile(path)
    file.require(["内容", "标题"])
    assert [row.values for row in file if isinstance(row, Row)] == [
        {"内容": "甲乙丙", "标题": "1"},
        {"内容": "丁", "标题": None},
        {"内容": "甲", "标题": "7"},
    ]


def test_excel_without_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no header"):
        DataFile(workbook(tmp_path / "t.xlsx", []))
    with pytest.raises(UnreadableFile, match="twice"):
        DataFile(workbook(tmp_path / "u.xlsx", [["a", "a"], [1, 2]]))


def test_excel_cells_beyond_the_header_are_a_bad_row(tmp_path: Path) -> None:
    rows: list[list[object]] = [["a", "b"], [1, 2, None, ""], [3, 4, None, 0], [None, None, "x"], [5]]
    assert list(DataFile(workbook(tmp_path / "t.xlsx", rows))) == [
        Row(1, {"a": "1", "b": "2"}),
        BadRow(2, "4 cells where the header has 2"),
        BadRow(3, "3 cells where the header has 2"),
        Row(4, {"a": "5", "b": None}),
    ]


def rewritten(path: Path, sheet: Callable[[bytes], bytes]) -> Path:
    """A workbook with other bytes in its first sheet."""
    other = path.with_name(f"other-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, sheet(data) if name == "xl/worksheets/sheet1.xml" else data)
    return other


def test_damage_in_a_workbook_says_how_far_it_was_read(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["a", "b"], *([i, "x"] for i in range(2000))])
    cut = rewritten(path, lambda sheet: sheet[: len(sheet) // 2])
    with pytest.raises(UnreadableFile, match=r"is damaged: \d{3,4} rows could be read, and no further \("):
        list(DataFile(cut))
    stored = rewritten(path, lambda sheet: sheet).read_bytes()
    cut.write_bytes(stored.replace(b"<v>1990</v>", b"<v>2990</v>"))
    with pytest.raises(UnreadableFile, match=r"is damaged: .* \(Bad CRC-32"):
        list(DataFile(cut))
    packed = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        sheet = archive.getinfo("xl/worksheets/sheet1.xml")
    middle = sheet.header_offset + sheet.compress_size // 2
    packed[middle : middle + 64] = b"\xff" * 64
    cut.write_bytes(packed)
    with pytest.raises(UnreadableFile, match=r"is damaged: \d+ rows could be read"):
        list(DataFile(cut))


def test_a_zip_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UnreadableFile, match="save it from Excel again"):
        DataFile(tmp_path / "t.xlsx")


# ---- Parquet


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"编号": [1, 2], "内容": ["快递丢了", None], "金额": [19.5, 3.0]})
    parquet.write_table(table, tmp_path / "t.parquet")
    file = DataFile(tmp_path / "t.parquet")
    assert (file.encoding, file.columns) == (None, ["编号", "内容", "金额"])
    assert list(file) == [
        Row(1, {"编号": "1", "内容": "快递丢了", "金额": "19.5"}),
        Row(2, {"编号": "2", "内容": None, "金额": "3"}),
    ]


def test_parquet_with_bytes(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = ["快递丢了".encode(), None, "屏幕".encode()[:-1], b""]
    table = pyarrow.table(
        {"内容": pyarrow.array(texts, pyarrow.binary()), "列": [[b"a"], [b"b"], [], [b"\xe5\xbf\xab"]]}
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    assert list(DataFile(tmp_path / "t.parquet")) == [
        Row(1, {"内容": "快递丢了", "列": '["a"]'}),
        Row(2, {"内容": None, "列": '["b"]'}),
        BadRow(3, "bytes that are not UTF-8"),
        Row(4, {"内容": None, "列": '["快"]'}),
    ]


def test_parquet_values_that_are_none_cost_their_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = pyarrow.array([b"a", b"\xe5\xbf", *[b"b"] * 20], pyarrow.binary()).view(pyarrow.string())
    times = pyarrow.array([0, 0, 2**50, *[0] * 18, -(2**50)], pyarrow.timestamp("s"))
    parquet.write_table(pyarrow.table({"内容": texts, "时间": times}), tmp_path / "t.parquet")
    rows = list(DataFile(tmp_path / "t.parquet"))
    assert [row.number for row in rows] == list(range(1, 23))
    text, late, early = (row for row in rows if isinstance(row, BadRow))
    assert text == BadRow(2, "bytes that are not UTF-8")
    assert (late.number, early.number) == (3, 22)
    assert late.reason.startswith("a value that cannot be read: ")


def test_damage_in_a_parquet_file_says_how_far_it_was_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    table = pyarrow.table({"a": [f"快递{i}" for i in range(20_000)]})
    parquet.write_table(table, path, row_group_size=5000, use_dictionary=False, compression="gzip")
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2 + 1000
    whole[middle : middle + 64] = b"\xff" * 64
    path.write_bytes(whole)
    with pytest.raises(UnreadableFile, match=r"is damaged: \d{4,5} rows could be read, and no further"):
        list(DataFile(path))


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_arrays([pyarrow.array(["x"]), pyarrow.array(["y"])], names=["a", "a"])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UnreadableFile, match="names column 'a' twice; rename one"):
        DataFile(tmp_path / "t.parquet")


def test_parquet_says_how_many_rows_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"a": [1, 2, 3]}), tmp_path / "t.parquet")
    monkeypatch.delattr(DataFile, "_parquet")
    assert DataFile(tmp_path / "t.parquet").count() == 3


NANOSECONDS = """
import sys
class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, NoPandas())
from complaints.files import DataFile
for row in DataFile(sys.argv[1]):
    print(*row.values.values(), sep="|")
"""


def test_parquet_with_nanoseconds_and_without_pandas(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    moment = 1_773_570_600_123_456_789
    kinds = [pyarrow.timestamp("ns"), pyarrow.timestamp("ns", "Asia/Shanghai"), pyarrow.timestamp("s")]
    columns = {str(kind): pyarrow.array([moment if "ns" in str(kind) else 0, None], kind) for kind in kinds}
    columns["take"] = pyarrow.array([1_000_000_001, None], pyarrow.duration("ns"))
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    done = subprocess.run(
        [sys.executable, "-c", NANOSECONDS, tmp_path / "t.parquet"], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "2026-03-15 10:30:00.123456|2026-03-15 18:30:00.123456+08:00|1970-01-01 00:00:00|0:00:01",
        "None|None|None|None",
    ]


def test_parquet_without_pyarrow_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UnreadableFile, match=r"needs pyarrow: pip install 'jianwei\[parquet\]'"):
        DataFile(write(b"PAR1", "t.parquet"))
