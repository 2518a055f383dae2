"""The order of the queue, and what it is narrowed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select

from complaints.concentration import unpack
from complaints.priority import Vector, Waiting, queue_order
from complaints.records import Decision, Level
from complaints.text import MASKS, mask
from serving.store.review_tables import review_decisions, reviews
from serving.store.search import matching
from serving.store.tables import assessments, issues, prediction_heads, predictions

WAITING, SECOND, DONE = "waiting", "second", "done"
# Reason of a case that is in the queue for its level alone; the others are those of its heads.
HIGH_RISK = "high_risk"
# The dearest cases that are put in order by what they would tell; those behind follow by their cost.
SPREAD_OVER = 300
# Cases reviewed, or under review, last: what reads like them is worth less.
_RECENT = 50
# A skipped case does not come back to who skipped it before that; others get it as before.
SKIPPED_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the queue is narrowed to; None does not. `label` needs a head, and a parent stands for its leaves.

    `reason` is `high_risk`, or one of a head's reasons: of `head` where that is given. `channel` is as it was sent, or
    as it is shown, masked. `since` and `until` are about the complaint's own time; `text` is what was typed into the
    search field; `model_name` is the model that answered.
    """

    head: str | None = None
    label: str | None = None
    level: Level | None = None
    department: str | None = None
    channel: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    model_version: str | None = None
    reason: str | None = None
    text: str | None = None
    model_name: str | None = None


EVERYTHING = Filters()


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model said to one question, and how sure it was, 0 to 1."""

    label: str
    decision: Decision
    confidence: float


@dataclass(frozen=True, slots=True)
class Queued:
    """One line of the queue. `request` is JSON text with personal data in it; `heads`: what was answered.

    Nothing here tells an audited case from another: neither may the one who shows it.
    """

    prediction_id: str
    ticket_id: str | None
    at: datetime
    entered_at: datetime
    request: str
    channel: str | None
    level: Level
    department: str | None
    model_version: str
    priority: float
    heads: Mapping[str, Answered]
    lease_actor: str | None
    lease_until: datetime | None


def unleased(now: datetime) -> ColumnElement[bool]:
    """Nobody has the case."""
    return or_(reviews.c.lease_until.is_(None), reviews.c.lease_until <= now)


def pending() -> ColumnElement[bool]:
    """The case waits for a person; written so that an index passes over all those that are done."""
    return reviews.c.state.in_((WAITING, SECOND))


def counted(where: Sequence[ColumnElement[bool]]) -> Select[int]:
    """The query for how many cases fulfil some conditions."""
    return select(func.count()).select_from(_JOINED).where(*where)


_JOINED = reviews.join(assessments, assessments.c.prediction_id == reviews.c.prediction_id).join(
    predictions, predictions.c.id == reviews.c.prediction_id
)


def conditions(connection: Connection, filters: Filters, actor: str | None, now: datetime) -> list[ColumnElement[bool]]:
    """What a case must fulfil to stand in a queue, in `actor`'s own where one is given; raises InvalidInput."""
    where: list[ColumnElement[bool]] = [pending()]
    heads = prediction_heads.c
    of_case = heads.prediction_id == reviews.c.prediction_id
    if filters.label is not None or filters.head is not None:
        named = [of_case] + ([heads.head == filters.head] if filters.head is not None else [])
        if filters.label is not None:
            named.append(
                or_(heads.label == filters.label, heads.label.startswith(filters.label + ".", autoescape=True))
            )
        else:
            named.append(heads.decision != "auto")
        where.append(exists().where(*named))
    if filters.reason == HIGH_RISK:
        where.append(assessments.c.level == "high")
    elif filters.reason is not None:
        given = [of_case, heads.reason == filters.reason]
        where.append(exists().where(*given, *([heads.head == filters.head] if filters.head is not None else [])))
    for column, value in (
        (assessments.c.level, filters.level),
        (assessments.c.department, filters.department),
        (predictions.c.model_version, filters.model_version),
        (predictions.c.model_name, filters.model_name),
    ):
        if value is not None:
            where.append(column == value)
    if filters.channel is not None:
        where.append(reviews.c.channel.in_(_channels(connection, filters.channel)))
    if filters.since is not None:
        where.append(assessments.c.at >= filters.since)
    if filters.until is not None:
        where.append(assessments.c.at < filters.until)
    if filters.text is not None:
        where.append(matching(connection.dialect.name, filters.text))  # type: ignore[arg-type]
    if actor is not None:
        said = review_decisions.c
        skipped = exists().where(
            said.prediction_id == reviews.c.prediction_id,
            said.actor == actor,
            said.outcome == "skipped",
            said.withdrawn_at.is_(None),
            said.at > now - SKIPPED_FOR,
        )
        where += [~skipped, or_(reviews.c.state == WAITING, reviews.c.done_by != actor)]
    return where


def _channels(connection: Connection, shown: str) -> list[str]:
    """The channels of what waits that are shown so: more than one where personal numbers in them are masked."""
    if MASKS.search(shown) is None:
        return [shown]
    found = connection.execute(select(reviews.c.channel).distinct().where(pending())).scalars()
    return [one for one in found if one is not None and mask(one) == shown]


def ordered(connection: Connection, where: Sequence[ColumnElement[bool]], now: datetime, most: int) -> list[str]:
    """Ids of the cases to review next, best first."""
    columns = select(reviews.c.prediction_id, reviews.c.priority, reviews.c.audit, assessments.c.vector, issues.c.space)
    joined = _JOINED.join(issues, issues.c.id == assessments.c.issue_id)
    query = columns.select_from(joined).where(*where).order_by(reviews.c.priority.desc(), reviews.c.prediction_id)
    rows = connection.execute(query.limit(SPREAD_OVER)).all()
    if not rows:
        return []
    space = max(rows, key=lambda row: str(row.prediction_id)).space  # another model's vectors cannot be compared
    before = [unpack(row.vector) for row in _recent(connection, columns.select_from(joined), now) if row.space == space]

    def vector(row: object) -> Vector | None:
        # An audited case keeps its place whatever it says.
        return None if row.audit or row.space != space else unpack(row.vector)  # type: ignore[attr-defined]

    waiting = [Waiting(row.prediction_id, row.priority, vector(row)) for row in rows]
    found = queue_order(waiting, min(most, len(waiting)), before)
    if most > SPREAD_OVER:
        behind = by_cost(where).offset(SPREAD_OVER).limit(most - SPREAD_OVER)
        found += connection.execute(behind).scalars()
    return found


def by_cost(where: Sequence[ColumnElement[bool]]) -> Select[str]:
    """The query for the ids of the cases that fulfil some conditions, the dearest first."""
    query = select(reviews.c.prediction_id).select_from(_JOINED).where(*where)
    return query.order_by(reviews.c.priority.desc(), reviews.c.prediction_id)


def _recent(connection: Connection, query: Select[Any], now: datetime) -> list[Row[Any]]:
    """The rows of `query` of the cases that were reviewed last or are under review, the last first."""
    table = reviews.c
    since: dict[str, datetime] = {}
    for moment, there in (
        (table.done_at, table.done_at.is_not(None)),
        (table.lease_until, and_(table.lease_until > now, table.done_at.is_(None))),
    ):
        ids = select(table.prediction_id, moment).where(there).order_by(moment.desc()).limit(_RECENT)
        since.update((row[0], row[1]) for row in connection.execute(ids))
    last = sorted(since, key=lambda one: since[one], reverse=True)[:_RECENT]
    rows = {row.prediction_id: row for row in connection.execute(query.where(table.prediction_id.in_(last)))}
    return [rows[one] for one in last if one in rows]


def lines(connection: Connection, ids: Sequence[str]) -> list[Queued]:
    """What a list shows of these cases, in their order."""
    heads: dict[str, dict[str, Answered]] = {one: {} for one in ids}
    said = select(prediction_heads).where(prediction_heads.c.prediction_id.in_(ids))
    for row in connection.execute(said):
        heads[row.prediction_id][row.head] = Answered(row.label, row.decision, row.confidence)
    query = (
        select(
            reviews.c.prediction_id,
            assessments.c.ticket_id,
            assessments.c.at,
            reviews.c.entered_at,
            predictions.c.request,
            reviews.c.channel,
            assessments.c.level,
            assessments.c.department,
            predictions.c.model_version,
            reviews.c.priority,
            reviews.c.lease_actor,
            reviews.c.lease_until,
        )
        .select_from(_JOINED)
        .where(reviews.c.prediction_id.in_(ids))
    )
    found = {
        row["prediction_id"]: Queued(**row, heads=heads[row["prediction_id"]])
        for row in connection.execute(query).mappings()
    }
    return [found[one] for one in ids]
