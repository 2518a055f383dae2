"""What the store knows of a complaint beyond its text, gathered and written in the transaction that stores it.

Replicas agree because the database decides: complaints of one category and product, and those of one customer, are
taken one after another (an advisory lock on PostgreSQL, the one writer on SQLite), whichever replica they came to.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    String,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    true,
    type_coerce,
    update,
)

from complaints.bursts import LONE, MOST_ISSUES, Alert, Arrival, Placement, place
from complaints.concentration import HOUR, crowd, joined
from complaints.policy import Burst, History, Policy
from complaints.records import Context
from serving.store.tables import alerts, assessments, issue_hours, issues, salts

_CUSTOMERS = "customers"


@dataclass(frozen=True, slots=True)
class Draft:
    """A complaint that was read but not yet assessed; `customer` as the caller numbers them, `inputs` JSON text.

    `cleaned` is what is searched when a person is to review it. `caller` tells who sent it from others, None where
    nobody needs a key: each numbers their own tickets. `strangeness` is `Reading.strangeness`.
    """

    arrival: Arrival
    ticket_id: str | None
    customer: str | None
    label: str
    business_line: str | None
    inputs: str
    channel: str | None = None
    cleaned: str = ""
    caller: str | None = None
    strangeness: float = 1.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """The context of a draft, and where it went."""

    context: Context
    placement: Placement
    counted: bool
    customer: str | None


def lock(connection: Connection, drafts: Sequence[Draft], customers: Sequence[str | None]) -> None:
    """Wait until nobody else places complaints of the same kinds or customers; in one order, so that none deadlock."""
    if connection.dialect.name != "postgresql":
        return  # SQLite has one writer
    names = {f"{one.arrival.category}\0{one.arrival.product}" for one in drafts}
    names |= {f"customer\0{one}" for one in customers if one is not None}
    names |= {f"ticket\0{one.ticket_id}" for one in drafts if one.ticket_id is not None}
    keys = sorted({int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True) for name in names})
    for key in keys:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def gather(connection: Connection, draft: Draft, customer: str | None, policy: Policy) -> Gathered:
    """The context of a complaint, by the store as it stands; counts it in its issue and opens alerts."""
    arrival = draft.arrival
    before = draft.ticket_id is not None and (
        connection.execute(
            select(assessments.c.prediction_id)
            .where(assessments.c.ticket_id == draft.ticket_id, same_caller(draft))
            .limit(1)
        ).first()
        is not None
    )
    if before:
        arrival = replace(arrival, counted=False)
    placement = place(Issues(connection, policy), arrival, policy.burst, policy.calendar)
    alike = _alike(connection, draft, customer, placement.issue_id, policy.history)
    return Gathered(Context(alike_before=alike, burst=placement.burst), placement, arrival.counted, customer)


def _alike(connection: Connection, draft: Draft, customer: str | None, issue_id: str, history: History) -> int:
    """Earlier complaints of this customer on this subject, other tickets alone."""
    if customer is None:
        return 0
    arrival = draft.arrival
    values = {
        "customer": customer,
        "at": arrival.at,
        "after": arrival.at - timedelta(days=history.days),
        "issue": issue_id,
        "kind": arrival.category if history.parent else draft.label,
        "product": arrival.product,
        "ticket": draft.ticket_id,
        "caller": draft.caller,
    }
    return int(connection.execute(_ALIKE_PARENT if history.parent else _ALIKE_LEAF, values).scalar_one())


def same_caller(draft: Draft) -> ColumnElement[bool]:
    """What was sent by who sent this, or may have been: of the oldest rows nobody knows."""
    if draft.caller is None:
        return true()
    return func.coalesce(assessments.c.caller, draft.caller) == draft.caller


def customer_hash(salt: str, customer: str | None) -> str | None:
    """A customer's number under a secret key: it cannot be guessed back from what is stored."""
    return None if customer is None else hmac.new(salt.encode(), customer.encode(), sha256).hexdigest()


def find_salt(connection: Connection) -> str:
    """This store's own key of customer hashes, made at the first call; the connection must be one that writes."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x73616C74})
    found = connection.execute(select(salts.c.value).where(salts.c.name == _CUSTOMERS)).scalar_one_or_none()
    if found is None:
        found = secrets.token_hex(32)
        connection.execute(insert(salts), {"name": _CUSTOMERS, "value": found})
    return str(found)


# Statements are built once: making one costs SQLAlchemy more than running it.
_ALIKE = (
    select(func.count())
    .select_from(assessments)
    .where(
        assessments.c.customer == bindparam("customer"),
        assessments.c.counted,
        assessments.c.at <= bindparam("at"),
        assessments.c.at > bindparam("after"),
        or_(  # another ticket, or one of this number that another caller gave it
            bindparam("ticket", type_=String).is_(None),
            assessments.c.ticket_id.is_(None),
            assessments.c.ticket_id != bindparam("ticket"),
            and_(
                bindparam("caller", type_=String).is_not(None),
                func.coalesce(assessments.c.caller, bindparam("caller")) != bindparam("caller"),
            ),
        ),
    )
)
_PRODUCT = or_(assessments.c.product.in_((bindparam("product"), "")), bindparam("product", type_=String) == "")
_ALIKE_LEAF, _ALIKE_PARENT = (
    _ALIKE.where(or_(assessments.c.issue_id == bindparam("issue"), and_(kind == bindparam("kind"), _PRODUCT)))
    for kind in (assessments.c.label, assessments.c.category)
)
_CENTRES = (
    # Whether it is late is said by the database: five hundred times as Python objects would cost a millisecond.
    select(issues.c.id, issues.c.centre, type_coerce(issues.c.first_at > bindparam("until"), Integer).label("later"))
    .where(
        issues.c.category == bindparam("category"),
        issues.c.product == bindparam("product"),
        issues.c.space == bindparam("space"),
        issues.c.last_at >= bindparam("long"),
        or_(issues.c.members > 1, issues.c.last_at >= bindparam("lone")),
    )
    .order_by(issues.c.last_at.desc(), issues.c.id.desc())
    .limit(MOST_ISSUES)
)
_CENTRES_BEFORE = _CENTRES.where(issues.c.first_at <= bindparam("until"))
_KNOWN = select(issues.c.id).where(issues.c.id == bindparam("issue"))
_BEGIN = insert(issues)
_ISSUE = select(issues.c.centre, issues.c.members, issues.c.first_at, issues.c.last_at).where(
    issues.c.id == bindparam("issue")
)
_JOIN = update(issues).where(issues.c.id == bindparam("issue"))
_HOUR = insert(issue_hours)
_HOUR_MORE = (
    update(issue_hours)
    .where(issue_hours.c.issue_id == bindparam("issue"), issue_hours.c.hour == bindparam("at_hour"))
    .values(count=issue_hours.c.count + 1)
)
_COUNTED = (assessments.c.issue_id == bindparam("issue"), assessments.c.counted, assessments.c.at > bindparam("after"))
_CROWD = select(func.count(), func.min(assessments.c.at)).where(*_COUNTED, assessments.c.at <= bindparam("at"))
_LATER = select(assessments.c.at).where(*_COUNTED, assessments.c.at < bindparam("before")).limit(1)
_TIMES = select(assessments.c.at).where(*_COUNTED, assessments.c.at < bindparam("before")).order_by(assessments.c.at)
_HOURS = select(issue_hours.c.hour, issue_hours.c["count"]).where(issue_hours.c.issue_id == bindparam("issue"))
_SINCE = select(func.min(issues.c.received_at)).where(issues.c.space == bindparam("space"))
_ALERT = (
    select(alerts)
    .where(
        alerts.c.issue_id == bindparam("issue"),
        alerts.c.since <= bindparam("before"),
        alerts.c.last_at >= bindparam("after"),
    )
    .order_by(alerts.c.opened_at.desc())
    .limit(1)
)


class Issues:
    """`complaints.bursts.State` in the database, within one transaction."""

    def __init__(self, connection: Connection, policy: Policy) -> None:
        self._connection = connection
        self._policy = policy.version
        self._begun: str | None = None

    def centres(self, arrival: Arrival, burst: Burst) -> Sequence[tuple[str, bytes]]:
        """As `State`."""
        values = {
            "category": arrival.category,
            "product": arrival.product,
            "space": arrival.space,
            "long": arrival.at - timedelta(days=burst.baseline_days),
            "lone": arrival.at - LONE,
            "until": arrival.at + timedelta(minutes=burst.window_minutes),
        }
        found = self._connection.execute(_CENTRES, values).all()
        later = [row for row in found if row[2]]
        if later and len(found) == MOST_ISSUES:  # it came late, and newer issues have taken all places
            before = self._connection.execute(_CENTRES_BEFORE, values).all()
        else:
            before = [row for row in found if not row[2]] if later else found
        return [(row[0], row[1]) for row in [*before, *later][:MOST_ISSUES]]

    def begin(self, issue_id: str, arrival: Arrival) -> bool:
        """As `State`."""
        if self._connection.execute(_KNOWN, {"issue": issue_id}).first() is not None:
            return False
        values = {
            "id": issue_id,
            "category": arrival.category,
            "product": arrival.product,
            "space": arrival.space,
            "centre": arrival.vector,
            "members": 0,
            "first_at": arrival.at,
            "last_at": arrival.at,
            "received_at": arrival.received or arrival.at,
        }
        self._connection.execute(_BEGIN, values)
        self._begun = issue_id
        return True

    def join(self, issue_id: str, arrival: Arrival) -> None:
        """As `State`."""
        at, execute, new = arrival.at, self._connection.execute, issue_id == self._begun
        centre, members, first, last = (
            (arrival.vector, 0, at, at) if new else execute(_ISSUE, {"issue": issue_id}).one()  # begun here and now
        )
        values = {
            "centre": joined(centre, members, arrival.vector),
            "members": members + 1,
            "first_at": min(first, at),
            "last_at": max(last, at),
        }
        execute(_JOIN, {"issue": issue_id} | values)
        hour = int(at.timestamp() // HOUR)
        if new or execute(_HOUR_MORE, {"issue": issue_id, "at_hour": hour}).rowcount == 0:
            execute(_HOUR, {"issue_id": issue_id, "hour": hour, "count": 1})

    def crowd(self, issue_id: str, at: datetime, window: timedelta) -> tuple[int, datetime]:
        """As `State`."""
        execute, span = self._connection.execute, {"issue": issue_id, "after": at - window, "before": at + window}
        if execute(_LATER, span | {"after": at}).first() is not None:  # it came late
            return crowd(list(execute(_TIMES, span).scalars()), at, window)
        others, first = execute(_CROWD, {"issue": issue_id, "after": at - window, "at": at}).one()
        return others + 1, first if others else at

    def hours(self, issue_id: str) -> dict[int, int]:
        """As `State`."""
        return {row[0]: row[1] for row in self._connection.execute(_HOURS, {"issue": issue_id})}

    def since(self, space: str) -> datetime | None:
        """As `State`."""
        return self._connection.execute(_SINCE, {"space": space}).scalar_one_or_none()

    def alert(self, issue_id: str, at: datetime, window: timedelta, cooldown: timedelta) -> Alert | None:
        """As `State`."""
        values = {"issue": issue_id, "before": at + window, "after": at - cooldown}
        row = self._connection.execute(_ALERT, values).mappings().first()
        return None if row is None else Alert(**{field: row[field] for field in Alert.__dataclass_fields__})

    def open(self, alert: Alert) -> None:
        """As `State`."""
        self._connection.execute(insert(alerts), asdict(alert) | {"policy": self._policy})

    def extend(self, alert: Alert) -> None:
        """As `State`."""
        values = {"members": alert.members, "last_at": alert.last_at}
        self._connection.execute(update(alerts).where(alerts.c.id == alert.id).values(**values))
