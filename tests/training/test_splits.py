"""Parts that do not leak: near-duplicates together, splits of their own kept, the rest by a hash that is stable."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.errors import InvalidInput
from complaints.records import Complaint
from complaints.text import clean
from training.recipe import Split
from training.sources import Example
from training.splits import Parts, near_duplicate_groups, near_duplicate_pairs, shingles, split

Make = Callable[..., Example]
LETTERS = "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然"
PARTS = ("train", "calibration", "test")


def sentence(rng: random.Random, low: int, high: int) -> str:
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(low, high)))


def edited(rng: random.Random, text: str, edits: int) -> str:
    letters = list(text)
    for _ in range(edits):
        place = rng.randrange(len(letters))
        letters[place : place + 1] = rng.choice([[], [rng.choice(LETTERS)], [letters[place], rng.choice(LETTERS)]])
    return "".join(letters)


def jaccard(one: str, other: str) -> float:
    a, b = shingles(clean(one).text), shingles(clean(other).text)
    return len(a & b) / len(a | b)


def part_of(parts: Parts) -> dict[str, str]:
    return {e.complaint.text: name for name in PARTS for e in getattr(parts, name)}


def many(make: Make, n: int, seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    return [make(sentence(rng, 30, 40), {"topic": ("goods", "parcel")[i % 2]}) for i in range(n)]


def test_shingles() -> None:
    assert shingles("一二三四") == {"一二三", "二三四"}
    assert shingles("一 二\n三四") == {"一二三", "二三四"}
    assert shingles("一二") == {"一二"}
    assert shingles("") == {""}


@settings(max_examples=10, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32), bases=st.integers(10, 20), copies=st.integers(1, 3), fixed=st.booleans())
def test_near_duplicates_never_stand_in_two_parts(seed: int, bases: int, copies: int, fixed: bool) -> None:
    rng = random.Random(seed)
    texts = []
    for _ in range(bases):
        texts.append(sentence(rng, 45, 70))
        texts += [edited(rng, texts[-1], 1) for _ in range(rng.randint(0, copies))]
    rng.shuffle(texts)
    own = [rng.choice([None, *PARTS]) if fixed else None for _ in texts]
    rows = [Example(Complaint(text=t), {"topic": "goods"}, "s", o) for t, o in zip(texts, own, strict=True)]
    if fixed:  # so that no part can be empty
        rows += [Example(Complaint(text=sentence(rng, 45, 70)), {"topic": "goods"}, "s", part) for part in PARTS]
    parts = split(rows, Split())
    where = part_of(parts)
    kept = [e.complaint.text for p in PARTS for e in getattr(parts, p)]
    assert set(kept) <= {r.complaint.text for r in rows}
    assert len(kept) + parts.dropped + parts.copies == len(rows)
    given = [r.complaint.text for r in rows if r.split == "test"]
    assert not given or sorted(given) == sorted(e.complaint.text for e in parts.test if e.complaint.text in given)
    for one, other in combinations(where, 2):
        if jaccard(one, other) >= 0.6:
            assert where[one] == where[other]
    assert all(e.split == name for name in PARTS for e in getattr(parts, name))


def test_near_duplicate_pairs_are_those_of_brute_force() -> None:
    rng = random.Random(5)
    texts = []
    for _ in range(150):
        texts.append(sentence(rng, 30, 60))
        texts.append(edited(rng, texts[-1], rng.randint(4, 5)))
    sets = [shingles(clean(text).text) for text in texts]
    alike = {(i, j): len(a & b) / len(a | b) for (i, a), (j, b) in combinations(enumerate(sets), 2)}
    wanted = {pair for pair, share in alike.items() if share >= 0.6}
    assert len(wanted) > 80
    assert {(i, j) for i, j, _ in near_duplicate_pairs(texts, 0.6)} == wanted


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8, 1.0])
def test_no_pair_is_made_up(threshold: float) -> None:
    rng = random.Random(6)
    texts = []
    for _ in range(40):
        texts.append(sentence(rng, 12, 50))
        texts.append(edited(rng, texts[-1], rng.randint(0, 5)))
    found = near_duplicate_pairs(texts, threshold)
    assert found
    for i, j, alike in found:
        assert i < j
        assert alike == pytest.approx(jaccard(texts[i], texts[j]))
        assert alike >= threshold


def test_exact_duplicates_are_one_group_whatever_their_width_and_space() -> None:
    texts = [
        "快递三天没动静，客服不回",
        "快递 三天没动静,客服不回",
        "屏幕碎了没人管",
        "快递三天没动静，客服不回",
        "",
        " ",
    ]
    groups = near_duplicate_groups(texts, 1.0)
    assert groups[0] == groups[1] == groups[3]
    assert groups[4] == groups[5]
    assert len(set(groups)) == 3


def test_alike_through_others() -> None:
    chain = ["".join(LETTERS[i : i + 30]) for i in (0, 4, 8, 12, 16)]
    assert jaccard(chain[0], chain[-1]) < 0.6 <= jaccard(chain[0], chain[1])
    assert len(set(near_duplicate_groups(chain, 0.6))) == 1


def test_shares_and_order(example: Make) -> None:
    rows = many(example, 200)
    parts = split(rows, Split(calibration=0.2, test=0.1))
    assert [len(getattr(parts, name)) for name in PARTS] == [140, 40, 20]
    assert parts.groups == 200
    assert parts.dropped == parts.copies == 0
    for name in PARTS:  # stratum by stratum
        assert sum(e.labels["topic"] == "goods" for e in getattr(parts, name)) == len(getattr(parts, name)) / 2
    shuffled = random.Random(1).sample(rows, len(rows))
    assert part_of(split(shuffled, Split(calibration=0.2, test=0.1))) == part_of(parts)


def test_the_same_seed_divides_alike_and_another_does_not(example: Make) -> None:
    rows = many(example, 100)
    assert split(rows, Split()) == split(rows, Split())
    assert part_of(split(rows, Split())) != part_of(split(rows, Split(seed=2)))


def test_adding_rows_moves_few_old_ones(example: Make) -> None:
    old = many(example, 200)
    before, after = part_of(split(old, Split())), part_of(split(old + many(example, 20, seed=1), Split()))
    assert sum(before[text] != after[text] for text in before) <= 10  # of 200; a fresh draw would move about 90


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Split(), "1b96d7a4145d22cd"),
        (Split(calibration=0.2, test=0.1), "b737d982bb5b6f3c"),
        (Split(test=0), "047459aed7773c40"),
    ],
)
def test_labels_with_rows_enough_are_divided_as_they_always_were(example: Make, settings: Split, wanted: str) -> None:
    """The first letters of the parts, as they were written down before small labels were spread; some stand beside."""
    rng = random.Random(11)
    rows = [example(sentence(rng, 30, 30), {"topic": ("goods", "parcel", "money")[i % 3]}) for i in range(60)]
    few = [example(sentence(rng, 30, 30), {"topic": f"rare{i % 5}"}) for i in range(20)]
    where = part_of(split([*rows, *few], settings))
    said = "".join(where[row.complaint.text][0] for row in rows)
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == wanted


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
def test_labels_of_few_rows_give_each_part_its_share_together(example: Make, rows: int) -> None:
    rng = random.Random(3)
    made = [example(sentence(rng, 30, 40), {"topic": f"department{i % 17}"}) for i in range(17 * rows)]
    parts = split(made, Split())
    for name in ("calibration", "test"):
        assert len(getattr(parts, name)) == pytest.approx(0.15 * len(made), abs=1)
    assert {one.labels["topic"] for one in parts.train} == {one.labels["topic"] for one in made}
    assert split(made, Split()) == parts
    assert split(made, Split(test=0)).test == []


def test_the_only_row_of_a_label_is_learned_from(example: Make) -> None:
    rng = random.Random(4)
    alone = [example(sentence(rng, 30, 40), {"topic": f"once{i}"}) for i in range(40)]
    parts = split([*many(example, 40), *alone], Split())
    assert {one.complaint.text for one in alone} <= {one.complaint.text for one in parts.train}


def test_without_test_there_is_none(example: Make) -> None:
    assert split(many(example, 40), Split(test=0)).test == []


def test_rows_keep_a_split_of_their_own(example: Make) -> None:
    rng = random.Random(2)
    rows = [example(sentence(rng, 30, 40), split=PARTS[i % 3]) for i in range(30)]
    parts = split(rows, Split())
    assert part_of(parts) == {r.complaint.text: r.split for r in rows}
    assert parts.dropped == parts.copies == 0


@pytest.mark.parametrize(
    ("own", "wanted", "dropped"),
    [
        (("train", "test"), "test", 1),
        (("train", "calibration"), "calibration", 1),
        (("calibration", "test", "train", "test"), "test", 2),
        (("train", None), "train", 0),
        ((None, "test", None), "test", 2),
        ((None, "calibration"), "calibration", 1),
    ],
)
def test_the_most_protected_row_of_a_group_decides_and_does_not_draw_others_in(
    example: Make, caplog: pytest.LogCaptureFixture, own: tuple[str | None, ...], wanted: str, dropped: int
) -> None:
    text = "昨天买的电饭煲今天就冒烟了，打了三次电话都没人接，到底还管不管"
    copies = [example(text + "！" * i, split=part) for i, part in enumerate(own)]
    caplog.set_level("INFO")
    parts = split([*many(example, 40), *copies], Split())
    where = part_of(parts)
    stay = [e for e in copies if wanted in ("train", e.split)]
    assert {e.complaint.text: where.get(e.complaint.text) for e in copies if e.complaint.text in where} == {
        e.complaint.text: wanted for e in stay
    }
    assert parts.dropped == dropped == len(own) - len(stay)
    assert (f"dropped {dropped} rows, near-duplicates of rows that are fixed" in caplog.text) == (dropped > 0)


def test_calibration_counts_near_duplicates_once_and_test_keeps_them(
    example: Make, caplog: pytest.LogCaptureFixture
) -> None:
    text = "昨天买的电饭煲今天就冒烟了，打了三次电话都没人接，到底还管不管"
    other = "楼下的快递柜坏了半个月没有人修，取件码也发不出来"
    copies = [example(text + "！" * i, split="calibration") for i in range(72)]
    tested = [example(other + "！" * i, split="test") for i in range(5)]
    caplog.set_level("INFO")
    parts = split([*many(example, 40), *copies, *tested], Split())
    assert [e.complaint.text for e in parts.calibration if e.complaint.text.startswith("昨天")] == [text]
    assert sum(e.complaint.text.startswith("楼下") for e in parts.test) == 5
    assert (parts.dropped, parts.copies) == (0, 71)
    assert "dropped 71 rows, near-duplicates of other calibration rows" in caplog.text


def test_calibration_is_taken_out_of_train_where_a_file_has_none(
    example: Make, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(8)
    rows = [example(sentence(rng, 30, 40), split=("train", "test")[i % 5 == 0]) for i in range(100)]
    rows += [example(rows[1].complaint.text + "！", split="train")]
    caplog.set_level("INFO")
    parts = split(rows, Split(calibration=0.25))
    assert [e.complaint.text for e in parts.test] == [e.complaint.text for e in rows if e.split == "test"]
    assert len(parts.calibration) == 20
    assert len(parts.train) + parts.copies == 61
    assert "no row is of the calibration part" in caplog.text
    assert split(rows, Split(calibration=0.25)) == parts
    assert {e.split for e in parts.calibration} == {"calibration"}


def test_title_counts_as_text() -> None:
    rng = random.Random(4)
    rows = [
        Example(Complaint(text=sentence(rng, 30, 40), title=t), {"topic": "goods"}, "s")
        for t in ["标题一", "标题二"] * 10
    ]
    alike = [Example(Complaint(text="退钱", title=sentence(rng, 40, 50)), {"topic": "goods"}, "s") for _ in range(3)]
    assert split(rows + alike, Split()).groups == 23


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_rows_are_refused(example: Make, n: int) -> None:
    with pytest.raises(InvalidInput, match=rf"{n} rows in 1 groups of near-duplicates are too few.*add rows"):
        split([example("快递三天没动静，客服也不回话")] * n, Split())


def test_duplicates_do_not_make_enough_rows(example: Make) -> None:
    with pytest.raises(InvalidInput, match="300 rows in 1 groups"):
        split([example("快递三天没动静，客服也不回话")] * 300, Split())
