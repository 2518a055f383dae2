"""The project's own corpus keeps what data/README.md says of it."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from complaints.taxonomy import Taxonomy
from complaints.text import clean, mask
from training.sources import SPLITS
from training.splits import near_duplicate_pairs

DATA = Path(__file__).parents[2] / "data"
HEADS = ("category", "department", "sentiment", "propagation")
SHA1 = re.compile(r"[0-9a-f]{40}")
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return Taxonomy.load("consumer")


@pytest.fixture(scope="module")
def written() -> Rows:
    files = sorted((DATA / "corpus").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def table(name: str) -> tuple[list[str], Rows]:
    with (DATA / "annotations" / name).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


@pytest.fixture(scope="module")
def labelled() -> Rows:
    return table("labels.csv")[1]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[dict[str, str], dict[str, str]]]:
    """The two answers of each text that was labelled twice."""
    found: dict[tuple[str, str], Rows] = {}
    for row in table("double.csv")[1]:
        found.setdefault((row["source"], row["sha1"]), []).append(row)
    assert {len(rows) for rows in found.values()} == {2}
    return [(rows[0], rows[1]) for rows in found.values()]


def test_heads_are_those_of_the_taxonomy(taxonomy: Taxonomy) -> None:
    assert tuple(taxonomy.heads) == HEADS


def test_every_label_is_in_the_taxonomy(taxonomy: Taxonomy, written: Rows, labelled: Rows) -> None:
    for row in [*written, *labelled, *table("double.csv")[1], *table("double_train.csv")[1]]:
        for head in HEADS:
            assert row[head] in taxonomy.heads[head].ids, row.get("id") or row["sha1"]


def test_second_choices_are_labels_too(taxonomy: Taxonomy, written: Rows, labelled: Rows) -> None:
    for row in [*written, *labelled]:
        also = row.get("also") or []
        for one in also.split(";") if isinstance(also, str) else also:
            head, _, label = one.partition("=")
            assert label in taxonomy.heads[head].ids, row.get("id") or row["sha1"]
            assert label != row[head]


def test_departments_may_own_their_categories(taxonomy: Taxonomy, written: Rows, labelled: Rows) -> None:
    outside = [
        r.get("id") or r["sha1"] for r in [*written, *labelled] if not taxonomy.allowed({h: r[h] for h in HEADS})
    ]
    assert not outside


def test_ids_are_unique_and_splits_valid(written: Rows, labelled: Rows) -> None:
    assert len({row["id"] for row in written}) == len(written)
    assert {row["split"] for row in [*written, *labelled]} == set(SPLITS)


def test_texts_can_be_read(written: Rows) -> None:
    for row in written:
        assert row["text"].strip(), row["id"]
        assert clean(row["text"]).chinese or row["category"] == "other.other", row["id"]
        assert "\ufffd" not in row["text"], row["id"]
        assert len(row.get("title") or "") <= 1000


def test_no_personal_numbers(written: Rows) -> None:
    assert [row["id"] for row in written if mask(row["text"]) != row["text"]] == []
    assert [row["id"] for row in written if mask(row.get("title") or "") != (row.get("title") or "")] == []


def test_near_duplicates_are_rare_and_none_stands_in_two_splits(written: Rows) -> None:
    found = near_duplicate_pairs([row["text"] for row in written], 0.6)
    assert len({later for _, later, _ in found}) <= 0.01 * len(written)
    assert [
        (written[i]["id"], written[j]["id"]) for i, j, _ in found if written[i]["split"] != written[j]["split"]
    ] == []


def test_there_are_rows_enough_of_every_label(taxonomy: Taxonomy, written: Rows, labelled: Rows) -> None:
    counts = {head: Counter(row[head] for row in [*written, *labelled]) for head in HEADS}
    assert [leaf for leaf in taxonomy.heads["category"].ids if counts["category"][leaf] < 40] == []
    assert [one for one in taxonomy.heads["department"].ids if counts["department"][one] < 60] == []
    assert sum(row["propagation"] == "high" for row in written) >= 500


def test_every_label_is_in_every_split(taxonomy: Taxonomy, written: Rows, labelled: Rows) -> None:
    for part in SPLITS:
        seen = {(head, row[head]) for row in [*written, *labelled] if row["split"] == part for head in HEADS}
        assert [(h, label) for h in HEADS for label in taxonomy.heads[h].ids if (h, label) not in seen] == []


def test_annotations_carry_labels_and_no_text(labelled: Rows) -> None:
    for name in ("labels.csv", "double.csv", "double_train.csv"):
        columns, rows = table(name)
        assert columns == ["sha1", "source", *HEADS, "also", "labeller", "round", "split"]
        assert not {"text", "title", "content"} & set(columns)
        assert not [row for row in rows if None in row or None in row.values()]
        assert all(SHA1.fullmatch(row["sha1"]) for row in rows)
        assert not [row["sha1"] for row in rows if any(re.search(r"[\u4e00-\u9fff]", v) for v in row.values())]
    assert len(labelled) >= 20_000
    assert len({(row["sha1"], row["source"]) for row in labelled}) == len(labelled)


def test_two_labellers_agree(taxonomy: Taxonomy, pairs: list[tuple[dict[str, str], dict[str, str]]]) -> None:
    assert len(pairs) >= 500
    assert all(one["labeller"] != other["labeller"] for one, other in pairs)
    for name, head in taxonomy.heads.items():
        order = [[head.ids.index(pair[side][name]) for pair in pairs] for side in (0, 1)]
        weights = "quadratic" if head.kind == "ordinal" else None
        assert cohen_kappa_score(*order, labels=range(head.size), weights=weights) >= 0.7, name


def test_what_two_agreed_on_is_the_label_and_the_rest_is_adjudicated(
    labelled: Rows, pairs: list[tuple[dict[str, str], dict[str, str]]]
) -> None:
    by_key = {(row["source"], row["sha1"]): row for row in labelled}
    for one, other in pairs:
        final = by_key[one["source"], one["sha1"]]
        assert final["split"] == "test"
        assert final["round"] == "1"
        if all(one[head] == other[head] for head in HEADS):
            assert {head: final[head] for head in HEADS} == {head: one[head] for head in HEADS}
        else:
            assert final["labeller"] == "adjudicated"


def test_long_texts_are_there(written: Rows) -> None:
    long = [row for row in written if len(row["text"]) >= 600]
    assert len(long) >= 60
    assert {row["split"] for row in long} == set(SPLITS)
    assert len({row["category"] for row in long}) >= 15


def test_rounds_and_their_splits(labelled: Rows) -> None:
    """Later rounds teach and calibrate; round three's calibration rows are a random draw, round four's never are."""
    splits = {number: {row["split"] for row in labelled if row["round"] == number} for number in "1234"}
    assert {row["round"] for row in labelled} == set(splits)
    assert splits["3"] == {"train", "calibration"}
    assert splits["4"] == {"train"}
    assert "test" not in splits["2"]


def test_what_was_labelled_twice_later_is_no_test_row(labelled: Rows) -> None:
    final = {(row["source"], row["sha1"]): row for row in labelled}
    found: dict[tuple[str, str], Rows] = {}
    for row in table("double_train.csv")[1]:
        found.setdefault((row["source"], row["sha1"]), []).append(row)
    for key, rows in found.items():
        assert len({row["labeller"] for row in rows}) == len(rows) == 2, key
        assert final[key]["split"] != "test", key


def test_real_test_rows_are_of_round_one(labelled: Rows) -> None:
    assert {row["round"] for row in labelled if row["split"] == "test"} == {"1"}


def test_the_card_names_every_file_and_source(labelled: Rows) -> None:
    card = (DATA / "README.md").read_text(encoding="utf-8")
    for path in (DATA / "corpus").glob("*.jsonl"):
        assert f"`{path.stem}`" in card
    for source in {row["source"] for row in labelled}:
        assert f"`{source}`" in card
