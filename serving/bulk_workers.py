"""Complaints -> answers: in this process, or one process a core.

Python's part of a prediction (cleaning, deciding, risk) is not small beside the encoder's, and threads share one
interpreter: with many cores they would wait for it. Answers come back as bytes, which cost little to hand over.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

from complaints.bundle import Bundle
from complaints.errors import UnwritableFile
from complaints.policy import Policy
from complaints.predictor import Predictor
from complaints.records import Complaint
from serving.bulk_output import Answer

Answers = list[bytes]

_KILLED = (
    "a worker process was killed, perhaps for want of memory: give the same command again, it goes on where it was; "
    "JIANWEI_WORKERS sets how many processes there are"
)


class Here:
    """Answers in this process, when they are asked for: what is read ahead keeps no window from being written."""

    def __init__(self, predictor: Predictor, answer: Answer) -> None:
        self._predictor, self._answer = predictor, answer

    def ask(self, complaints: Sequence[Complaint]) -> Callable[[], Answers]:
        """What gives the answers, in the order of `complaints`."""
        return cache(lambda: [self._answer(prediction) for prediction in self._predictor.predict(complaints)])

    def close(self) -> None:
        """Nothing to free."""


class Processes:
    """Answers of several processes, each with the model and one thread."""

    def __init__(self, predictor: Predictor, answer: Answer, processes: int) -> None:
        self._pool = ProcessPoolExecutor(
            processes,
            get_context("spawn"),  # a fork would copy the engine's locks in whatever state they are
            _start,
            (predictor.bundle.path, predictor.policy, answer),
        )

    def ask(self, complaints: Sequence[Complaint]) -> Callable[[], Answers]:
        """What waits for the answers, in the order of `complaints`.

        Both raise UnwritableFile where a process was killed, as by a machine without memory.
        """
        try:
            future = self._pool.submit(_answer, list(complaints))
        except BrokenProcessPool:
            raise UnwritableFile(_KILLED) from None
        return lambda: _wait(future)

    def close(self) -> None:
        """End the processes; what they have not begun is not done."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _wait(future: Future[Answers]) -> Answers:
    try:
        return future.result()
    except BrokenProcessPool:
        raise UnwritableFile(_KILLED) from None


_predictor: Predictor
_made: Answer


def _start(bundle: Path, policy: Policy, answer: Answer) -> None:
    global _predictor, _made  # a worker process has one of each, from its start
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _predictor, _made = Predictor(Bundle.open(bundle), policy), answer


def _answer(complaints: list[Complaint]) -> Answers:
    return [_made(prediction) for prediction in _predictor.predict(complaints)]


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it cannot tell its workers to stop."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
