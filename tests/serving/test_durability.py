"""What was answered is there, even if the process is killed in the middle of everything."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx

from complaints.bundle import Bundle


def test_kill_9_loses_nothing_that_was_answered(bundle: Bundle, tmp_path: Path, apart: Any, wait_until: Any) -> None:
    answered: list[str] = []
    with apart(bundle, home=tmp_path) as (url, process):

        def ask(number: int) -> None:
            with httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
                for i in range(10_000):
                    body = {"text": "空调坏了", "ticket_id": f"{number}-{i}"}
                    try:
                        if number:
                            one = client.post(
                                "/v1/predictions", json=body, headers={"Idempotency-Key": body["ticket_id"]}
                            )
                            answered.append(one.json()["id"])
                        else:
                            many = client.post("/v1/predictions:batch", json={"items": [body] * 8}).json()["items"]
                            answered.extend(item["prediction"]["id"] for item in many)
                    except httpx.TransportError:
                        return

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answered) > 150)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    connection = sqlite3.connect(tmp_path / "jianwei.db")
    stored = {row[0] for row in connection.execute("SELECT id FROM predictions")}
    whole = connection.execute(
        "SELECT count(*) FROM predictions WHERE id NOT IN (SELECT prediction_id FROM prediction_heads)"
    ).fetchone()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert len(answered) == len(set(answered))
    assert set(answered) <= stored
    assert whole == (0,)


def test_kill_9_loses_no_correction_and_doubles_none(bundle: Bundle, tmp_path: Path, apart: Any) -> None:
    said: list[str] = []
    urls: list[str] = []
    rng, wanted = random.Random(0), 200
    heads = ("category", "department", "sentiment", "propagation")
    starts, killed_at = 0, list[int]()
    while len(said) < wanted:
        starts += 1
        doomed = threading.Timer(0, int)
        try:
            with (
                apart(bundle, home=tmp_path) as (base, process),
                httpx.Client(base_url=base, trust_env=False, timeout=100) as client,
            ):
                if not urls:
                    items = [{"text": f"空调坏了{i}"} for i in range(wanted // len(heads))]
                    told = client.post("/v1/predictions:batch", json={"items": items}).json()["items"]
                    urls = [f"/v1/predictions/{one['prediction']['id']}/corrections" for one in told]
                begun = len(said)
                while len(said) < wanted:
                    if len(said) == begun + 1 and starts < 4:  # killed at any moment of the next few dozen
                        doomed = threading.Timer(rng.uniform(0.02, 0.2), process.kill)
                        doomed.start()
                    # What was not acknowledged is sent again under its key: it may be there or not.
                    number = len(said)
                    head = heads[number % len(heads)]
                    label = {"category": "quality.defect", "department": "legal"}.get(head, "high")
                    if head == "sentiment":
                        label = "angry"
                    body = {"head": head, "label": label, "actor": "王芳"}
                    key = {"Idempotency-Key": f"{number}"}
                    answer = client.post(urls[number // len(heads)], json=body, headers=key)
                    assert answer.status_code == 201, answer.text
                    said.append(answer.json()["id"])
        except httpx.TransportError:
            killed_at.append(len(said))
        finally:
            doomed.cancel()
    connection = sqlite3.connect(tmp_path / "jianwei.db")
    stored = [row[0] for row in connection.execute("SELECT id FROM corrections")]
    logged = connection.execute("SELECT count(*) FROM audit_log WHERE action = 'said'").fetchone()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert len(killed_at) == 3
    assert all(0 < one < wanted for one in killed_at)
    assert sorted(stored) == sorted(said)
    assert len(set(said)) == wanted == logged[0]
