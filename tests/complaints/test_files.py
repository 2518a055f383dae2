"""Data files as people have them: any encoding, any damage, one broken line never costs the rest."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

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
        ("utf-8", "utf-8-sig"),
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
    assert DataFile(path).encoding == "utf-8-sig"
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


def test_a_replacement_character_in_valid_utf8_is_no_damage(write: Write) -> None:
    path = write(TABLE + "3,乱\ufffd码\n")
    assert DataFile(path).encoding == "utf-8-sig"
    assert len(list(DataFile(path))) == 3


def test_broken_utf16_is_refused_in_words(write: Write) -> None:
    with pytest.raises(UnreadableFile):
        list(DataFile(write(TABLE.encode("utf-16") + b"\x00\xd8\x41\x00")))


def test_broken_utf16_far_into_jsonl_costs_the_rest_but_does_not_raise(write: Write) -> None:
    good = ('{"内容": "快递一直没有动静"}\n' * 600).encode("utf-16")
    rows = list(DataFile(write(good + b"\x00\xd8\x41\x00", "t.jsonl")))
    assert isinstance(rows[-1], BadRow)


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


@pytest.mark.parametrize("open_row", ['3,"屏幕坏了', '3,"屏幕坏了\n4,没人管\n5,还是没人管\n'])
def test_a_quote_that_is_never_closed_is_a_bad_row_and_not_a_long_text(write: Write, open_row: str) -> None:
    rows = list(DataFile(write(TABLE + open_row)))
    assert [row.values for row in rows[:2] if isinstance(row, Row)] == ROWS
    assert isinstance(rows[2], BadRow)
    assert (len(rows), rows[2].number) == (3, 3)
    assert "never closed" in rows[2].reason


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


def test_excel_without_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no header"):
        DataFile(workbook(tmp_path / "t.xlsx", []))
    with pytest.raises(UnreadableFile, match="twice"):
        DataFile(workbook(tmp_path / "u.xlsx", [["a", "a"], [1, 2]]))


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


def test_parquet_without_pyarrow_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UnreadableFile, match=r"needs pyarrow: pip install 'jianwei\[parquet\]'"):
        DataFile(write(b"PAR1", "t.parquet"))
