"""People's words on single heads of predictions, given and taken back. Nothing is overwritten, nothing deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, RowMapping, insert, select, update

from complaints.errors import InvalidInput, NotFound
from serving.store.ids import new_id, require_id
from serving.store.keys import Key, Keys, KeyTaken, claim_key, set_answer
from serving.store.people import write_log
from serving.store.review_order import DONE, WAITING
from serving.store.review_queue import Stale, lock_review
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
    ) -> str:
        """Keep one word on one head and return what to answer once it is on disk.

        What this actor said last of this head is not kept twice: then the answer is about that. An explicit word on
        every head that a person was asked about ends the case's wait. With `key` as `Store.save`. Raises NotFound,
        InvalidInput for a head that was not predicted, Conflict where the key came with another body.
        """
        require_id(prediction_id, "pred", "prediction")
        try:
            with self._write() as connection:
                if key is not None:
                    claim_key(connection, key, "")
                # One word after another on one prediction, so that of two same words one is kept.
                here = predictions.c.id == prediction_id
                if connection.execute(select(predictions.c.id).where(here).with_for_update()).first() is None:
                    raise NotFound("there is no prediction of this id")
                heads = heads_of(connection, prediction_id)
                if word.head not in heads:
                    raise InvalidInput(f"no head {word.head}: this prediction has {', '.join(heads)}")
                said = _last(connection, prediction_id, word)
                if said is None:
                    row = lock_review(connection, prediction_id)
                    # Who came to an audited case by another way than the queue had a reason to.
                    audit = row is not None and row.audit and row.lease_actor == word.actor
                    said = say(connection, prediction_id, word, heads[word.head], now, audit=audit)
                    _settle(connection, prediction_id, heads, word.actor, now)
                    detail: dict[str, object] = {"head": word.head, "label": word.label, "kind": word.kind}
                    write_log(connection, word.actor, "said", prediction_id, detail, now)
                text = answer(said)
                if key is not None:
                    set_answer(connection, key, text)
        except KeyTaken:
            assert key is not None  # noqa: S101  only a key can be taken
            stored = self.recall(key)
            return self.correct(prediction_id, word, now=now, key=key, answer=answer) if stored is None else stored
        return text

    def withdraw(self, correction_id: str, actor: str, *, now: datetime) -> Said:
        """Take back one's own word, once; a case that is left without it waits again. Raises NotFound, Stale."""
        require_id(correction_id, "corr", "correction")
        with self._write() as connection:
            here = corrections.c.id == correction_id
            found = connection.execute(select(corrections).where(here)).mappings().first()
            if found is None:
                raise NotFound("there is no correction of this id")
            prediction_id = found["prediction_id"]
            query = select(predictions.c.id).where(predictions.c.id == prediction_id)
            connection.execute(query.with_for_update())
            found = connection.execute(select(corrections).where(here)).mappings().one()
            if found["actor"] != actor:
                raise Stale(f"{found['actor']} said this: only they can take it back; say what is right instead")
            if found["decision_id"] is not None:
                raise Stale("this word belongs to the review of a whole case: take that back")
            if found["withdrawn_at"] is None:
                connection.execute(update(corrections).where(here).values(withdrawn_at=now))
                _settle(connection, prediction_id, heads_of(connection, prediction_id), actor, now)
                write_log(connection, actor, "withdrawn", prediction_id, {"correction": correction_id}, now)
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
        "audit": audit and word.kind == "explicit",
        "second": decision[1],
        "given_at": now,
        "withdrawn_at": None,
    } | {name: getattr(word, name) for name in Word.__dataclass_fields__}
    connection.execute(insert(corrections), values)
    return _said(values)


def _last(connection: Connection, prediction_id: str, word: Word) -> Said | None:
    """The same word, if it is the last that its actor said of the head."""
    table = corrections.c
    query = (
        select(corrections)
        .where(
            table.prediction_id == prediction_id,
            table.head == word.head,
            table.actor == word.actor,
            table.kind == word.kind,
            table.withdrawn_at.is_(None),
        )
        .order_by(table.given_at.desc(), table.id.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None or (row["label"], row["note"]) != (word.label, word.note) else _said(row)


def _settle(connection: Connection, prediction_id: str, heads: Mapping[str, Head], actor: str, now: datetime) -> None:
    """End a case's wait once every head that a person was asked about has an explicit word, or let it begin again.

    Asked about are the heads that are not auto; all of them where all are.
    """
    row = lock_review(connection, prediction_id)
    decided = select(review_decisions.c.id).where(
        review_decisions.c.prediction_id == prediction_id,
        review_decisions.c.withdrawn_at.is_(None),
        review_decisions.c.outcome != "skipped",
    )
    if row is None or connection.execute(decided.limit(1)).first() is not None:
        return
    asked = {name for name, one in heads.items() if one.decision != "auto"} or set(heads)
    said = [one for one in words_of(connection, prediction_id) if one.kind == "explicit" and one.withdrawn_at is None]
    here = reviews.c.prediction_id == prediction_id
    if asked <= {one.head for one in said}:
        last = {one.head: one.label for one in said}
        wrong = any(heads[head].label != label for head, label in last.items())
        values = {"state": DONE, "done_by": actor, "done_at": now, "outcome": "corrected" if wrong else "accepted"}
        connection.execute(update(reviews).where(here).values(**values, lease_actor=None, lease_until=None))
    elif row.state == DONE:
        connection.execute(update(reviews).where(here).values(**UNDECIDED))


def words_of(connection: Connection, prediction_id: str) -> list[Said]:
    """All words on a prediction, the oldest first."""
    query = select(corrections).where(corrections.c.prediction_id == prediction_id)
    return [
        _said(row) for row in connection.execute(query.order_by(corrections.c.given_at, corrections.c.id)).mappings()
    ]


def _said(row: Mapping[str, object] | RowMapping) -> Said:
    return Said(**{name: row[name] for name in Said.__dataclass_fields__})  # type: ignore[arg-type]
