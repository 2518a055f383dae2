"""Who is sent away at once, by a clock of the test's own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from complaints.errors import Overloaded
from serving.admission import GUESSED, SURE, Admission


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def served(admission: Admission, clock: Clock, count: int, seconds: float) -> None:
    """So many callers at once, one answered after each `seconds`; then an hour without any."""
    doors = [ExitStack() for _ in range(count)]
    for door in doors:
        door.enter_context(admission.enter(1e9))
    for door in doors:
        clock.now += seconds
        door.close()
    clock.now += 3600


def test_those_inside_and_the_pace_of_answers_decide() -> None:
    clock = Clock()
    admission = Admission(clock)
    served(admission, clock, 200, 0.1)
    with ExitStack() as inside:
        for _ in range(10):
            inside.enter_context(admission.enter(1.05 / SURE))
        inside.enter_context(admission.enter(1.05 / SURE))  # ten before it: about a second
        with pytest.raises(Overloaded, match="11 complaints"), admission.enter(1.05 / SURE):
            pass
        with admission.enter(2.0):  # who has more patience
            pass
    served(admission, clock, 200, 0.001)
    with ExitStack() as inside:
        for _ in range(500):
            inside.enter_context(admission.enter(1.05 / SURE))


def test_a_first_crowd_is_let_in_by_guess() -> None:
    admission = Admission(Clock())
    with ExitStack() as inside:
        for _ in range(51):
            inside.enter_context(admission.enter(50 * GUESSED / SURE))
        with pytest.raises(Overloaded), admission.enter(50 * GUESSED / SURE):
            pass


def test_an_hour_without_callers_is_no_slow_answer() -> None:
    clock = Clock()
    admission = Admission(clock)
    for _ in range(100):
        served(admission, clock, 1, 0.01)
    with ExitStack() as inside:
        for _ in range(90):
            inside.enter_context(admission.enter(1.0 / SURE))


def test_who_fails_leaves_too() -> None:
    admission = Admission(Clock())
    for _ in range(1000):
        with pytest.raises(ZeroDivisionError), admission.enter(1.0):
            1 / 0  # noqa: B018
