"""Who may come in: a caller who could not be answered in time is sent away at once, not after waiting in vain."""

from __future__ import annotations

import time
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
    """Counts those inside, and how fast they are answered lately, storing included; for one thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._inside = 0
        self._pace = GUESSED
        self._last = 0.0  # when one left, or the first of those inside came

    @contextmanager
    def enter(self, within: float) -> Iterator[None]:
        """Be inside for the length of a request; raises Overloaded where that would likely take over `within` seconds.

        It would where those who are inside already take SURE of it, at the pace of the last answers.
        """
        if self._inside * self._pace > SURE * within:
            raise Overloaded(f"{self._inside} complaints are waiting already: try again in a moment")
        if not self._inside:
            self._last = self._clock()
        self._inside += 1
        try:
            yield
        finally:
            now = self._clock()
            self._pace += _LATELY * (now - self._last - self._pace)
            self._last = now
            self._inside -= 1
