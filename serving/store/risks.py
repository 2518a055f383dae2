"""What is kept of risks after they were assessed: observations, people's verdicts, alerts, policies."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Select, and_, insert, or_, select, update

from complaints.bursts import Alert, Status
from complaints.errors import Conflict, NotFound
from complaints.policy import Policy
from complaints.records import Context, Level, Observation
from serving.store.contexts import Issues, find_salt
from serving.store.keys import Key, Keys, claim_key
from serving.store.people import write_log
from serving.store.tables import alerts, assessments, issues, observations, policies, predictions, verdicts

# Rows read at a time when many are replayed.
_CHUNK = 500
# What a second file of one version is called after: so much of its digest.
_MARK = 8
_ID = re.compile(r"[a-z0-9_]{1,64}")


class AlreadyDecided(Conflict):
    """A person decided on this alert before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person's word on a suggested level: confirmed where the two are the same, else overruled."""

    suggested: Level
    level: Level
    policy: str
    actor: str
    note: str | None
    given_at: datetime


@dataclass(frozen=True, slots=True)
class Assessed:
    """One assessment with everything that it can be computed again from; `request`, `inputs` are JSON text.

    `verdicts` are those that stand, the last one holds.
    """

    prediction_id: str
    stored_at: datetime
    at: datetime
    ticket_id: str | None
    counted: bool
    category: str
    product: str
    business_line: str | None
    issue_id: str
    space: str
    vector: bytes
    request: str
    inputs: str
    context: Context
    level: Level
    severity: str
    department: str | None
    respond_by: datetime | None
    resolve_by: datetime | None
    policy: str
    arm: str
    observations: tuple[Observation, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """An alert with what a person made of it, and the policy that raised it."""

    alert: Alert
    policy: str
    decided_by: str | None
    decided_at: datetime | None
    note: str | None


class Risks(Keys):
    """Queries about risks."""

    def register(self, policy: Policy, now: datetime) -> str:
        """What answers by this policy are named: its version, with a mark where another file used the version first.

        So one name stands for one text, whichever replica saw it first, and an answer can be computed again.
        """
        table = policies.c
        with self._write() as connection:
            find_salt(connection)  # serialises registrations on PostgreSQL
            found = connection.execute(select(table.identity).where(table.digest == policy.digest)).scalar_one_or_none()
            if found is not None:
                return str(found)
            same = connection.execute(select(table.digest).where(table.identity == policy.version)).first()
            identity = policy.version if same is None else f"{policy.version}+{policy.digest[:_MARK]}"
            values = {
                "digest": policy.digest,
                "name": policy.name,
                "version": policy.version,
                "identity": identity,
                "text": policy.text,
                "first_used_at": now,
            }
            connection.execute(insert(policies), values)
            return identity

    def salt(self) -> str:
        """This store's key of customer hashes."""
        with self._write() as connection:
            return find_salt(connection)

    def observe(
        self,
        prediction_id: str,
        observation: Observation,
        actor: str | None,
        now: datetime,
        key: Key | None = None,
    ) -> str:
        """Keep an observation, and return its id; raises NotFound where there is no such assessment, KeyTaken."""
        with self._write() as connection:
            _claim(connection, key)
            _require(connection, prediction_id)
            observation_id = _new("obs")
            values = observation.model_dump() | {
                "id": observation_id,
                "prediction_id": prediction_id,
                "actor": actor,
                "received_at": now,
            }
            connection.execute(insert(observations), values)
        return observation_id

    def judge(self, prediction_id: str, verdict: Verdict, key: Key | None = None, by: str | None = None) -> str:
        """Keep a verdict beside the assessment, which stays as it was; `by` is the caller who brings it, for the log.

        Raises NotFound, KeyTaken.
        """
        with self._write() as connection:
            _claim(connection, key)
            _require(connection, prediction_id)
            return write_verdict(connection, prediction_id, verdict, by=by)

    def assessed(self, prediction_id: str, policy: Policy) -> Assessed:
        """One assessment, its burst as it stands now; raises NotFound."""
        _check(prediction_id, "assessed prediction")
        with self._read() as connection:
            found = next(_assessed(connection, _joined().where(assessments.c.prediction_id == prediction_id)), None)
            if found is None:
                raise NotFound("there is no assessed prediction of this id")
            burst = policy.burst
            alert = Issues(connection, policy).alert(
                found.issue_id,
                found.at,
                timedelta(minutes=burst.window_minutes),
                timedelta(minutes=burst.cooldown_minutes),
            )
        members = 0 if alert is None or alert.status == "rejected" else alert.members
        context = found.context.model_copy(update={"burst": members, "observations": found.observations})
        return replace(found, context=context)

    def between(self, start: datetime, end: datetime) -> Iterator[Assessed]:
        """Assessments of complaints of `start` until before `end`, in the order in which they were stored."""
        last: tuple[datetime, str] | None = None
        table = assessments.c
        while True:
            query = _joined().where(table.at >= start, table.at < end)
            if last is not None:
                later = and_(table.stored_at == last[0], table.prediction_id > last[1])
                query = query.where(or_(table.stored_at > last[0], later))
            with self._read() as connection:
                rows = list(_assessed(connection, query.order_by(table.stored_at, table.prediction_id).limit(_CHUNK)))
            yield from rows
            if len(rows) < _CHUNK:
                return
            last = rows[-1].stored_at, rows[-1].prediction_id

    def alerts(self, status: Status | None, since: datetime | None, limit: int) -> list[Decided]:
        """Alerts, the newest first."""
        query = select(alerts).order_by(alerts.c.opened_at.desc(), alerts.c.id).limit(limit)
        if status is not None:
            query = query.where(alerts.c.status == status)
        if since is not None:
            query = query.where(alerts.c.last_at >= since)
        with self._read() as connection:
            return [_decided(row) for row in connection.execute(query).mappings()]

    def alert(self, alert_id: str, members: int) -> tuple[Decided, list[tuple[str, str | None, datetime]]]:
        """An alert and its first members (prediction id, ticket, time); raises NotFound."""
        _check(alert_id, "alert")
        with self._read() as connection:
            row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).mappings().first()
            if row is None:
                raise NotFound("there is no alert of this id")
            table = assessments.c
            query = (
                select(table.prediction_id, table.ticket_id, table.at)
                .where(table.issue_id == row["issue_id"], table.counted, table.at >= row["since"])
                .order_by(table.at, table.prediction_id)
                .limit(min(members, row["members"]))
            )
            return _decided(row), [(one[0], one[1], one[2]) for one in connection.execute(query)]

    def decide(
        self, alert_id: str, status: Status, actor: str, note: str | None, now: datetime, key: Key | None = None
    ) -> None:
        """Accept or reject an open alert, once; the same again by the same person changes nothing.

        Raises NotFound, AlreadyDecided, KeyTaken.
        """
        _check(alert_id, "alert")
        values = {"status": status, "decided_by": actor, "decided_at": now, "note": note}
        with self._write() as connection:
            _claim(connection, key)
            here = and_(alerts.c.id == alert_id, alerts.c.status == "open")
            if connection.execute(update(alerts).where(here).values(**values)).rowcount:
                return
            row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).mappings().first()
            if row is None:
                raise NotFound("there is no alert of this id")
            if (row["status"], row["decided_by"], row["note"]) != (status, actor, note):
                raise AlreadyDecided(f"{row['decided_by']} has {row['status']} this alert already")


def write_verdict(
    connection: Connection,
    prediction_id: str,
    verdict: Verdict,
    decision_id: str | None = None,
    by: str | None = None,
) -> str:
    """Keep a verdict and log it, in the transaction of the decision that it comes with, if it comes with one."""
    values = {field: getattr(verdict, field) for field in Verdict.__dataclass_fields__}
    values |= {"id": _new("verdict"), "prediction_id": prediction_id, "decision_id": decision_id}
    connection.execute(insert(verdicts), values)
    detail: dict[str, object] = {"suggested": verdict.suggested, "level": verdict.level}
    write_log(connection, verdict.actor, "judged", prediction_id, detail, verdict.given_at, by)
    return str(values["id"])


def _claim(connection: Connection, key: Key | None) -> None:
    """Claim a key, if there is one; its answer is set when it is known (`Keys.once`)."""
    if key is not None:
        claim_key(connection, key, "")


def _joined() -> Select[tuple[object, ...]]:
    return (
        select(assessments, predictions.c.request, issues.c.space)
        .join(predictions, predictions.c.id == assessments.c.prediction_id)
        .join(issues, issues.c.id == assessments.c.issue_id)
    )


def _assessed(connection: Connection, query: Select[tuple[object, ...]]) -> Iterator[Assessed]:
    rows = list(connection.execute(query).mappings())
    ids = [row["prediction_id"] for row in rows]
    seen: dict[str, list[Observation]] = {one: [] for one in ids}
    said: dict[str, list[Verdict]] = {one: [] for one in ids}
    watched = select(observations).where(observations.c.prediction_id.in_(ids)).order_by(observations.c.at)
    for row in connection.execute(watched).mappings():
        seen[row["prediction_id"]].append(Observation(**{name: row[name] for name in Observation.model_fields}))
    stands = and_(verdicts.c.prediction_id.in_(ids), verdicts.c.withdrawn_at.is_(None))
    judged = select(verdicts).where(stands).order_by(verdicts.c.given_at, verdicts.c.id)
    for row in connection.execute(judged).mappings():
        said[row["prediction_id"]].append(Verdict(**{name: row[name] for name in Verdict.__dataclass_fields__}))
    for row in rows:
        fields = {name: row[name] for name in Assessed.__dataclass_fields__ if name in row}
        fields["context"] = Context.model_validate_json(row["context"])
        yield Assessed(
            **fields, observations=tuple(seen[row["prediction_id"]]), verdicts=tuple(said[row["prediction_id"]])
        )


def _decided(row: object) -> Decided:
    alert = Alert(**{name: row[name] for name in Alert.__dataclass_fields__})  # type: ignore[index]
    rest = {name: row[name] for name in ("policy", "decided_by", "decided_at", "note")}  # type: ignore[index]
    return Decided(alert, **rest)


def _check(identifier: str, what: str) -> None:
    """Raise NotFound for what no id looks like: not every string can be asked for (PostgreSQL refuses U+0000)."""
    if not _ID.fullmatch(identifier):
        raise NotFound(f"there is no {what} of this id")


def _require(connection: Connection, prediction_id: str) -> None:
    _check(prediction_id, "assessed prediction")
    query = select(assessments.c.prediction_id).where(assessments.c.prediction_id == prediction_id)
    if connection.execute(query).first() is None:
        raise NotFound("there is no assessed prediction of this id")


def _new(kind: str) -> str:
    return f"{kind}_{int(datetime.now(UTC).timestamp() * 1000):013x}{secrets.token_hex(8)}"
