"""One complaint after another: joined to an issue, counted, and where it fills a window, an alert.

`place` is the whole algorithm; what it needs to remember is behind `State`: the store keeps it for the service,
`Memory` for replays and simulations. One alert a burst: while its window is still unusual, and for the cooldown after
that, further complaints of the issue are members of it and raise no other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, Protocol

from complaints.concentration import (
    HOUR,
    Alarm,
    alarm,
    crowd,
    joined,
    nearest,
    same_hours,
    unpack,
)
from complaints.policy import Burst
from complaints.worktime import Calendar

Status = Literal["open", "accepted", "rejected"]

# A single complaint is an issue for so long; one that others joined for as long as the baseline looks back.
LONE = timedelta(days=1)
# Issues that a complaint is compared with, the most recent first: beyond that it takes longer than the model does.
MOST_ISSUES = 500
# Cosines of stored vectors are off by that much.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Arrival:
    """A complaint as issues see it; `counted` False where its ticket was counted before.

    `received`: when it came in, `at` where that is not given.
    """

    at: datetime
    category: str
    product: str
    space: str
    vector: bytes
    counted: bool = True
    received: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A burst of one issue: `since` its window began, `opened_at` it was told, `last_at` it was last unusual."""

    id: str
    issue_id: str
    category: str
    product: str
    reason: str
    since: datetime
    opened_at: datetime
    last_at: datetime
    members: int
    count: int
    expected: float | None
    growth: float | None
    p: float | None
    status: Status = "open"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a complaint went: its issue, the alert it belongs to, and whether it opened it."""

    issue_id: str
    alert: Alert | None
    opened: bool

    @property
    def burst(self) -> int:
        """Complaints in the burst so far; 0 outside bursts, and where a person said that it is none."""
        return 0 if self.alert is None or self.alert.status == "rejected" else self.alert.members


class State(Protocol):
    """What is remembered of issues."""

    def centres(self, arrival: Arrival, burst: Burst) -> Sequence[tuple[str, bytes]]:
        """Issues of the same category, product and space that are still alive, with their mean vectors as stored.

        At most MOST_ISSUES, the most recent first; those that began after the complaint's window come last, so that
        one that is sent again finds its own however many came since.
        """

    def begin(self, issue_id: str, arrival: Arrival) -> bool:
        """A new issue around this complaint, which has not joined it yet; False where there is one of this id."""

    def join(self, issue_id: str, arrival: Arrival) -> None:
        """Count one more complaint of an issue, and move its centre."""

    def crowd(self, issue_id: str, at: datetime, window: timedelta) -> tuple[int, datetime]:
        """`concentration.crowd` of the issue's counted complaints; the present one, at `at`, has not joined it yet."""

    def hours(self, issue_id: str) -> dict[int, int]:
        """Hours since 1970 -> counted complaints of an issue."""

    def since(self, space: str) -> datetime | None:
        """When the first complaint of this space was received, whatever time it has of its own."""

    def alert(self, issue_id: str, at: datetime, window: timedelta, cooldown: timedelta) -> Alert | None:
        """The alert whose since - window to last_at + cooldown holds `at`, the latest of several."""

    def open(self, alert: Alert) -> None:
        """Remember a new alert."""

    def extend(self, alert: Alert) -> None:
        """Remember an alert's members and last_at."""


def place(state: State, arrival: Arrival, burst: Burst, calendar: Calendar) -> Placement:
    """Join a complaint to an issue, and say which burst it belongs to or begins."""
    centres = state.centres(arrival, burst)
    at = nearest(unpack(arrival.vector), [centre for _, centre in centres], burst.similarity - _ROUNDING)
    issue_id = _issue_id(arrival) if at is None else centres[at][0]
    new = at is None and state.begin(issue_id, arrival)
    window, cooldown = timedelta(minutes=burst.window_minutes), timedelta(minutes=burst.cooldown_minutes)
    # An issue that begins has neither alerts nor complaints yet.
    current = None if new else state.alert(issue_id, arrival.at, window, cooldown)
    if not arrival.counted:
        return Placement(issue_id, current, False)
    count, since = (1, arrival.at) if new else state.crowd(issue_id, arrival.at, window)
    state.join(issue_id, arrival)
    found = _alarm(state, issue_id, arrival, count, burst, calendar)
    if current is not None:
        last = max(current.last_at, arrival.at) if found is not None else current.last_at
        current = replace(current, members=current.members + 1, last_at=last)
        state.extend(current)
        return Placement(issue_id, current, False)
    if found is None:
        return Placement(issue_id, None, False)
    opened = Alert(
        id=_alert_id(issue_id, arrival.at),
        issue_id=issue_id,
        category=arrival.category,
        product=arrival.product,
        reason=found.reason,
        since=since,
        opened_at=arrival.at,
        last_at=arrival.at,
        members=found.count,
        count=found.count,
        expected=found.expected,
        growth=found.growth,
        p=found.p,
    )
    state.open(opened)
    return Placement(issue_id, opened, True)


def _alarm(state: State, issue_id: str, arrival: Arrival, count: int, burst: Burst, calendar: Calendar) -> Alarm | None:
    if count < min(burst.least, burst.count):
        return None
    baseline = same_hours(state.hours(issue_id), arrival.at, state.since(arrival.space), burst, calendar)
    return alarm(burst, count, baseline)


def _issue_id(arrival: Arrival) -> str:
    """The same for the same complaint, so that a replay names the same issues."""
    parts = (arrival.space, arrival.category, arrival.product, arrival.at.isoformat())
    return "issue_" + sha256("\0".join(parts).encode() + arrival.vector).hexdigest()[:32]


def _alert_id(issue_id: str, at: datetime) -> str:
    return "alert_" + sha256(f"{issue_id}\0{at.isoformat()}".encode()).hexdigest()[:32]


@dataclass(slots=True)
class _Known:
    centre: bytes
    members: int
    first_at: datetime
    last_at: datetime


class Memory:
    """A `State` that forgets when the program ends."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self._issues: dict[tuple[str, str, str], dict[str, _Known]] = defaultdict(dict)
        self._known: dict[str, _Known] = {}
        self._times: dict[str, list[datetime]] = defaultdict(list)
        self._hours: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._since: dict[str, datetime] = {}

    def centres(self, arrival: Arrival, burst: Burst) -> Sequence[tuple[str, bytes]]:
        """As `State`."""
        issues = self._issues[arrival.category, arrival.product, arrival.space]
        lone, long = arrival.at - LONE, arrival.at - timedelta(days=burst.baseline_days)
        until = arrival.at + timedelta(minutes=burst.window_minutes)
        fresh = [
            (one.first_at <= until, one.last_at, issue_id)
            for issue_id, one in issues.items()
            if one.last_at >= (long if one.members > 1 else lone)
        ]
        return [(issue_id, issues[issue_id].centre) for *_, issue_id in sorted(fresh, reverse=True)[:MOST_ISSUES]]

    def begin(self, issue_id: str, arrival: Arrival) -> bool:
        """As `State`."""
        if issue_id in self._known:
            return False
        known = _Known(arrival.vector, 0, arrival.at, arrival.at)
        self._issues[arrival.category, arrival.product, arrival.space][issue_id] = self._known[issue_id] = known
        received = arrival.received or arrival.at
        self._since[arrival.space] = min(self._since.get(arrival.space, received), received)
        return True

    def join(self, issue_id: str, arrival: Arrival) -> None:
        """As `State`."""
        known, at = self._known[issue_id], arrival.at
        known.centre = joined(known.centre, known.members, arrival.vector)
        known.members += 1
        known.first_at, known.last_at = min(known.first_at, at), max(known.last_at, at)
        insort(self._times[issue_id], at)
        self._hours[issue_id][int(at.timestamp() // HOUR)] += 1

    def crowd(self, issue_id: str, at: datetime, window: timedelta) -> tuple[int, datetime]:
        """As `State`."""
        times = self._times[issue_id]
        return crowd(times[bisect_right(times, at - window) : bisect_left(times, at + window)], at, window)

    def hours(self, issue_id: str) -> dict[int, int]:
        """As `State`."""
        return self._hours[issue_id]

    def since(self, space: str) -> datetime | None:
        """As `State`."""
        return self._since.get(space)

    def alert(self, issue_id: str, at: datetime, window: timedelta, cooldown: timedelta) -> Alert | None:
        """As `State`."""
        mine = [
            one
            for one in self.alerts.values()
            if one.issue_id == issue_id and one.since - window <= at <= one.last_at + cooldown
        ]
        return max(mine, key=lambda one: one.opened_at, default=None)

    def open(self, alert: Alert) -> None:
        """As `State`."""
        self.alerts[alert.id] = alert

    def extend(self, alert: Alert) -> None:
        """As `State`."""
        self.alerts[alert.id] = alert
