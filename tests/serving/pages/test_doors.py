"""The doors of the pages over plain HTTP: who comes in, what a key is for, what is said without the extra."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.pages import mount, sign_in


@pytest.fixture
def visitor(place: Any) -> Iterator[httpx.Client]:
    """A browser without scripts that follows no redirect."""
    with httpx.Client(base_url=place.url, trust_env=False, timeout=30) as client:
        yield client


def send(client: httpx.Client, name: str, password: str, wanted: str = "") -> httpx.Response:
    form = client.get("/review/sign-in", params={"next": wanted})
    [mark] = re.findall(r'name="form" value="([^"]+)"', form.text)
    return client.post(
        "/review/sign-in", params={"next": wanted}, data={"form": mark, "name": name, "password": password}
    )


@pytest.mark.parametrize("path", ["", "case", "case/pred_x", "quality", "models", "people", "log", "nothing"])
def test_nobody_sees_a_page_without_signing_in(visitor: httpx.Client, path: str) -> None:
    found = visitor.get(f"/review/{path}")
    assert found.status_code == 303
    assert found.headers["location"].startswith("/review/sign-in?next=/")


def test_pages_need_no_key_and_the_api_still_does(visitor: httpx.Client) -> None:
    assert visitor.get("/review/sign-in").status_code == 200
    assert visitor.get("/v1/reviews").status_code == 401
    assert visitor.get("/reviewx").status_code == 401


def test_signing_in_sets_a_cookie_that_no_script_can_read(visitor: httpx.Client, password: str) -> None:
    found = send(visitor, "李岚", password, "/quality")
    assert found.status_code == 303
    assert found.headers["location"] == "/review/quality"
    cookie = next(one for one in found.headers.get_list("set-cookie") if one.startswith("jianwei_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/review" in cookie
    assert "jianwei_device" in visitor.cookies
    page = visitor.get("/review/")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/sign-out", "x"])
def test_signing_in_leads_to_no_other_address(visitor: httpx.Client, password: str, wanted: str) -> None:
    assert send(visitor, "李岚", password, wanted).headers["location"] == "/review/"


def test_a_form_of_another_page_signs_nobody_in(visitor: httpx.Client, password: str) -> None:
    found = visitor.post("/review/sign-in", data={"form": "guessed", "name": "李岚", "password": password})
    assert found.status_code == 401
    assert "页面已过期" in found.text
    assert "jianwei_session" not in visitor.cookies


def test_signing_out_needs_the_sessions_own_form(visitor: httpx.Client, password: str) -> None:
    send(visitor, "李岚", password)
    visitor.post("/review/sign-out", data={"csrf": "guessed"})
    page = visitor.get("/review/")
    assert page.status_code == 200
    [csrf] = re.findall(r'name=\\?"csrf\\?" value=\\?"([^"\\]+)', page.text.replace("&quot;", '"'))
    device = visitor.cookies["jianwei_device"]
    assert visitor.post("/review/sign-out", data={"csrf": csrf}).headers["location"] == sign_in.DOOR
    assert visitor.get("/review/").status_code == 303
    send(visitor, "李岚", password)
    assert visitor.cookies["jianwei_device"] == device  # the same browser, known already


def test_without_the_extra_the_page_says_how_to_install_it(
    visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount, "installed", lambda: False)
    found = visitor.get("/review/")
    assert found.status_code == 503
    assert "pip install 'jianwei[pages]'" in found.text
