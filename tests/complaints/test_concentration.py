"""Bursts: what belongs together, what is usual, and one alert a burst."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.bursts import MOST_ISSUES, Alert, Arrival, Memory, Placement, place
from complaints.concentration import (
    Baseline,
    alarm,
    crowd,
    excess,
    fingerprint,
    joined,
    lexical,
    nearest,
    pack,
    product_key,
    same_hours,
    unpack,
)
from complaints.policy import Policy

MONDAY = datetime(2026, 3, 2, 2, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
VECTOR = pack(lexical("空调不制冷,报修没人来"))


def arrival(at: datetime, text: str | None = None, **fields: object) -> Arrival:
    vector = VECTOR if text is None else pack(lexical(text))
    return Arrival(**({"at": at, "category": "quality", "product": "", "space": "s", "vector": vector} | fields))  # type: ignore[arg-type]


def run(policy: Policy, arrivals: Iterable[Arrival], memory: Memory | None = None) -> tuple[Memory, list[Placement]]:
    memory = memory or Memory()
    return memory, [place(memory, one, policy.burst, policy.calendar) for one in arrivals]


def every(step: timedelta, count: int, start: datetime = MONDAY) -> list[Arrival]:
    return [arrival(start + i * step) for i in range(count)]


def usual(days: int, a_day: int, start: datetime) -> list[Arrival]:
    """So many complaints spread over three hours of every day before `start`."""
    return [
        arrival(start - day * DAY - HOUR * 3 * i / a_day) for day in range(days, 0, -1) for i in reversed(range(a_day))
    ]


def test_fifty_in_three_hours_are_one_alert(policy: Policy) -> None:
    memory, placed = run(policy, every(3 * MINUTE, 120))
    [alert] = memory.alerts.values()
    assert [i for i, one in enumerate(placed) if one.opened] == [49]
    assert (alert.reason, alert.count, alert.members, alert.status) == ("count", 50, 120, "open")
    assert (alert.since, alert.opened_at) == (MONDAY, MONDAY + 49 * 3 * MINUTE)
    assert [placed[i].burst for i in (48, 49, 119)] == [0, 50, 120]


def test_forty_nine_or_too_slow_are_none(policy: Policy) -> None:
    assert not run(policy, every(3 * MINUTE, 49))[0].alerts
    assert not run(policy, every(4 * MINUTE, 200))[0].alerts


def test_others_do_not_count(policy: Policy) -> None:
    mixed = [
        arrival(MONDAY + i * MINUTE, **[{"product": "冰箱"}, {"category": "price"}, {}][i % 3])  # type: ignore[arg-type]
        for i in range(147)
    ]
    assert not run(policy, mixed)[0].alerts
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(0x4E00, 0x9000, 14))) for _ in range(60)]
    texts = [arrival(MONDAY + i * MINUTE, word) for i, word in enumerate(words)]
    assert not run(policy, texts)[0].alerts
    again = [arrival(MONDAY + i * MINUTE, counted=i == 0) for i in range(80)]
    assert not run(policy, again)[0].alerts


def test_wording_may_differ_a_little(policy: Policy) -> None:
    near = policy.burst.model_copy(update={"similarity": 0.7})
    texts = ["空调不制冷,报修没人来", "空调不制冷,报修没人来!", "空调不制冷了,报修没人来"]
    memory = Memory()
    placed = [place(memory, arrival(MONDAY + i * MINUTE, texts[i % 3]), near, policy.calendar) for i in range(60)]
    assert len({one.issue_id for one in placed}) == 1
    assert len(memory.alerts) == 1


def test_what_is_usual_is_no_burst_and_a_rise_is(policy: Policy) -> None:
    # 60 complaints in these hours of every day: more than 50, but nothing new.
    history = usual(27, 60, MONDAY + 27 * DAY)
    memory, _ = run(policy, history)
    before = len(memory.alerts)
    today = MONDAY + 27 * DAY
    memory, _ = run(policy, [arrival(today - 3 * HOUR + i * 3 * MINUTE) for i in range(60)], memory)
    assert len(memory.alerts) == before
    # Twice as many are a rise.
    tomorrow = today + DAY
    memory, _ = run(policy, [arrival(tomorrow - 3 * HOUR + i * 90 * timedelta(seconds=1)) for i in range(120)], memory)
    [alert] = [one for one in memory.alerts.values() if one.opened_at > tomorrow - DAY / 2]
    assert alert.reason == "growth"
    assert alert.growth >= 1.3  # type: ignore[operator]
    assert alert.opened_at < tomorrow - HOUR  # seen before the window is over


def test_small_counts_need_a_clear_rise(policy: Policy) -> None:
    assert alarm(policy.burst, 9, Baseline(0, 20)) is None
    assert alarm(policy.burst, 12, Baseline(20 * 8, 20)) is None  # half as many again, but it may be chance
    found = alarm(policy.burst, 30, Baseline(20 * 8, 20))
    assert found is not None
    assert (found.reason, found.expected, found.growth) == ("growth", 8, 3.75)
    assert alarm(policy.burst, 30, Baseline(0, 0)) is None  # nothing is known: only the count speaks
    assert alarm(policy.burst, 50, Baseline(0, 0)).reason == "count"  # type: ignore[union-attr]
    assert alarm(policy.burst, 60, Baseline(20 * 58, 20)) is None  # so many are usual


@given(st.integers(1, 200), st.integers(0, 500), st.integers(1, 40))
def test_the_exact_test_is_scipys(count: int, before: int, windows: int) -> None:
    expected = scipy.stats.binomtest(count, count + before, 1 / (windows + 1), alternative="greater").pvalue
    assert excess(count, Baseline(before, windows)) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_baseline_compares_days_of_one_kind(policy: Policy) -> None:
    hours = {int((MONDAY - day * DAY).timestamp() // 3600) - 1: 1 for day in range(1, 29)}
    found = same_hours(hours, MONDAY, MONDAY - 60 * DAY, policy.burst, policy.calendar)
    # Spring Festival, 15 to 23 February 2026, with make-up Saturdays on the 14th and 28th, leaves 16 working days.
    assert found == Baseline(16, 16)
    assert same_hours(hours, MONDAY, MONDAY - 5 * DAY, policy.burst, policy.calendar).windows == 0
    assert same_hours(hours, MONDAY, None, policy.burst, policy.calendar) == Baseline(0, 0)


def test_cooldown_and_a_second_burst(policy: Policy) -> None:
    first = every(2 * MINUTE, 60)
    soon = every(2 * MINUTE, 60, MONDAY + 6 * HOUR)
    later = every(2 * MINUTE, 60, MONDAY + 20 * HOUR)
    memory, _ = run(policy, [*first, *soon, *later])
    assert [one.opened_at for one in memory.alerts.values()] == [first[49].at, later[49].at]
    assert next(iter(memory.alerts.values())).members == 120


def test_complaints_that_arrive_late_count_where_they_belong(policy: Policy) -> None:
    burst = every(3 * MINUTE, 50)
    shuffled = [burst[i] for i in np.random.default_rng(0).permutation(50)]
    memory, placed = run(policy, shuffled)
    assert [i for i, one in enumerate(placed) if one.opened] == [49]
    assert len(memory.alerts) == 1
    # A time far in the future does not stop the clock for the others.
    memory, _ = run(policy, [arrival(datetime(2199, 1, 1, tzinfo=UTC)), *burst])
    assert len(memory.alerts) == 1


def others(count: int, at: datetime) -> list[Arrival]:
    """So many complaints, each on a matter of its own."""
    rng = np.random.default_rng(1)
    return [arrival(at, "".join(map(chr, rng.integers(0x4E00, 0x9000, 14)))) for _ in range(count)]


def test_newer_issues_do_not_hide_an_old_one(policy: Policy) -> None:
    memory, [first] = run(policy, [arrival(MONDAY)])
    run(policy, others(MOST_ISSUES + 1, MONDAY + 5 * HOUR), memory)
    _, [second] = run(policy, [arrival(MONDAY + MINUTE)], memory)
    assert second.issue_id == first.issue_id


def test_a_complaint_that_comes_again_joins_what_it_began(policy: Policy) -> None:
    memory, [first] = run(policy, [arrival(MONDAY)])
    run(policy, others(MOST_ISSUES + 1, MONDAY + HOUR), memory)  # of its own window: they take all places
    _, [second] = run(policy, [arrival(MONDAY)], memory)
    assert second.issue_id == first.issue_id
    assert sum(memory.hours(first.issue_id).values()) == 2
    assert memory.crowd(first.issue_id, MONDAY, 3 * HOUR)[0] == 3
    _, [third] = run(policy, [arrival(MONDAY + 2 * DAY)], memory)  # of two, it lives for longer than a day
    assert third.issue_id == first.issue_id


def test_a_back_dated_complaint_makes_no_baseline(policy: Policy) -> None:
    def got(at: datetime, days: int) -> Arrival:
        return arrival(at, received=MONDAY + days * DAY)

    young = [got(MONDAY - 60 * DAY, 0), *(got(one.at, 0) for one in every(MINUTE, 20))]
    memory, _ = run(policy, young)
    assert not memory.alerts
    assert memory.since("s") == MONDAY
    later = [got(one.at, 60) for one in every(MINUTE, 20, MONDAY + 60 * DAY)]
    [alert] = run(policy, later, memory)[0].alerts.values()
    assert alert.reason == "growth"  # by now it knows that there are none


def test_a_rejected_burst_is_none(policy: Policy) -> None:
    memory, _ = run(policy, every(3 * MINUTE, 50))
    [alert] = memory.alerts.values()
    memory.extend(Alert(**{name: getattr(alert, name) for name in alert.__dataclass_fields__} | {"status": "rejected"}))
    placed = place(memory, arrival(MONDAY + 160 * MINUTE), policy.burst, policy.calendar)
    assert (placed.burst, placed.opened, len(memory.alerts)) == (0, False, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3)), max_size=150))
def test_the_same_order_gives_the_same_alerts(policy: Policy, stream: list[tuple[int, int]]) -> None:
    small = policy.model_copy(update={"burst": policy.burst.model_copy(update={"count": 5, "least": 3})})
    texts = ["空调不制冷", "快递没到还不回电话", "退款一直不来怎么办", "登录不了收不到验证码"]
    arrivals = [arrival(MONDAY + minutes * MINUTE, texts[which]) for minutes, which in stream]
    one, first = run(small, arrivals)
    other, second = run(small, arrivals)
    assert (one.alerts, first) == (other.alerts, second)
    opened = [placed for placed in first if placed.opened]
    assert len(opened) == len(one.alerts)


def test_the_fullest_window_counts() -> None:
    times = [MONDAY + i * HOUR for i in range(10)]
    assert crowd([*times[:4], *times[5:]], times[4], 3 * HOUR) == (3, times[2])
    assert crowd([MONDAY] * 3, MONDAY, HOUR) == (4, MONDAY)
    assert crowd([MONDAY], MONDAY + HOUR, HOUR) == (1, MONDAY + HOUR)  # a window is open at its start
    assert crowd([], MONDAY, HOUR) == (1, MONDAY)
    late = [MONDAY + i * HOUR / 10 for i in range(1, 10)]  # all of them later than the one that comes now
    assert crowd(late, MONDAY, HOUR) == (10, MONDAY)


def test_vectors_survive_storing() -> None:
    vector = lexical("空调不制冷")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert float(unpack(pack(vector)) @ vector) == pytest.approx(1, abs=1e-3)
    assert nearest(vector, [], 0.5) is None
    assert nearest(vector, [pack(lexical("快递丢了")), pack(vector), pack(vector)], 0.99) == 1
    assert np.isfinite(lexical("")).all()
    assert nearest(vector, [pack(np.zeros(256, dtype=np.float32))], 0.1) is None


def test_a_fingerprint_is_half_the_model_and_half_the_words() -> None:
    one, other = np.eye(4, dtype=np.float32)[:2]
    a, b = fingerprint("空调不制冷", one), fingerprint("空调不制冷", other)
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
    assert float(a @ b) == pytest.approx(0.5, abs=1e-5)
    assert (fingerprint("空调不制冷", None) == lexical("空调不制冷")).all()


def test_a_centre_is_the_mean_of_its_members() -> None:
    vectors = [pack(lexical(said)) for said in ("空调不制冷", "空调坏了", "空调漏水")]
    centre = vectors[0]
    for members, vector in enumerate(vectors):
        centre = joined(centre, members, vector)
    assert unpack(centre) == pytest.approx(np.mean([unpack(one) for one in vectors], axis=0), abs=1e-3)


def test_products_are_told_apart_by_what_they_say() -> None:
    assert product_key(" Ｐ50 Pro\x00 ") == product_key("p50pro") == "p50pro"
    assert product_key(None) == ""
