"""The queue in front of the model."""

from __future__ import annotations

import threading

import pytest

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
