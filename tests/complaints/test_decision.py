"""Logits to decisions: calibrated, per-class thresholds, back-off to the parent, and what no confidence excuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from complaints.decision import (
    LARGEST_SUGGESTION,
    Calibration,
    HeadCalibration,
    Scope,
    decide,
    parent_probabilities,
    probabilities,
    softmax,
)
from complaints.encoder import Encoded
from complaints.records import HeadPrediction
from complaints.taxonomy import Taxonomy
from complaints.text import Cleaned

LABELS = [
    *("quality.defect", "quality.safety", "logistics.delay", "logistics.lost", "quality", "logistics"),
    *("customer_service", "positive", "neutral", "dissatisfied", "angry", "low", "medium", "high"),
]
CHINESE = Cleaned("屏幕坏了", truncated=False, chinese=True)


def learned(
    thresholds: dict[str, float | None],
    *,
    temperature: float = 1.0,
    set_floor: float | dict[str, float] = 0.05,
) -> HeadCalibration:
    """`set_floor` is that of every label, or one for each."""
    floors = set_floor if isinstance(set_floor, dict) else dict.fromkeys(LABELS, set_floor)
    return HeadCalibration(
        temperature=temperature, precision_target=0.9, thresholds=thresholds, coverage=0.9, set_floors=floors
    )


def encoded(logits: dict[str, np.ndarray], *, truncated: list[bool] | None = None, vectors=None) -> Encoded:  # type: ignore[no-untyped-def, type-arg]
    """What the encoder would have said, with vectors that say nothing and nothing cut where none are given."""
    rows = len(next(iter(logits.values())))
    return Encoded(
        logits,
        np.zeros((rows, 2), dtype=np.float32) if vectors is None else np.array(vectors, dtype=np.float32),
        np.array([False] * rows if truncated is None else truncated),
    )


def one_head(
    taxonomy: Taxonomy,
    name: str,
    shares: list[float],
    calibration: HeadCalibration,
    text: Cleaned = CHINESE,
    top_k: int = 3,
) -> HeadPrediction:
    """Decide on one head alone whose probabilities are `shares`."""
    logits = {name: np.log(np.array([shares], dtype=np.float32))}
    return decide(taxonomy, Calibration(heads={name: calibration}), encoded(logits), [text], top_k=top_k)[0][name]


# ---- probabilities


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=5, max_size=5), min_size=1, max_size=4),
    st.floats(0.05, 20),
)
def test_rows_sum_to_one_and_keep_their_order(rows: list[list[float]], temperature: float) -> None:
    logits = np.array(rows, dtype=np.float32)
    shares = softmax(logits, temperature)
    assert shares.shape == logits.shape
    assert np.allclose(shares.sum(axis=1), 1)
    assert (shares >= 0).all()
    for before, after in zip(logits, shares, strict=True):
        assert after[before.argmax()] == after.max()


def test_softmax_by_hand() -> None:
    assert np.allclose(softmax(np.log(np.array([[1, 3]], dtype=np.float32)), 1.0), [[0.25, 0.75]])
    assert np.allclose(softmax(np.log(np.array([[1, 9]], dtype=np.float32)), 2.0), [[0.25, 0.75]])


def test_a_higher_temperature_is_less_sure() -> None:
    logits = np.array([[4, 1, 0]], dtype=np.float32)
    sure = [float(softmax(logits, t).max()) for t in (0.5, 1.0, 2.0, 4.0)]
    assert sure == sorted(sure, reverse=True)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.floats(-40, 40, width=32), min_size=4, max_size=4), min_size=1, max_size=4),
    st.floats(0.1, 4),
    st.floats(-4, 4),
)
def test_a_line_on_the_log_odds_keeps_order_and_sum(rows: list[list[float]], slope: float, offset: float) -> None:
    logits = np.array(rows, dtype=np.float32)
    before = softmax(logits, 1.0)
    after = probabilities(logits, learned({}).model_copy(update={"slope": slope, "offset": offset}))
    assert np.allclose(after.sum(axis=1), 1)
    assert (after >= 0).all()
    for a, b in zip(before, after, strict=True):
        assert b[a.argmax()] >= b.max() - 1e-12
        assert (np.diff(b[np.lexsort((b, a))]) >= -1e-12).all()


def test_a_line_on_the_log_odds_by_hand() -> None:
    logits = np.log(np.array([[6, 3, 1], [999, 1, 0.01], [4, 3, 3]], dtype=np.float32))
    lower = learned({}).model_copy(update={"slope": 0.5, "offset": 0.0})
    odds = np.sqrt(1.5)  # of the first row, 6 : 4
    p = probabilities(logits, lower)
    assert np.allclose(p[0], [odds / (1 + odds), 0.75 / (1 + odds), 0.25 / (1 + odds)])
    assert p[1, 0] == pytest.approx(0.969, abs=0.001)
    assert p[2, 0] == pytest.approx(0.449, abs=0.001)  # who was less sure than a half is surer
    below = probabilities(logits, learned({}).model_copy(update={"slope": 1.0, "offset": -5.0}))
    assert np.allclose(below[2], [0.4, 0.3, 0.3])  # lower, and another label would be the likeliest
    assert below[0, 0] == 0.5


@pytest.mark.parametrize(
    "row",
    [
        [0.4, 0.6],
        [0.6, 0.4],
        [0.02, 0.98],
        [0.49999, 0.50001],
        [0.3, 0.7 - 1e-9, 1e-9],
        [0.4, 0.6, 1e-25],
        [1e-25, 0.1, 0.9],
    ],
)
@pytest.mark.parametrize(("slope", "offset"), [(1.0, -5.0), (0.1, -1.0), (0.4142, -0.7), (3.0, -20.0)])
def test_no_line_has_another_label_level_with_the_likeliest(row: list[float], slope: float, offset: float) -> None:
    logits = np.log(np.array([row, row[::-1], np.ones(len(row)) / len(row)], dtype=np.float32))
    before = softmax(logits, 1.0)
    p = probabilities(logits, learned({}).model_copy(update={"slope": slope, "offset": offset}))
    assert np.allclose(p.sum(axis=1), 1)
    assert p.argmax(axis=1).tolist() == before.argmax(axis=1).tolist()
    for one in p[:2]:
        second, first = np.sort(one)[-2:]
        assert first > second
    assert (np.argsort(p[:2], axis=1) == np.argsort(before[:2], axis=1)).all()


def test_a_parent_has_its_leaves_together(tiny_taxonomy: Taxonomy) -> None:
    above = parent_probabilities(tiny_taxonomy.heads["category"], np.array([[0.1, 0.2, 0.3, 0.4]]))
    assert np.allclose(above, [[0.3, 0.7]])


# ---- auto, suggest, review


def test_auto_from_the_threshold_on(tiny_taxonomy: Taxonomy) -> None:
    at = one_head(tiny_taxonomy, "sentiment", [0.7, 0.1, 0.1, 0.1], learned({"positive": 0.7}))
    assert (at.decision, at.label, at.confidence, at.threshold, at.reason) == ("auto", "positive", 0.7, 0.7, None)
    below = one_head(tiny_taxonomy, "sentiment", [0.7, 0.1, 0.1, 0.1], learned({"positive": 0.7001}, set_floor=0.2))
    assert (below.decision, below.reason, below.threshold) == ("suggest", "below_threshold", 0.7001)


def test_each_class_has_its_own_threshold(tiny_taxonomy: Taxonomy) -> None:
    thresholds = learned({"positive": 0.6, "angry": 0.9}, set_floor=0.2)
    assert one_head(tiny_taxonomy, "sentiment", [0.8, 0.1, 0.05, 0.05], thresholds).decision == "auto"
    assert one_head(tiny_taxonomy, "sentiment", [0.05, 0.05, 0.1, 0.8], thresholds).decision == "suggest"


@pytest.mark.parametrize("thresholds", [{}, {"positive": None}])
def test_a_class_never_shown_safe_is_never_auto(tiny_taxonomy: Taxonomy, thresholds: dict[str, float | None]) -> None:
    one = one_head(tiny_taxonomy, "sentiment", [0.999, 0.0004, 0.0003, 0.0003], learned(thresholds))
    assert (one.decision, one.threshold, one.reason) == ("suggest", None, "below_threshold")


def test_a_set_too_long_to_choose_from_goes_to_review(tiny_taxonomy: Taxonomy) -> None:
    shares = [0.4, 0.3, 0.2, 0.1]
    short = one_head(tiny_taxonomy, "sentiment", shares, learned({}, set_floor=0.15))
    assert (short.decision, len(short.prediction_set)) == ("suggest", LARGEST_SUGGESTION)
    long = one_head(tiny_taxonomy, "sentiment", shares, learned({}, set_floor=0.05))
    assert (long.decision, len(long.prediction_set), long.reason) == ("review", 4, "below_threshold")


def test_the_set_is_best_first_and_never_empty(tiny_taxonomy: Taxonomy) -> None:
    one = one_head(tiny_taxonomy, "sentiment", [0.2, 0.1, 0.4, 0.3], learned({}, set_floor=0.15))
    assert one.prediction_set == ("dissatisfied", "angry", "positive")
    none = one_head(tiny_taxonomy, "sentiment", [0.2, 0.1, 0.4, 0.3], learned({}, set_floor=0.9))
    assert none.prediction_set == ("dissatisfied",)


@pytest.mark.parametrize("top_k", [1, 2, 3, 99])
def test_top_k(tiny_taxonomy: Taxonomy, top_k: int) -> None:
    one = one_head(tiny_taxonomy, "sentiment", [0.2, 0.1, 0.4, 0.3], learned({}), top_k=top_k)
    best = [("dissatisfied", 0.4), ("angry", 0.3), ("positive", 0.2), ("neutral", 0.1)]
    assert [(s.label, s.confidence) for s in one.top_k] == best[:top_k]


def test_a_tie_goes_to_the_first_label(tiny_taxonomy: Taxonomy) -> None:
    assert one_head(tiny_taxonomy, "department", [1 / 3] * 3, learned({})).label == "quality"


def test_confidence_is_decided_on_as_it_is_shown(tiny_taxonomy: Taxonomy) -> None:
    one = one_head(tiny_taxonomy, "department", [0.69996, 0.2, 0.10004], learned({"quality": 0.7}))
    assert (one.confidence, one.decision) == (0.7, "auto")


# ---- the parent


TORN = [0.02, 0.02, 0.5, 0.46]


def test_sure_of_the_parent_alone(tiny_taxonomy: Taxonomy) -> None:
    one = one_head(tiny_taxonomy, "category", TORN, learned({"logistics.delay": 0.8, "logistics": 0.9}))
    assert (one.decision, one.label, one.name) == ("auto", "logistics", "物流配送")
    assert (one.confidence, one.threshold, one.reason) == (0.96, 0.9, None)
    assert [s.label for s in one.top_k] == ["logistics.delay", "logistics.lost", "quality.defect"]


@pytest.mark.parametrize("threshold", [0.97, None])
def test_not_even_sure_of_the_parent(tiny_taxonomy: Taxonomy, threshold: float | None) -> None:
    one = one_head(tiny_taxonomy, "category", TORN, learned({"logistics.delay": 0.8, "logistics": threshold}))
    assert (one.decision, one.label, one.confidence) == ("suggest", "logistics.delay", 0.5)


def test_a_sure_leaf_is_not_traded_for_its_parent(tiny_taxonomy: Taxonomy) -> None:
    one = one_head(tiny_taxonomy, "category", TORN, learned({"logistics.delay": 0.5, "logistics": 0.5}))
    assert one.label == "logistics.delay"


def test_the_best_parent_need_not_hold_the_best_leaf(tiny_taxonomy: Taxonomy) -> None:
    one = one_head(tiny_taxonomy, "category", [0.39, 0.01, 0.3, 0.3], learned({"logistics": 0.6, "quality": 0.3}))
    assert (one.label, one.confidence) == ("logistics", 0.6)


# ---- what goes to a person whatever the confidence


def both(taxonomy: Taxonomy, category: list[float], department: list[float], text: Cleaned = CHINESE):
    every = dict.fromkeys([i for head in taxonomy.heads.values() for i in (*head.ids, *head.parents)], 0.7)
    logits = {
        "category": np.log(np.array([category], dtype=np.float32)),
        "department": np.log(np.array([department], dtype=np.float32)),
        "sentiment": np.log(np.array([[0.01, 0.01, 0.97, 0.01]], dtype=np.float32)),
    }
    calibration = Calibration(heads=dict.fromkeys(logits, learned(every)))
    return decide(taxonomy, calibration, encoded(logits), [text])[0]


SURE_DELAY, SURE_QUALITY, SURE_LOGISTICS = [0.01, 0.01, 0.97, 0.01], [0.98, 0.01, 0.01], [0.01, 0.98, 0.01]


def test_heads_that_agree_are_auto(tiny_taxonomy: Taxonomy) -> None:
    row = both(tiny_taxonomy, SURE_DELAY, SURE_LOGISTICS)
    assert {name: one.decision for name, one in row.items()} == dict.fromkeys(row, "auto")


def test_heads_that_contradict_each_other_go_to_review(tiny_taxonomy: Taxonomy) -> None:
    row = both(tiny_taxonomy, SURE_DELAY, SURE_QUALITY)
    for name in ("category", "department"):
        assert (row[name].decision, row[name].reason) == ("review", "heads_conflict")
        assert row[name].confidence > 0.9
    assert row["sentiment"].decision == "auto"
    assert list(row) == ["category", "department", "sentiment"]


def test_a_parent_can_contradict_too(tiny_taxonomy: Taxonomy) -> None:
    row = both(tiny_taxonomy, TORN, SURE_QUALITY)
    assert (row["category"].label, row["category"].reason) == ("logistics", "heads_conflict")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (Cleaned("My phone broke", truncated=False, chinese=False), "not_chinese"),
        (Cleaned("", truncated=False, chinese=False), "empty_after_cleaning"),
    ],
)
def test_what_is_no_chinese_text_goes_to_review(tiny_taxonomy: Taxonomy, text: Cleaned, reason: str) -> None:
    row = both(tiny_taxonomy, SURE_DELAY, SURE_LOGISTICS, text)
    assert {(one.decision, one.reason) for one in row.values()} == {("review", reason)}


def test_each_row_has_its_own_text(tiny_taxonomy: Taxonomy) -> None:
    logits = {"sentiment": np.log(np.array([[0.97, 0.01, 0.01, 0.01]] * 3, dtype=np.float32))}
    texts = [CHINESE, Cleaned("hello", truncated=False, chinese=False), CHINESE]
    rows = decide(tiny_taxonomy, Calibration(heads={"sentiment": learned({"positive": 0.5})}), encoded(logits), texts)
    assert [row["sentiment"].decision for row in rows] == ["auto", "review", "auto"]


# ---- calibration


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"precision_target": 1},
        {"coverage": 0},
        {"set_floors": {"positive": -0.1}},
        {"set_floors": {"positive": 1.1}},
        {"set_floors": 0.1},
        {"colour": "red"},
    ],
)
def test_an_impossible_calibration_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        HeadCalibration.model_validate(learned({}).model_dump() | change)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4),
    st.floats(0.2, 5),
    st.floats(0, 1),
    st.floats(0, 1) | st.none(),
)
def test_any_logits_give_a_sound_prediction(
    tiny_taxonomy: Taxonomy, scores: list[float], temperature: float, floor: float, threshold: float | None
) -> None:
    head = tiny_taxonomy.heads["category"]
    calibration = learned(
        dict.fromkeys([*head.ids, *head.parents], threshold), temperature=temperature, set_floor=floor
    )
    logits = {"category": np.array([scores], dtype=np.float32)}
    one = decide(tiny_taxonomy, Calibration(heads={"category": calibration}), encoded(logits), [CHINESE])[0]["category"]
    assert 1 <= len(one.prediction_set) <= 4
    assert one.top_k[0].label == one.prediction_set[0]
    assert (one.decision == "auto") == (one.reason is None)
    if one.decision == "auto":
        assert one.threshold is not None
        assert one.confidence >= one.threshold
    else:
        assert one.label in head.ids
    if one.label in head.parents:
        assert one.decision == "auto"


# ---- floors of prediction sets


def test_each_label_has_its_own_floor(tiny_taxonomy: Taxonomy) -> None:
    floors = {"positive": 0.3, "neutral": 0.05, "dissatisfied": 0.5, "angry": 0.2}
    one = one_head(tiny_taxonomy, "sentiment", [0.25, 0.06, 0.4, 0.29], learned({}, set_floor=floors))
    assert one.prediction_set == ("dissatisfied", "angry", "neutral")  # the likeliest stays, though below its floor


def test_no_automatic_answer_is_outside_its_own_set(tiny_taxonomy: Taxonomy) -> None:
    floors = {"positive": 0.99, "neutral": 0.01, "dissatisfied": 0.5, "angry": 0.5}
    one = one_head(tiny_taxonomy, "sentiment", [0.97, 0.02, 0.005, 0.005], learned({"positive": 0.9}, set_floor=floors))
    assert (one.decision, one.label) == ("auto", "positive")
    assert one.prediction_set == ("positive", "neutral")


def test_a_label_without_a_floor_is_always_in_the_set(tiny_taxonomy: Taxonomy) -> None:
    one = one_head(tiny_taxonomy, "sentiment", [0.97, 0.01, 0.01, 0.01], learned({}, set_floor={"angry": 0.5}))
    assert set(one.prediction_set) == {"positive", "neutral", "dissatisfied"}


# ---- scope and length

SCOPE = Scope(weights=(1.0, -2.0), bias=0.5, threshold=0.0)
FOREIGN, OWN = [0.0, 1.0], [1.0, 0.0]
ENGLISH, EMPTY = Cleaned("hello", truncated=False, chinese=False), Cleaned("", truncated=False, chinese=False)
CUT = Cleaned("屏幕坏了", truncated=True, chinese=True)


def excuses(
    taxonomy: Taxonomy, texts: list[Cleaned], vectors: list[list[float]], truncated: list[bool], scope: Scope | None
) -> list[str | None]:
    """Why each text goes to review, where category and department also contradict each other."""
    every = learned(dict.fromkeys(LABELS, 0.5))
    logits = {
        "category": np.log(np.array([SURE_DELAY] * len(texts), dtype=np.float32)),
        "department": np.log(np.array([SURE_QUALITY] * len(texts), dtype=np.float32)),
        "sentiment": np.log(np.array([[0.97, 0.01, 0.01, 0.01]] * len(texts), dtype=np.float32)),
    }
    calibration = Calibration(heads=dict.fromkeys(logits, every), scope=scope)
    rows = decide(taxonomy, calibration, encoded(logits, truncated=truncated, vectors=vectors), texts)
    for row in rows:
        assert row["category"].decision == row["department"].decision == "review"
        # Contradiction holds two heads back; every other reason holds back all.
        free = row["category"].reason == "heads_conflict"
        assert (row["sentiment"].decision, row["sentiment"].reason) == (
            ("auto", None) if free else ("review", row["category"].reason)
        )
        assert row["category"].confidence > 0.9  # what the model thinks is still said
    return [row["category"].reason for row in rows]


def test_scores_of_a_scope_by_hand() -> None:
    assert SCOPE.scores(np.array([OWN, FOREIGN, [0.6, 0.8]], dtype=np.float32)) == pytest.approx([1.5, -1.5, -0.5])


def test_reasons_and_which_of_them_comes_first(tiny_taxonomy: Taxonomy) -> None:
    cases: list[tuple[Cleaned, list[float], bool, str]] = [
        (EMPTY, FOREIGN, True, "empty_after_cleaning"),
        (ENGLISH, FOREIGN, True, "not_chinese"),
        (CHINESE, FOREIGN, True, "out_of_scope"),
        (CHINESE, FOREIGN, False, "out_of_scope"),
        (CUT, FOREIGN, False, "out_of_scope"),
        (CHINESE, OWN, True, "too_long"),
        (CUT, OWN, False, "too_long"),
        (CHINESE, OWN, False, "heads_conflict"),
    ]
    texts, vectors, cut, wanted = ([case[i] for case in cases] for i in range(4))
    assert excuses(tiny_taxonomy, texts, vectors, cut, SCOPE) == wanted  # type: ignore[arg-type]


def test_a_score_at_the_threshold_is_inside(tiny_taxonomy: Taxonomy) -> None:
    at = SCOPE.model_copy(update={"threshold": 1.5})
    above = SCOPE.model_copy(update={"threshold": 1.5001})
    assert excuses(tiny_taxonomy, [CHINESE], [OWN], [False], at) == ["heads_conflict"]
    assert excuses(tiny_taxonomy, [CHINESE], [OWN], [False], above) == ["out_of_scope"]


def test_without_a_scope_nothing_is_foreign(tiny_taxonomy: Taxonomy) -> None:
    assert excuses(tiny_taxonomy, [CHINESE], [FOREIGN], [False], None) == ["heads_conflict"]


def test_a_calibration_with_a_scope_survives_json() -> None:
    calibration = Calibration(heads={"sentiment": learned({"positive": None})}, scope=SCOPE)
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration
