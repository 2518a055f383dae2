"""People's words on predictions: corrected, accepted, skipped, taken back. Nothing is overwritten, nothing deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import orjson
from sqlalchemy import Connection, RowMapping, and_, insert, or_, select, update

from complaints.errors import InvalidInput, NotFound
from complaints.records import Correction
from complaints.text import mask
from serving.store.ids import new_id, require_id
from serving.store.keys import Key, Keys, KeyTaken, claim_key, set_answer
from serving.store.people import write_log
from serving.store.review_order import DONE, SECOND, WAITING
from serving.store.review_queue import Stale, drawn, lock_review, refuse_leased
from serving.store.review_tables import corrections, review_decisions, reviews
from serving.store.risks import AlreadyDecided
from serving.store.tables import prediction_heads, predictions

# Rows read at a time when many are exported.
_CHUNK = 500
OutcomeName = Literal["accepted", "corrected", "skipped"]


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


@dataclass(frozen=True, slots=True)
class Decided:
    """A person's decision on a whole case."""

    id: str
    prediction_id: str
    actor: str
    outcome: OutcomeName
    second: bool
    at: datetime
    withdrawn_at: datetime | None


class Words(Keys):
    """What people say of predictions."""

    def review(
        self,
        prediction_id: str,
        actor: str,
        labels: Mapping[str, str],
        *,
        note: str | None = None,
        taxonomy_version: str,
        now: datetime,
        second_share: float = 0.0,
    ) -> Decided:
        """Decide a case: `labels` (head -> right label) are corrections, all other heads are accepted as they are.

        With `second_share` that share of cases, drawn by their ids, goes back into the queue for another person, who
        is not told what this one said. Raises NotFound, AlreadyDecided, Leased where another person has the case, and
        InvalidInput for a head that was not predicted; whether a label exists, the caller has checked.
        """
        require_id(prediction_id, "pred", "prediction")
        with self._write() as connection:
            heads = _heads(connection, prediction_id)
            if unknown := [head for head in labels if head not in heads]:
                raise InvalidInput(f"no head {', '.join(unknown)}: this prediction has {', '.join(heads)}")
            row = lock_review(connection, prediction_id)
            if row is None:
                raise NotFound("this prediction is not in the queue: send corrections of single heads")
            if row.state == DONE or (row.state == SECOND and row.done_by == actor):
                raise AlreadyDecided(f"{row.second_by or row.done_by} has reviewed this case already")
            refuse_leased(row, actor, now)
            second = row.state == SECOND
            wrong = any(labels.get(head, one.label) != one.label for head, one in heads.items())
            decided = _decide(connection, prediction_id, actor, "corrected" if wrong else "accepted", second, now)
            for head, one in heads.items():
                word = Word(head, labels.get(head, one.label), actor, note, "explicit", taxonomy_version)
                _say(connection, prediction_id, word, one, now, row.audit, decided)
            values: dict[str, object] = {"lease_actor": None, "lease_until": None}
            if second:
                values |= {"state": DONE, "second_by": actor, "second_at": now}
            else:
                again = drawn("second", prediction_id, second_share)
                values |= {"state": SECOND if again else DONE, "done_by": actor, "done_at": now}
                values["outcome"] = decided.outcome
            connection.execute(update(reviews).where(reviews.c.prediction_id == prediction_id).values(**values))
            write_log(connection, actor, decided.outcome, prediction_id, {"labels": dict(labels)}, now)
        return decided

    def accept(
        self, prediction_id: str, actor: str, *, taxonomy_version: str, now: datetime, second_share: float = 0.0
    ) -> Decided:
        """Every head is right; as `review` without labels."""
        return self.review(
            prediction_id, actor, {}, taxonomy_version=taxonomy_version, now=now, second_share=second_share
        )

    def skip(self, prediction_id: str, actor: str, *, now: datetime) -> Decided:
        """Leave a case to others; it stays in the queue. Raises NotFound, AlreadyDecided, Leased."""
        require_id(prediction_id, "pred", "prediction")
        with self._write() as connection:
            row = lock_review(connection, prediction_id)
            if row is None:
                raise NotFound("this prediction is not in the queue")
            if row.state == DONE:
                raise AlreadyDecided(f"{row.second_by or row.done_by} has reviewed this case already")
            refuse_leased(row, actor, now)
            decided = _decide(connection, prediction_id, actor, "skipped", row.state == SECOND, now)
            _lease(connection, prediction_id, None, None)
            write_log(connection, actor, "skipped", prediction_id, {}, now)
        return decided

    def undo(self, actor: str, *, since: datetime, until: datetime, now: datetime) -> Decided:
        """Take back one's own last decision since a time (the day's begin) and have its case again, until `until`.

        Raises NotFound where there is none, Stale where another person has gone on from it.
        """
        said = review_decisions.c
        with self._write() as connection:
            query = (
                select(review_decisions)
                .where(said.actor == actor, said.at >= since, said.withdrawn_at.is_(None))
                .order_by(said.at.desc(), said.id.desc())
                .limit(1)
            )
            found = connection.execute(query).mappings().first()
            if found is None:
                raise NotFound("今天没有可以撤销的处理 (there is no decision of yours today to take back)")
            last = Decided(**found)
            row = lock_review(connection, last.prediction_id)
            assert row is not None  # noqa: S101  it was decided
            refuse_leased(row, actor, now)
            if last.outcome != "skipped":
                if not last.second and row.second_by is not None:
                    raise Stale("another person has reviewed this case a second time: it cannot be taken back")
                back = {"second_by": None, "second_at": None, "state": SECOND} if last.second else _UNDECIDED
                connection.execute(update(reviews).where(reviews.c.prediction_id == last.prediction_id).values(**back))
            elif row.state == DONE:
                raise Stale("another person has reviewed this case since it was skipped")
            connection.execute(update(review_decisions).where(said.id == last.id).values(withdrawn_at=now))
            given = and_(corrections.c.decision_id == last.id, corrections.c.withdrawn_at.is_(None))
            connection.execute(update(corrections).where(given).values(withdrawn_at=now))
            _lease(connection, last.prediction_id, actor, until)
            write_log(connection, actor, "undone", last.prediction_id, {"outcome": last.outcome}, now)
        return last

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
                heads = _heads(connection, prediction_id)
                if word.head not in heads:
                    raise InvalidInput(f"no head {word.head}: this prediction has {', '.join(heads)}")
                said = _last(connection, prediction_id, word)
                if said is None:
                    row = lock_review(connection, prediction_id)
                    # Who came to an audited case by another way than the queue had a reason to.
                    audit = row is not None and row.audit and row.lease_actor == word.actor
                    said = _say(connection, prediction_id, word, heads[word.head], now, audit, None)
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
                _settle(connection, prediction_id, _heads(connection, prediction_id), actor, now)
                write_log(connection, actor, "withdrawn", prediction_id, {"correction": correction_id}, now)
        return _said(dict(found) | {"withdrawn_at": found["withdrawn_at"] or now})

    def words(self, prediction_id: str) -> list[Said]:
        """All that was said of a prediction, the oldest first, withdrawn words included; raises NotFound."""
        require_id(prediction_id, "pred", "prediction")
        with self._read() as connection:
            if not _heads(connection, prediction_id):
                raise NotFound("there is no prediction of this id")
            return words_of(connection, prediction_id)

    def export(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        kinds: Sequence[str] = ("explicit", "implicit"),
    ) -> Iterator[Correction]:
        """Standing words in the order in which they were given, as the corrections file has them, masked."""
        last: tuple[datetime, str] | None = None
        table = corrections.c
        columns = [predictions.c[name] for name in ("request", "model_name", "model_version")]
        query = select(corrections, *columns).join(predictions, predictions.c.id == table.prediction_id)
        query = query.where(table.withdrawn_at.is_(None), table.kind.in_(kinds))
        if since is not None:
            query = query.where(table.given_at >= since)
        if until is not None:
            query = query.where(table.given_at < until)
        while True:
            page = query
            if last is not None:
                later = and_(table.given_at == last[0], table.id > last[1])
                page = query.where(or_(table.given_at > last[0], later))
            with self._read() as connection:
                rows = connection.execute(page.order_by(table.given_at, table.id).limit(_CHUNK)).mappings().all()
            for row in rows:
                yield _exported(row)
            if len(rows) < _CHUNK:
                return
            last = rows[-1]["given_at"], rows[-1]["id"]


_UNDECIDED: Mapping[str, object] = {"state": WAITING, "done_by": None, "done_at": None, "outcome": None}


@dataclass(frozen=True, slots=True)
class _Head:
    label: str
    decision: str
    confidence: float


def _heads(connection: Connection, prediction_id: str) -> dict[str, _Head]:
    table = prediction_heads.c
    query = select(table.head, table.label, table.decision, table.confidence)
    rows = connection.execute(query.where(table.prediction_id == prediction_id).order_by(table.head))
    return {row.head: _Head(row.label, row.decision, row.confidence) for row in rows}


def _decide(
    connection: Connection, prediction_id: str, actor: str, outcome: OutcomeName, second: bool, now: datetime
) -> Decided:
    decided = Decided(new_id(now, "decision"), prediction_id, actor, outcome, second, now, None)
    values = {name: getattr(decided, name) for name in Decided.__dataclass_fields__}
    connection.execute(insert(review_decisions), values)
    return decided


def _say(
    connection: Connection,
    prediction_id: str,
    word: Word,
    head: _Head,
    now: datetime,
    audit: bool,
    decided: Decided | None,
) -> Said:
    values = {
        "id": new_id(now, "corr"),
        "prediction_id": prediction_id,
        "decision_id": decided.id if decided is not None else None,
        "predicted": head.label,
        "decision": head.decision,
        "confidence": head.confidence,
        "audit": audit and word.kind == "explicit",
        "second": decided is not None and decided.second,
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


def _settle(connection: Connection, prediction_id: str, heads: Mapping[str, _Head], actor: str, now: datetime) -> None:
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
        connection.execute(update(reviews).where(here).values(**_UNDECIDED))


def _lease(connection: Connection, prediction_id: str, actor: str | None, until: datetime | None) -> None:
    here = reviews.c.prediction_id == prediction_id
    connection.execute(update(reviews).where(here).values(lease_actor=actor, lease_until=until))


def words_of(connection: Connection, prediction_id: str) -> list[Said]:
    """All words on a prediction, the oldest first."""
    query = select(corrections).where(corrections.c.prediction_id == prediction_id)
    return [
        _said(row) for row in connection.execute(query.order_by(corrections.c.given_at, corrections.c.id)).mappings()
    ]


def _said(row: Mapping[str, object] | RowMapping) -> Said:
    return Said(**{name: row[name] for name in Said.__dataclass_fields__})  # type: ignore[arg-type]


def _exported(row: RowMapping) -> Correction:
    sent = orjson.loads(row["request"])
    title = sent.get("title")
    fields = {name: row[name] for name in Correction.model_fields if name in row}
    return Correction(
        **fields, text=mask(sent["text"]), title=mask(title) if title is not None else None, channel=sent.get("channel")
    )
