"""People's words on single heads of predictions, given and taken back. Nothing is overwritten, nothing deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, RowMapping, insert, select, update

from complaints.errors import InvalidInput, NotFound
from serving.store.ids import new_id, require_id
from serving.store.keys import Key, Keys, KeyTaken, claim_key, set_answer
from serving.store.people import write_log
from serving.store.review_order import DONE, SECOND, WAITING
from serving.store.review_queue import Row, Stale, drawn, lock_review, refuse_leased
from serving.store.review_tables import corrections, review_decisions, reviews
from serving.store.tables import prediction_heads, predictions


@dataclass(frozen=True, slots=True)
class Word:
    """One label for one head, by a person or read off a closed ticket; `taxonomy_version` holds the label."""

    head: str
    label: str
    actor: str
    note: str | None
    kind: Literal["explicit", "implicit"]
    taxonomy_version: str


@dataclass(frozen=True, slots=True)
class Said:
    """A word as it is kept: `predicted`, `decision` and `confidence` are the model's; withdrawn ones stay listed."""

    id: str
    prediction_id: str
    decision_id: str | None
    head: str
    label: str
    predicted: str
    decision: Literal["auto", "suggest", "review"]
    confidence: float
    kind: Literal["explicit", "implicit"]
    audit: bool
    second: bool
    actor: str
    note: str | None
    given_at: datetime
    taxonomy_version: str
    withdrawn_at: datetime | None


class Words(Keys):
    """What people say of predictions."""

    def correct(
        self,
        prediction_id: str,
        word: Word,
        *,
        now: datetime,
        key: Key | None = None,
        answer: Callable[[Said], str] = lambda said: said.id,
        second_share: float = 0.0,
        by: str | None = None,
    ) -> str:
        """Keep one word on one head and return what to answer once it is on disk.

        What this actor said last of this head, and nobody has said otherwise since, is not kept twice: then the answer
        is about that. An explicit word on every head that a person was asked about ends the case's wait; that of an
        audited case only by who has claimed it. With `second_share` as `Decisions.review`, and words of another person
        are then a second review. With `key` as `Store.save`; `by` is the caller who brings the word, for the log.

        Raises NotFound, InvalidInput for a head that was not predicted, Leased for an explicit word while another
        person has the case, Conflict where the key came with another body.
        """
        require_id(prediction_id, "pred", "prediction")
        try:
            with self._write() as connection:
                if key is not None:
                    claim_key(connection, key, "")
                if not _lock(connection, prediction_id):
                    raise NotFound("there is no prediction of this id")
                heads = heads_of(connection, prediction_id)
                if word.head not in heads:
                    raise InvalidInput(f"no head {word.head}: this prediction has {', '.join(heads)}")
                row = lock_review(connection, prediction_id)
                second = row is not None and word.kind == "explicit" and _is_second(row, word.actor)
                standing = [
                    one
                    for one in words_of(connection, prediction_id)
                    if (one.head, one.kind) == (word.head, word.kind) and one.withdrawn_at is None
                ]
                said = standing[-1] if standing else None
                # Who came to an audited case by another way than the queue had a reason to, unless an audited word is
                # what they correct. Said again by who has claimed the case since, it is another word.
                handed = row is not None and row.audit and row.lease_actor == word.actor
                audit = word.kind == "explicit" and (handed or any(one.audit for one in standing))
                same = word.actor, word.label, word.note, audit
                if said is None or (said.actor, said.label, said.note, said.audit) != same:
                    if row is not None and word.kind == "explicit":
                        refuse_leased(row, word.actor, now)
                    decision = None, second
                    said = say(connection, prediction_id, word, heads[word.head], now, audit=audit, decision=decision)
                    if word.kind == "explicit":
                        _settle(connection, prediction_id, heads, word.actor, now, second_share)
                    detail: dict[str, object] = {"head": word.head, "label": word.label, "kind": word.kind}
                    write_log(connection, word.actor, "said", prediction_id, detail, now, by)
                text = answer(said)
                if key is not None:
                    set_answer(connection, key, text)
        except KeyTaken:
            assert key is not None  # noqa: S101  only a key can be taken
            stored = self.recall(key)
            if stored is None:  # it grew old in between
                return self.correct(
                    prediction_id, word, now=now, key=key, answer=answer, second_share=second_share, by=by
                )
            return stored
        return text

    def withdraw(self, correction_id: str, actor: str, *, now: datetime, by: str | None = None) -> Said:
        """Take back one's own word, once; a case that is left without it waits again.

        `by` as `correct`. Raises NotFound, and Stale where it is another's, belongs to a whole case, or was reviewed a
        second time since.
        """
        require_id(correction_id, "corr", "correction")
        with self._write() as connection:
            here = corrections.c.id == correction_id
            found = connection.execute(select(corrections).where(here)).mappings().first()
            if found is None:
                raise NotFound("there is no correction of this id")
            prediction_id = found["prediction_id"]
            _lock(connection, prediction_id)
            found = connection.execute(select(corrections).where(here)).mappings().one()
            if found["actor"] != actor:
                raise Stale(f"{found['actor']} said this: only they can take it back; say what is right instead")
            if found["decision_id"] is not None:
                raise Stale("this word belongs to the review of a whole case: take that back")
            if found["withdrawn_at"] is None:
                connection.execute(update(corrections).where(here).values(withdrawn_at=now))
                _settle(connection, prediction_id, heads_of(connection, prediction_id), actor, now)
                write_log(connection, actor, "withdrawn", prediction_id, {"correction": correction_id}, now, by)
        return _said(dict(found) | {"withdrawn_at": found["withdrawn_at"] or now})

    def words(self, prediction_id: str) -> list[Said]:
        """All that was said of a prediction, the oldest first, withdrawn words included; raises NotFound."""
        require_id(prediction_id, "pred", "prediction")
        with self._read() as connection:
            if not heads_of(connection, prediction_id):
                raise NotFound("there is no prediction of this id")
            return words_of(connection, prediction_id)


# What a case is that nobody has decided on.
UNDECIDED: Mapping[str, object] = {"state": WAITING, "done_by": None, "done_at": None, "outcome": None}


@dataclass(frozen=True, slots=True)
class Head:
    """What the model said to one question."""

    label: str
    decision: str
    confidence: float


def heads_of(connection: Connection, prediction_id: str) -> dict[str, Head]:
    """What the model said, by question; empty where there is no such prediction."""
    table = prediction_heads.c
    query = select(table.head, table.label, table.decision, table.confidence)
    rows = connection.execute(query.where(table.prediction_id == prediction_id).order_by(table.head))
    return {row.head: Head(row.label, row.decision, row.confidence) for row in rows}


def say(
    connection: Connection,
    prediction_id: str,
    word: Word,
    head: Head,
    now: datetime,
    *,
    audit: bool,
    decision: tuple[str | None, bool] = (None, False),
) -> Said:
    """Keep a word, in the transaction that decides; `decision` is the id of one, and whether it is a second review."""
    values = {
        "id": new_id(now, "corr"),
        "prediction_id": prediction_id,
        "decision_id": decision[0],
        "predicted": head.label,
        "decision": head.decision,
        "confidence": head.confidence,
        "audit": audit,
        "second": decision[1],
        "given_at": now,
        "withdrawn_at": None,
    } | {name: getattr(word, name) for name in Word.__dataclass_fields__}
    connection.execute(insert(corrections), values)
    return _said(values)


def _lock(connection: Connection, prediction_id: str) -> bool:
    """Let one word after another be said of a prediction, so that of two same ones one is kept; False without it."""
    # Not against rows that refer to it: a page's review writes them, and has locked what is waited for here.
    query = select(predictions.c.id).where(predictions.c.id == prediction_id).with_for_update(key_share=True)
    return connection.execute(query).first() is not None


def _is_second(row: Row, actor: str) -> bool:
    """Whether what a person says of a case belongs to its second review."""
    return row.second_by == actor or (row.state == SECOND and row.done_by != actor)


def _settle(
    connection: Connection,
    prediction_id: str,
    heads: Mapping[str, Head],
    actor: str,
    now: datetime,
    second_share: float = 0.0,
) -> None:
    """End a review once every head that a person was asked about has an explicit word of it, or let it begin again.

    Asked about are the heads that are not auto; all of them where all are. A whole decision ends its review by itself;
    how it came out is what the words say that stand.
    """
    row = lock_review(connection, prediction_id)
    if row is None:
        return
    decided = select(review_decisions.c.second).where(
        review_decisions.c.prediction_id == prediction_id,
        review_decisions.c.withdrawn_at.is_(None),
        review_decisions.c.outcome != "skipped",
    )
    whole = set(connection.execute(decided).scalars())
    asked = {name for name, one in heads.items() if one.decision != "auto"} or set(heads)
    said = [one for one in words_of(connection, prediction_id) if one.kind == "explicit" and one.withdrawn_at is None]
    # Who comes to an audited case unasked comes to what is wrong: were that its review, the audit would miss it.
    counted = [one for one in said if one.audit or one.second or not row.audit]
    first, second = (
        which in whole or asked <= {one.head for one in counted if one.second is which} for which in (False, True)
    )
    free = {"lease_actor": None, "lease_until": None}
    values: dict[str, object] = {}
    if row.state == WAITING and first:
        again = drawn("second", prediction_id, second_share)
        values = {"state": SECOND if again else DONE, "done_by": actor, "done_at": now} | free
    elif row.state != WAITING and not first:
        refuse_reviewed_again(said)
        values = dict(UNDECIDED)
    elif row.state == SECOND and second:
        values = {"state": DONE, "second_by": actor, "second_at": now} | free
    elif row.second_by is not None and not second:
        values = {"state": SECOND, "second_by": None, "second_at": None}
    if first:
        last = {one.head: one.label for one in said if not one.second}
        wrong = any(heads[head].label != label for head, label in last.items())
        values["outcome"] = "corrected" if wrong else "accepted"
    if values:
        connection.execute(update(reviews).where(reviews.c.prediction_id == prediction_id).values(**values))


def refuse_reviewed_again(said: Iterable[Said]) -> None:
    """Raise Stale where another person has gone on from the first review, by a word that stands."""
    if any(one.second and one.withdrawn_at is None for one in said):
        raise Stale("another person has reviewed this case a second time: it cannot be taken back")


def words_of(connection: Connection, prediction_id: str) -> list[Said]:
    """All words on a prediction, the oldest first."""
    query = select(corrections).where(corrections.c.prediction_id == prediction_id)
    return [
        _said(row) for row in connection.execute(query.order_by(corrections.c.given_at, corrections.c.id)).mappings()
    ]


def _said(row: Mapping[str, object] | RowMapping) -> Said:
    return Said(**{name: row[name] for name in Said.__dataclass_fields__})  # type: ignore[arg-type]
