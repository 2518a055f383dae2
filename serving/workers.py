"""A bounded queue and a few threads that run the model: one complaint a job, one thread a core.

No batches are formed of requests that happen to arrive together: on a CPU that does not pay, an int8 graph would
answer differently in company (complaints/encoder.py), and each caller would wait for the longest text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from complaints.errors import Overloaded
from serving.memory import give_back

Result = TypeVar("Result")

# Jobs of batches in the queue or running at a time, a thread: enough to keep it busy, few enough to let others between.
IN_FLIGHT = 2
# Seconds without work after which a thread gives back the memory that its texts needed.
IDLE = 1.0


class Workers:
    """`threads` threads taking jobs in the order they came; at most `queue` jobs wait."""

    def __init__(self, threads: int, queue: int) -> None:
        self._size = queue
        self._waiting: dict[Future[Any], Callable[[], Any]] = {}  # a dict keeps order and forgets in O(1)
        self._running = 0
        self._changed = threading.Condition()
        self._open = True
        self._threads = [threading.Thread(target=self._work, name=f"worker-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def load(self) -> int:
        """Jobs that run or wait; a thread is idle where there are fewer of them than `threads`."""
        with self._changed:
            return self._running + len(self._waiting)

    @property
    def threads(self) -> int:
        """Jobs that can run at once."""
        return len(self._threads)

    @property
    def shared(self) -> int:
        """Jobs of all batches together that may wait or run at a time: all threads at them leave half of the queue."""
        return min(IN_FLIGHT * self.threads, self.threads + self._size // 2)

    def check_room(self) -> None:
        """Raises Overloaded where the queue is full."""
        if len(self._waiting) >= self._size:
            raise Overloaded(f"{self._size} complaints are waiting already: try again in a moment")

    def submit(self, job: Callable[[], Result], *, sure: bool = False) -> Future[Result]:
        """Queue a job; cancelling its future frees its place. Raises Overloaded at once where the queue is full.

        A `sure` job is queued all the same: one of a batch, of which others are done and should not be lost. Who queues
        them keeps to `shared`.
        """
        future: Future[Result] = Future()
        with self._changed:
            if not self._open:
                raise Overloaded("the service is shutting down")
            if not sure:
                self.check_room()
            self._waiting[future] = job
            self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    def close(self) -> None:
        """Take no more jobs, cancel those that wait, and return when those that run are done."""
        with self._changed:
            self._open = False
            waiting = list(self._waiting)
            self._changed.notify_all()
        for future in waiting:
            future.cancel()
        for thread in self._threads:
            thread.join()

    def _forget(self, future: Future[Any]) -> None:
        with self._changed:
            self._waiting.pop(future, None)

    def _work(self) -> None:
        patience = None
        while True:
            with self._changed:
                called = self._changed.wait_for(lambda: bool(self._waiting) or not self._open, patience)
                if called and not self._waiting:
                    return
                if called:
                    future = next(iter(self._waiting))
                    job = self._waiting.pop(future)
                    self._running += 1
            if not called:
                give_back()
                patience = None
                continue
            patience = IDLE
            if future.set_running_or_notify_cancel():
                try:
                    result = job()
                except BaseException as error:  # it is the caller's, who waits for the future
                    future.set_exception(error)
                else:
                    future.set_result(result)
            with self._changed:
                self._running -= 1
            del future, job  # a thread that waits must not keep the last model alive
