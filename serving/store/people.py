"""Who may sign in, who is signed in, and who saw and did what. The rules are in `serving.access`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from complaints.errors import Conflict, NotFound
from serving.store.database import Database
from serving.store.ids import new_id
from serving.store.review_tables import audit_log, devices, sessions, users


@dataclass(frozen=True, slots=True)
class User:
    """A person; `password` is an argon2 hash, `failures` are those from browsers that nobody knows."""

    name: str
    role: str
    password: str
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    locked_until: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A person signed in; `token` is the sha256 of what their browser holds."""

    token: str
    user: str
    csrf: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Device:
    """A browser from which a person has signed in; `token` is the sha256 of what it holds."""

    token: str
    user: str
    seen_at: datetime
    failures: int
    locked_until: datetime | None


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of the audit log."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, object]


class People(Database):
    """Users, sessions, and the audit log, which only grows."""

    def add_user(self, name: str, role: str, password: str, now: datetime) -> None:
        """Add a person; raises Conflict where the name is taken, by one who was disabled too."""
        values = {"name": name, "role": role, "password": password, "created_at": now, "failures": 0}
        with self._write() as connection:
            if connection.execute(select(users.c.name).where(users.c.name == name)).first() is not None:
                raise Conflict(f"there is a user {name} already")
            try:
                connection.execute(insert(users), values)
            except IntegrityError:
                raise Conflict(f"there is a user {name} already") from None

    def user(self, name: str) -> User | None:
        """A person, disabled ones too; None where there is none of this name."""
        with self._read() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).mappings().first()
        return None if row is None else User(**row)

    def list_users(self) -> list[User]:
        """Everybody, by name."""
        with self._read() as connection:
            return [User(**row) for row in connection.execute(select(users).order_by(users.c.name)).mappings()]

    def change_user(
        self, name: str, *, role: str | None = None, password: str | None = None, disabled_at: datetime | None = None
    ) -> None:
        """Change what is given, sign the person out everywhere, forget their browsers; raises NotFound."""
        values: dict[str, object] = {"failures": 0, "locked_until": None}
        for field, value in (("role", role), ("password", password), ("disabled_at", disabled_at)):
            if value is not None:
                values[field] = value
        with self._write() as connection:
            if connection.execute(update(users).where(users.c.name == name).values(**values)).rowcount == 0:
                raise NotFound(f"there is no user {name}")
            connection.execute(delete(sessions).where(sessions.c.user == name))
            connection.execute(delete(devices).where(devices.c.user == name))

    def change_password(self, session: str, before: str, password: str, device: str | None, now: datetime) -> None:
        """Give the person of a session another password than `before`; only this session and this browser stay.

        It stands in the audit log. Raises Conflict where the password or the session was changed meanwhile.
        """
        with self._write() as connection:
            name = connection.execute(select(sessions.c.user).where(sessions.c.token == session)).scalar_one_or_none()
            here = and_(users.c.name == name, users.c.password == before)
            values = {"password": password, "failures": 0, "locked_until": None}
            if connection.execute(update(users).where(here).values(**values)).rowcount == 0:
                raise Conflict("the password or the session was changed meanwhile")
            connection.execute(delete(sessions).where(sessions.c.user == name, sessions.c.token != session))
            connection.execute(delete(devices).where(devices.c.user == name, devices.c.token != (device or "")))
            write_log(connection, str(name), "password", str(name), {}, now)

    def enable_user(self, name: str) -> None:
        """Let a disabled person sign in again, with the password they had; raises NotFound."""
        with self._write() as connection:
            if connection.execute(update(users).where(users.c.name == name).values(disabled_at=None)).rowcount == 0:
                raise NotFound(f"there is no user {name}")

    def hash_again(self, name: str, before: str, password: str) -> None:
        """Keep another hash of the same password, unless it was changed since `before`."""
        here = and_(users.c.name == name, users.c.password == before)
        with self._write() as connection:
            connection.execute(update(users).where(here).values(password=password))

    def device(self, token: str, name: str) -> Device | None:
        """The browser of a token, if this person has signed in from it."""
        query = select(devices).where(devices.c.token == token, devices.c.user == name)
        with self._read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else Device(**row)

    def count_failure(self, name: str, lock: Callable[[int], datetime | None], device: str | None = None) -> int:
        """One more wrong password in a row, from a known browser or from the unknown ones; returns how many.

        `lock` says until when the browser, or the name for all unknown ones, is then locked.
        """
        table = users if device is None else devices
        here = users.c.name == name if device is None else devices.c.token == device
        with self._write() as connection:
            before = connection.execute(select(table.c.failures).where(here).with_for_update()).scalar_one_or_none()
            if before is None:
                return 0
            values = {"failures": before + 1, "locked_until": lock(before + 1)}
            connection.execute(update(table).where(here).values(**values))
        return int(before) + 1

    def open_session(self, session: Session, device: str, *, known: bool, forgotten: datetime) -> None:
        """Sign a person in from a browser, known or new: the failures that it counts under are forgotten.

        Sessions that ran out and browsers that were last seen before `forgotten` are swept away.
        """
        values = {field: getattr(session, field) for field in Session.__dataclass_fields__}
        seen = {"seen_at": session.created_at, "failures": 0, "locked_until": None}
        with self._write() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_at <= session.created_at))
            connection.execute(delete(devices).where(devices.c.seen_at < forgotten))
            if known:
                connection.execute(update(devices).where(devices.c.token == device).values(**seen))
            else:
                connection.execute(insert(devices), {"token": device, "user": session.user, **seen})
                here = users.c.name == session.user
                connection.execute(update(users).where(here).values(failures=0, locked_until=None))
            connection.execute(insert(sessions), values)

    def session(self, token: str, now: datetime) -> tuple[Session, User] | None:
        """Who a token belongs to; None where it ran out, was closed, or the person was disabled."""
        query = select(sessions).where(sessions.c.token == token, sessions.c.expires_at > now)
        with self._read() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            user = connection.execute(select(users).where(users.c.name == row["user"])).mappings().one()
        return None if user["disabled_at"] is not None else (Session(**row), User(**user))

    def close_session(self, token: str) -> None:
        """Sign out, if signed in."""
        with self._write() as connection:
            connection.execute(delete(sessions).where(sessions.c.token == token))

    def log(self, actor: str, action: str, subject: str, detail: dict[str, object], now: datetime) -> None:
        """One line more in the audit log."""
        with self._write() as connection:
            write_log(connection, actor, action, subject, detail, now)

    def logged(
        self,
        *,
        actor: str | None = None,
        subject: str | None = None,
        action: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Logged]:
        """Lines of the audit log, the newest first; `before` is the id of the last line of the page before."""
        query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        for column, value in ((audit_log.c.actor, actor), (audit_log.c.subject, subject), (audit_log.c.action, action)):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(audit_log.c.id < before)
        with self._read() as connection:
            return [
                Logged(**dict(row) | {"detail": orjson.loads(row["detail"])})
                for row in connection.execute(query).mappings()
            ]


def write_log(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, object],
    now: datetime,
    by: str | None = None,
) -> None:
    """One line more, in the transaction that does what it tells of; `by` is the caller who acts in the actor's name."""
    if by is not None:
        detail = detail | {"by": by}
    values = {
        "id": new_id(now, "log"),
        "at": now,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": orjson.dumps(detail, default=str).decode(),
    }
    connection.execute(insert(audit_log), values)
