"""Signing in, roles, sessions, and the log of who did what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from complaints.errors import Conflict, InvalidInput, NotFound
from serving import access
from serving.access import FORGIVEN, SESSION, SignInRefused, may, sign_in, sign_out, signed_in
from serving.scopes import Forbidden
from serving.store.queries import Store

NOW = datetime(2026, 3, 2, 2, tzinfo=UTC)
PASSWORD = "天气很好 correct horse"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same hash, less work."""
    from argon2 import PasswordHasher

    access._nobody.cache_clear()
    monkeypatch.setattr(access, "_hasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield
    access._nobody.cache_clear()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    access.add_user(opened, "王芳", "lead", PASSWORD, NOW)
    yield opened
    opened.close()


def test_signed_in_until_the_session_ends(store: Store) -> None:
    entered = sign_in(store, "王芳", PASSWORD, NOW)
    token, person = entered.token, entered.person
    assert (person.name, person.role) == ("王芳", "lead")
    assert signed_in(store, token, NOW + SESSION - timedelta(seconds=1)) == person
    for wrong in (token + "x", "", None):
        with pytest.raises(SignInRefused):
            signed_in(store, wrong, NOW)
    with pytest.raises(SignInRefused):
        signed_in(store, token, NOW + SESSION)
    sign_out(store, token, NOW + timedelta(seconds=1))
    with pytest.raises(SignInRefused):
        signed_in(store, token, NOW)
    assert [one.action for one in store.logged()] == ["sign_out", "sign_in"]


def test_neither_password_nor_token_is_stored(store: Store) -> None:
    entered = sign_in(store, "王芳", PASSWORD, NOW)
    token, person = entered.token, entered.person
    user = store.user("王芳")
    assert user is not None
    assert user.password.startswith("$argon2id$")
    assert store.session(token, NOW) is None  # the hash of it is what is looked for
    access.check_csrf(person, person.csrf)
    for wrong in ("", None, person.csrf[:-1]):
        with pytest.raises(Forbidden):
            access.check_csrf(person, wrong)


def test_what_was_wrong_is_not_told(store: Store) -> None:
    said = set()
    for name, password in (("王芳", "wrong password"), ("nobody", PASSWORD), ("\x00'", "x"), ("王芳", "")):
        with pytest.raises(SignInRefused) as refused:
            sign_in(store, name, password, NOW)
        said.add(str(refused.value))
    assert len(said) == 1


def test_guessing_gets_slower(store: Store) -> None:
    for _ in range(FORGIVEN):
        with pytest.raises(SignInRefused):
            sign_in(store, "王芳", "wrong password", NOW)
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", PASSWORD, NOW + timedelta(seconds=29))
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", "wrong password", NOW + timedelta(seconds=31))
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", PASSWORD, NOW + timedelta(seconds=31 + 59))
    sign_in(store, "王芳", PASSWORD, NOW + timedelta(seconds=31 + 61))
    with pytest.raises(SignInRefused):  # forgiven again
        sign_in(store, "王芳", "wrong password", NOW + timedelta(minutes=5))
    sign_in(store, "王芳", PASSWORD, NOW + timedelta(minutes=5))
    for _ in range(40):
        store.count_failure("王芳", lambda failures: access._locked_until(failures, NOW))
    user = store.user("王芳")
    assert user is not None
    assert user.locked_until == NOW + access.LONGEST_LOCK


def test_who_guesses_locks_nobody_out_of_a_browser_that_they_have_used(store: Store) -> None:
    home = sign_in(store, "王芳", PASSWORD, NOW)
    access.add_user(store, "李明", "analyst", PASSWORD, NOW)
    other = sign_in(store, "李明", PASSWORD, NOW)
    for device in (None, "made up", other.device, None, None):  # another person's browser is a stranger
        with pytest.raises(SignInRefused):
            sign_in(store, "王芳", "wrong password", NOW, device)
    for device in (None, "made up", other.device):
        with pytest.raises(SignInRefused):
            sign_in(store, "王芳", PASSWORD, NOW, device)
    again = sign_in(store, "王芳", PASSWORD, NOW, home.device)
    assert again.device == home.device
    with pytest.raises(SignInRefused):  # which unlocks nothing for the others
        sign_in(store, "王芳", PASSWORD, NOW)
    refused = [one.detail for one in store.logged(action="sign_in_refused")]
    assert refused.count({"locked": False, "known": False}) == FORGIVEN
    assert refused.count({"locked": True, "known": False}) == 4


def test_a_browser_that_was_used_is_slowed_down_by_itself(store: Store) -> None:
    home = sign_in(store, "王芳", PASSWORD, NOW)
    for _ in range(FORGIVEN):
        with pytest.raises(SignInRefused):
            sign_in(store, "王芳", "wrong password", NOW, home.device)
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", PASSWORD, NOW, home.device)
    assert sign_in(store, "王芳", PASSWORD, NOW).device != home.device
    sign_in(store, "王芳", PASSWORD, NOW + timedelta(seconds=31), home.device)


def test_a_browser_is_forgotten_in_time_and_with_another_password(store: Store) -> None:
    home = sign_in(store, "王芳", PASSWORD, NOW)
    access.set_password(store, "王芳", "another password")
    later = sign_in(store, "王芳", "another password", NOW, home.device)
    assert later.device != home.device
    soon = sign_in(store, "王芳", "another password", NOW + access.KNOWN, later.device)
    assert soon.device == later.device
    store.open_session(
        access.Session("t", "王芳", "c", NOW, NOW), "another", known=False, forgotten=NOW + 2 * access.KNOWN
    )
    assert sign_in(store, "王芳", "another password", NOW, later.device).device != later.device


def test_a_person_changes_their_own_password_and_keeps_this_session_alone(store: Store) -> None:
    here, there = sign_in(store, "王芳", PASSWORD, NOW), sign_in(store, "王芳", PASSWORD, NOW)
    access.change_password(store, here.token, PASSWORD, "another password", NOW, here.device)
    assert signed_in(store, here.token, NOW).name == "王芳"
    with pytest.raises(SignInRefused):
        signed_in(store, there.token, NOW)
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", PASSWORD, NOW)
    assert sign_in(store, "王芳", "another password", NOW, here.device).device == here.device
    assert sign_in(store, "王芳", "another password", NOW, there.device).device != there.device
    [line] = store.logged(action="password")
    assert (line.actor, line.subject, line.detail) == ("王芳", "王芳", {})


def test_a_wrong_present_password_counts_as_one_at_signing_in(store: Store) -> None:
    home = sign_in(store, "王芳", PASSWORD, NOW)
    for _ in range(FORGIVEN):
        with pytest.raises(Forbidden, match="当前密码不对"):
            access.change_password(store, home.token, "wrong password", "another password", NOW, home.device)
    with pytest.raises(Forbidden):
        access.change_password(store, home.token, PASSWORD, "another password", NOW, home.device)
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", PASSWORD, NOW, home.device)
    assert signed_in(store, home.token, NOW).name == "王芳"
    refused = [one.detail["locked"] for one in store.logged(action="password_refused")]
    assert (refused.count(False), refused.count(True)) == (FORGIVEN, 1)
    access.change_password(store, home.token, PASSWORD, "another password", NOW + timedelta(seconds=31), home.device)


def test_a_new_password_that_cannot_be_used_or_comes_too_late_changes_nothing(store: Store) -> None:
    home = sign_in(store, "王芳", PASSWORD, NOW)
    with pytest.raises(InvalidInput, match="10 to 200 characters"):
        access.change_password(store, home.token, PASSWORD, "short", NOW, home.device)
    with pytest.raises(SignInRefused):
        access.change_password(store, "no session", PASSWORD, "another password", NOW, home.device)
    session = access._digest(home.token)
    with pytest.raises(Conflict):  # somebody else gave another one meanwhile
        store.change_password(session, "what it was before", "hash", None, NOW)
    assert sign_in(store, "王芳", PASSWORD, NOW, home.device).device == home.device
    assert store.logged(action="password") == []


def test_a_password_that_was_hashed_otherwise_is_hashed_again_at_the_next_sign_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argon2 import PasswordHasher

    before = store.user("王芳")
    assert before is not None
    token = sign_in(store, "王芳", PASSWORD, NOW).token
    monkeypatch.setattr(access, "_hasher", lambda: PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", "wrong password", NOW)
    assert store.user("王芳").password == before.password  # type: ignore[union-attr]
    sign_in(store, "王芳", PASSWORD, NOW)
    after = store.user("王芳")
    assert after is not None
    assert "t=1" in before.password
    assert "t=2" in after.password
    sign_in(store, "王芳", PASSWORD, NOW)
    assert store.user("王芳") == after
    assert signed_in(store, token, NOW).name == "王芳"  # nobody is signed out by it


def test_passwords_are_hashed_as_owasp_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert access.hash_password(PASSWORD).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_disabled_or_changed_person_is_signed_out(store: Store) -> None:
    token = sign_in(store, "王芳", PASSWORD, NOW).token
    access.set_password(store, "王芳", "another password")
    with pytest.raises(SignInRefused):
        signed_in(store, token, NOW)
    token = sign_in(store, "王芳", "another password", NOW).token
    store.change_user("王芳", disabled_at=NOW)
    with pytest.raises(SignInRefused):
        signed_in(store, token, NOW)
    with pytest.raises(SignInRefused):
        sign_in(store, "王芳", "another password", NOW)
    with pytest.raises(NotFound):
        store.change_user("nobody", role="admin")


def test_roles() -> None:
    assert [may("analyst", one) for one in ("review", "quality", "unmask", "export", "promote", "users")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert [may("lead", one) for one in ("review", "unmask", "promote", "users", "log")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert all(may("admin", one) for one in ("review", "unmask", "export", "promote", "users", "log"))
    person = access.Person("李明", "analyst", "c", NOW)
    with pytest.raises(Forbidden, match="needs the role lead"):
        access.require(person, "unmask")


def test_what_cannot_be_a_person(store: Store) -> None:
    for name, role, password in (
        ("", "lead", PASSWORD), ("a b", "lead", PASSWORD), ("x" * 81, "lead", PASSWORD), ("a\x00", "lead", PASSWORD),
        ("李明", "boss", PASSWORD), ("李明", "lead", "short"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            access.add_user(store, name, role, password, NOW)
    with pytest.raises(Conflict):
        access.add_user(store, "王芳", "admin", PASSWORD, NOW)
    assert [one.name for one in store.list_users()] == ["王芳"]


def test_the_log_only_grows_and_is_read_in_pages(store: Store) -> None:
    for i in range(5):
        store.log("王芳", "view", f"case {i}", {"i": i}, NOW + timedelta(seconds=i))
    page = store.logged(limit=2)
    assert [one.detail for one in page] == [{"i": 4}, {"i": 3}]
    assert [one.subject for one in store.logged(limit=2, before=page[-1].id)] == ["case 2", "case 1"]
    assert [one.subject for one in store.logged(subject="case 1", actor="王芳", action="view")] == ["case 1"]
    assert store.logged(actor="李明") == []


def test_the_cookies_are_for_the_pages_alone() -> None:
    entered = access.Entered("t", "d", access.Person("王芳", "lead", "c", NOW))
    cookies = access.cookies(entered, secure=True)
    assert [(one["key"], one["value"], one["samesite"]) for one in cookies] == [
        ("jianwei_session", "t", "lax"),
        ("jianwei_device", "d", "strict"),
    ]
    for one in cookies:
        assert (one["httponly"], one["secure"], one["path"]) == (True, True, "/review")
