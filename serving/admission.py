"""Who may come in: a caller who could not be answered in time is sent away at once, not after waiting in vain."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from complaints.errors import Overloaded

# Seconds between two answers under load, until it has been seen.
GUESSED = 0.02
# Of the time that a caller gives: the pace is a mean, and the next answers may be slower.
SURE = 0.75
# What the last answer counts in the mean; the last twenty or so make it up.
_LATELY = 0.05


class Admission:
    """Counts the texts inside, and how fast they are answered lately, storing of single ones included; for one thread.

    Of the texts of all batches together, `shared` at most stand before a single one at a time.
    """

    def __init__(self, shared: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._shared = shared
        self._clock = clock
        self._inside = Counter(single=0, batch=0)
        self._pace = GUESSED
        self._last = 0.0  # when the last one was answered

    @contextmanager
    def enter(self, within: float, batch: int = 0) -> Iterator[Callable[[], None]]:
        """Be inside for the length of a request, with one text or with those of a batch; call what is given at each
        answer.

        Raises Overloaded where those before already take SURE of `within` seconds, at the pace of the last answers. For
        a single text only as many of the batches' count as get in before it. Who leaves without an answer frees the
        place and says nothing about the pace.
        """
        kind, left, entered = "batch" if batch else "single", batch or 1, self._clock()
        batched = self._inside["batch"]
        before = self._inside["single"] + (batched if batch else min(batched, self._shared))
        if before * self._pace > SURE * within:
            raise Overloaded(f"{before} complaints are waiting already: try again in a moment")

        def answered() -> None:
            nonlocal left
            now = self._clock()
            self._pace += _LATELY * (now - max(self._last, entered) - self._pace)
            self._last = now
            self._inside[kind] -= 1
            left -= 1

        self._inside[kind] += left
        try:
            yield answered
        finally:
            self._inside[kind] -= left
