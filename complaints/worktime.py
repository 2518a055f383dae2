"""Deadlines: so many minutes or hours by the clock, so many working hours, or so many working days.

Working days follow China's official calendar with its make-up days (chinesecalendar); for years that it does not
know yet, Monday to Friday are assumed and the answer says so (`certain` False). What a policy lists itself as a
holiday or a working day goes before both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import chinese_calendar
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Unit = Literal["m", "h", "wh", "wd"]
_TERM = re.compile(r"(\d{1,5})(m|h|wh|wd)")
_NAMES = {"m": "分钟", "h": "小时", "wh": "个工作小时", "wd": "个工作日"}
# The longest run of days without work that a calendar may hold; more is a mistake in it, not a holiday.
_LONGEST_REST = 60


def _term(value: str) -> str:
    match = _TERM.fullmatch(value)
    if match is None or int(match[1]) == 0:
        raise ValueError("write a term as a number and a unit: 30m minutes, 24h hours, 8wh working hours, 5wd days")
    return value


Term = Annotated[str, AfterValidator(_term)]


def _written(value: object) -> object:
    if not isinstance(value, str | time):  # YAML reads a bare 18:00 as the number 1080
        raise ValueError("write a time in quotes: '18:00'")
    return value


Clock = Annotated[time, BeforeValidator(_written)]


def say_term(term: str) -> str:
    """A term in Chinese: 30m -> 30 分钟."""
    number, unit = split_term(term)
    return f"{number} {_NAMES[unit]}"


def split_term(term: str) -> tuple[int, Unit]:
    """Number and unit of a term."""
    match = _TERM.fullmatch(term)
    assert match is not None  # noqa: S101  validated where it was read
    return int(match[1]), match[2]  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Deadline:
    """When something is due; `certain` False where a year's holidays were not known and had to be guessed."""

    at: datetime
    certain: bool


class Calendar(BaseModel):
    """Time zone, office hours, and the days on which the company's calendar differs from the official one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    timezone: str = Field(description="IANA name; deadlines are told in it")
    opens: Clock = Field(time(9), description="Start of a working day, for working hours")
    closes: Clock = Field(time(18), description="End of a working day: terms in working days end then")
    holidays: tuple[date, ...] = Field((), description="Days off that the official calendar does not know")
    workdays: tuple[date, ...] = Field((), description="Working days that the official calendar does not know")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"timezone {self.timezone!r} is not known; write it like Asia/Shanghai") from None
        if self.opens >= self.closes:
            raise ValueError(f"opens {self.opens} must be before closes {self.closes}")
        if both := set(self.holidays) & set(self.workdays):
            raise ValueError(f"{min(both)} is listed as holiday and as workday: take it out of one")
        return self

    def local(self, moment: datetime) -> datetime | None:
        """A moment in this zone, a naive one taken to be in it; None beyond either end of the calendar."""
        zone = ZoneInfo(self.timezone)
        try:
            return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)
        except OverflowError:
            return None

    def works(self, day: date) -> tuple[bool, bool]:
        """Whether people work on a day, and whether that is known rather than assumed."""
        if day in self.holidays:
            return False, True
        if day in self.workdays:
            return True, True
        try:
            return bool(chinese_calendar.is_workday(day)), True
        except NotImplementedError:  # a year whose holidays were not announced when the library was released
            return day.weekday() < 5, False

    def due(self, created: datetime | None, term: str) -> Deadline | None:
        """When `term` after `created` ends; None without a date or beyond the end of the calendar.

        Working days count from the day after receipt and end when the office closes; working hours run only
        between opening and closing on working days.
        """
        start = None if created is None else self.local(created)
        if start is None:
            return None
        number, unit = split_term(term)
        try:
            if unit == "m":
                return Deadline(_later(start, timedelta(minutes=number)), True)
            if unit == "h":
                return Deadline(_later(start, timedelta(hours=number)), True)
            return self._days(start, number) if unit == "wd" else self._hours(start, number)
        except OverflowError:
            return None

    def _days(self, start: datetime, number: int) -> Deadline:
        day, certain = start.date(), True
        for _ in range(number):
            day, known = self._next(day)
            certain = certain and known
        return Deadline(datetime.combine(day, self.closes, start.tzinfo), certain)

    def _hours(self, start: datetime, number: int) -> Deadline:
        left = timedelta(hours=number)
        day, certain = start.date(), True
        works, known = self.works(day)
        at = max(start, datetime.combine(day, self.opens, start.tzinfo))
        while True:
            certain = certain and known
            close = datetime.combine(day, self.closes, start.tzinfo)
            if works and close - at >= left:
                return Deadline(at + left, certain)
            if works and at < close:
                left -= close - at
            day, known = self._next(day)
            works, at = True, datetime.combine(day, self.opens, start.tzinfo)

    def _next(self, day: date) -> tuple[date, bool]:
        """The next working day, and whether every day up to it is known."""
        certain = True
        for _ in range(_LONGEST_REST):
            day += timedelta(days=1)
            works, known = self.works(day)
            certain = certain and known
            if works:
                return day, certain
        return day, False


def _later(start: datetime, by: timedelta) -> datetime:
    """Elapsed time, not wall-clock time: across a change of the clocks the hour that was lost is not counted."""
    return (start.astimezone(ZoneInfo("UTC")) + by).astimezone(start.tzinfo)
