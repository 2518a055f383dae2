"""Evidence: what is counted, which stretches are taken, and where they lie in the text as it was sent."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.decision import softmax
from complaints.encoder import Contributions
from complaints.evidence import (
    GAP,
    LEAST,
    LONGEST,
    MOST_STRETCHES,
    SHARE,
    common_subsequence,
    evidence,
    origins,
    speaks_for,
    strongest,
)
from complaints.predictor import Predictor
from complaints.records import Complaint, Evidence
from complaints.text import clean

# ---- what a token says for an answer


@pytest.mark.parametrize("members", [(0,), (2,), (1, 2)])
def test_a_token_s_score_is_the_slope_of_the_log_odds(members: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    shares = rng.normal(0, 2, (6, 4)).astype(np.float32)
    logits = shares.sum(axis=0, keepdims=True)
    step = 1e-3

    def odds(moved: np.ndarray) -> float:  # type: ignore[type-arg]
        p = softmax(moved, 1.0)[0]
        return float(np.log(p[list(members)].sum()) - np.log(np.delete(p, members).sum()))

    slopes = [(odds(logits + step * row) - odds(logits - step * row)) / (2 * step) for row in shares]
    assert np.allclose(speaks_for(shares, softmax(logits, 1.0)[0], members), slopes, atol=0.02)


def test_what_is_said_of_all_labels_alike_counts_nothing() -> None:
    shares = np.array([[5, 5, 5], [1, 0, 0]], dtype=np.float32)
    found = speaks_for(shares, np.array([0.5, 0.3, 0.2]), (0,))
    assert found == pytest.approx([0.0, 1.0])


def test_evidence_does_not_fade_where_the_answer_is_sure() -> None:
    shares = np.array([[3, 0, 0], [1, 0, 0], [0, 2, 2]], dtype=np.float32)
    for p in ([1.0, 0.0, 0.0], [1.0, 1e-112, 1e-112], [0.5, 0.25, 0.25]):
        assert speaks_for(shares, np.array(p), (0,)) == pytest.approx([3, 1, -2])


def test_an_answer_that_is_all_labels_has_nothing_to_stand_against() -> None:
    assert np.isfinite(speaks_for(np.ones((2, 2), dtype=np.float32), np.array([0.5, 0.5]), (0, 1))).all()


def test_an_answer_of_probability_nothing_is_no_error() -> None:
    assert np.isfinite(speaks_for(np.ones((2, 2), dtype=np.float32), np.array([1.0, 0.0]), (1,))).all()


# ---- which stretches


def spans_of(widths: list[int]) -> np.ndarray:  # type: ignore[type-arg]
    ends = np.cumsum(widths)
    return np.stack([ends - widths, ends], axis=1)


def test_neighbours_are_one_stretch_and_far_ones_are_not() -> None:
    spans = spans_of([1] * 12)
    scores = np.zeros(12)
    scores[[0, 1, 4, 10]] = [4.0, 2.0, 1.0, 3.0]  # 1 and 4 have two characters between them, 4 and 10 five
    assert GAP == 2
    assert strongest(scores, spans, 12) == [(0, 5, pytest.approx(0.7)), (10, 11, pytest.approx(0.3))]


def test_special_tokens_count_but_are_never_shown() -> None:
    spans = np.array([[0, 0], [0, 1], [1, 2], [0, 0]])
    assert strongest(np.array([3.0, 1.0, -5.0, 0.0]), spans, 2) == [(0, 1, 0.25)]


def test_the_strongest_word_is_shown_however_long() -> None:
    spans = spans_of([12, 1, 1])
    assert strongest(np.array([3.0, 1.0, 0.0]), spans, 14) == [(0, 12, 0.75)]


@pytest.mark.parametrize("scores", [[0.0, 0.0], [-1.0, -2.0]])
def test_where_nothing_speaks_for_the_answer_nothing_is_shown(scores: list[float]) -> None:
    assert strongest(np.array(scores), spans_of([1, 1]), 2) == []


def test_no_tokens_at_all() -> None:
    assert strongest(np.zeros(0), np.zeros((0, 2), dtype=np.int64), 0) == []


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), max_size=60))
def test_stretches_are_few_short_apart_and_best_first(tokens: list[tuple[float, int]]) -> None:
    spans = spans_of([width for _, width in tokens]) if tokens else np.zeros((0, 2), dtype=np.int64)
    characters = int(spans[-1, 1]) if tokens else 0
    found = strongest(np.array([score for score, _ in tokens]), spans, characters)
    assert len(found) <= MOST_STRETCHES
    assert [weight for *_, weight in found] == sorted((weight for *_, weight in found), reverse=True)
    assert all(0 <= start < end <= characters and 0 <= weight <= 1 + 1e-9 for start, end, weight in found)
    placed = sorted(found)
    assert all(after[0] - before[1] > GAP for before, after in pairwise(placed))
    room = max(LEAST, round(SHARE * characters))
    assert sum(end - start for start, end, _ in found) <= room + GAP * (room - 1)


# ---- where the characters came from


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text("abc", max_size=14), st.text("abcd", max_size=14))
def test_a_common_subsequence_is_one_and_the_longest(one: str, other: str) -> None:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    found = common_subsequence(one, other)
    assert len(found) == table[-1][-1]
    assert all(one[i] == other[j] for i, j in found)
    assert all(a[0] > b[0] and a[1] > b[1] for a, b in pairwise(found))


def test_a_clean_text_is_its_own_origin() -> None:
    assert origins("屏幕坏了", "屏幕坏了") == [0, 1, 2, 3]
    assert origins("", "") == []


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("<p>屏幕<b>坏</b>了</p>", "屏幕坏了"),
        ("屏\u200b幕\ufeff坏了", "屏幕坏了"),
        ("訂單壞了", "訂單壞了"),
        ("  屏幕　坏了\n", "屏幕坏了"),
        ("屏幕坏了&nbsp;&lt;急&gt;", "屏幕坏了急"),
        ("１２３屏", "１２３屏"),
    ],
)
def test_each_character_is_traced_to_where_it_stood(raw: str, kept: str) -> None:
    cleaned = clean(raw).text
    where = origins(raw, cleaned)
    assert len(where) == len(cleaned)
    traced = [raw[i] for i in where if i is not None and not raw[i].isspace()]
    assert "".join(c for c in traced if c not in "<>&;") == kept
    known = [i for i in where if i is not None]
    assert known == sorted(set(known))


def test_a_mask_has_no_origin_and_the_rest_keeps_its_own() -> None:
    raw = "电话13800138000打不通"
    where = origins(raw, clean(raw).text)
    assert where == [0, 1, *[None] * 5, 13, 14, 15]


def test_a_text_too_long_to_lay_side_by_side_has_no_origins_unless_it_is_clean() -> None:
    long = "屏幕坏了，没人管。" * (LONGEST // 9 + 1)
    assert set(origins(f"<p>{long}</p>", long)) == {None}
    assert origins(long, long) == list(range(len(long)))


@pytest.mark.parametrize("unit", ["好\u200b坏\u200b", "好坏", "<b>好</b>坏", "好  坏 ", "a\u200b"])
def test_no_text_takes_long(unit: str) -> None:
    raw = ("\u200b" + unit * LONGEST)[:LONGEST]
    cleaned = clean(raw).text
    start = time.perf_counter()
    where = origins(raw, cleaned)
    assert time.perf_counter() - start < 3  # seconds, of which a few hundredths are needed; difflib took minutes
    assert all(i is not None for i, c in zip(where, cleaned, strict=True) if c != " ")


# ---- both together


def contributions(scores: list[float]) -> Contributions:
    """One head of two labels, a token a character: `scores` for the first label."""
    shares = np.array([[score, 0.0] for score in scores], dtype=np.float32)
    return Contributions(spans_of([1] * len(scores)), {"h": shares})


def test_evidence_is_counted_from_the_text_and_the_title_is_left_out() -> None:
    raw = "题火\n我的火呢"  # title, newline, text
    said = contributions([0, 3, 0, 0, 0, 1, 0])
    found = evidence("h", said, np.array([0.5, 0.5]), (0,), origins(raw, raw), 3)
    assert found == [Evidence(head="h", start=2, end=3, weight=0.25)]


def test_a_stretch_whose_characters_have_no_origin_is_left_out() -> None:
    said = contributions([0, 3, 0, 0, 0, 0, 1])
    where = [0, None, None, None, None, 1, 2]
    found = evidence("h", said, np.array([0.5, 0.5]), (0,), where, 0)
    assert found == [Evidence(head="h", start=2, end=3, weight=0.25)]


def test_what_the_title_says_is_not_put_down_to_the_text_beside_it() -> None:
    raw = "火\n我呢"
    found = evidence("h", contributions([9, 0, 1, 0]), np.array([0.5, 0.5]), (0,), origins(raw, raw), 2)
    assert found == [Evidence(head="h", start=0, end=1, weight=0.1)]


def test_what_rounds_to_nothing_is_not_shown() -> None:
    raw = "我火"
    found = evidence("h", contributions([1e-6, 1]), np.array([0.5, 0.5]), (0,), origins(raw, raw), 0)
    assert all(one.weight > 0 for one in found)
    assert evidence("h", contributions([1e-6, 9, 0]), np.array([0.5, 0.5]), (0,), [2, 0, 1], 2) == []


TELLING = {
    "plain": "坏了没人管，谢，快递三天",
    "markup": "<div class='a'>坏了没人管，<b>谢</b>，快递三天</div>",
    "traditional": "壞了沒人管，謝，快遞三天",
    "invisible": "\u200b".join("坏了没人管，谢，快递三天"),
    "entities": "坏了&nbsp;没人管&#65292;谢&#65292;快递三天",
    "masked": "打13800138000没人管，谢，快递三天",
    "white space": "\n\n  坏了\n\n没人管，谢，  快递三天  ",
    "repeats": "我我我我我我坏了没人管，谢，快递三天",
}


@pytest.mark.parametrize("form", TELLING)
@pytest.mark.parametrize("title", [None, "快递", "谢"])
def test_evidence_points_at_the_telling_character(predictor: Predictor, form: str, title: str | None) -> None:
    text = TELLING[form]
    (got,) = predictor.predict([Complaint(text=text, title=title)], explain=True, heads=["sentiment"])
    assert got.heads["sentiment"].label == "positive"
    there = next(i for i, c in enumerate(text) if c in "谢謝")
    best = max(got.evidence, key=lambda one: one.weight)
    assert best.start <= there < best.end
    assert best.end - best.start <= 3 * (LEAST + 2 * GAP)
    assert best.weight > (0.8 if title != "谢" else 0.4)
    assert all(0 <= one.start < one.end <= len(text) and 0 < one.weight <= 1 for one in got.evidence)


@pytest.mark.parametrize("text", ["", "  ", "\u200b", "<br>"])
def test_an_empty_text_has_no_evidence(predictor: Predictor, text: str) -> None:
    assert predictor.predict([Complaint(text=text)], explain=True)[0].evidence == ()


def test_a_parent_s_evidence_is_that_of_its_leaves(predictor: Predictor) -> None:
    text = "我的快递在路上，没人管，三天了"
    (got,) = predictor.predict([Complaint(text=text)], explain=True, heads=["category"])
    assert got.heads["category"].label == "logistics"
    best = got.evidence[0]
    assert best.start <= text.index("递") < best.end


def test_evidence_of_a_text_that_was_cut_lies_at_both_its_ends(predictor: Predictor) -> None:
    text = "谢" + "我的手机" * 30 + "谢"
    (got,) = predictor.predict([Complaint(text=text)], explain=True, heads=["sentiment"])
    assert got.warnings == ("truncated",)
    places = {i for one in got.evidence for i in range(one.start, one.end)}
    assert {0, len(text) - 1} <= places
