"""The taxonomy file: what stands in the packaged one, and how a broken one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.errors import InvalidInput, TaxonomyError, UnknownLabel
from complaints.taxonomy import Head, Label, Taxonomy, whole_number


@pytest.fixture(scope="module")
def consumer() -> Taxonomy:
    return Taxonomy.load("consumer")


def flat(labels: str = "[{id: a, name: 甲}, {id: b, name: 乙}]", more: str = "", kind: str = "flat") -> str:
    return (
        f"name: t\ntitle: 体系\nversion: '1'\nheads:\n  topic:\n    name: 主题\n    kind: {kind}\n"
        f"    labels: {labels}\n{more}"
    )


# ---- the packaged one


def test_packaged_taxonomy_has_the_agreed_heads(consumer: Taxonomy) -> None:
    category = consumer.heads["category"]
    assert (len(category.parents), category.size) == (12, 43)
    assert consumer.sizes == {"category": 43, "department": 13, "sentiment": 4, "propagation": 3}
    assert consumer.heads["sentiment"].ids == ("positive", "neutral", "dissatisfied", "angry")
    assert consumer.heads["propagation"].ids == ("low", "medium", "high")
    assert {n: h.kind for n, h in consumer.heads.items()} == {
        "category": "hierarchical",
        "department": "flat",
        "sentiment": "ordinal",
        "propagation": "ordinal",
    }


def test_every_department_may_own_something_and_every_leaf_has_owners(consumer: Taxonomy) -> None:
    departments = consumer.heads["department"].ids
    category = consumer.heads["category"]
    owned = {d for leaf in category.ids for d in departments if consumer.allowed({"category": leaf, "department": d})}
    assert owned == set(departments)
    for leaf in category.ids:
        owners = [d for d in departments if consumer.allowed({"category": leaf, "department": d})]
        assert owners, f"nobody may own {leaf}"


def test_names_are_for_people(consumer: Taxonomy) -> None:
    names = consumer.heads["category"].names
    assert names["quality.defect"] == "产品质量/功能故障"
    assert names["quality"] == "产品质量"
    assert len(names) == 12 + 43


# ---- labels


def test_members_of_a_parent_are_its_leaves_in_output_order(consumer: Taxonomy) -> None:
    category = consumer.heads["category"]
    assert category.members("logistics.delay") == (category.ids.index("logistics.delay"),)
    assert [category.ids[i] for i in category.members("refund")] == ["refund.denied", "refund.slow", "refund.procedure"]
    everything = sorted(i for parent in category.parents for i in category.members(parent))
    assert everything == list(range(category.size))


def test_parent_of_a_leaf(consumer: Taxonomy) -> None:
    assert consumer.heads["category"].parent("process.slow") == "process"
    assert consumer.heads["department"].parent("pr") is None


def test_unknown_label_names_head_and_labels(consumer: Taxonomy) -> None:
    with pytest.raises(UnknownLabel, match=r"'大怒'.*情绪.*positive, neutral, dissatisfied, angry"):
        consumer.heads["sentiment"].members("大怒")


def test_leaf_whose_id_holds_a_dot_keeps_its_parent() -> None:
    labels = "[{id: v, name: 版本, leaves: [{id: '1.0', name: 一}, {id: '2.0', name: 二}]}, " \
        "{id: w, name: 无, leaves: [{id: '1.0', name: 一}]}]"  # fmt: skip
    head = Taxonomy.parse(flat(labels, kind="hierarchical")).heads["topic"]
    assert head.ids == ("v.1.0", "v.2.0", "w.1.0")
    assert head.parent("v.2.0") == "v"
    assert head.members("v") == (0, 1)


def test_a_label_is_found_by_a_name_that_is_its_own() -> None:
    head = Taxonomy.parse(flat("[{id: a, name: 甲}, {id: b, name: 乙}, {id: c, name: 甲}]")).heads["topic"]
    assert (head.called("乙"), head.called("丙")) == ("b", None)
    with pytest.raises(InvalidInput, match="'甲' is the name of 'a' and 'c' in head '主题'"):
        head.called("甲")


@pytest.mark.parametrize(
    ("label", "number"), [("1.0", "1"), ("-2.00", "-2"), ("1", "1"), ("1.5", "1.5"), ("1.", "1."), ("v1.0", "v1.0")]
)
def test_a_whole_number_loses_its_decimals(label: str, number: str) -> None:
    assert whole_number(label) == number


# ---- responsibility


RESPONSIBLE = """
name: t
title: 体系
version: '1'
heads:
  topic:
    name: 主题
    kind: hierarchical
    labels:
      - {id: p, name: 父, leaves: [{id: x, name: 甲}, {id: y, name: 乙}]}
      - {id: q, name: 另, leaves: [{id: x, name: 甲}]}
  owner: {name: 部门, kind: flat, labels: [{id: a, name: 一}, {id: b, name: 二}]}
responsibility:
  given: topic
  head: owner
  allowed: {p: [a], p.y: [b], q: [a, b]}
"""


@pytest.mark.parametrize(
    ("topic", "owner", "fits"),
    [("p.x", "a", True), ("p.x", "b", False), ("p.y", "b", True), ("p.y", "a", False), ("q.x", "b", True),
     ("p", "a", True), ("p", "b", False)],
)  # fmt: skip
def test_responsibility_takes_the_leaf_before_the_parent(topic: str, owner: str, fits: bool) -> None:
    assert Taxonomy.parse(RESPONSIBLE).allowed({"topic": topic, "owner": owner}) is fits


def test_responsibility_says_nothing_where_a_side_is_missing(consumer: Taxonomy) -> None:
    assert consumer.allowed({"category": "inquiry.praise"})
    assert consumer.allowed({})
    assert Taxonomy.parse(flat()).allowed({"topic": "a"})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("given: topic", "given: topics", "responsibility.given: 'topics' is not a head"),
        ("head: owner", "head: owners", "responsibility.head: 'owners' is not a head"),
        ("p: [a]", "r: [a]", "'r' is not a label of head 'topic'"),
        ("p: [a]", "p: [c]", "responsibility.allowed.p: 'c' is not a label of head 'owner'"),
        (", q: [a, b]", "", "no entry for q.x"),
    ],
)
def test_broken_responsibility_is_refused(old: str, new: str, said: str) -> None:
    assert old in RESPONSIBLE
    with pytest.raises(TaxonomyError, match=said.replace("[", r"\[").replace(".", r"\.")):
        Taxonomy.parse(RESPONSIBLE.replace(old, new), "t.yaml")


# ---- earlier versions


def test_former_ids_resolve() -> None:
    taxonomy = Taxonomy.parse(flat(more="former: {topic: {old: a, gone: null}}\n"))
    assert taxonomy.resolve("topic", "old") == "a"
    assert taxonomy.resolve("topic", "gone") is None
    assert taxonomy.resolve("topic", "b") == "b"
    with pytest.raises(UnknownLabel, match="'never'"):
        taxonomy.resolve("topic", "never")


@pytest.mark.parametrize(
    ("former", "said"),
    [
        ("{topics: {old: a}}", "former: 'topics' is not a head"),
        ("{topic: {a: b}}", "'a' is still a label; ids are never reused"),
        ("{topic: {old: c}}", "'c' is not a label of this version"),
    ],
)
def test_broken_former_is_refused(former: str, said: str) -> None:
    with pytest.raises(TaxonomyError, match=said):
        Taxonomy.parse(flat(more=f"former: {former}\n"))


# ---- errors name file, line, field


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (flat("[{id: a, name: 甲}]"), "t.yaml:8: heads.topic.labels", "at least 2"),
        (flat("[{id: a, name: 甲}, {id: a, name: 乙}]"), "t.yaml:5: heads.topic", "occur twice: a"),
        (flat(kind="tree"), "t.yaml:7: heads.topic.kind", "'flat', 'hierarchical' or 'ordinal'"),
        (flat(kind="hierarchical"), "t.yaml:5: heads.topic", "has no leaves: give it at least one"),
        (
            flat("[{id: a, name: 甲, leaves: [{id: x, name: 一}]}, {id: b, name: 乙}]"),
            "t.yaml:5: heads.topic",
            "has leaves: set kind: hierarchical",
        ),
        (
            flat(
                "[{id: a.b, name: 甲, leaves: [{id: x, name: 一}]}, {id: c, name: 丙, leaves: [{id: x, name: 一}]}]",
                kind="hierarchical",
            ),
            "t.yaml:5: heads.topic",
            "which separates parent and leaf",
        ),
        (flat("[{id: a, name: 甲}, {id: ' ', name: 乙}]"), "t.yaml:8: heads.topic.labels.1.id", "at least 1 char"),
        (flat("[{id: a, name: 甲}, {id: b}]"), "t.yaml:8: heads.topic.labels.1.name", "Field required"),
        (flat(more="colour: red\n"), "t.yaml:9: colour", "Extra inputs"),
        (flat().replace("version: '1'", "version: 1.0"), "t.yaml:3: version", "valid string"),
        (flat().replace("title: 体系", "title: on"), "t.yaml:2: title", "valid string"),
        (flat("[{id: no, name: 否}, {id: yes, name: 是}]"), "t.yaml:8: heads.topic.labels.0.id", "valid string"),
        (flat("[{id: 12315, name: 热线}, {id: b, name: 乙}]"), "t.yaml:8: heads.topic.labels.0.id", "valid string"),
        (flat("[{id: a, name: 2024-01-01}, {id: b, name: 乙}]"), "t.yaml:8: heads.topic.labels.0.name", "valid string"),
        ("- a\n- b\n", "t.yaml", "must be a YAML mapping of name, title"),
        ("", "t.yaml", "must be a YAML mapping"),
        ("name: [\n", "t.yaml", "not valid YAML"),
        ("name: t\n---\nname: u\n", "t.yaml", "not valid YAML"),
        ("name: t\nheads: {}\n", "t.yaml:2: heads", "at least 1"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_file_line_and_field(text: str, where: str, said: str) -> None:
    with pytest.raises(TaxonomyError) as refused:
        Taxonomy.parse(text, "t.yaml")
    lines = str(refused.value).splitlines()
    assert any(line.startswith(where) for line in lines), str(refused.value)
    assert said in str(refused.value)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(TaxonomyError) as refused:
        Taxonomy.parse(flat("[{id: no, name: 否}, {id: 1, name: 一}]"), "t.yaml")
    assert "labels.0.id" in str(refused.value)
    assert "labels.1.id" in str(refused.value)


def test_an_unquoted_no_comes_with_a_remedy() -> None:
    with pytest.raises(TaxonomyError, match=r"quot|引号"):
        Taxonomy.parse(flat("[{id: no, name: 否}, {id: b, name: 乙}]"), "t.yaml")


def test_an_impossible_date_is_a_taxonomy_error() -> None:
    with pytest.raises(TaxonomyError, match=r"t\.yaml"):
        Taxonomy.parse(flat().replace("version: '1'", "version: 2024-13-45"), "t.yaml")


def test_a_key_written_twice_is_refused() -> None:
    twice = RESPONSIBLE.replace("{p: [a], p.y: [b], q: [a, b]}", "{p: [a], q: [a], p: [b]}")
    with pytest.raises(TaxonomyError, match=r"twice|duplicate"):
        Taxonomy.parse(twice, "t.yaml")


def test_quoted_traps_are_ordinary_ids() -> None:
    taxonomy = Taxonomy.parse(flat("[{id: 'no', name: 'on'}, {id: '12315', name: '1.0'}, {id: '~', name: 'null'}]"))
    assert taxonomy.heads["topic"].ids == ("no", "12315", "~")
    assert Taxonomy.parse(taxonomy.dump()) == taxonomy


# ---- files


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"none\.yaml does not exist: write one with `jianwei taxonomy draft`"):
        Taxonomy.load(tmp_path / "none.yaml")
    with pytest.raises(TaxonomyError, match="consumers does not exist"):
        Taxonomy.load("consumers")


def test_a_file_in_another_encoding_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_bytes(flat().encode("gbk"))
    with pytest.raises(TaxonomyError, match="UTF-8"):
        Taxonomy.load(tmp_path / "t.yaml")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(flat(), encoding="utf-8-sig")
    assert Taxonomy.load(tmp_path / "t.yaml").heads["topic"].ids == ("a", "b")


def test_packaged_taxonomy_survives_a_round_trip(consumer: Taxonomy, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(consumer.dump(), encoding="utf-8")
    again = Taxonomy.load(tmp_path / "t.yaml")
    assert again == consumer
    assert [h.ids for h in again.heads.values()] == [h.ids for h in consumer.heads.values()]


ids = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
    | st.sampled_from("no on yes null ~ 1.0 中文质量 :#-'\""),
    min_size=1,
    max_size=12,
).filter(lambda s: s.strip())


@settings(max_examples=60, deadline=None)
@given(st.lists(ids.map(str.strip), min_size=2, max_size=6, unique=True), st.sampled_from(["flat", "ordinal"]))
def test_any_ids_survive_a_round_trip(labels: list[str], kind: str) -> None:
    """Chinese words, numbers, YAML's own words and punctuation are all ids."""
    head = Head(name="头", kind=kind, labels=tuple(Label(id=i, name=i) for i in labels))  # type: ignore[arg-type]
    taxonomy = Taxonomy(name="t", title="体系", version="1", heads={labels[0]: head})
    again = Taxonomy.parse(taxonomy.dump())
    assert again == taxonomy
    assert again.heads[labels[0]].ids == tuple(labels)
