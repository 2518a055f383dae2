"""What is refused, and how the service behaves when there is too much of it."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from complaints.predictor import Predictor
from serving.champion import Fixed, Snapshot
from serving.settings import Settings

URL = "/v1/predictions"
BATCH = "/v1/predictions:batch"
JSON = {"content-type": "application/json"}


def test_too_long_a_text(service: httpx.Client) -> None:
    assert service.post(URL, json={"text": "长" * 100_000}).status_code == 200
    response = service.post(URL, json={"text": "长" * 100_001})
    assert (response.status_code, response.json()["type"]) == (413, "urn:jianwei:problem:too-large")


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_a_body(service: httpx.Client, chunked: bool) -> None:
    whole = b'{"items":[' + b" " * (9 * 2**20) + b"]}"

    def chunks() -> Iterator[bytes]:
        yield from (whole[i : i + 65536] for i in range(0, len(whole), 65536))

    response = service.post(BATCH, content=chunks() if chunked else whole, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (413, "urn:jianwei:problem:too-large")


def test_an_endless_body_is_broken_off(service: httpx.Client) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**20
            yield b" " * 2**20

    with suppress(httpx.TransportError):
        assert service.post(URL, content=chunks(), headers=JSON).status_code == 413
    assert sent < 100 * 2**20


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_wrong_media_type(service: httpx.Client, kind: str) -> None:
    for url in (URL, BATCH):
        response = service.post(url, content=b'{"text":"x"}', headers={"content-type": kind} if kind else {})
        assert (response.status_code, response.headers["content-type"]) == (415, "application/problem+json")
    assert service.post(
        URL, content='{"text":"x"}', headers={"content-type": "Application/JSON; charset=utf-8"}
    ).is_success


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"nope",
        b'{"text": NaN}',
        b'{"text": "\\ud800"}',
        b'{"text": "\xff"}',
        b"[" * 5000,
        b'{"text": 1e999}',
    ],
)
def test_malformed_json(service: httpx.Client, body: bytes) -> None:
    for url in (URL, BATCH):
        response = service.post(url, content=body, headers=JSON)
        assert response.status_code in ((400,) if body else (400, 422)), response.text
        assert response.headers["content-type"] == "application/problem+json"


def test_every_problem_is_a_problem_document(service: httpx.Client) -> None:
    for response, status in (
        (service.get("/nowhere"), 404),
        (service.get("/v1/nowhere/%F0%28"), 404),
        (service.put(URL), 405),
        (service.request("PATCH", "/v1/taxonomy"), 405),  # what is no method at all, the HTTP parser refuses
    ):
        assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
        assert response.json()["status"] == status
    assert service.put(URL).headers["allow"] == "POST"


class Gated:
    """A predictor that waits until it is let go on, and remembers what it was asked."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.go = threading.Event()
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def read(self, complaints: list[Any], **options: Any) -> Any:
        self.asked.append(complaints[0].text)
        if complaints[0].text == "boom":
            raise RuntimeError("secret: 空调")
        assert self.go.wait(20)
        return self._predictor.read(complaints, **options)


@pytest.fixture
def gated(served: Any, snapshot: Snapshot, tmp_path: Path) -> Any:
    @contextmanager
    def start(**settings: Any) -> Iterator[tuple[httpx.Client, Gated]]:
        gate = Gated(snapshot.predictor)
        source = Fixed(dataclasses.replace(snapshot, predictor=gate))  # type: ignore[arg-type]
        with served(Settings(home=tmp_path, **settings), source) as client:
            try:
                yield client, gate
            finally:
                gate.go.set()

    return start


def depth(client: httpx.Client) -> float:
    line = next(line for line in client.get("/metrics").text.splitlines() if line.startswith("jianwei_queue_depth "))
    return float(line.split()[1])


def in_background(
    pool: ThreadPoolExecutor, client: httpx.Client, count: int, url: str = URL
) -> Callable[[], list[int]]:
    bodies = [{"text": f"坏了{i}"} for i in range(count)]
    futures = [pool.submit(client.post, url, json=body) for body in bodies]
    return lambda: [future.result().status_code for future in futures]


def test_a_full_queue_is_said_at_once(gated: Any, wait_until: Any) -> None:
    with gated(workers=1, queue=2, timeout=20) as (client, gate), ThreadPoolExecutor(8) as pool:
        first = in_background(pool, client, 1)
        wait_until(lambda: gate.asked)
        others = in_background(pool, client, 2)
        wait_until(lambda: depth(client) == 2)
        started = time.monotonic()
        response = client.post(URL, json={"text": "一个太多"})
        assert time.monotonic() - started < 1
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["type"] == "urn:jianwei:problem:overloaded"
        assert client.post(BATCH, json={"items": [{"text": "x"}, {"text": "y"}]}).status_code == 503
        assert client.get("/health/ready").status_code == 200
        gate.go.set()
        assert first() + others() == [200] * 3


def test_a_single_prediction_is_given_up_in_time(gated: Any, wait_until: Any) -> None:
    with gated(workers=1, queue=8, timeout=0.3) as (client, gate), ThreadPoolExecutor(4) as pool:
        statuses = in_background(pool, client, 3)
        assert statuses() == [503] * 3
        assert depth(client) == 0
        gate.go.set()
        assert client.post(URL, json={"text": "later"}).status_code == 200
        assert len(gate.asked) == 2  # those that waited in vain were never run


@pytest.mark.parametrize("url", [URL, BATCH])
def test_a_caller_who_hangs_up_frees_the_place(gated: Any, wait_until: Any, url: str) -> None:
    with gated(workers=1, queue=2, timeout=20) as (client, gate), ThreadPoolExecutor(4) as pool:
        first = in_background(pool, client, 1)
        wait_until(lambda: gate.asked)
        body = b'{"text":"gone"}' if url == URL else b'{"items":[{"text":"gone"},{"text":"gone"}]}'
        head = (
            f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((client.base_url.host, client.base_url.port)) as caller:
            caller.sendall(head.encode() + body)
            wait_until(lambda: depth(client) == (1 if url == URL else 2))
        wait_until(lambda: depth(client) == 0)
        gate.go.set()
        assert first() == [200]
        assert "gone" not in gate.asked


def test_an_unforeseen_error_tells_nothing(gated: Any, wait_until: Any) -> None:
    with gated(workers=1) as (client, gate):
        for url, body in ((URL, {"text": "boom"}), (BATCH, {"items": [{"text": "boom"}]})):
            response = client.post(url, json=body)
            assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
            assert "secret" not in response.text
        gate.go.set()
        assert client.post(URL, json={"text": "空调"}).status_code == 200


def test_it_stops_while_callers_wait(gated: Any, wait_until: Any) -> None:
    with ThreadPoolExecutor(4) as pool, gated(workers=1, queue=8, timeout=0.5) as (client, _):
        statuses = in_background(pool, client, 3)
        wait_until(lambda: depth(client) == 2)
        statuses()


def test_a_lost_database_is_said(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    with served(Settings(home=tmp_path), Fixed(snapshot)) as client:
        assert client.get("/health/ready").status_code == 200
        for file in tmp_path.glob("jianwei.db*"):
            file.write_bytes(b"not a database any more" * 1000)
        for response in (client.get("/health/ready"), client.post(URL, json={"text": "空调"})):
            assert (response.status_code, response.json()["type"]) == (503, "urn:jianwei:problem:store-failed")
        assert client.get("/health/live").status_code == 200
