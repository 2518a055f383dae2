"""The foreign texts that a scope is drawn against: of many kinds, none of them one of our complaints."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from complaints.text import clean, mask
from training.scope import foreign_texts
from training.splits import near_duplicate_pairs

ROOT = Path(__file__).parents[2]
Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def foreign() -> Rows:
    path = ROOT / "training" / "out_of_scope.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_fields(foreign: Rows) -> None:
    assert len(foreign) >= 600
    for row in foreign:
        assert list(row) == ["id", "text", "kind", "hard", "split"], row["id"]
        assert isinstance(row["text"], str), row["id"]
        assert row["text"].strip(), row["id"]
        assert isinstance(row["hard"], bool), row["id"]
    assert len({row["id"] for row in foreign}) == len(foreign)


def test_every_kind_is_in_both_splits(foreign: Rows) -> None:
    kinds = {split: Counter(row["kind"] for row in foreign if row["split"] == split) for split in ("train", "test")}
    assert sum(kinds["train"].values()) + sum(kinds["test"].values()) == len(foreign)
    assert len(kinds["train"]) >= 10
    assert kinds["train"].keys() == kinds["test"].keys()
    assert min(kinds["test"].values()) >= 3
    for split in ("train", "test"):
        assert {row["hard"] for row in foreign if row["split"] == split} == {True, False}


def test_no_two_are_alike(foreign: Rows) -> None:
    assert near_duplicate_pairs([str(row["text"]) for row in foreign], 0.6) == []


def test_none_is_a_text_of_the_corpus(foreign: Rows) -> None:
    written = {
        clean(json.loads(line)["text"]).text
        for path in (ROOT / "data" / "corpus").glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    }
    assert [row["id"] for row in foreign if clean(str(row["text"])).text in written] == []


def test_no_personal_numbers(foreign: Rows) -> None:
    assert [row["id"] for row in foreign if mask(str(row["text"])) != row["text"]] == []


def test_the_package_reads_all_of_them(foreign: Rows) -> None:
    assert [one.text for split in ("train", "test") for one in foreign_texts(split)] == [
        row["text"] for split in ("train", "test") for row in foreign if row["split"] == split
    ]
