"""Files -> examples with partial labels: what is accepted, what is left out and said, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from complaints.errors import InvalidInput, UnknownLabel, UnreadableFile
from complaints.taxonomy import Taxonomy
from training.recipe import Recipe
from training.sources import KINDS, NAMED, Read, check_heads, read_sources, sha1

Write = Callable[..., Path]
Reader = Callable[..., Read]


@pytest.fixture
def read(three: Taxonomy, tmp_path: Path) -> Reader:
    """Read one source, given as its fields, from the test's folder."""

    def inside(**source: Any) -> Read:
        recipe = Recipe.model_validate({"name": "r", "taxonomy": "three", "sources": [source]})
        return read_sources(recipe, three, [tmp_path])

    return inside


def labels(read: Read) -> list[dict[str, str]]:
    return [one.labels for one in read.examples]


HEADS = {"topic": "主题", "mood": "情绪"}


def test_a_row_may_be_silent_on_a_head(write: Write, read: Reader) -> None:
    write("a.csv", "内容,主题,情绪\n屏幕碎了,goods,\n快递丢了,parcel,angry\n退钱,,calm\n什么都没有,,\n")
    found = read(file="a.csv", text="内容", heads=HEADS)
    assert labels(found) == [{"topic": "goods"}, {"topic": "parcel", "mood": "angry"}, {"mood": "calm"}]
    assert found.left_out == {"a.csv: no label": 1}
    assert [one.source for one in found.examples] == ["a"] * 3
    assert [one.split for one in found.examples] == [None] * 3


def test_chinese_names_leaves_and_parents_are_labels(write: Write, read: Reader) -> None:
    write("a.csv", "text,t,a\n一,物流,店里\n二, 质量 ,家里/电话\n三,money,shop.online\n四,goods,home\n")
    found = read(file="a.csv", heads={"topic": "t", "area": "a"})
    assert labels(found) == [
        {"topic": "parcel", "area": "shop"},
        {"topic": "goods", "area": "home.phone"},
        {"topic": "money", "area": "shop.online"},
        {"topic": "goods", "area": "home"},
    ]


def test_rename_to_a_label_to_a_name_and_to_nothing(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,快递类\n二,闲聊\n三,钱\n四,goods\n")
    rename = {"topic": {"快递类": "parcel", "闲聊": None, "钱": "退款"}}
    found = read(file="a.csv", heads={"topic": "t"}, rename=rename)
    assert labels(found) == [{"topic": "parcel"}, {"topic": "money"}, {"topic": "goods"}]
    assert found.left_out == {"a.csv: no label": 1}


def test_rename_does_not_stumble_over_white_space(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,快递类 \n")
    assert labels(read(file="a.csv", heads={"topic": "t"}, rename={"topic": {"快递类": "parcel"}})) == [
        {"topic": "parcel"}
    ]


def test_labels_of_an_earlier_version_are_today_s_or_dropped(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,old_parcel\n二,gossip\n三,goods\n")
    found = read(file="a.csv", heads={"topic": "t"})
    assert labels(found) == [{"topic": "parcel"}, {"topic": "goods"}]
    assert found.left_out == {"a.csv: no label": 1}


def test_where_and_title(write: Write, read: Reader) -> None:
    write("a.csv", "title,text,t,lang\n标题,正文,goods,zh\n,没有标题,money,zh\nx,english,goods,en\n,空,goods,\n")
    found = read(file="a.csv", title="title", heads={"topic": "t"}, where={"lang": "zh"})
    assert [(one.complaint.title, one.complaint.text) for one in found.examples] == [
        ("标题", "正文"),
        (None, "没有标题"),
    ]
    assert not found.left_out


def test_a_title_of_any_length_is_taken(write: Write, read: Reader) -> None:
    write("a.csv", f"title,text,t\n{'长' * 5000},正文,goods\n")
    assert read(file="a.csv", title="title", heads={"topic": "t"}).examples[0].complaint.title == "长" * 1000


def test_gbk_csv(write: Write, read: Reader) -> None:
    write("a.csv", "内容,主题\n快递三天没动静，客服也不回,物流\n屏幕一直闪，退换都不行,质量\n", "gbk")
    found = read(file="a.csv", text="内容", heads={"topic": "主题"})
    assert [one.complaint.text for one in found.examples] == ["快递三天没动静，客服也不回", "屏幕一直闪，退换都不行"]
    assert labels(found) == [{"topic": "parcel"}, {"topic": "goods"}]


def test_rows_without_text_and_unreadable_rows_are_counted(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,goods\n   ,goods\n,goods\n一,二,三,四\n二,money\n")
    found = read(file="a.csv", heads={"topic": "t"})
    assert [one.complaint.text for one in found.examples] == ["一", "二"]
    reason = "4 cells where the header has 2"
    assert found.left_out == {"a.csv: no text": 2, f"a.csv: unreadable row ({reason})": 1}


def test_a_few_kinds_of_reasons_are_told_apart(write: Write, read: Reader) -> None:
    bad = "".join("x," * (cells - 1) + "x\n" for cells in (3, 3, 4, 5, 6, 7, 8, 9))
    write("a.csv", "text,t\n一,goods\n" + bad)
    found = read(file="a.csv", heads={"topic": "t"}).left_out
    assert found["a.csv: unreadable row (3 cells where the header has 2)"] == 2
    assert found["a.csv: unreadable row (other reasons)"] == 2
    assert sum("unreadable row" in key for key in found) == KINDS + 1


def test_a_quote_that_is_never_closed_costs_its_row_and_is_told(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,goods\n" + '"二,goods\n三,money\n')
    found = read(file="a.csv", heads={"topic": "t"})
    assert [one.complaint.text for one in found.examples] == ["一", "三"]
    [(key, rows)] = found.left_out.items()
    assert "never closed" in key
    assert rows == 1


def test_a_head_whose_column_is_empty_is_refused(write: Write, read: Reader, three: Taxonomy) -> None:
    write("a.csv", "text,t,m\n" + "".join(f"{i},{('goods', 'parcel')[i % 2]},\n" for i in range(9)))
    found = read(file="a.csv", heads={"topic": "t", "mood": "m"})
    with pytest.raises(InvalidInput, match=r"head 'mood': column 'm' of a\.csv gives the training rows no label"):
        check_heads(found, found.examples, three)
    write("a.csv", "text,t,m\n" + "".join(f"{i},{('goods', 'parcel')[i % 2]},calm\n" for i in range(9)))
    found = read(file="a.csv", heads={"topic": "t", "mood": "m"})
    with pytest.raises(InvalidInput, match=r"head 'mood': .* the label 'calm' alone.*no --head mood"):
        check_heads(found, found.examples, three)


def test_heads_without_a_source_and_labels_without_a_row_are_warned_of(
    write: Write, read: Reader, three: Taxonomy, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        "a.csv",
        "text,t,a\n" + "".join(f"{i},{('goods', 'parcel')[i % 2]},{('shop', 'home')[i % 2]}\n" for i in range(9)),
    )
    found = read(file="a.csv", heads={"topic": "t", "area": "a"})  # area is known by its parents alone
    check_heads(found, found.examples, three)
    assert caplog.messages == [
        "head topic: no row is labelled money",
        "head mood: no source has labels of it, so that its answers are worth nothing",
    ]


def test_labels_that_no_training_row_has_are_warned_of(
    write: Write, read: Reader, three: Taxonomy, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "一,goods,train\n二,parcel,train\n三,money,test\n"
    write("a.csv", "text,t,part\n" + rows)
    found = read(file="a.csv", heads={"topic": "t"}, split="part")
    check_heads(found, [one for one in found.examples if one.split == "train"], three)
    assert "head topic: 1 labels have rows, but none to learn from: money" in caplog.messages
    assert not any("no row is labelled" in said for said in caplog.messages)


def test_in_measuring_unknown_labels_are_left_out_and_told(
    write: Write, three: Taxonomy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange = "".join(f"x{i},部{i:02},\n" for i in range(NAMED + 2))
    write("a.csv", f"text,t,m\n一,goods,calm\n二,火星,angry\n三,火星,\n{strange}")
    source = {"file": "a.csv", "heads": {"topic": "t", "mood": "m"}}
    recipe = Recipe.model_validate({"name": "r", "taxonomy": "three", "sources": [source]})
    found = read_sources(recipe, three, [tmp_path], strict=False)
    assert labels(found) == [{"topic": "goods", "mood": "calm"}, {"mood": "angry"}]
    assert found.left_out == {"a.csv: no label that is known": NAMED + 3}
    [said] = caplog.messages
    assert said.startswith("head topic: 14 rows are not counted, for their labels are unknown: '火星' (2), '部00' (1)")
    assert said.endswith("and 3 more")


NUMBERED = """
name: numbered
title: 编号
version: '1'
heads:
  topic:
    name: 主题
    kind: flat
    labels: [{id: '1', name: 甲}, {id: '2.0', name: 乙}, {id: c, name: '3'}, {id: d, name: 丁}]
former:
  topic: {'5': d}
"""


def test_whole_numbers_as_pandas_writes_them_are_labels(write: Write, tmp_path: Path) -> None:
    write("a.csv", "text,t\n一,1.0\n二,1\n三,2.0\n四,3.00\n五,4.0\n六,5.0\n")
    source = {"file": "a.csv", "heads": {"topic": "t"}, "rename": {"topic": {"4": "d"}}}
    recipe = Recipe.model_validate({"name": "r", "taxonomy": "numbered", "sources": [source]})
    taxonomy = Taxonomy.parse(NUMBERED)
    found = labels(read_sources(recipe, taxonomy, [tmp_path]))
    assert [one["topic"] for one in found] == ["1", "1", "2.0", "c", "d", "d"]
    write("a.csv", "text,t\n一,7.0\n")
    with pytest.raises(UnknownLabel, match=r"'7\.0'"):
        read_sources(recipe, taxonomy, [tmp_path])


def test_a_name_of_two_labels_is_refused(write: Write, tmp_path: Path) -> None:
    source = {"file": "a.csv", "heads": {"topic": "t"}}
    recipe = Recipe.model_validate({"name": "r", "taxonomy": "numbered", "sources": [source]})
    taxonomy = Taxonomy.parse(NUMBERED.replace("丁", "甲"))
    write("a.csv", "text,t\n一,甲\n")
    for strict in (True, False):
        with pytest.raises(InvalidInput, match="'甲' is the name of '1' and 'd' in head '主题'"):
            read_sources(recipe, taxonomy, [tmp_path], strict=strict)
    write("a.csv", "text,t\n一,d\n二,乙\n")  # ids and other names are plain
    assert labels(read_sources(recipe, taxonomy, [tmp_path])) == [{"topic": "d"}, {"topic": "2.0"}]


def test_an_unknown_label_names_file_row_column_and_value(write: Write, read: Reader) -> None:
    write("a.csv", "text,主题列\n一,goods\n二,goods\n三,火星\n")
    with pytest.raises(UnknownLabel) as caught:
        read(file="a.csv", heads={"topic": "主题列"})
    said = str(caught.value)
    assert all(
        part in said for part in ("a.csv", "row 3", "'主题列'", "'火星'", "goods", "jianwei taxonomy draft", "rename")
    )


def test_a_rename_to_an_unknown_label_is_refused(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,旧\n")
    with pytest.raises(UnknownLabel, match="nowhere"):
        read(file="a.csv", heads={"topic": "t"}, rename={"topic": {"旧": "nowhere"}})


def test_a_name_of_another_head_is_no_label(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,愤怒\n")
    with pytest.raises(UnknownLabel, match="愤怒"):
        read(file="a.csv", heads={"topic": "t"})


def test_an_unknown_head_is_refused_before_the_file_is_looked_for(read: Reader) -> None:
    with pytest.raises(UnknownLabel, match=r"nowhere\.csv.*'colour'.*topic, area, mood"):
        read(file="nowhere.csv", heads={"colour": "t"})


@pytest.mark.parametrize("field", ["text", "title", "split", "heads", "where"])
def test_a_missing_column_is_named(write: Write, read: Reader, field: str) -> None:
    write("a.csv", "text,t\n一,goods\n")
    value = {"heads": {"topic": "缺"}, "where": {"缺": "x"}}.get(field, "缺")
    with pytest.raises(UnreadableFile, match=r"a\.csv has no column '缺'; it has 'text', 't'"):
        read(**({"file": "a.csv", "heads": {"topic": "t"}} | {field: value}))


def test_a_missing_file_is_named(read: Reader, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"nowhere\.csv") as caught:
        read(file="nowhere.csv", heads={"topic": "t"})
    assert str(tmp_path) in str(caught.value)


def test_a_missing_file_that_is_optional_is_told_and_the_rest_is_read(
    three: Taxonomy, tmp_path: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("a.csv", "text,t\n一,goods\n")
    here, gone = ({"file": file, "heads": {"topic": "t"}, "optional": True} for file in ("a.csv", "nowhere.csv"))
    recipe = Recipe.model_validate({"name": "r", "taxonomy": "three", "sources": [here, gone]})
    assert labels(read_sources(recipe, three, [tmp_path])) == [{"topic": "goods"}]
    assert "nowhere.csv" in caplog.text
    recipe = Recipe.model_validate({"name": "r", "taxonomy": "three", "sources": [gone]})
    with pytest.raises(UnreadableFile, match=r"no labelled row in nowhere\.csv"):
        read_sources(recipe, three, [tmp_path])


def test_a_file_without_any_labelled_row_is_refused(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,\n")
    with pytest.raises(UnreadableFile, match=r"no labelled row in a\.csv.*no label"):
        read(file="a.csv", heads={"topic": "t"})


def test_a_json_row_may_leave_a_label_out_the_first_one_too(write: Write, read: Reader) -> None:
    rows = [{"text": "一", "t": "goods"}, {"text": "二", "m": "calm"}, {"text": "三", "t": "money", "m": "angry"}]
    write("a.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    found = read(file="a.jsonl", heads={"topic": "t", "mood": "m"})
    assert labels(found) == [{"topic": "goods"}, {"mood": "calm"}, {"topic": "money", "mood": "angry"}]


def test_the_split_column_is_kept_and_may_be_empty(write: Write, read: Reader) -> None:
    write("a.csv", "text,t,part\n一,goods,train\n二,goods,test\n三,goods,calibration\n四,goods,\n")
    found = read(file="a.csv", heads={"topic": "t"}, split="part")
    assert [one.split for one in found.examples] == ["train", "test", "calibration", None]


def test_an_unknown_split_names_row_and_value(write: Write, read: Reader) -> None:
    write("a.csv", "text,t,part\n一,goods,train\n二,goods,dev\n")
    with pytest.raises(UnreadableFile, match=r"a\.csv row 2: split 'dev' is none of train, calibration, test"):
        read(file="a.csv", heads={"topic": "t"}, split="part")


def test_a_column_named_split_means_nothing_unless_asked_for(write: Write, read: Reader) -> None:
    write("a.csv", "text,t,split\n一,goods,whatever\n")
    assert read(file="a.csv", heads={"topic": "t"}).examples[0].split is None


def test_digests_say_which_file_it_was(write: Write, read: Reader) -> None:
    write("a.csv", "text,t\n一,goods\n")
    first = read(file="a.csv", heads={"topic": "t"}).digests
    write("a.csv", "text,t\n一,money\n")
    second = read(file="a.csv", heads={"topic": "t"}).digests
    assert first.keys() == second.keys() == {"a.csv"}
    assert first != second


def test_sha1_is_that_of_utf_8() -> None:
    assert sha1("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert sha1("快递") == "e983216c683fe26d560f68905017dbef988c7064"


def annotate(write: Write, rows: list[tuple[str, str, str, str]], header: str = "sha1,source,topic,split") -> None:
    write("notes.csv", header + "\n" + "".join(",".join(row) + "\n" for row in rows))


def test_annotations_speak_of_texts_by_sha1(write: Write, read: Reader) -> None:
    write("real.csv", "id,text\n1,一\n2,二\n3,一\n4,三\n5,四\n")
    annotate(
        write,
        [
            (sha1("一"), "real", "goods", "test"),
            (sha1("三"), "real", "物流", ""),
            (sha1("四"), "other", "money", "train"),
            (sha1("不在"), "real", "money", "train"),
        ],
    )
    found = read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})
    assert [(e.complaint.text, e.labels, e.split) for e in found.examples] == [
        ("一", {"topic": "goods"}, "test"),  # stands twice, counts once
        ("三", {"topic": "parcel"}, None),
    ]


def test_annotations_are_refused_with_an_unknown_label_or_split(write: Write, read: Reader) -> None:
    write("real.csv", "text\n一\n")
    annotate(write, [(sha1("一"), "real", "火星", "test")])
    with pytest.raises(UnknownLabel, match=r"real\.csv row 1.*'火星'"):
        read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})
    annotate(write, [(sha1("一"), "real", "goods", "double")])
    with pytest.raises(UnreadableFile, match="'double'"):
        read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})


def test_an_annotation_that_cannot_be_read_is_told(
    write: Write, read: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    write("real.csv", "text\n一\n")
    annotate(write, [(sha1("一"), "real", "goods", "test"), ('"' + sha1("二"), "real", "money", "train")])
    assert labels(read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})) == [{"topic": "goods"}]
    assert "left out notes.csv row 2: a quote is opened here and never closed" in caplog.text


def test_missing_annotations_are_named(write: Write, read: Reader) -> None:
    write("real.csv", "text\n一\n")
    with pytest.raises(UnreadableFile, match=r"notes\.csv"):
        read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})


@pytest.mark.parametrize("header", ["hash,source,topic,split", "sha1,file,topic,split", "sha1,source,thema,split"])
def test_a_column_missing_in_annotations_is_named(write: Write, read: Reader, header: str) -> None:
    write("real.csv", "text\n一\n")
    annotate(write, [(sha1("一"), "real", "goods", "test")], header)
    missing = ({"sha1", "source", "topic"} - set(header.split(","))).pop()
    with pytest.raises(UnreadableFile, match=rf"notes\.csv has no column '{missing}'"):
        read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})


def test_annotations_saved_by_excel(write: Write, read: Reader) -> None:
    write("real.csv", "text\n一\n")
    write("notes.csv", f"sha1,source,topic\n{sha1('一')},real,goods\n", "utf-8-sig")
    assert labels(read(file="real.csv", annotations="notes.csv", heads={"topic": "topic"})) == [{"topic": "goods"}]


def test_channel_and_whether_it_may_be_shown_are_kept(write: Write, read: Reader) -> None:
    write("a.csv", f"text,t,way\n一,goods,微博\n二,goods,\n三,goods,{'长' * 300}\n")
    found = read(file="a.csv", heads={"topic": "t"}, channel="way", show=True).examples
    assert [one.complaint.channel for one in found] == ["微博", None, "长" * 200]
    assert all(one.show for one in found)
    assert not any(one.show for one in read(file="a.csv", heads={"topic": "t"}).examples)
    with pytest.raises(UnreadableFile, match="no column '缺'"):
        read(file="a.csv", heads={"topic": "t"}, channel="缺")
