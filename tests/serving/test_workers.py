"""The queue in front of the model."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import serving.workers
from complaints.errors import Overloaded
from serving.workers import Workers


def test_in_order_and_bounded() -> None:
    workers, go, done = Workers(1, 3), threading.Event(), []
    running = workers.submit(lambda: go.wait(10))
    while workers.depth:
        pass
    futures = [workers.submit(lambda i=i: done.append(i)) for i in range(3)]
    with pytest.raises(Overloaded, match="3"):
        workers.submit(lambda: None)
    futures[1].cancel()
    assert workers.depth == 2
    last = workers.submit(lambda: done.append(9))
    go.set()
    last.result(10)
    assert running.result(10)
    assert done == [0, 2, 9]
    workers.close()


def test_a_thread_without_work_gives_memory_back_once(wait_until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(serving.workers, "IDLE", 0.01)
    monkeypatch.setattr(serving.workers, "give_back", lambda: given.append(threading.current_thread().name))
    workers = Workers(1, 8)
    for times in (1, 2):
        assert workers.submit(lambda: 3).result(10) == 3
        wait_until(lambda n=times: len(given) == n)
    time.sleep(0.1)
    assert given == ["worker-0"] * 2
    workers.close()


def test_the_load_is_what_runs_and_what_waits(wait_until: Any) -> None:
    workers, go = Workers(2, 8), threading.Event()
    assert workers.load == 0
    jobs = [workers.submit(lambda: go.wait(10)) for _ in range(4)]
    wait_until(lambda: workers.depth == 2)
    assert workers.load == 4
    jobs[3].cancel()
    assert workers.load == 3
    jobs.append(workers.submit(lambda: 1 / 0))
    go.set()
    wait_until(lambda: workers.load == 0)
    assert jobs[2].result(0)
    workers.close()


def test_an_error_is_the_callers() -> None:
    workers = Workers(2, 8)
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 / 0).result(10)
    assert workers.submit(lambda: 7).result(10) == 7
    workers.close()


def test_closing_cancels_what_waits_and_finishes_what_runs() -> None:
    workers, go = Workers(1, 8), threading.Event()
    running = workers.submit(lambda: go.wait(10))
    while workers.depth:
        pass
    waiting = [workers.submit(lambda: None) for _ in range(3)]
    threading.Timer(0.1, go.set).start()
    workers.close()
    assert running.result(0)
    assert all(future.cancelled() for future in waiting)
    with pytest.raises(Overloaded):
        workers.submit(lambda: None)
