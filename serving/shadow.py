"""The challenger answers a share of the live traffic after the champion has, and nobody waits for it.

One thread of the lowest priority, a short queue that drops what it cannot take, and no work but on a core that is idle:
a slow challenger, or one beside a busy champion, is measured on less traffic, and that is all.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from complaints.records import Complaint
from serving.champion import Source
from serving.store.queries import Store
from serving.store.review_queue import drawn

# Complaints that may wait; they hold their texts in memory.
WAITING = 64
# Seconds between looks at whether a core is idle.
_PAUSE = 0.01
_NICEST = 19

log = structlog.get_logger()


class Shadow:
    """Answers in shadow; `busy` says whether callers have every core now."""

    def __init__(self, source: Source, store: Store, share: float, busy: Callable[[], bool]) -> None:
        self._source, self._store, self._share, self._busy = source, store, share, busy
        self._queue: deque[tuple[str, Complaint]] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, prediction_id: str, complaint: Complaint) -> None:
        """Let the challenger answer this too, if there is one and the prediction is drawn; never blocks."""
        if self._source.challenger() is None or not drawn("shadow", prediction_id, self._share):
            return
        with self._changed:
            if self._open and len(self._queue) < WAITING:
                self._queue.append((prediction_id, complaint))
                self._changed.notify()

    def close(self) -> None:
        """Answer nothing more."""
        with self._changed:
            self._open = False
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        if sys.platform == "linux":  # there alone a thread has a priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICEST)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or not self._open)
                if not self._open:
                    return
                prediction_id, complaint = self._queue.popleft()
            self._give_way()
            try:
                self._answer(prediction_id, complaint)
            except Exception as error:  # a challenger that fails must not end the thread, nor be tried out on callers
                log.warning("shadow_failed", prediction=prediction_id, reason=type(error).__name__)

    def _give_way(self) -> None:
        while self._busy() and self._open:
            time.sleep(_PAUSE)

    def _answer(self, prediction_id: str, complaint: Complaint) -> None:
        challenger = self._source.challenger()
        if challenger is None:
            return
        [reading] = challenger.predictor.read([complaint], top_k=1)
        model = challenger.name, challenger.version
        self._give_way()  # to who came in the meantime: they write, too
        self._store.save_shadow(prediction_id, model, reading.heads, datetime.now(UTC))
