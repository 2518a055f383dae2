"""Deadlines by the clock and by the working calendar, in years that are known and in years that are not yet."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from complaints.worktime import Calendar, say_term

CHINA = Calendar(timezone="Asia/Shanghai")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+08:00")


@pytest.mark.parametrize(
    ("created", "term", "due"),
    [
        ("2026-03-12T10:00", "30m", "2026-03-12T10:30"),
        ("2026-03-13T17:50", "24h", "2026-03-14T17:50"),  # by the clock, a Saturday
        ("2026-03-12T10:00", "5wd", "2026-03-19T18:00"),  # Thursday: Fri Mon Tue Wed Thu
        ("2026-03-14T10:00", "1wd", "2026-03-16T18:00"),  # received on a Saturday
        ("2026-02-12T10:00", "2wd", "2026-02-14T18:00"),  # Saturday 14 February is a make-up day
        ("2026-02-14T10:00", "1wd", "2026-02-24T18:00"),  # Spring Festival, 15 to 23 February
        ("2026-09-30T10:00", "3wd", "2026-10-10T18:00"),  # National Day, then a make-up Saturday
        ("2026-03-13T17:00", "2wh", "2026-03-16T10:00"),
        ("2026-03-13T08:00", "2wh", "2026-03-13T11:00"),
        ("2026-03-14T08:00", "9wh", "2026-03-16T18:00"),
        ("2026-03-13T20:00", "1wh", "2026-03-16T10:00"),
    ],
)
def test_due(created: str, term: str, due: str) -> None:
    found = CHINA.due(at(created), term)
    assert found is not None
    assert (found.at, found.certain) == (at(due), True)


def test_a_year_that_is_not_known_is_guessed_and_said() -> None:
    found = CHINA.due(at("2031-03-13T10:00"), "1wd")
    assert found is not None
    assert (found.at, found.certain) == (at("2031-03-14T18:00"), False)
    over = CHINA.due(at("2026-12-31T10:00"), "1wd")
    assert over is not None
    assert not over.certain
    assert CHINA.due(at("2031-03-13T10:00"), "24h").certain  # type: ignore[union-attr]


def test_what_the_company_says_goes_first() -> None:
    own = Calendar(
        timezone="Asia/Shanghai", holidays=(date(2026, 3, 13), date(2031, 3, 14)), workdays=(date(2026, 3, 14),)
    )
    assert own.due(at("2026-03-12T10:00"), "1wd").at == at("2026-03-14T18:00")  # type: ignore[union-attr]
    assert own.due(at("2031-03-13T10:00"), "1wd").at == at("2031-03-17T18:00")  # type: ignore[union-attr]


def test_zones() -> None:
    naive = CHINA.due(datetime(2026, 3, 12, 10), "30m")  # noqa: DTZ001 - as callers send it
    utc = CHINA.due(datetime(2026, 3, 12, 2, tzinfo=UTC), "30m")
    assert naive == utc
    # 17:00 UTC is the next day in China.
    assert CHINA.due(datetime(2026, 3, 12, 17, tzinfo=UTC), "1wd").at == at("2026-03-16T18:00")  # type: ignore[union-attr]
    berlin = Calendar(timezone="Europe/Berlin").due(datetime.fromisoformat("2026-03-28T20:00+01:00"), "24h")
    assert berlin is not None
    assert berlin.at.isoformat() == "2026-03-29T21:00:00+02:00"  # the clocks went forward


@pytest.mark.parametrize("moment", [datetime(9999, 12, 31, 23, 59, tzinfo=UTC), None])
def test_no_date_no_deadline(moment: datetime | None) -> None:
    assert all(CHINA.due(moment, term) is None for term in ("30m", "24h", "8wh", "5wd"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"timezone": "Mars/Olympus"}, "is not known; write it like Asia/Shanghai"),
        ({"opens": 540}, "write a time in quotes"),
        ({"opens": "19:00"}, "must be before closes"),
        ({"holidays": ["2026-01-02"], "workdays": ["2026-01-02"]}, "listed as holiday and as workday"),
    ],
)
def test_a_broken_calendar_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Calendar.model_validate({"timezone": "Asia/Shanghai"} | fields)


def test_terms_in_chinese() -> None:
    assert [say_term(term) for term in ("30m", "24h", "8wh", "5wd")] == [
        "30 分钟",
        "24 小时",
        "8 个工作小时",
        "5 个工作日",
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1)),  # noqa: DTZ001
    st.sampled_from(["1m", "48h", "1wh", "40wh", "1wd", "20wd"]),
)
def test_every_moment_has_a_later_deadline(moment: datetime, term: str) -> None:
    found = CHINA.due(moment.replace(tzinfo=UTC), term)
    assert found is not None
    assert found.at > moment.replace(tzinfo=UTC)
