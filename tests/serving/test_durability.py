"""What was answered is there, and once, even if the process is killed in the middle of everything."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text as sql

from complaints.bundle import Bundle
from serving.store.engine import open_engine

CORRECTIONS, KILLS = 200, 3
LABELS = {"category": "quality.defect", "department": "legal", "sentiment": "angry", "propagation": "high"}
PATIENCE = 120.0  # seconds, on a busy machine


class Callers:
    """Two people who correct and two systems that ask; where the service is gone they wait for the next.

    What was not answered is sent again: under its key, except batches, which have none.
    """

    def __init__(self) -> None:
        self._address, self._moved = "", threading.Condition()
        self._client = httpx.Client(trust_env=False, timeout=PATIENCE)
        self._threads = ThreadPoolExecutor(4)
        self._begun: list[Future[None]] = []
        # What was answered: correction -> prediction, head, label; ticket -> prediction; predictions.
        self.said: dict[str, tuple[str, str, str]] = {}
        self.keyed: dict[str, str] = {}
        self.batched: list[str] = []

    def go_to(self, address: str) -> None:
        """Ask there from now on; the first time, begin."""
        with self._moved:
            self._address = address
            self._moved.notify_all()
        if not self._begun:
            cases = self._ask_together("物流慢", CORRECTIONS // len(LABELS))
            self._begun = [
                self._threads.submit(self._correct, cases[::2], "王芳"),
                self._threads.submit(self._correct, cases[1::2], "李明"),
                self._threads.submit(self._ask_singly),
                self._threads.submit(self._ask_in_batches),
            ]

    def reached(self, corrections: int) -> Callable[[], bool]:
        """Whether so many corrections are there, and somewhat was answered to each system since now; or one failed."""
        keyed, batched = len(self.keyed), len(self.batched)
        return lambda: (
            (len(self.said) >= corrections and len(self.keyed) > keyed and len(self.batched) > batched)
            or any(one.done() for one in self._begun)
        )

    def finish(self) -> None:
        """Wait until all is said; raises what a caller ran into."""
        for one in self._begun:
            one.result(PATIENCE)
        self._threads.shutdown()
        self._client.close()

    def _correct(self, cases: Sequence[str], name: str) -> None:
        for case in cases:
            for head, label in LABELS.items():
                body = {"head": head, "label": label, "actor": name}
                told = self._post(f"/v1/predictions/{case}/corrections", body, f"{case} {head}")
                assert told["id"] not in self.said
                self.said[told["id"]] = case, head, label

    def _ask_singly(self) -> None:
        while len(self.said) < CORRECTIONS:
            ticket = f"T{len(self.keyed)}"
            self.keyed[ticket] = self._post("/v1/predictions", {"text": "空调坏了", "ticket_id": ticket}, ticket)["id"]

    def _ask_in_batches(self) -> None:
        while len(self.said) < CORRECTIONS:
            self.batched += self._ask_together("退款慢", 8)

    def _ask_together(self, text: str, copies: int) -> list[str]:
        told = self._post("/v1/predictions:batch", {"items": [{"text": text}] * copies})
        return [item["prediction"]["id"] for item in told["items"]]

    def _post(self, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            address = self._address
            try:
                answer = self._client.post(f"{address}{path}", json=body, headers=headers)
            except httpx.TransportError:
                with self._moved:
                    assert self._moved.wait_for(lambda gone=address: self._address != gone, PATIENCE)
                continue
            assert answer.status_code in (200, 201), answer.text
            return answer.json()  # type: ignore[no-any-return]


def test_kill_9_loses_nothing_that_was_answered_and_doubles_nothing(
    bundle: Bundle, tmp_path: Path, url: str, apart: Any, wait_until: Callable[..., None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown where this fails
    rng, callers = random.Random(seed), Callers()
    for moment in sorted(rng.sample(range(1, CORRECTIONS * 9 // 10), KILLS)):
        with apart(bundle, home=tmp_path, database_url=url, timeout=PATIENCE) as (address, process):
            callers.go_to(address)
            wait_until(callers.reached(moment), PATIENCE)
            time.sleep(rng.uniform(0, 0.05))
            assert len(callers.said) < CORRECTIONS
            process.kill()
            process.wait()
    with apart(bundle, home=tmp_path, database_url=url, timeout=PATIENCE) as (address, _):
        callers.go_to(address)
        callers.finish()

    engine = open_engine(url)
    with engine.connect() as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(sql(query))]

        corrections = rows("SELECT id, prediction_id, head, label FROM corrections")
        logged = rows("SELECT count(*) FROM audit_log WHERE action = 'said'")
        predictions = rows("SELECT id, ticket_id FROM predictions")
        halves = rows("SELECT count(*) FROM predictions WHERE id NOT IN (SELECT prediction_id FROM prediction_heads)")
        if engine.dialect.name == "sqlite":
            assert rows("PRAGMA integrity_check") == [("ok",)]
    engine.dispose()
    assert len(callers.said) == CORRECTIONS
    assert sorted(corrections) == sorted((one, *word) for one, word in callers.said.items())
    assert logged == [(CORRECTIONS,)]
    assert sorted((ticket, one) for one, ticket in predictions if ticket) == sorted(callers.keyed.items())
    assert len(callers.batched) == len(set(callers.batched))
    assert set(callers.batched) <= {one for one, _ in predictions}
    assert halves == [(0,)]
