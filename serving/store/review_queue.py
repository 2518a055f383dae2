"""The queue of cases that wait for a person: what enters it, in which order it is read, and who is on which case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Column, ColumnElement, Connection, and_, exists, func, insert, select, true, update

from complaints.errors import Conflict
from complaints.priority import expected_cost
from complaints.records import HeadPrediction, Level
from serving.store.contexts import Draft
from serving.store.database import Database
from serving.store.review_order import (
    DONE,
    EVERYTHING,
    SECOND,
    WAITING,
    Filters,
    Queued,
    by_cost,
    conditions,
    counted,
    lines,
    ordered,
    pending,
    unleased,
)
from serving.store.review_tables import review_decisions, reviews
from serving.store.search import index
from serving.store.tables import predictions

# Cases beyond those asked for, in case another person takes some at the same moment.
_SPARE = 16
# Cases among whose places that of an audited one is drawn.
_PLACES = 200
# Built once: making a statement costs SQLAlchemy more than running it.
_ENTER = insert(reviews)


class Stale(Conflict):
    """What was to be done or taken back is not possible as things stand now."""


class Leased(Stale):
    """Another person is on this case."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A prediction that may enter the queue: what was answered, and the level of its risk."""

    id: str
    at: datetime
    heads: Mapping[str, HeadPrediction]
    level: Level


@dataclass(frozen=True, slots=True)
class Lease:
    """A case that one person has until a time."""

    prediction_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines of the queue, and how many there are in all."""

    items: Sequence[Queued]
    waiting: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What was done since a time, by everybody; `mine` is one person's share of `done`; `waiting` is now."""

    accepted: int
    corrected: int
    skipped: int
    mine: int
    waiting: int

    @property
    def done(self) -> int:
        """Cases that were decided on."""
        return self.accepted + self.corrected


def drawn(purpose: str, prediction_id: str, share: float) -> bool:
    """Whether a prediction is among the `share`, 0 to 1, that is drawn for a purpose; every replica draws the same."""
    return int.from_bytes(sha256(f"{purpose}\0{prediction_id}".encode()).digest()[:8], "big") < share * 2**64


def enqueue(connection: Connection, draft: Draft, entry: Entry, audit_share: float) -> None:
    """Put a prediction into the queue if a person should see it, in the transaction that stores it.

    It enters where a head is not auto, where the risk is high, and where it is drawn for the audit. An audited case
    gets the place of one that people do reach, so that whether it is seen does not depend on what it says.
    """
    audit = drawn("audit", entry.id, audit_share)
    if not (audit or entry.level == "high" or any(one.decision != "auto" for one in entry.heads.values())):
        return
    cost = expected_cost(entry.heads, entry.level, draft.strangeness)
    values = {
        "prediction_id": entry.id,
        "entered_at": entry.at,
        "channel": draft.channel,
        "cost": cost,
        "priority": max(cost, _place(connection, entry.id)) if audit else cost,
        "audit": audit,
        "state": WAITING,
    }
    connection.execute(_ENTER, values)
    index(connection, entry.id, draft.cleaned)


def _place(connection: Connection, prediction_id: str) -> float:
    """The priority of a case that was reviewed of late, or else entered of late, by the id's luck; 0 without any."""
    table = reviews.c
    for newest, there in ((table.done_at, table.done_at.is_not(None)), (table.entered_at, true())):
        query = select(table.priority).where(there, ~table.audit).order_by(newest.desc()).limit(_PLACES)
        if places := list(connection.execute(query).scalars()):
            number = int.from_bytes(sha256(f"place\0{prediction_id}".encode()).digest()[:8], "big")
            return float(places[number % len(places)])
    return 0.0


class Queue(Database):
    """Cases that wait, and leases on them."""

    def queue(
        self, filters: Filters, *, now: datetime, actor: str | None = None, limit: int = 50, offset: int = 0
    ) -> Page:
        """Lines of the queue, the next case first; those under review stay in it until they are decided.

        With `actor` it is their queue: without what they skipped, and what they may not review a second time.
        """
        with self._read() as connection:
            where = conditions(connection, filters, actor, now)
            waiting = connection.execute(counted(where)).scalar_one()
            order = ordered(connection, where, now, offset + limit)[offset:]
            return Page(lines(connection, order), waiting)

    def queued(self, prediction_ids: Sequence[str]) -> list[Queued]:
        """The lines of these cases, in this order."""
        with self._read() as connection:
            return lines(connection, prediction_ids)

    def versions(self, model_name: str | None = None) -> list[str]:
        """The versions, of one model or of all, that answered the cases that wait, the newest first."""
        found = self._waiting(predictions.c.model_version, model_name)
        return sorted(found, key=lambda one: (int(one) if one.isdecimal() else 0, one), reverse=True)

    def channels(self, model_name: str | None = None) -> list[str]:
        """The channels that the cases that wait came in by, those that one model answered or all."""
        return sorted(self._waiting(reviews.c.channel, model_name))

    def _waiting(self, column: Column[str], model_name: str | None) -> list[str]:
        """What stands in a column of the cases that wait, each value once."""
        query = select(column).distinct().select_from(_ANSWERED).where(pending(), column.is_not(None))
        with self._read() as connection:
            return list(connection.execute(query.where(_by(model_name))).scalars())

    def claim(
        self, actor: str, filters: Filters = EVERYTHING, *, limit: int = 1, minutes: float = 15, now: datetime
    ) -> list[Lease]:
        """Take the next cases, nobody else's and none that the actor has: their leases, best first.

        Two people never get the same case; a lease that ran out is free again. Raises InvalidInput for a search that
        cannot be made.
        """
        until, taken = now + timedelta(minutes=minutes), list[str]()
        with self._write() as connection:
            where = [*conditions(connection, filters, actor, now), unleased(now)]
            order = ordered(connection, where, now, limit + _SPARE)
            more = len(order) == limit + _SPARE
            while order and len(taken) < limit:
                wanted, order = order[: limit - len(taken)], order[limit - len(taken) :]
                # Checked again once locked: on PostgreSQL another claim may have been first since the order was made.
                locked = select(reviews.c.prediction_id).where(
                    reviews.c.prediction_id.in_(wanted), pending(), unleased(now)
                )
                free = set(connection.execute(locked.with_for_update(skip_locked=True)).scalars())
                taken += [one for one in wanted if one in free]
            if more and len(taken) < limit:
                # So many claim at once that all of the order was others': whatever they leave, the dearest first.
                rest = by_cost([*where, reviews.c.prediction_id.not_in(taken)]).limit(limit - len(taken))
                taken += connection.execute(rest.with_for_update(of=reviews, skip_locked=True)).scalars()
            here = reviews.c.prediction_id.in_(taken)
            connection.execute(update(reviews).where(here).values(lease_actor=actor, lease_until=until))
        return [Lease(one, until) for one in taken]

    def held(self, actor: str, now: datetime, model_name: str | None = None) -> list[Lease]:
        """The cases that a person has, the one that runs out first in front: for who opens the page again.

        With `model_name` only those that this model answered.
        """
        table = reviews.c
        query = (
            select(table.prediction_id, table.lease_until)
            .select_from(_ANSWERED)
            .where(table.lease_actor == actor, table.lease_until > now, pending(), _by(model_name))
            .order_by(table.lease_until, table.priority.desc(), table.prediction_id)
        )
        with self._read() as connection:
            return [Lease(row[0], row[1]) for row in connection.execute(query)]

    def take(
        self, actor: str, prediction_id: str, *, minutes: float = 15, now: datetime, model_name: str | None = None
    ) -> Lease:
        """Take one case that was picked, or make its lease longer; raises Leased, or Stale where it is done.

        With `model_name` also Stale where another model answered it.
        """
        until = now + timedelta(minutes=minutes)
        with self._write() as connection:
            row = lock_review(connection, prediction_id)
            if row is None or row.state == DONE or (row.state == SECOND and row.done_by == actor):
                raise Stale("this case does not wait for a review of yours")
            answered = select(predictions.c.id).where(predictions.c.id == prediction_id, _by(model_name))
            if connection.execute(answered).first() is None:
                raise Stale("another model answered this case")
            refuse_leased(row, actor, now)
            here = reviews.c.prediction_id == prediction_id
            connection.execute(update(reviews).where(here).values(lease_actor=actor, lease_until=until))
        return Lease(prediction_id, until)

    def release(self, actor: str, prediction_ids: Sequence[str] | None = None) -> int:
        """Give cases back, all that the person has where none are named; returns how many."""
        here = reviews.c.lease_actor == actor
        if prediction_ids is not None:
            here = and_(here, reviews.c.prediction_id.in_(prediction_ids))
        with self._write() as connection:
            given = connection.execute(update(reviews).where(here).values(lease_actor=None, lease_until=None))
            return int(given.rowcount)

    def progress(self, actor: str, since: datetime) -> Progress:
        """What was decided since a time: the day's budget is this much nearer to its end.

        A case whose questions were answered one by one, over the API, is reviewed as one that was decided as a whole.
        """
        table, place = review_decisions.c, reviews.c
        standing = and_(table.at >= since, table.withdrawn_at.is_(None))
        whole = select(table.outcome, table.actor, func.count()).where(standing).group_by(table.outcome, table.actor)
        decided = exists().where(
            table.prediction_id == place.prediction_id, table.withdrawn_at.is_(None), table.outcome != "skipped"
        )
        piecemeal = (
            select(place.outcome, place.done_by, func.count())
            .where(place.state == DONE, place.done_at >= since, ~decided)
            .group_by(place.outcome, place.done_by)
        )
        with self._read() as connection:
            rows = [tuple(row) for query in (whole, piecemeal) for row in connection.execute(query)]
            count = select(func.count()).select_from(reviews).where(pending())
            waiting = int(connection.execute(count).scalar_one())
        counts = {
            what: sum(int(n) for one, _, n in rows if one == what) for what in ("accepted", "corrected", "skipped")
        }
        mine = sum(int(n) for one, who, n in rows if who == actor and one != "skipped")
        return Progress(**counts, mine=mine, waiting=waiting)


_ANSWERED = predictions.join(reviews, reviews.c.prediction_id == predictions.c.id)


def _by(model_name: str | None) -> ColumnElement[bool]:
    """This model answered the case; None is any."""
    return true() if model_name is None else predictions.c.model_name == model_name


class Row:
    """A row of `reviews` that is locked until the transaction ends."""

    state: str
    done_by: str | None
    lease_actor: str | None
    lease_until: datetime | None
    second_by: str | None
    outcome: str | None
    audit: bool


def lock_review(connection: Connection, prediction_id: str) -> Row | None:
    """The case's place in the queue, locked; None where it was never in it."""
    query = select(reviews).where(reviews.c.prediction_id == prediction_id).with_for_update()
    return connection.execute(query).first()  # type: ignore[return-value]


def refuse_leased(row: Row, actor: str, now: datetime) -> None:
    """Raise Leased where another person has the case now."""
    if row.lease_actor not in (None, actor) and row.lease_until is not None and row.lease_until > now:
        raise Leased(f"{row.lease_actor} is reviewing this case")
