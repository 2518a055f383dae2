"""The queue on SQLite and on PostgreSQL: what enters it, who gets what, and what is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import orjson
import pytest
from sqlalchemy import event, update

from complaints.errors import Conflict, InvalidInput, NotFound
from complaints.policy import Policy
from serving.quality import agreed
from serving.store import review_queue
from serving.store.queries import Store, new_id
from serving.store.review_order import Filters
from serving.store.review_queue import Leased, Stale, drawn
from serving.store.review_words import Word
from serving.store.risks import AlreadyDecided, Verdict
from serving.store.tables import predictions

NOW = datetime(2026, 3, 2, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def store(url: str) -> Any:
    opened = Store(url)
    yield opened
    opened.close()


def ids(store: Store, **filters: Any) -> list[str]:
    return [one.prediction_id for one in store.queue(Filters(**filters), now=NOW).items]


def test_what_a_person_should_see_enters_the_queue(store: Store, put: Any) -> None:
    sure = put(store, decision="auto", confidence=0.95)
    unsure = put(store, vector=1)
    grave = put(store, decision="auto", confidence=0.9, level="high", vector=2)
    page = store.queue(Filters(), now=NOW)
    assert sure not in ids(store)
    assert page.waiting == 2
    # (1 - 0.6 + 1 - 0.99) x 1 against (1 - 0.9 + 1 - 0.99) x 4
    assert [(one.prediction_id, round(one.priority, 4)) for one in page.items] == [(grave, 0.44), (unsure, 0.41)]
    assert {head: said.label for head, said in page.items[1].heads.items()} == {
        "category": "quality.defect",
        "department": "quality",
    }
    assert not hasattr(page.items[0], "audit")
    said = page.items[1].heads["category"]
    assert (said.decision, said.confidence) == ("review", 0.6)


def test_what_is_strange_to_the_model_comes_before_what_is_as_doubtful(store: Store, put: Any) -> None:
    usual = put(store, confidence=0.5)
    strange = put(store, confidence=0.6, strangeness=1.5, vector=1)
    page = store.queue(Filters(), now=NOW)
    assert [(one.prediction_id, round(one.priority, 4)) for one in page.items] == [(strange, 0.615), (usual, 0.51)]


def test_the_audit_is_drawn_by_the_id_and_has_a_place_that_is_reached(store: Store, put: Any) -> None:
    for i in range(10):
        put(store, confidence=0.2 + i / 100, vector=i)
    drawn_one = put(store, decision="auto", confidence=0.999, share=1.0, vector=20)
    found = {one.prediction_id: one.priority for one in store.queue(Filters(), now=NOW).items}
    assert round(found[drawn_one], 4) in {round(0.8 - i / 100 + 0.01, 4) for i in range(10)}
    names = [new_id(NOW) for _ in range(20_000)]
    assert 0.017 < sum(drawn("audit", one, 0.02) for one in names) / len(names) < 0.023
    fixed = [f"pred_{i:02}" for i in range(60)]  # every replica, and every release, draws these
    assert [one for one in fixed if drawn("second", one, 0.1)] == [f"pred_{i}" for i in ("05", "19", "47", "57", "58")]
    assert not any(drawn("audit", one, 0.0) for one in names)
    assert all(drawn("audit", one, 1.0) for one in names)


def test_filters(store: Store, put: Any) -> None:
    a = put(store, "空调不制冷，iPhone也连不上", channel="app")
    b = put(store, "物流太慢", channel="微博", label="logistics.delay", at=NOW - DAY, level="high", vector=1)
    for filters, expected in (
        ({"head": "category", "label": "quality"}, [a]),
        ({"head": "category", "label": "logistics.delay"}, [b]),
        ({"head": "category"}, [b, a]),
        ({"head": "department"}, []),
        ({"level": "high"}, [b]),
        ({"department": "quality"}, [b, a]),
        ({"department": "nobody"}, []),
        ({"channel": "微博"}, [b]),
        ({"channel": "<手机号>"}, []),
        ({"since": NOW}, [a]),
        ({"until": NOW}, [b]),
        ({"model_version": "7"}, [b, a]),
        ({"model_version": "8"}, []),
        ({"reason": "below_threshold"}, [b, a]),
        ({"reason": "high_risk"}, [b]),
        ({"reason": "too_long"}, []),
        ({"reason": "below_threshold", "head": "category"}, [b, a]),
        ({"reason": "below_threshold", "head": "department", "label": "quality"}, []),
        ({"model_name": "m"}, [b, a]),
        ({"model_name": "mine"}, []),
        ({"text": "制冷"}, [a]),
        ({"text": "物流"}, [b]),
        ({"text": "慢物"}, []),
    ):
        assert ids(store, **filters) == expected, filters


def test_a_channel_is_found_as_it_was_sent_and_as_it_is_shown(store: Store, put: Any) -> None:
    a = put(store, channel="企微13800138000")
    b = put(store, channel="企微139 0013 9000", vector=1)
    put(store, channel=None, vector=2)
    assert ids(store, channel="企微13800138000") == [a]
    assert sorted(ids(store, channel="企微<手机号>")) == sorted([a, b])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("不制冷", True), ("制冷", True), ("iPhone", True), ("IPHONE也连", True), ("iph", True), ("iphone也", True),
        ("冷iphone", True), ("不上", True), ("冷，iPhone", True), ("投訴", True), ("电话", False), ("制冷不", False),
        ("冷也", False), ("手机", False), ("热水器", False), ("13800138000", None), ("冷", None), ("!", None),
        ('"', None), ("", None), ('" OR "制冷', False), ("制冷*", True), ("'制冷' | '电话'", False),
    ],
)  # fmt: skip
def test_search_finds_stretches_of_text(store: Store, put: Any, asked: str, found: bool | None) -> None:
    one = put(store, "空调不制冷iPhone也连不上，打13800138000投诉")
    if found is None:
        with pytest.raises(InvalidInput, match="至少输入两个字"):
            ids(store, text=asked)
    else:
        assert ids(store, text=asked) == ([one] if found else [])


def test_a_lease_is_ones_own_until_it_runs_out(store: Store, put: Any) -> None:
    dear, cheap = put(store, confidence=0.3), put(store, confidence=0.9, vector=1)
    assert [one.prediction_id for one in store.claim("王", now=NOW, minutes=10)] == [dear]
    assert [one.prediction_id for one in store.claim("李", limit=5, now=NOW)] == [cheap]
    assert store.claim("赵", limit=5, now=NOW) == []
    assert [one.prediction_id for one in store.held("王", NOW)] == [dear]
    with pytest.raises(Leased, match="王"):
        store.take("李", dear, now=NOW)
    with pytest.raises(Leased):
        store.accept(dear, "李", taxonomy_version="1", now=NOW)
    store.take("王", dear, minutes=30, now=NOW + timedelta(minutes=9))
    assert store.claim("赵", now=NOW + timedelta(minutes=12)) == []
    later = NOW + timedelta(minutes=40)
    assert [one.prediction_id for one in store.claim("赵", now=later)] == [dear]
    assert store.held("王", later) == []
    assert store.release("赵") == 1
    assert [one.prediction_id for one in store.claim("李", now=later)] == [dear]


@pytest.mark.parametrize("limits", [[10] * 12, [50] * 3 + [1] * 4])
def test_who_claims_while_others_do_gets_what_waits(
    empty_postgres: str, put: Any, monkeypatch: pytest.MonkeyPatch, limits: list[int]
) -> None:
    store, order, everybody = Store(empty_postgres), review_queue.ordered, Barrier(len(limits), timeout=60)
    put(store, copies=sum(limits))

    def at_once(*given: Any) -> Sequence[str]:
        found = order(*given)
        everybody.wait()  # all of them want the same first cases
        return found

    monkeypatch.setattr(review_queue, "ordered", at_once)
    with ThreadPoolExecutor(len(limits)) as pool:
        taken = list(pool.map(lambda i: store.claim(f"审核员{i}", limit=limits[i], now=NOW), range(len(limits))))
    assert [len(leases) for leases in taken] == limits
    assert len({lease.prediction_id for leases in taken for lease in leases}) == sum(limits)
    store.close()


def test_a_case_is_reviewed_once(store: Store, put: Any) -> None:
    case = put(store)
    decided = store.review(case, "王", {"category": "quality.fake"}, note="假货", taxonomy_version="1", now=NOW)
    assert (decided.outcome, decided.second) == ("corrected", False)
    said = {one.head: one for one in store.words(case)}
    assert (said["category"].label, said["category"].predicted, said["category"].decision) == (
        "quality.fake", "quality.defect", "review",
    )  # fmt: skip
    assert (said["department"].label, said["department"].confidence) == ("quality", 0.99)
    with pytest.raises(AlreadyDecided, match="王"):
        store.accept(case, "李", taxonomy_version="1", now=NOW)
    assert ids(store) == []
    progress = store.progress("王", NOW - DAY)
    assert (progress.done, progress.corrected, progress.mine, progress.waiting) == (1, 1, 1, 0)
    assert store.progress("李", NOW - DAY).mine == 0
    with pytest.raises(InvalidInput, match="category, department"):
        store.review(put(store), "王", {"nothing": "x"}, taxonomy_version="1", now=NOW)
    for one in (new_id(NOW), "\x00", "pred_"):
        with pytest.raises(NotFound):
            store.accept(one, "王", taxonomy_version="1", now=NOW)


def test_undo_brings_back_ones_own_last(store: Store, put: Any) -> None:
    first, second = put(store), put(store, vector=1)
    store.review(first, "王", {"category": "quality.fake"}, taxonomy_version="1", now=NOW)
    store.accept(second, "李", taxonomy_version="1", now=NOW + timedelta(minutes=1))
    soon = NOW + timedelta(minutes=2)
    assert store.undo("王", since=NOW - DAY, until=soon + DAY, now=soon).prediction_id == first
    assert [one.prediction_id for one in store.held("王", soon)] == [first]
    assert {one.withdrawn_at for one in store.words(first)} == {soon}
    assert list(store.export()) == [one for one in store.export() if one.prediction_id == second]
    with pytest.raises(NotFound):
        store.undo("王", since=NOW - DAY, until=soon, now=soon)
    with pytest.raises(NotFound):
        store.undo("李", since=NOW + timedelta(minutes=5), until=soon, now=soon)
    store.accept(first, "王", taxonomy_version="1", now=soon)
    # Both heads of one moment: their order is by chance.
    assert {one.label for one in store.export() if one.prediction_id == first} == {"quality.defect", "quality"}


def test_undo_passes_over_what_another_has_gone_on_from(store: Store, put: Any) -> None:
    earlier, again, skipped = (put(store, vector=i) for i in range(3))
    at = [NOW + timedelta(minutes=i) for i in range(6)]
    store.accept(earlier, "王", taxonomy_version="1", now=at[0])
    store.accept(again, "王", taxonomy_version="1", now=at[1], second_share=1.0)
    store.skip(skipped, "王", now=at[2])
    for case in (again, skipped):
        store.accept(case, "李", taxonomy_version="1", now=at[3])
    assert store.undo("王", since=NOW, until=NOW + DAY, now=at[4]).prediction_id == earlier
    with pytest.raises(Conflict, match="since it was skipped"):
        store.undo("王", since=NOW, until=NOW + DAY, now=at[5])


def test_another_models_cases_wait_until_it_is_served_again(store: Store, put: Any) -> None:
    mine, theirs = put(store, channel="邮箱"), put(store, confidence=0.9, vector=1)
    with store._write() as connection:
        here = predictions.c.id == mine
        connection.execute(update(predictions).where(here).values(model_name="mine", model_version="1"))
    page = store.queue(Filters(model_name="mine"), now=NOW)
    assert ([one.prediction_id for one in page.items], page.waiting) == ([mine], 1)
    assert (store.versions("mine"), store.versions("m"), store.versions()) == (["1"], ["7"], ["7", "1"])
    assert (store.channels("mine"), store.channels("m"), store.channels()) == (["邮箱"], ["app"], ["app", "邮箱"])
    assert [one.prediction_id for one in store.claim("王", Filters(model_name="m"), limit=9, now=NOW)] == [theirs]
    assert store.held("王", NOW, "mine") == []
    assert [one.prediction_id for one in store.held("王", NOW, "m")] == [theirs]
    with pytest.raises(Stale, match="another model"):
        store.take("李", mine, now=NOW, model_name="m")
    store.take("李", mine, now=NOW, model_name="mine")


def test_words_are_kept_of_the_heads_that_the_taxonomy_has(store: Store, put: Any) -> None:
    case = put(store)
    store.review(case, "王", {}, taxonomy_version="1", known={"category", "sentiment"}, now=NOW)
    assert [one.head for one in store.words(case)] == ["category"]


def test_a_skipped_case_goes_to_others(store: Store, put: Any) -> None:
    case = put(store)
    store.claim("王", now=NOW)
    store.skip(case, "王", now=NOW)
    assert store.claim("王", now=NOW) == []
    assert store.queue(Filters(), actor="王", now=NOW).waiting == 0
    assert [one.prediction_id for one in store.claim("李", now=NOW)] == [case]
    with pytest.raises(Leased):
        store.undo("王", since=NOW - DAY, until=NOW + DAY, now=NOW)
    store.release("李", [case])
    store.undo("王", since=NOW - DAY, until=NOW + DAY, now=NOW)
    assert [one.prediction_id for one in store.held("王", NOW)] == [case]
    store.skip(case, "王", now=NOW)
    assert [one.prediction_id for one in store.claim("王", now=NOW + DAY + timedelta(minutes=1))] == [case]


def test_a_second_review_is_by_another_and_blind(store: Store, put: Any) -> None:
    case = put(store)
    store.review(case, "王", {"category": "quality.fake"}, taxonomy_version="1", now=NOW, second_share=1.0)
    assert store.claim("王", now=NOW) == []
    with pytest.raises(AlreadyDecided):
        store.accept(case, "王", taxonomy_version="1", now=NOW)
    [lease] = store.claim("李", now=NOW)
    seen = store.case(case, "李")
    assert (seen.words, seen.decisions, seen.place.done_by, seen.place.state) == ((), (), None, "waiting")
    assert len(store.case(case, "王").words) == 2
    done = store.accept(case, "李", taxonomy_version="1", now=NOW + timedelta(minutes=1), second_share=1.0)
    assert done.second
    assert lease.prediction_id == case
    assert len(store.case(case, "李").words) == 4
    with pytest.raises(Conflict, match="second time"):
        store.undo("王", since=NOW - DAY, until=NOW, now=NOW)
    store.undo("李", since=NOW - DAY, until=NOW + DAY, now=NOW + timedelta(minutes=2))
    assert store.case(case, "赵").words == ()


def test_a_word_on_the_level_is_given_and_taken_back_with_the_decision(store: Store, put: Any) -> None:
    case, policy = put(store), Policy.load()
    verdict = Verdict("low", "high", "2.0.0", "王", None, NOW)
    store.review(case, "王", {}, verdict=verdict, taxonomy_version="1", now=NOW, second_share=1.0)
    assert store.assessed(case, policy).verdicts == (verdict,)
    assert store.case(case, "李").blind
    assert not store.case(case, "王").blind
    assert store.logged(action="judged")[0].detail == {"suggested": "low", "level": "high"}
    store.undo("王", since=NOW - DAY, until=NOW + DAY, now=NOW + timedelta(minutes=1))
    assert store.assessed(case, policy).verdicts == ()


def test_words_by_the_api(store: Store, put: Any) -> None:
    case = put(store)
    word = Word("category", "quality.fake", "王", None, "explicit", "1")
    first = store.correct(case, word, now=NOW)
    assert store.correct(case, word, now=NOW + timedelta(seconds=1)) == first
    assert ids(store) == []  # the one head that was asked about has a word
    progress = store.progress("王", NOW - DAY)  # which is a review like any other
    assert (progress.done, progress.corrected, progress.mine, progress.waiting) == (1, 1, 1, 0)
    assert store.progress("王", NOW + DAY).done == 0
    store.correct(case, Word("department", "legal", "工单", None, "implicit", "1"), now=NOW)
    back = store.withdraw(first, "王", now=NOW + timedelta(seconds=2))
    assert back.withdrawn_at == NOW + timedelta(seconds=2)
    assert store.withdraw(first, "王", now=NOW + DAY).withdrawn_at == back.withdrawn_at
    assert ids(store) == [case]
    assert store.progress("王", NOW - DAY).done == 0
    again = store.correct(case, word, now=NOW + timedelta(seconds=3))
    assert again != first
    with pytest.raises(Conflict, match="王"):
        store.withdraw(again, "李", now=NOW)
    with pytest.raises(InvalidInput, match="category, department"):
        store.correct(case, Word("x", "y", "王", None, "explicit", "1"), now=NOW)
    assert [(one.head, one.label, one.kind) for one in store.export()] == [
        ("department", "legal", "implicit"), ("category", "quality.fake", "explicit"),
    ]  # fmt: skip
    sure = put(store, decision="auto", confidence=0.99, vector=3)  # never in the queue
    store.correct(sure, word, now=NOW)
    assert store.case(sure, "王").place is None


def test_a_word_leaves_anothers_lease(store: Store, put: Any) -> None:
    case = put(store)
    word = Word("category", "quality.fake", "李", None, "explicit", "1")
    store.claim("王", now=NOW, minutes=10)
    with pytest.raises(Leased, match="王"):
        store.correct(case, word, now=NOW)
    store.correct(case, Word("category", "quality.fake", "工单", None, "implicit", "1"), now=NOW)
    assert [one.kind for one in store.words(case)] == ["implicit"]
    assert [one.prediction_id for one in store.held("王", NOW)] == [case]
    later = NOW + timedelta(minutes=11)
    said = store.correct(case, word, now=later, second_share=1.0)
    store.claim("王", now=later)
    assert store.correct(case, word, now=later + timedelta(seconds=1)) == said  # sent again: kept already
    store.correct(case, Word("category", "quality", "工单", None, "implicit", "1"), now=later)
    assert [one.prediction_id for one in store.held("王", later)] == [case]
    assert store.case(case, "李").place.done_by == "李"


@pytest.mark.parametrize("first_by_the_api", [True, False])
def test_a_second_review_by_the_api(store: Store, put: Any, first_by_the_api: bool) -> None:
    case = put(store)
    word = Word("category", "quality.fake", "王", None, "explicit", "1")
    at = [NOW + timedelta(minutes=i) for i in range(9)]
    if first_by_the_api:
        first = store.correct(case, word, now=NOW, second_share=1.0)
    else:
        store.review(case, "王", {"category": "quality.fake"}, taxonomy_version="1", now=NOW, second_share=1.0)
    store.correct(case, replace(word, head="department", label="quality", note="还有"), now=at[1])
    assert store.claim("王", now=at[1]) == []
    assert [one.prediction_id for one in store.claim("李", now=at[1])] == [case]
    assert store.case(case, "李").blind
    second = store.correct(case, replace(word, label="quality.defect", actor="李"), now=at[2], second_share=1.0)
    if not first_by_the_api:
        with pytest.raises(Conflict, match="second time"):
            store.undo("王", since=NOW - DAY, until=at[2], now=at[2])
    place = store.case(case, "李").place
    assert (place.state, place.done_by, place.done_at, place.outcome) == ("done", "王", NOW, "corrected")
    assert (place.lease_actor, ids(store)) == (None, [])
    store.correct(case, replace(word, head="department", label="legal", actor="李"), now=at[3])  # was not asked about
    store.correct(case, replace(word, head="department", label="legal", actor="工单", kind="implicit"), now=at[3])
    found = [store.judged(NOW - DAY, NOW + DAY, second=which) for which in (False, True)]
    assert {head: (one.pairs, one.same) for head, one in agreed(*found).items()} == {
        "category": (1, 0.0), "department": (1, 0.0),
    }  # fmt: skip
    if first_by_the_api:
        with pytest.raises(Conflict, match="second time"):
            store.withdraw(first, "王", now=at[4])
    store.withdraw(second, "李", now=at[4])
    assert [one.prediction_id for one in store.claim("赵", now=at[4])] == [case]
    assert store.case(case, "赵").blind
    store.correct(case, replace(word, actor="赵"), now=at[5])
    assert (store.case(case, "赵").place.state, ids(store)) == ("done", [])


def test_a_first_review_by_the_api_that_is_taken_back(store: Store, put: Any) -> None:
    case = put(store)
    word = Word("category", "quality.fake", "王", None, "explicit", "1")
    first = store.correct(case, word, now=NOW, second_share=1.0)
    assert store.case(case, "李").blind
    store.withdraw(first, "王", now=NOW)
    assert not store.case(case, "李").blind
    assert [one.prediction_id for one in store.claim("王", now=NOW)] == [case]
    store.correct(case, word, now=NOW + timedelta(minutes=1))
    assert store.case(case, "李").place.state == "done"  # not drawn


def test_what_another_overruled_is_no_repeat(store: Store, put: Any) -> None:
    case = put(store)
    mine = Word("category", "quality.fake", "王", None, "explicit", "1")
    theirs = replace(mine, label="service.rude", actor="李")
    first, other, again, twice = (
        store.correct(case, word, now=NOW + timedelta(seconds=i)) for i, word in enumerate([mine, theirs, mine, mine])
    )
    assert len({first, other, again}) == 3
    assert twice == again
    assert [one.label for one in store.words(case)] == ["quality.fake", "service.rude", "quality.fake"]
    assert store.judged(NOW - DAY, NOW + DAY)[0].label == "quality.fake"
    store.correct(case, replace(mine, kind="implicit", actor="工单"), now=NOW + timedelta(seconds=5))
    assert store.correct(case, mine, now=NOW + timedelta(seconds=6)) == again  # a closed ticket is another kind


def test_an_audited_case_stays_one_when_it_is_corrected(store: Store, put: Any) -> None:
    accepted, aside = (put(store, decision="auto", share=1.0, vector=i) for i in range(2))
    store.accept(accepted, "王", taxonomy_version="1", now=NOW)
    word = Word("category", "quality.fake", "李", None, "explicit", "1")
    for case in (accepted, aside):
        store.correct(case, word, now=NOW + timedelta(minutes=1))
    found = {(one.prediction_id, one.head): one for one in store.judged(NOW - DAY, NOW + DAY)}
    assert (found[accepted, "category"].label, found[accepted, "category"].audit) == ("quality.fake", True)
    assert not found[aside, "category"].audit  # found by another way than the draw
    exported = {one.prediction_id: one.audit for one in store.export() if one.label == "quality.fake"}
    assert exported == {accepted: True, aside: False}


def test_an_audited_case_waits_for_who_has_claimed_it(store: Store, put: Any) -> None:
    case = put(store, share=1.0)  # the category alone is asked about
    word = Word("category", "quality.fake", "李", None, "explicit", "1")
    at = [NOW + timedelta(minutes=i) for i in range(4)]
    unasked = store.correct(case, word, now=at[0], second_share=1.0)
    assert store.correct(case, word, now=at[0]) == unasked
    assert (ids(store), store.case(case, "王").blind) == ([case], False)
    store.claim("李", now=at[1])
    handed = store.correct(case, word, now=at[1])
    assert handed != unasked
    assert store.correct(case, word, now=at[1]) == handed
    assert [(one.label, one.audit) for one in store.judged(NOW - DAY, NOW + DAY)] == [("quality.fake", True)]
    assert (ids(store), store.case(case, "王").place.outcome) == ([], "corrected")
    store.withdraw(handed, "李", now=at[2])
    assert ids(store) == [case]
    assert [one.audit for one in store.judged(NOW - DAY, NOW + DAY)] == [False]
    store.withdraw(unasked, "李", now=at[3])
    assert ids(store) == [case]


def test_a_second_review_of_an_audited_case_by_the_api(store: Store, put: Any) -> None:
    case = put(store, share=1.0)
    store.accept(case, "王", taxonomy_version="1", now=NOW, second_share=1.0)
    store.correct(case, Word("category", "quality.fake", "李", None, "explicit", "1"), now=NOW)
    assert (ids(store), store.case(case, "王").place.outcome) == ([], "accepted")


def test_who_changes_their_mind_changes_how_the_review_came_out(store: Store, put: Any) -> None:
    case = put(store)
    store.review(case, "王", {"category": "quality.fake"}, taxonomy_version="1", now=NOW)
    back = store.correct(case, Word("category", "quality.defect", "王", None, "explicit", "1"), now=NOW + DAY)
    assert store.case(case, "王").place.outcome == "accepted"
    store.withdraw(back, "王", now=NOW + DAY)
    assert store.case(case, "王").place.outcome == "corrected"


def test_a_label_goes_with_the_taxonomy_that_has_it(store: Store, put: Any) -> None:
    case = put(store)
    store.review(case, "王", {"category": "quality.fake"}, taxonomy_version="9", now=NOW)
    found = {one.head: one.taxonomy_version for one in store.export()}
    assert found == {"category": "9", "department": "1.0.0"}  # the second as it was answered


def test_words_and_reviews_of_one_case_at_once(store: Store, put: Any) -> None:
    def say(case: str) -> None:
        store.correct(case, Word("department", "legal", "李", None, "explicit", "1"), now=NOW)

    def review(case: str) -> None:
        with suppress(AlreadyDecided):
            store.accept(case, "王", taxonomy_version="1", now=NOW)

    cases = [put(store, vector=i) for i in range(30)]
    with ThreadPoolExecutor(2) as pool:
        for case in cases:
            for done in [pool.submit(deed, case) for deed in (say, review)]:
                done.result()
    assert {len(store.words(case)) for case in cases} == {3}


def test_the_same_word_at_once_is_kept_once(store: Store, put: Any) -> None:
    case = put(store)
    word = Word("category", "quality.fake", "王", None, "explicit", "1")
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(lambda _: store.correct(case, word, now=NOW), range(12)))) == 1
    assert len(store.words(case)) == 1


def test_the_export_is_masked_and_in_order(store: Store, put: Any) -> None:
    cases = [put(store, "打13800138000找我", vector=i, channel="企微13800138000") for i in range(5)]
    for i, case in enumerate(cases):
        store.review(case, "王", {}, note="回13900139000", taxonomy_version="9", now=NOW + timedelta(minutes=i))
    found = list(store.export(since=NOW + timedelta(minutes=1), until=NOW + timedelta(minutes=3)))
    assert [one.prediction_id for one in found] == [cases[1], cases[1], cases[2], cases[2]]
    assert {(one.text, one.note, one.channel) for one in found} == {("打<手机号>找我", "回<手机号>", "企微<手机号>")}
    assert {(one.model_name, one.model_version, one.taxonomy_version) for one in found} == {("m", "7", "1.0.0")}


def test_a_case_shows_its_surroundings(store: Store, put: Any) -> None:
    other = put(store, "电视坏了", customer="C", vector=7)
    near = put(store, "空调坏了", customer="D")
    case = put(store, "空调不制冷", customer="C")
    store.review(near, "王", {"category": "quality.fake"}, taxonomy_version="1", now=NOW)
    seen = store.case(case, "王")
    assert [one.prediction_id for one in seen.others] == [other]
    assert [(one.prediction_id, round(one.similarity, 3)) for one in seen.nearest] == [(near, 1.0)]
    assert seen.nearest[0].labels == {"category": "quality.fake", "department": "quality"}
    assert orjson.loads(seen.request)["text"] == "空调不制冷"
    assert (seen.place.state, seen.place.outcome) == ("waiting", None)
    with pytest.raises(NotFound):
        store.case(new_id(NOW), "王")


def test_cases_that_are_done_are_not_looked_at(tmp_path: Path, put: Any) -> None:
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    for i in range(3):
        put(store, vector=i)
    asked = list[tuple[str, Any]]()
    event.listen(store._engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    store.claim("王", now=NOW)
    store.queue(Filters(), now=NOW)
    store.progress("王", NOW - DAY)
    store.versions("m")
    store.channels("m")
    store.held("王", NOW, "m")
    plans = list[str]()
    with store._engine.connect() as connection:
        for query, values in list(asked):
            if query.startswith("SELECT"):
                plans += [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]
    assert any("INDEX ix_reviews_state" in one for one in plans)
    tables = ("reviews", "review_decisions", "assessments", "predictions")
    assert [one for one in plans if one.startswith(tuple(f"SCAN {table}" for table in tables))] == []
    store.close()


def test_what_was_reviewed_last_makes_its_like_worth_less(store: Store, put: Any) -> None:
    like, unlike = put(store, confidence=0.5, vector=1), put(store, confidence=0.6, vector=2)
    assert ids(store) == [like, unlike]
    done, second = put(store, vector=1), put(store, confidence=0.99, vector=3)
    assert ids(store)[0] != like or ids(store).index(done) > 1
    store.accept(done, "王", taxonomy_version="1", now=NOW)
    assert ids(store) == [unlike, like, second]
    store.take("李", unlike, now=NOW)  # under review, like the one that is done
    assert ids(store)[0] == like
