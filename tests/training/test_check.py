"""What `data check` finds in a file that holds one of every trouble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from complaints.errors import UnreadableFile
from training.check import EXAMPLES, RARE, Check, check_file, label_warnings

Write = Callable[..., Path]
PARCELS = [
    "快递三天没动静", "包裹丢在半路谁也不认", "派件员说我不在家可我一直在", "驿站关门拿不到东西", "物流停在外省一周",
    "签收的人根本不认识", "箱子压扁里面全碎", "少了两件没有说法", "送错小区让自己去取", "催了五遍还是运输中",
    "冷链化成一滩水", "预约上门结果放鸽子",
]  # fmt: skip
LONG = "我上个月在你们店里买的那台空调到今天还没有人来装，打了三次电话都说再等等"

ROWS = [
    *(f"{text},物流" for text in PARCELS),  # 1-12
    f"{LONG},售后",  # 13
    f"{LONG}　！,售后",  # 14: another text, nearly
    f"{LONG},物流",  # 15: same text, another label
    "屏幕碎了 请给我换,质量",  # 16
    "屏幕碎了 请给我换,质量",  # 17: duplicate, same label
    "屏幕碎了　请给我换,",  # 18: duplicate once cleaned, without a label
    "我的电话13812345678请回电,售后",  # 19
    "身份证11010519491231002X和13912345678都给了你们两遍,售后",  # 20
    "<手机号>已经打了没人接,质量",  # 21: masked before
    "this is all in english and not a complaint in chinese,质量",  # 22
    ",质量",  # 23: empty
    "   ,质量",  # 24: empty
    "一,二,三,四",  # 25: unreadable
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Check:
    path = tmp_path_factory.mktemp("check") / "工单.csv"
    path.write_bytes("\r\n".join(["内容,部门", *ROWS]).encode("gb18030"))
    return check_file(path, "内容", {"department": "部门"})


def test_file_and_columns(found: Check) -> None:
    assert found.encoding == "gb18030"
    assert found.columns == ["内容", "部门"]
    assert found.rows == len(ROWS)


def test_rows_that_cannot_be_used(found: Check) -> None:
    assert found.unreadable_rows == 1
    assert list(found.unreadable) == [25]
    assert "4 cells" in found.unreadable[25]
    assert found.empty_texts == 2
    assert found.not_chinese == 1


def test_duplicates_and_near_duplicates(found: Check) -> None:
    assert found.duplicates == 3  # rows 15, 17, 18
    assert found.near_duplicates == 1  # row 14


def test_labels(found: Check) -> None:
    assert found.labels == {"department": {"物流": 13, "售后": 4, "质量": 4}}
    assert next(iter(found.labels["department"])) == "物流"
    assert set(found.rare["department"]) == {"售后", "质量"}
    assert RARE == 10
    assert found.unlabelled == {"department": 1}


def test_conflicts_are_rows_of_equal_text_and_different_labels(found: Check) -> None:
    assert found.conflicts == {"department": [[13, 15]]}  # not 16-18, where one is merely silent


def test_personal_numbers_by_kind_and_row(found: Check) -> None:
    assert found.personal == {"<手机号>": 2, "<证件号>": 1}


def test_lengths(found: Check) -> None:
    assert found.longest == len(ROWS[21].split(",")[0])
    assert 7 < found.median < found.longest


def test_the_words_say_it_all(found: Check) -> None:
    said = found.describe()
    for part in (
        "25 rows, gb18030",
        "empty 2, not Chinese 1",
        "duplicates: 3 rows; near-duplicates: 1 more",
        "unreadable: 1 rows (row 25: ",
        "department: 3 labels, 1 rows without one",
        "rare (under 10 rows): ",
        "same text, different label: 1 texts (rows 13/15)",
        "<手机号> 2",
    ):
        assert part in said


def test_a_clean_file_has_no_findings(write: Write) -> None:
    path = write("a.csv", "text,t\n" + "".join(f"{text},x\n" for text in PARCELS))
    found = check_file(path, "text", {"h": "t"})
    assert found.encoding == "utf-8"
    assert (found.duplicates, found.near_duplicates, found.unreadable_rows, found.empty_texts) == (0, 0, 0, 0)
    assert found.not_chinese == 0
    assert found.rare == {"h": []}
    assert found.conflicts == {"h": []}
    assert found.warnings == {"h": []}
    assert "none found" in found.describe()


def test_whole_numbers_as_pandas_writes_them_are_one_label(write: Write) -> None:
    path = write("a.csv", "text,t\n一,1.0\n一,1\n二,2.0\n三,1.5\n")
    found = check_file(path, "text", {"h": "t"})
    assert found.labels == {"h": {"1": 2, "2": 1, "1.5": 1}}
    assert found.conflicts == {"h": []}


def test_a_label_of_white_space_is_none(write: Write) -> None:
    found = check_file(write("a.csv", "text,t\n一,x\n二,\n三, \n四,　\n"), "text", {"h": "t"})
    assert found.labels == {"h": {"x": 1}}
    assert found.unlabelled == {"h": 3}


def test_labels_as_many_as_rows_are_an_identifier(write: Write) -> None:
    path = write("a.csv", "text,t\n" + "".join(f"{text},GD{i:05}\n" for i, text in enumerate(PARCELS)))
    found = check_file(path, "text", {"h": "t"})
    (warning,) = found.warnings["h"]
    assert "column 't' holds 12 labels in 12 labelled rows" in warning
    assert "name another column in --head" in warning
    assert f"warning: {warning}" in found.describe()
    assert label_warnings("t", {"物流": 2, "售后": 2}) == []


def test_labels_of_one_row_are_counted_and_the_first_named() -> None:
    (warning,) = label_warnings("t", {"物流": 50, **{f"少{c}": 1 for c in "一二三四五六七八九十百千"}})
    assert "12 labels of one row" in warning
    assert "'少一', '少二'" in warning
    assert "and 2 more" in warning
    assert "物流" not in warning


def test_labels_that_typing_alone_tells_apart_are_named_by_group() -> None:
    counts = dict.fromkeys(["Refund", "refund", "ＲＥＦＵＮＤ", "退款", "退 款", "退款。", "换货"], 9)
    (warning,) = label_warnings("t", counts)
    assert "'Refund' (9) = 'refund' (9) = 'ＲＥＦＵＮＤ' (9), '退款' (9) = '退 款' (9) = '退款。' (9);" in warning
    assert "换货" not in warning


@pytest.mark.parametrize(
    "labels", [("-1", "0", "1"), ("1.5", "15"), ("1-2", "12"), ("C", "C++"), ("😀", "😡"), ("?", "!")]
)
def test_signs_that_mean_something_are_no_typing(labels: tuple[str, ...]) -> None:
    assert label_warnings("t", dict.fromkeys(labels, 9)) == []


def test_without_heads_and_without_rows(write: Write) -> None:
    found = check_file(write("a.csv", "text,t\n"), "text", {})
    assert (found.rows, found.longest, found.median) == (0, 0, 0)
    assert found.labels == {}
    assert "0 rows" in found.describe()


def test_a_difference_of_white_space_is_a_near_duplicate(write: Write) -> None:
    found = check_file(write("a.csv", "text\n快递三天没动静 客服也不回\n快递三天没动静客服也不回\n"), "text", {})
    assert found.duplicates + found.near_duplicates == 1


def test_only_the_first_unreadable_rows_are_listed(write: Write) -> None:
    found = check_file(write("a.csv", "text,t\n" + "一,二,三\n" * 9), "text", {})
    assert found.unreadable_rows == found.rows == 9
    assert list(found.unreadable) == list(range(1, EXAMPLES + 1))


@pytest.mark.parametrize(("text", "head"), [("缺", "t"), ("text", "缺")])
def test_a_missing_column_is_named(write: Write, text: str, head: str) -> None:
    with pytest.raises(UnreadableFile, match="no column '缺'"):
        check_file(write("a.csv", "text,t\n一,x\n"), text, {"h": head})
