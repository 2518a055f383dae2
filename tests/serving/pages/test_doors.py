"""The doors of the pages over plain HTTP: who comes in, what a key is for, what is said without the extra."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import select, update

from complaints.errors import NotReady
from serving import access
from serving.app import PASSWORDS
from serving.champion import Champion, Fixed, Snapshot
from serving.pages import mount, sign_in
from serving.settings import Settings
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


def test_many_at_the_door_hold_up_neither_predictions_nor_health(
    served: Any, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    checked: list[str] = []
    opened = threading.Event()

    def hold(_hashed: str, password: str) -> bool:
        checked.append(password)
        return not opened.wait(60)

    monkeypatch.setattr(access, "verify", hold)
    monkeypatch.setattr(mount.Pages, "_begin", lambda _: None)  # the framework serves `place` already
    with served(Settings(home=tmp_path, workers=1), Fixed(snapshot)) as client, ThreadPoolExecutor(30) as many:

        def knock(_: int) -> httpx.Response:
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as one:
                return send(one, "nobody", "x")

        try:
            knocks = [many.submit(knock, i) for i in range(30)]
            wait_until(lambda: sum(one.done() for one in knocks) == 30 - 1 - PASSWORDS)
            for found in (one.result() for one in knocks if one.done()):
                assert found.status_code == 503
                assert found.headers["retry-after"] == "1"
                assert "同时登录的人太多" in found.text
            assert client.get("/health/ready").status_code == 200
            assert client.post("/v1/predictions", json={"text": "空调坏了"}).status_code == 200
            assert len(checked) == 1
        finally:
            opened.set()
        assert sorted(one.result().status_code for one in knocks) == [401] * (1 + PASSWORDS) + [503] * 19
    assert len(checked) == 1 + PASSWORDS


NEEDS_HTTPS = "须经 HTTPS 访问"


def test_over_plain_http_from_elsewhere_the_form_says_why_nobody_can_sign_in(
    visitor: httpx.Client, password: str
) -> None:
    visitor.headers["host"] = "review.example"
    assert NEEDS_HTTPS in visitor.get("/review/sign-in").text
    found = send(visitor, "李岚", password)
    assert found.status_code == 401
    assert NEEDS_HTTPS in found.text
    assert "已过期" not in found.text


@pytest.mark.parametrize(
    "headers",
    [
        {},  # 127.0.0.1
        {"host": "review.example", "x-forwarded-proto": "https"},
        {"host": "review.example", "sec-fetch-site": "none"},  # a proxy that does not say so, a browser that does
    ],
)
def test_where_one_can_sign_in_nothing_is_said_of_https(visitor: httpx.Client, headers: dict[str, str]) -> None:
    found = visitor.get("/review/sign-in", headers=headers)
    assert found.status_code == 200
    assert NEEDS_HTTPS not in found.text


def test_numbers_are_in_clear_in_no_field_of_a_case(
    visitor: httpx.Client, password: str, place: Any, phone: str
) -> None:
    send(visitor, "李岚", password)
    names = ("ticket_id", "channel", "product", "region", "business_line")

    def masked(found: httpx.Response) -> list[str]:
        assert phone not in found.text
        return [one for one in names if re.search(f"{one} (<[^<>]*>)?<手机号>", unescape(unescape(shown(found))))]

    for channel, lines in ((None, 10), ("channel <手机号>", 1)):
        found = visitor.get("/review/", params={"channel": channel} if channel else {})
        assert shown(found).count("/review/case/pred_") == lines
        assert masked(found) == ["ticket_id", "channel", "product"]
    [case] = place.store.queue(Filters(text="快回"), now=datetime.now(UTC)).items
    assert masked(visitor.get(f"/review/case/{case.prediction_id}")) == list(names)


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
    waiting = place.store.queue(Filters(), now=datetime.now(UTC)).items
    case = next(one.prediction_id for one in reversed(waiting) if one.lease_actor is None)
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
