"""What is refused, and how the service behaves when there is too much of it."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from complaints.bundle import Bundle
from complaints.predictor import Predictor
from serving import admission
from serving.champion import Fixed, Snapshot
from serving.routes import body, predictions
from serving.settings import Settings
from serving.store.queries import Store

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


def a_batch(count: int) -> dict[str, Any]:
    return {"items": [{"text": f"批{i}"} for i in range(count)]}


def test_a_batch_of_more_than_the_queue_holds_waits_for_its_turns(gated: Any) -> None:
    with gated(workers=2, queue=1) as (client, gate):
        gate.go.set()
        answer = client.post(BATCH, json=a_batch(16))
        assert (answer.status_code, len(answer.json()["items"])) == (200, 16)


def test_a_batch_that_was_let_in_is_not_lost_to_a_full_queue(gated: Any, wait_until: Any) -> None:
    with gated(workers=2, queue=2, timeout=20) as (client, gate), ThreadPoolExecutor(8) as pool:
        single = in_background(pool, client, 1)
        wait_until(lambda: gate.asked)
        batch = pool.submit(client.post, BATCH, json=a_batch(8))
        wait_until(lambda: depth(client) == 2)  # of three turns one runs
        assert client.post(URL, json={"text": "一个太多"}).status_code == 503
        gate.go.set()
        assert batch.result().status_code == 200
        assert single() == [200]


def test_batches_are_refused_at_once_but_single_texts_go_beside_one(
    gated: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "BATCH_PATIENCE", 10 * admission.GUESSED / admission.SURE)
    with gated(workers=1, timeout=20) as (client, gate), ThreadPoolExecutor(8) as pool:
        batch = pool.submit(client.post, BATCH, json=a_batch(64))
        wait_until(lambda: depth(client) == 1)
        single = in_background(pool, client, 1)
        wait_until(lambda: depth(client) == 2)
        started = time.monotonic()
        refused = client.post(BATCH, json=a_batch(1))
        assert time.monotonic() - started < 1
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        gate.go.set()
        assert single() == [200]
        assert batch.result().status_code == 200
        assert client.post(BATCH, json=a_batch(64)).status_code == 200


def test_a_key_is_looked_up_for_those_who_were_let_in(
    gated: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "GUESSED", 1000.0)
    looked = []
    monkeypatch.setattr(Store, "recall", lambda _, key: looked.append(key))
    with gated(workers=1, timeout=20) as (client, gate), ThreadPoolExecutor(1) as pool:
        first = in_background(pool, client, 1)
        wait_until(lambda: gate.asked)
        for url, sent in ((URL, {"text": "x"}), (BATCH, a_batch(1))):
            assert client.post(url, json=sent, headers={"Idempotency-Key": "k"}).status_code == 503
        assert not looked
        gate.go.set()
        assert first() == [200]


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


HALF = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


def test_a_caller_who_hangs_up_in_the_middle_of_a_body(
    served: Any, snapshot: Snapshot, tmp_path: Path, wait_until: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(Settings(home=tmp_path), Fixed(snapshot)) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as caller:
            caller.sendall(HALF)
            wait_until(lambda: client.get("/health/live").is_success)
        counted = 'jianwei_requests_total{method="POST",route="/v1/predictions",status="%d"} 1.0'
        wait_until(lambda: counted % 499 in client.get("/metrics").text)
        assert counted % 500 not in client.get("/metrics").text
    assert "unexpected" not in capfd.readouterr().err


def test_a_body_that_stops_coming(
    served: Any, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "PATIENCE", 0.2)
    with (
        served(Settings(home=tmp_path), Fixed(snapshot)) as client,
        socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as caller,
    ):
        caller.sendall(HALF)
        answer = b"".join(iter(lambda: caller.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:jianwei:problem:too-slow" in answer


def test_bodies_are_bounded_together(
    served: Any, snapshot: Snapshot, tmp_path: Path, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MOST_HELD", 1000)
    hold, seen = body.Bodies.hold, []

    def watched(bodies: body.Bodies, size: int) -> None:
        hold(bodies, size)
        seen.append(size)

    monkeypatch.setattr(body.Bodies, "hold", watched)
    head = HALF.replace(b"100", b"5000")
    with served(Settings(home=tmp_path), Fixed(snapshot)) as client:
        for _ in range(20):  # who was answered, or refused, holds nothing
            assert client.post(URL, content=b'{"text":"x"}' + b" " * 500, headers=JSON).status_code == 200
            assert client.post(URL, content=b"{" + b" " * 500, headers=JSON).status_code == 400
        with socket.create_connection((client.base_url.host, client.base_url.port)) as caller:
            seen.clear()
            caller.sendall(head + b" " * 900)
            wait_until(lambda: sum(seen) == 901)
            small = b'{"text":"x"}' + b" " * 200
            refused = client.post(URL, content=small, headers=JSON)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["type"] == "urn:jianwei:problem:overloaded"
            assert client.post(URL, content=b'{"text":"x"}', headers=JSON).status_code == 200
        wait_until(lambda: client.post(URL, content=small, headers=JSON).status_code == 200)


def test_as_many_threads_as_cores_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert Settings(home=tmp_path).workers == 1


STOPPED = """
import sys
from pathlib import Path
from complaints.risk import Policy
from serving import app
from serving.champion import Fixed, load
from serving.settings import Settings

app.GRACE = 1
source = Fixed(load(Path(sys.argv[1]), Policy.load(), version="1", alias=None))
app.listen(app.create_app(Settings(home=Path(sys.argv[2])), source), "127.0.0.1", int(sys.argv[3]))
"""


def test_it_stops_though_somebody_is_sending_for_ever(bundle: Bundle, tmp_path: Path, wait_until: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", STOPPED, str(bundle.path), str(tmp_path), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def ready() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False).is_success
        return False

    try:
        wait_until(ready, 60)
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(HALF)
            assert httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).is_success
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


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


def test_health_may_be_asked_without_a_body(service: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = service.head(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.content) == (200, b"")


def test_a_lost_database_is_said(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    with served(Settings(home=tmp_path), Fixed(snapshot)) as client:
        assert client.get("/health/ready").status_code == 200
        for file in tmp_path.glob("jianwei.db*"):
            file.write_bytes(b"not a database any more" * 1000)
        for response in (client.get("/health/ready"), client.post(URL, json={"text": "空调"})):
            assert (response.status_code, response.json()["type"]) == (503, "urn:jianwei:problem:store-failed")
        assert client.get("/health/live").status_code == 200
