"""The one path: a complaint in, a prediction out, the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.bundle import Bundle
from complaints.decision import Scope
from complaints.errors import BundleMismatch, InvalidInput
from complaints.evidence import LEAST, MOST_STRETCHES
from complaints.policy import LEVELS, Row
from complaints.predictor import Predictor
from complaints.records import Complaint, Context, Customer, Prediction
from complaints.risk import Policy

MAX_TOKENS = 24


@pytest.fixture(scope="module")
def threaded(tiny_bundle: Bundle, policy: Policy) -> Iterator[Predictor]:
    made = Predictor(tiny_bundle, policy, threads=3)
    yield made
    made.close()


def one(predictor: Predictor, text: str, **options: object) -> Prediction:
    return predictor.predict([Complaint(text=text)], **options)[0]  # type: ignore[arg-type]


# ---- what comes out


def test_a_sure_answer(predictor: Predictor) -> None:
    got = one(predictor, "手机屏坏了")
    assert list(got.heads) == ["category", "department", "sentiment", "propagation"]
    assert (got.heads["category"].decision, got.heads["category"].label) == ("auto", "quality.defect")
    assert got.heads["category"].name == "产品质量/功能故障"
    assert (got.heads["department"].decision, got.heads["department"].label) == ("auto", "quality")
    assert got.warnings == ()
    assert got.evidence == ()


def test_an_unsure_answer_goes_to_a_person(predictor: Predictor) -> None:
    got = one(predictor, "我三天")
    assert {head.decision for head in got.heads.values()} <= {"suggest", "review"}


def test_sure_of_the_parent_only(predictor: Predictor) -> None:
    category = one(predictor, "快递在路上").heads["category"]
    assert (category.decision, category.label, category.name) == ("auto", "logistics", "物流配送")


def test_contradicting_heads(predictor: Predictor) -> None:
    got = one(predictor, "客服说谎")
    assert got.heads["category"].reason == got.heads["department"].reason == "heads_conflict"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("my phone broke 屏", "not_chinese"), ("", "empty_after_cleaning"), ("\u200b<br>", "empty_after_cleaning")],
)
def test_no_chinese_text(predictor: Predictor, text: str, reason: str) -> None:
    got = one(predictor, text)
    assert {(head.decision, head.reason) for head in got.heads.values()} == {("review", reason)}


def test_risk_sees_prediction_text_and_context(predictor: Predictor) -> None:
    complaint = Complaint(
        text="电池烧起来了,我要曝光,已经起火",
        channel="weibo",
        customer=Customer(vip=True, followers=200_000),
        created_at=datetime(2026, 3, 15, 2, 0, tzinfo=UTC),
    )
    risk = predictor.predict([complaint])[0].risk
    assert {"public", "safety", "social", "vip", "followers_100k"} <= {r.code for r in risk.reasons}
    assert (risk.level, risk.propagation.label) == ("high", "high")
    assert risk.respond_by is not None
    assert risk.respond_by.isoformat() == "2026-03-15T10:10:00+08:00"


def test_the_index_follows_the_propagation_head(predictor: Predictor) -> None:
    assert one(predictor, "手机稳").risk.propagation.index == pytest.approx(2.0, abs=0.1)
    assert one(predictor, "手机曝").risk.propagation.index == pytest.approx(8.0, abs=0.1)


# ---- title


def test_the_title_is_read(predictor: Predictor) -> None:
    with_title = predictor.predict([Complaint(title="屏", text="坏了没人管")])[0]
    assert with_title.heads["category"].label == "quality.defect"
    assert with_title.heads == one(predictor, "屏\n坏了没人管").heads
    assert predictor.predict([Complaint(title="", text="屏坏了")])[0] == one(predictor, "屏坏了")


def test_a_title_does_for_an_empty_text(predictor: Predictor) -> None:
    assert predictor.predict([Complaint(title="手机屏坏了", text="")])[0].heads["category"].reason is None


def test_keywords_of_the_title_count(predictor: Predictor) -> None:
    risk = predictor.predict([Complaint(title="我要起诉", text="没人管")])[0].risk
    assert [(r.code, r.field, r.start, r.end) for r in risk.reasons if r.field] == [("lawsuit", "title", 2, 4)]


def test_a_reading_is_assessed_again_by_another_policy(predictor: Predictor) -> None:
    [reading] = predictor.read([Complaint(text="手机屏坏了,我要曝光", customer=Customer(vip=True))])
    told = predictor.answer(reading, list(predictor.taxonomy.heads))
    assert told == one_of(predictor, reading.complaint)
    calm = predictor.policy.model_copy(update={"rules": (), "matrix": {}, "upgrades": (), "checklist": ()})
    calm = calm.model_copy(update={"matrix": {name: _empty(row) for name, row in predictor.policy.matrix.items()}})
    assert [r.code for r in predictor.assess(reading, policy=calm).reasons] == ["score"]
    assert predictor.assess(reading, Context(alike_before=4)).propagation.index > told.risk.propagation.index


def one_of(predictor: Predictor, complaint: Complaint) -> Prediction:
    return predictor.predict([complaint])[0]


def _empty(row: Row) -> Row:
    return row.model_copy(update={level: getattr(row, level).model_copy(update={"when": {}}) for level in LEVELS})


# ---- options


def test_heads_are_answered_in_the_order_asked_for(predictor: Predictor) -> None:
    got = one(predictor, "手机屏坏了", heads=["sentiment", "category"])
    assert list(got.heads) == ["sentiment", "category"]
    assert got.risk == one(predictor, "手机屏坏了").risk
    assert one(predictor, "手机屏坏了", heads=[]).heads == {}


def test_a_conflict_is_seen_even_where_one_side_was_not_asked_for(predictor: Predictor) -> None:
    assert one(predictor, "客服说谎", heads=["category"]).heads["category"].reason == "heads_conflict"


def test_an_unknown_head_is_named_with_those_there_are(predictor: Predictor) -> None:
    with pytest.raises(InvalidInput, match="no head topic, mood: this model has category, department, sentiment, prop"):
        one(predictor, "屏", heads=["topic", "category", "mood"])


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (50, 4)])
def test_top_k(predictor: Predictor, top_k: int, count: int) -> None:
    scored = one(predictor, "手机屏坏了", top_k=top_k).heads["category"].top_k
    assert len(scored) == count
    assert [s.confidence for s in scored] == sorted((s.confidence for s in scored), reverse=True)


def test_no_complaints(predictor: Predictor, threaded: Predictor) -> None:
    assert predictor.predict([]) == threaded.predict([]) == []


# ---- truncation


def test_a_text_of_too_many_tokens_is_said_to_be_cut(predictor: Predictor) -> None:
    assert one(predictor, "我" + "的手机" * 7).warnings == ()
    assert one(predictor, "我" + "的手机" * 8).warnings == ("truncated",)


def test_a_text_of_too_many_characters_is_said_to_be_cut(predictor: Predictor) -> None:
    assert one(predictor, "屏" * 10_001).warnings == ("truncated",)


# ---- evidence


def test_evidence_points_at_the_telling_words(predictor: Predictor) -> None:
    text = "我的手机没人管，<b>屏</b>坏了！客服不理"
    evidence = [e for e in one(predictor, text, explain=True).evidence if e.head == "category"]
    assert evidence[0].start <= text.index("屏") < evidence[0].end
    assert evidence[0].end - evidence[0].start <= 2 * LEAST + len("<b></b>")
    assert evidence[0].weight > 0.8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([*"我的屏火怒曝，。！？\n\r,.!? a😡", "<b>", "&nbsp;", "\u200b", "訂單"]), max_size=40
    ).map("".join)
)
def test_evidence_lies_inside_the_text(predictor: Predictor, text: str) -> None:
    got = one(predictor, text, explain=True)
    for head in got.heads:
        assert len([e for e in got.evidence if e.head == head]) <= MOST_STRETCHES
    for evidence in got.evidence:
        assert 0 <= evidence.start < evidence.end <= len(text)
        assert 0 < evidence.weight <= 1


def test_evidence_only_for_the_heads_asked_for(predictor: Predictor) -> None:
    got = one(predictor, "手机屏坏了，我怒了，没人管", heads=["sentiment"], explain=True)
    assert {e.head for e in got.evidence} == {"sentiment"}


def test_explaining_changes_nothing_else(predictor: Predictor) -> None:
    plain, explained = (one(predictor, "手机屏坏了，没人管", explain=flag) for flag in (False, True))
    assert explained.model_copy(update={"evidence": (), "similar": ()}) == plain


# ---- the same every time

complaints = st.builds(
    Complaint,
    text=st.lists(
        st.sampled_from([*"我的手机屏火递怒曝谎，。a1 ", "要曝光", "訂單", "&amp;", "13800138000"]), max_size=30
    ).map("".join),
    title=st.none() | st.text("屏火我", max_size=3),
    channel=st.sampled_from([None, "app", "weibo"]),
    customer=st.builds(Customer, vip=st.booleans(), followers=st.none() | st.integers(0, 10**6)),
    created_at=st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - as callers send it
)


@settings(max_examples=40, deadline=None)
@given(st.lists(complaints, max_size=6), st.booleans())
def test_the_same_bytes_alone_in_company_and_in_threads(
    predictor: Predictor, threaded: Predictor, batch: list[Complaint], explain: bool
) -> None:
    together = [p.model_dump_json() for p in predictor.predict(batch, explain=explain)]
    assert together == [p.model_dump_json() for p in threaded.predict(batch, explain=explain)]
    assert together == [predictor.predict([c], explain=explain)[0].model_dump_json() for c in batch]


def test_another_process_would_answer_the_same(predictor: Predictor, tiny_bundle: Bundle, policy: Policy) -> None:
    again = Predictor(Bundle.open(tiny_bundle.path), policy)
    text = "快递还在路上，客服不理，我要曝光"
    assert one(again, text, explain=True).model_dump_json() == one(predictor, text, explain=True).model_dump_json()


def test_a_prediction_survives_json(predictor: Predictor) -> None:
    got = one(predictor, "手机屏坏了，我要曝光", explain=True)
    assert Prediction.model_validate_json(got.model_dump_json()) == got


# ---- what must not matter


@pytest.mark.parametrize(
    "other",
    [
        "手机屏坏了,没人管,我怒",
        "手机屏坏了，没人管，我怒",
        "  手机屏坏了，没人管，我怒\n",
        "手\u200b机屏坏\ufeff了，没人管，我怒",
        "<p>手机屏坏了，没人管，我怒</p>",
        "手機屏壞了，沒人管，我怒",
        "手机屏坏了&#65292;没人管，我怒",
    ],
)
def test_form_does_not_matter(predictor: Predictor, other: str) -> None:
    assert one(predictor, other) == one(predictor, "手机屏坏了，没人管，我怒")


def test_whose_number_it_is_does_not_matter(predictor: Predictor) -> None:
    assert one(predictor, "屏坏了，电话13800138000") == one(predictor, "屏坏了，电话139-1234-5678")


# ---- scope and length


def test_a_text_too_long_to_be_read_goes_to_review(predictor: Predictor) -> None:
    got = one(predictor, "屏" + "我的手机" * 8)
    assert {(head.decision, head.reason) for head in got.heads.values()} == {("review", "too_long")}
    assert got.warnings == ("truncated",)


def test_a_foreign_text_goes_to_review(make_bundle: Callable[..., Bundle], tmp_path: Path, policy: Policy) -> None:
    weights = [0.0] * 14
    weights[7] = -1.0  # sentiment.positive: praise is foreign here
    scope = Scope(weights=tuple(weights), bias=0.0, threshold=-0.5)
    narrow = Predictor(make_bundle(tmp_path / "narrow", scope=scope), policy)
    assert {head.reason for head in one(narrow, "我谢客服").heads.values()} == {"out_of_scope"}
    assert one(narrow, "手机屏坏了").heads["category"].reason is None
    assert one(narrow, "thanks").heads["category"].reason == "not_chinese"
    narrow.close()


def test_a_scope_of_another_width_is_refused_quoting_both(
    make_bundle: Callable[..., Bundle], tmp_path: Path, policy: Policy
) -> None:
    bundle = make_bundle(tmp_path / "odd", scope=Scope(weights=(1.0, 2.0), bias=0.0, threshold=0.0))
    with pytest.raises(BundleMismatch, match="its scope is for vectors of 2, the graph gives 14"):
        Predictor(bundle, policy)
