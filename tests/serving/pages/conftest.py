"""One service with its pages, people who may sign in, cases that wait, and a registry with three versions."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("nicegui", reason="the extra `pages` is not installed")
pytest.importorskip("argon2", reason="the extra `pages` is not installed")

from complaints.bundle import Bundle
from serving import access
from serving.settings import Settings
from serving.store.queries import Store

KEY = "k" * 32
PASSWORD = "不易猜的密码-2026"
PEOPLE = {"李岚": "analyst", "陈默": "lead", "周宁": "admin"}
PHONE = "13812345678"
TEXTS = (
    "空调坏了不制冷，客服态度差，我要曝光！",
    f"退款慢，投诉！电话{PHONE}，快回。",
    "物流慢，空调坏了。",
    "客服态度差，退款慢，消协投诉！",
    "空调不制冷，物流差。",
    "退款慢，客服差，曝光！",
    "物流慢，客服态度差，投诉。",
    "空调坏了，退款慢。",
    "不制冷，客服差，消协！",
    "态度差，物流慢，退款慢，投诉！",
)


@dataclass(frozen=True)
class Place:
    """Where the pages are, and what is behind them."""

    url: str
    settings: Settings
    store: Store


@pytest.fixture(
    scope="package"
)  # its watcher sets mlflow's registry for the whole process: it must end with these tests
def place(
    tmp_path_factory: pytest.TempPathFactory,
    make_bundle: Callable[..., Bundle],
    served: Callable[..., AbstractContextManager[httpx.Client]],
    wait_until: Callable[..., None],
    mlflow_client: Any,
) -> Iterator[Place]:
    """The service with an API key, over a real registry, watched several times a second."""
    from serving.pages import host

    host.RECONNECT = 1.0  # a browser that is gone is soon taken for gone
    home = tmp_path_factory.mktemp("pages")
    settings = Settings(home=home, api_keys=(KEY,), workers=2, audit_share=1.0, poll=0.2)
    # A registry of their own, without the seconds that making its tables takes.
    shutil.copy(mlflow_client.tracking_uri.removeprefix("sqlite:///"), home / "mlflow.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's own
        from training.registry import Registry

        def opened() -> Registry:
            return Registry(settings.tracking_uri, settings.artifacts)

        registry = opened()
        for favour in (0, 5, 7):
            registry.register_bundle(make_bundle(home / f"bundle-{favour}", favour=favour), "import")
        _judge(registry)
        registry.promote("consumer", "1", "第一版")
    store = Store(settings.database)
    for name, role in PEOPLE.items():
        access.add_user(store, name, role, PASSWORD, datetime.now(UTC))
    with served(settings, None, models=opened) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        _fill(client)
        yield Place(str(client.base_url).rstrip("/"), settings, store)
    store.close()


@pytest.fixture
def elsewhere(empty_postgres: str, bundle: Bundle, apart: Any, tmp_path: Path) -> Iterator[Place]:
    """The same over PostgreSQL, without a registry, in a process of its own: NiceGUI is one a process."""
    settings = Settings(home=tmp_path, database_url=empty_postgres, audit_share=1.0)
    with apart(bundle, **settings.model_dump(include={"home", "database_url", "audit_share"})) as (url, _):
        store = Store(settings.database)
        access.add_user(store, "李岚", "analyst", PASSWORD, datetime.now(UTC))
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            _fill(client)
        yield Place(url, settings, store)
        store.close()


def _fill(client: httpx.Client) -> None:
    items: list[dict[str, Any]] = [
        {"text": text, "ticket_id": f"T{i}", "channel": "app", "customer": {"id": "C1"}} for i, text in enumerate(TEXTS)
    ]
    named = {name: f"{name} {PHONE}" for name in ("ticket_id", "channel", "product", "region", "business_line")}
    items[1] |= named  # fields are not always filled with what they are for
    sent = client.post("/v1/predictions:batch", json={"items": items}, headers={"Authorization": f"Bearer {KEY}"})
    assert [one["status"] for one in sent.json()["items"]] == [200] * len(TEXTS)


def _judge(registry: Any) -> None:
    """What training leaves on a version that its gate let pass, and on one that it refused."""

    def change(before: float, after: float) -> dict[str, float]:
        values = {"champion": before, "candidate": after, "difference": round(after - before, 4)}
        return values | {"low": -0.01, "high": 0.05, "luck": 0.4}

    label = {"label": "refund.slow", "name": "退换退款/退款慢", "rows": 30}
    head = {
        "rows": 200,
        "accuracy": change(0.7, 0.72),
        "macro_f1": change(0.6, 0.63),
        "auto": {
            "champion": {"rows": 90, "right": 0.95},
            "candidate": {"rows": 99, "right": None},
            "target": 0.95,
        },
        "classes": [label | {"recall": change(0.5, 0.6), "f1": change(0.5, 0.55)}],
    }
    found = {
        "gate": {"passed": True, "reasons": []},
        "speed": 1.02,
        "size": 1.0,
        "sets": {"test": {"category": head}},
    }
    reason = {"head": "category", "chinese": "category“退款慢”的召回率从 0.610 降到 0.400（固定测试集 30 条）"}
    refused = found | {"gate": {"passed": False, "reasons": [reason]}}
    versions = {one.version: one for one in registry.versions("consumer")}
    for number, told in (("2", found), ("3", refused)):
        measured = told | {"champion": versions["1"].tags["digest"]}
        registry.client.log_text(versions[number].run_id, json.dumps(measured), "comparison.json")
    registry.client.set_model_version_tag("consumer", "2", "gate", "passed")
    registry.client.set_model_version_tag("consumer", "3", "gate", "refused")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser without a window."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed (Debian: chromium, fonts-noto-cjk)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def enter(place: Place, chromium: Any) -> Iterator[Callable[..., Any]]:
    """Sign a person in, in a browser of their own, and give its page; what goes wrong in it fails the test."""
    contexts, faults = [], []

    def signed_in(name: str, width: int = 1400, there: Place = place) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, locale="zh-CN")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.extend(_abroad(request.url, there.url)))
        page.goto(f"{there.url}/review/")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(".page h1")
        return page

    yield signed_in
    for context in contexts:
        context.close()
    assert faults == []


def _abroad(url: str, home: str) -> list[str]:
    """The address, if it is of another machine: nothing is fetched from one."""
    return [] if url.startswith((home, home.replace("http", "ws"), "data:", "blob:")) else [url]


@pytest.fixture
def password() -> str:
    return PASSWORD


@pytest.fixture
def phone() -> str:
    return PHONE
