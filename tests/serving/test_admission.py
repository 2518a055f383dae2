"""Who is sent away at once, by a clock of the test's own."""

from __future__ import annotations

from contextlib import ExitStack, suppress

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
    answers = [door.enter_context(admission.enter(1e9)) for door in doors]
    for door, answered in zip(doors, answers, strict=True):
        clock.now += seconds
        answered()
        door.close()
    clock.now += 3600


def let_in(admission: Admission, within: float) -> int:
    """How many come in before one is refused; then all are gone, unanswered."""
    with ExitStack() as inside:
        for count in range(10_000):
            try:
                inside.enter_context(admission.enter(within))
            except Overloaded:
                return count
    raise AssertionError("nobody was refused")


def test_those_inside_and_the_pace_of_answers_decide() -> None:
    clock = Clock()
    admission = Admission(4, clock)
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
    admission = Admission(4, Clock())
    with ExitStack() as inside:
        for _ in range(51):
            inside.enter_context(admission.enter(50 * GUESSED / SURE))
        with pytest.raises(Overloaded), admission.enter(50 * GUESSED / SURE):
            pass


def test_an_hour_without_callers_is_no_slow_answer() -> None:
    clock = Clock()
    admission = Admission(4, clock)
    for _ in range(100):
        served(admission, clock, 1, 0.01)
    with ExitStack() as inside:
        for _ in range(90):
            inside.enter_context(admission.enter(1.0 / SURE))


def test_who_fails_leaves_too() -> None:
    admission = Admission(4, Clock())
    for _ in range(1000):
        with pytest.raises(ZeroDivisionError), admission.enter(1.0):
            1 / 0  # noqa: B018


def test_who_leaves_unanswered_does_not_make_it_look_faster() -> None:
    clock = Clock()
    admission = Admission(4, clock)
    served(admission, clock, 200, 0.1)
    before = let_in(admission, 1.05 / SURE)
    for failed in (True, False):  # a timeout, and one who is told what was answered long ago
        for _ in range(1000):
            with suppress(Overloaded), admission.enter(1.05 / SURE):
                clock.now += 0.0001
                if failed:
                    raise Overloaded
    assert let_in(admission, 1.05 / SURE) == before == 11
    clock.now += 3600
    for _ in range(20):  # nor do those who come and go while one waits make it look slower
        with ExitStack() as inside:
            inside.enter_context(admission.enter(1e9))
            clock.now += 60
            answered = inside.enter_context(admission.enter(1e9))
            clock.now += 0.1
            answered()
    assert let_in(admission, 1.05 / SURE) == before


def test_a_batch_counts_its_texts_and_leaves_room_to_single_ones() -> None:
    clock = Clock()
    admission = Admission(4, clock)
    served(admission, clock, 200, 0.1)
    with admission.enter(1.0, 256) as answered:  # nobody is there: it comes in, though it takes 26 s
        with pytest.raises(Overloaded, match="256 complaints"), admission.enter(20.0, 2):
            pass
        assert let_in(admission, 1.05 / SURE) == 11 - 4
        for _ in range(200):
            clock.now += 0.1
            answered()
        with admission.enter(20.0, 2):  # 56 are left
            pass
        for _ in range(54):
            clock.now += 0.1
            answered()
        assert let_in(admission, 1.05 / SURE) == 11 - 2
    assert let_in(admission, 1.05 / SURE) == 11
