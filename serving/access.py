"""Who may do what on the pages: roles, signing in, sessions. What keys of the API may do is in `serving.scopes`.

A password is checked slowly (argon2) and rarely: a session's token is random, so its sha256 is enough after that.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, cast, get_args

from complaints.errors import InvalidInput, JianweiError
from serving.scopes import Forbidden
from serving.store.people import People, Session

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role = Literal["analyst", "lead", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
Right = Literal["review", "unmask", "quality", "export", "promote", "users", "log"]
# What each role may do beyond the one before it. Unmasking and exporting show or carry away personal matters, and
# promotion changes what everybody's complaints get.
_RIGHTS: dict[Role, tuple[Right, ...]] = {
    "analyst": ("review", "quality"),
    "lead": ("unmask", "export", "promote"),
    "admin": ("users", "log"),
}

SESSION = timedelta(hours=12)  # a working day: people sign in once each morning
COOKIE = "jianwei_session"
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_NAME = 80
# Wrong passwords in a row that are forgiven; each one more doubles the wait, from LOCK up to LONGEST_LOCK.
FORGIVEN = 5
LOCK, LONGEST_LOCK = timedelta(seconds=30), timedelta(minutes=15)


class SignInRefused(JianweiError):
    """Unknown name, wrong password, disabled, locked for a while, or no session: which, is not told apart."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in; `csrf` must come back with every form that changes something."""

    name: str
    role: Role
    csrf: str
    expires_at: datetime


def may(role: Role, right: Right) -> bool:
    """Whether a role has a right."""
    return any(right in _RIGHTS[one] for one in ROLES[: ROLES.index(role) + 1])


def require(person: Person, right: Right) -> None:
    """Raise Forbidden unless the person has the right."""
    if not may(person.role, right):
        needed = next(role for role in ROLES if may(role, right))
        raise Forbidden(f"{person.name} is {person.role}; this needs the role {needed}")


def add_user(store: People, name: str, role: str, password: str, now: datetime) -> None:
    """Add a person; raises InvalidInput for a name, role or password that cannot be used, Conflict for a taken name."""
    store.add_user(_name(name), _role(role), hash_password(password), now)


def set_password(store: People, name: str, password: str) -> None:
    """Give a person another password and sign them out; raises InvalidInput, NotFound."""
    store.change_user(_name(name), password=hash_password(password))


def sign_in(store: People, name: str, password: str, now: datetime) -> tuple[str, Person]:
    """The token for the cookie, and who it is; raises SignInRefused, with the same words whatever was wrong.

    After FORGIVEN wrong passwords in a row the name is locked, for longer each time. An unknown name takes as long
    as a wrong password.
    """
    user = store.user(name) if _plain(name) else None  # PostgreSQL cannot even be asked for U+0000
    fits = verify(user.password if user is not None else _nobody(), password[:LONGEST_PASSWORD])
    locked = user is not None and user.locked_until is not None and user.locked_until > now
    if user is None or not fits or locked or user.disabled_at is not None:
        if user is not None and not fits and not locked:
            store.count_failure(user.name, lambda failures: _locked_until(failures, now))
        if user is not None:
            store.log(user.name, "sign_in_refused", user.name, {"locked": locked}, now)
        raise SignInRefused("用户名或密码不对，或因多次输错暂时锁定，请稍后再试")
    token = secrets.token_urlsafe(32)
    session = Session(_digest(token), user.name, secrets.token_urlsafe(32), now, now + SESSION)
    store.open_session(session)
    store.log(user.name, "sign_in", user.name, {}, now)
    return token, Person(user.name, cast("Role", user.role), session.csrf, session.expires_at)


def signed_in(store: People, token: str | None, now: datetime) -> Person:
    """Who a cookie's token belongs to; raises SignInRefused."""
    found = store.session(_digest(token), now) if token else None
    if found is None:
        raise SignInRefused("请重新登录")
    session, user = found
    return Person(user.name, cast("Role", user.role), session.csrf, session.expires_at)


def sign_out(store: People, token: str | None, now: datetime) -> None:
    """End the session of a token, if there is one."""
    found = store.session(_digest(token), now) if token else None
    if token and found is not None:
        store.close_session(_digest(token))
        store.log(found[1].name, "sign_out", found[1].name, {}, now)


def check_csrf(person: Person, sent: str | None) -> None:
    """Raise Forbidden unless a form came from a page of this session."""
    if not hmac.compare_digest(person.csrf.encode(), (sent or "").encode()):
        raise Forbidden("页面已过期，请刷新后重试")


def cookie(token: str, *, secure: bool) -> dict[str, object]:
    """The cookie, as Starlette's `set_cookie` takes it; `secure` wherever the service is reached over a network."""
    return {
        "key": COOKIE,
        "value": token,
        "max_age": int(SESSION.total_seconds()),
        "path": "/review",
        "httponly": True,
        "samesite": "lax",
        "secure": secure,
    }


def hash_password(password: str) -> str:
    """Argon2id; raises InvalidInput for a password that is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidInput(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; choose another")
    return _hasher().hash(password)


def verify(hashed: str, password: str) -> bool:
    """Whether a password is the one; takes tens of milliseconds on purpose."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return _hasher().verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


def _locked_until(failures: int, now: datetime) -> datetime | None:
    if failures < FORGIVEN:
        return None
    doubled: int = 1 << min(failures - FORGIVEN, 10)
    return now + min(LONGEST_LOCK, LOCK * doubled)


def _name(name: str) -> str:
    if not _plain(name):
        raise InvalidInput(f"a name has 1 to {LONGEST_NAME} letters, digits or any of . _ - @")
    return name


def _plain(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and all(unicodedata.category(c)[0] in "LN" or c in "._-@" for c in name)


def _role(role: str) -> Role:
    if role not in ROLES:
        raise InvalidInput(f"no role {role!r}: there are {', '.join(ROLES)}")
    return role


@cache
def _hasher() -> PasswordHasher:
    try:
        from argon2 import PasswordHasher
    except ModuleNotFoundError:
        raise InvalidInput("passwords need argon2: pip install 'jianwei[pages]'") from None
    return PasswordHasher()  # RFC 9106's second recommendation: 64 MiB, 3 passes


@cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_urlsafe(32))


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
