"""Who may do what on the pages: roles, signing in, sessions. What keys of the API may do is in `serving.scopes`.

A password is checked slowly (argon2) and rarely: a session's token is random, so its sha256 is enough after that. A
service checks and makes them by `Service.checked`, one at a time.

Guessing is slowed down without letting who guesses lock a person out (OWASP, Slow Down Online Guessing Attacks with
Device Cookies): a browser from which somebody has signed in keeps a cookie and counts by itself; all browsers that
nobody knows count together. Addresses play no part: behind a proxy, or from a botnet, they mean nothing.
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
from serving.store.people import Device, People, Session, User

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role = Literal["analyst", "lead", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
Right = Literal["review", "unmask", "quality", "export", "promote", "force", "users", "log"]
# What each role may do beyond the one before it. Unmasking and exporting show or carry away personal matters, and
# promotion changes what everybody's complaints get; with force it goes against the gate.
_RIGHTS: dict[Role, tuple[Right, ...]] = {
    "analyst": ("review", "quality"),
    "lead": ("unmask", "export", "promote"),
    "admin": ("force", "users", "log"),
}

SESSION = timedelta(hours=12)  # a working day: people sign in once each morning
COOKIE, DEVICE_COOKIE = "jianwei_session", "jianwei_device"
# A browser that nobody signed in from for so long is a stranger again.
KNOWN = timedelta(days=180)
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_NAME = 80
# Wrong passwords in a row that are forgiven; each one more doubles the wait, from LOCK up to LONGEST_LOCK.
FORGIVEN = 5
LOCK, LONGEST_LOCK = timedelta(seconds=30), timedelta(minutes=15)
# OWASP's minimum for argon2id (Password Storage Cheat Sheet), in KiB and passes: small machines must do.
_MEMORY, _PASSES, _LANES = 19 * 1024, 2, 1


class SignInRefused(JianweiError):
    """Unknown name, wrong password, disabled, locked for a while, or no session: which, is not told apart."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in; `csrf` must come back with every form that changes something."""

    name: str
    role: Role
    csrf: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Entered:
    """A person who has just signed in: what their browser is to hold, for this session and for the next one."""

    token: str
    device: str
    person: Person


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


def change_password(
    store: People, token: str, present: str, password: str, now: datetime, device: str | None = None
) -> None:
    """Give the person of a session another password, if they know the present one; their other sessions end.

    A wrong one counts as in `sign_in`, and while guessing is locked none is right. Raises SignInRefused without a
    session, Forbidden for a wrong password, InvalidInput for a new one that cannot be used.
    """
    _, user = _session(store, token, now)
    known = store.device(_digest(device), user.name) if device else None
    if not _fits(store, user, known, present, now, "password_refused"):
        raise Forbidden("当前密码不对，或因多次输错暂时锁定，请稍后再试")
    hashed = hash_password(password)
    store.change_password(_digest(token), user.password, hashed, known.token if known is not None else None, now)


def sign_in(store: People, name: str, password: str, now: datetime, device: str | None = None) -> Entered:
    """Who it is, and their tokens; raises SignInRefused, with the same words whatever was wrong.

    `device` is what the browser was given the last time. After FORGIVEN wrong passwords in a row from one browser that
    the person has used, or from all others together, that one is locked, or those are, for longer each time. An
    unknown name takes as long as a wrong password.
    """
    user = store.user(name) if _plain(name) else None  # PostgreSQL cannot even be asked for U+0000
    known = store.device(_digest(device), user.name) if user is not None and device else None
    if user is None:
        verify(_nobody(), password[:LONGEST_PASSWORD])
    if user is None or not _fits(store, user, known, password, now, "sign_in_refused"):
        raise SignInRefused("用户名或密码不对，或因多次输错暂时锁定，请稍后再试")
    if _hasher().check_needs_rehash(user.password):
        store.hash_again(user.name, user.password, _hashed(password))
    token, device = secrets.token_urlsafe(32), device if device and known is not None else secrets.token_urlsafe(32)
    session = Session(_digest(token), user.name, secrets.token_urlsafe(32), now, now + SESSION)
    store.open_session(session, _digest(device), known=known is not None, forgotten=now - KNOWN)
    store.log(user.name, "sign_in", user.name, {}, now)
    person = Person(user.name, cast("Role", user.role), session.csrf, session.expires_at)
    return Entered(token, device, person)


def signed_in(store: People, token: str | None, now: datetime) -> Person:
    """Who a cookie's token belongs to; raises SignInRefused."""
    session, user = _session(store, token, now)
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


def cookies(entered: Entered, *, secure: bool) -> tuple[dict[str, object], ...]:
    """The cookies, as Starlette's `set_cookie` takes them; `secure` wherever the service is reached over a network."""
    shared = {"path": "/review", "httponly": True, "secure": secure}
    return (
        {"key": COOKIE, "value": entered.token, "max_age": int(SESSION.total_seconds()), "samesite": "lax"} | shared,
        {"key": DEVICE_COOKIE, "value": entered.device, "max_age": int(KNOWN.total_seconds()), "samesite": "strict"}
        | shared,
    )


def hash_password(password: str) -> str:
    """Argon2id; raises InvalidInput for a password that is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidInput(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; choose another")
    return _hashed(password)


def verify(hashed: str, password: str) -> bool:
    """Whether a password is the one; takes tens of milliseconds on purpose."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return _hasher().verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


def _session(store: People, token: str | None, now: datetime) -> tuple[Session, User]:
    found = store.session(_digest(token), now) if token else None
    if found is None:
        raise SignInRefused("请重新登录")
    return found


def _fits(store: People, user: User, known: Device | None, password: str, now: datetime, refused: str) -> bool:
    """Whether a password is the one, and may be tried now; else it is counted, and logged under `refused`."""
    fits = verify(user.password, password[:LONGEST_PASSWORD])
    until = known.locked_until if known is not None else user.locked_until
    locked = until is not None and until > now
    if fits and not locked and user.disabled_at is None:
        return True
    if not fits and not locked:
        token = known.token if known is not None else None
        store.count_failure(user.name, lambda failures: _locked_until(failures, now), token)
    store.log(user.name, refused, user.name, {"locked": locked, "known": known is not None}, now)
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
    return PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY, parallelism=_LANES)


def _hashed(password: str) -> str:
    return _hasher().hash(password)


@cache
def _nobody() -> str:
    return _hashed(secrets.token_urlsafe(32))


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
