"""The doors of the pages over plain HTTP: who comes in, what a key is for, what is said without the extra."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import select, update

from complaints.errors import NotReady
from serving.champion import Champion
from serving.pages import mount, sign_in
from serving.store.review_order import Filters
from serving.store.tables import predictions


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


def test_a_page_that_is_not_there_says_so_in_chinese(visitor: httpx.Client, password: str) -> None:
    send(visitor, "李岚", password)
    found = visitor.get("/review/nothing")
    assert found.status_code == 404
    assert "没有这一页" in found.text
    assert 'href="/review/"' in found.text


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


@pytest.mark.parametrize("path", ["", "case", "quality", "models", "log"])
def test_pages_stand_where_no_model_is_loaded(
    visitor: httpx.Client, password: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def current(_: Champion) -> None:
        raise NotReady("no champion")

    send(visitor, "周宁", password)
    monkeypatch.setattr(Champion, "current", current)
    found = visitor.get(f"/review/{path}")
    assert found.status_code == 200
    if path in {"", "case", "models"}:
        assert "模型还没有装载好" in shown(found)


def test_a_case_of_another_models_questions_is_looked_at(visitor: httpx.Client, password: str, place: Any) -> None:
    case = place.store.queue(Filters(), now=datetime.now(UTC)).items[-1].prediction_id
    here = predictions.c.id == case
    with place.store._write() as connection:
        before = connection.execute(select(predictions.c.response).where(here)).scalar_one()
        heads = {"topic": orjson.loads(before)["heads"]["category"]}
        answer = orjson.dumps(orjson.loads(before) | {"heads": heads}).decode()
        connection.execute(update(predictions).where(here).values(response=answer, model_name="mine"))
    try:
        send(visitor, "李岚", password)
        found = visitor.get(f"/review/case/{case}")
        assert found.status_code == 200
        assert "只能查看" in shown(found)
        assert not [one for one in place.store.held("李岚", datetime.now(UTC)) if one.prediction_id == case]
    finally:
        with place.store._write() as connection:
            connection.execute(update(predictions).where(here).values(response=before, model_name="consumer"))


def test_looking_at_the_queue_is_logged(visitor: httpx.Client, password: str, place: Any) -> None:
    send(visitor, "周宁", password)
    visitor.get("/review/", params={"channel": "app", "text": "空调"})
    seen = place.store.logged(actor="周宁", action="list")[0]
    assert (seen.subject, seen.detail["filters"]) == ("reviews", {"channel": "app", "text": "空调"})
    assert seen.detail["cases"]


def shown(found: httpx.Response) -> str:
    """What a page holds, of which the framework writes some characters as codes."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), found.text)


def test_without_the_extra_the_page_says_how_to_install_it(
    visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount, "installed", lambda: False)
    found = visitor.get("/review/")
    assert found.status_code == 503
    assert "pip install 'jianwei[pages]'" in found.text
