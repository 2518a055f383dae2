"""A load generator that costs little of what it measures: callers over kept connections, one thread, no HTTP library.

Each caller sends its next request when its last one is answered; one who was refused first waits as long as Retry-After
asks. A request costs here some 40 µs of CPU, where
http.client takes ten times that of the cores that the service needs.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

PATH = "/v1/predictions"


@dataclass
class Load:
    """What so many callers saw: `waits` of answers and of refusals in ms, answers by status, over `seconds`."""

    callers: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Predictions a second."""
        return len(self.waits) / self.seconds

    def percentile(self, q: float) -> float:
        """Of the waits for an answer, in ms."""
        return float(np.percentile(self.waits, q))


class _Caller:
    """One connection; its answers are read to the end, whatever they are."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._got = b""

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Status and header of the answer once it is whole."""
        part = self.socket.recv(1 << 16)
        if not part:
            raise ConnectionError("the service closed a connection that was to be kept")
        self._got += part
        header, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return None
        header = header.lower()
        length = int(header.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        self._got = b""
        return int(header[9:12]), header


def requests(port: int, texts: Sequence[str]) -> list[bytes]:
    """Each text as the bytes of a whole request."""
    return [_request(port, PATH, {"text": text}) for text in texts]


def batch_requests(port: int, texts: Sequence[str], size: int) -> list[bytes]:
    """`size` texts a request, the last one having what is left."""
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    return [_request(port, f"{PATH}:batch", {"items": [{"text": text} for text in part]}) for part in parts]


def _request(port: int, path: str, content: object) -> bytes:
    body = json.dumps(content, ensure_ascii=False).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def drive(port: int, sent: Sequence[bytes], callers: int, *, total: int) -> Load:
    """Let `callers` send `total` requests in all, of `sent` in turn; what was refused is not sent again."""
    load = Load(callers)
    with selectors.DefaultSelector() as ready:
        every = [_Caller(port) for _ in range(callers)]
        for caller in every:
            ready.register(caller.socket, selectors.EVENT_READ, caller)
        started, work = time.perf_counter(), time.process_time()
        given = min(callers, total)
        for at, caller in enumerate(every[:given]):
            caller.send(sent[at % len(sent)])
        answered = 0
        back: list[tuple[float, int]] = []  # when a caller sends again, and which
        while answered < total:
            for key, _ in ready.select(max(0.0, back[0][0] - time.perf_counter()) if back else None):
                answer = key.data.receive()
                if answer is None:
                    continue
                wait = _note(load, *answer, (time.perf_counter() - key.data.sent) * 1e3)
                answered += 1
                heappush(back, (time.perf_counter() + wait, every.index(key.data)))
            while back and back[0][0] <= time.perf_counter():
                at = heappop(back)[1]
                if given < total:
                    every[at].send(sent[given % len(sent)])
                    given += 1
        load.seconds, load.cpu = time.perf_counter() - started, time.process_time() - work
        for caller in every:
            caller.socket.close()
    return load


def _note(load: Load, status: int, header: bytes, wait: float) -> float:
    """Count an answer; returns the seconds after which its caller may send again."""
    load.statuses[status] += 1
    if status == 200:
        load.waits.append(wait)
        return 0.0
    load.refusals.append(wait)
    asked = header.partition(b"\r\nretry-after: ")[2].partition(b"\r\n")[0]
    load.without_retry_after += not asked
    return float(asked or 0)
