"""What was answered is there, even if the process is killed in the middle of everything."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from complaints.bundle import Bundle

SERVER = """
import sys
from pathlib import Path
import uvicorn
from complaints.risk import Policy
from serving.app import create_app
from serving.champion import Fixed, load
from serving.settings import Settings

settings = Settings(home=Path(sys.argv[1]), workers=2)
source = Fixed(load(Path(sys.argv[2]), Policy.load(), version="1", alias=None))
config = uvicorn.Config(create_app(settings, source), port=0)

class Announcing(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

Announcing(config).run()
"""


def test_kill_9_loses_nothing_that_was_answered(bundle: Bundle, tmp_path: Path, wait_until: Any) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), str(bundle.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    answered: list[str] = []
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"

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
    finally:
        process.kill()
        process.communicate()
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
