"""Rows of a table, measured in turn: a machine that slows down slows all of them down, so ratios hold.

A ratio is taken within a round and the median over rounds is told, with the least and the greatest.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Taken:
    """What one measurement took: texts, seconds by the clock, and CPU seconds of this process or the one it ran."""

    texts: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Texts a second."""
        return self.texts / self.seconds


Measure = Callable[[], Taken]
Rounds = dict[str, list[Taken]]


def timed(run: Callable[[Sequence[str]], object], texts: Sequence[str], times: int = 1) -> Measure:
    """A measurement of what runs in this process, `times` over all texts where one time would be too short."""

    def measure() -> Taken:
        start, work = time.perf_counter(), time.process_time()
        for _ in range(times):
            run(texts)
        return Taken(times * len(texts), time.perf_counter() - start, time.process_time() - work)

    return measure


def in_turn(rows: Mapping[str, Measure], rounds: int) -> Rounds:
    """Every row once a round."""
    taken: Rounds = {name: [] for name in rows}
    for _ in range(rounds):
        for name, measure in rows.items():
            taken[name].append(measure())
    return taken


def spread(values: Sequence[float], form: str) -> str:
    """Median and, in brackets, the least and the greatest."""
    low, middle, high = (format(x, form) for x in (min(values), statistics.median(values), max(values)))
    return f"{middle} [{low}–{high}]"


def table(taken: Rounds) -> list[str]:
    """Lines of a Markdown table; ratios are to the first row."""
    first = next(iter(taken.values()))
    lines = ["| | texts/s | CPU ms a text | against the first row |", "|---|---|---|---|"]
    for name, rounds in taken.items():
        ratios = [one.rate / base.rate for one, base in zip(rounds, first, strict=True)]
        work = statistics.median(1e3 * one.cpu / one.texts for one in rounds)
        rates = spread([one.rate for one in rounds], ".1f")
        lines.append(f"| {name} | {rates} | {work:.2f} | {spread(ratios, '.2f')} |")
    return lines


class Others:
    """How much of the machine other processes take; make it, measure, and ask."""

    def __init__(self) -> None:
        self._before = self._now()

    def share(self) -> float:
        """Of all cores since the beginning, 0 to 1: what neither this process nor those it has ended used."""
        ours, busy, clock = (b - a for a, b in zip(self._before, self._now(), strict=True))
        return max(0.0, (busy - ours) / (clock * (os.cpu_count() or 1)))

    def _now(self) -> tuple[float, float, float]:
        times, every = os.times(), psutil.cpu_times()
        ours = times.user + times.system + times.children_user + times.children_system
        idle = every.idle + getattr(every, "iowait", 0.0)
        return ours, sum(every[:8]) - idle, time.perf_counter()
