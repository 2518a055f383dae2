"""A simulated day of 5,000 complaints with two bursts in it, after four ordinary weeks: python experiments/bursts.py

How many complaints of a burst until it is told, and how many false alerts a week, at several settings. The everyday
complaints are the project's own corpus: few of them common, most rare, by hours and days of the week, each with a busy
or a quiet day of its own. The two bursts: an issue that nobody had before (120 in two hours, told in many words), and
an everyday issue that becomes four times as frequent for three hours. Complaints are told apart by their words alone,
so that the figures do not hang on a model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from complaints.bursts import Arrival, Memory, place
from complaints.concentration import fingerprint, pack, product_key
from complaints.policy import Policy
from complaints.text import clean

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
DAY = datetime(2026, 6, 12, 16, tzinfo=UTC)  # Saturday the 13th begins in China; the simulated day is the Monday after
A_DAY, WEEKS, ISSUES = 5000, 4, 3000
# Complaints by hour of the day (China), and on days off beside working days.
HOURS = np.array([1, 1, 1, 1, 1, 2, 3, 5, 8, 11, 12, 10, 8, 8, 10, 11, 10, 9, 8, 8, 8, 7, 5, 3], dtype=float)
DAY_OFF = 0.6
# How unlike two days of one issue are beyond chance: standard deviation of the logarithm of its rate.
RESTLESS = 0.15
POLITE = ["", "。", "！", "，请尽快处理", "，谢谢", "，什么时候能解决", "，等回复", "，急"]
NEW = [
    ["空调", "你们家空调", "新买的空调", "客厅那台空调", "你们这空调"],
    ["显示E4停机了", "报E4就不转了", "一开机就跳E4", "屏幕上一直E4不制冷"],
    ["，客服电话打不通", "，报修没人来", "，打电话让等三天", "，说没有配件", ""],
    ["，家里还有老人", "，这么热的天", "，孩子热得睡不着", "，赶紧处理", ""],
]


@dataclass(frozen=True, slots=True)
class Told:
    """One complaint of the simulation; `burst` names the injected burst that it belongs to."""

    arrival: Arrival
    burst: str | None


def simulate(seed: int, policy: Policy) -> Iterator[Told]:
    """Four ordinary weeks, then the day with two bursts, in the order of their times."""
    rng = np.random.default_rng(seed)
    rows = [json.loads(line) for path in sorted(CORPUS.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    rows = [rows[i] for i in rng.permutation(len(rows))[:ISSUES]]
    share = 1 / np.arange(3, ISSUES + 3)
    share /= share.sum()
    known: dict[str, bytes] = {}

    def told(at: datetime, said: str, category: str, product: str | None, burst: str | None = None) -> Told:
        if said not in known:
            known[said] = pack(fingerprint(clean(said).text, None))
        return Told(
            Arrival(at, category.split(".", maxsplit=1)[0], product_key(product), "simulated", known[said]), burst
        )

    everyday = 40  # the issue that rises: neither the most common nor a rare one
    for number in range(7 * WEEKS + 1):
        start = DAY + timedelta(days=number - 7 * WEEKS + 1)
        last = number == 7 * WEEKS
        works = policy.calendar.works(policy.calendar.local(start).date())[0]  # type: ignore[union-attr]
        rates = share * np.exp(rng.normal(0, RESTLESS, ISSUES)) * A_DAY * (1 if works or last else DAY_OFF)
        today = []
        for issue, count in enumerate(rng.poisson(rates)):
            for hour in rng.choice(24, size=count, p=HOURS / HOURS.sum()):
                at = start + timedelta(hours=int(hour), seconds=float(rng.uniform(0, 3600)))
                row = rows[issue]
                said = row["text"][:300] + POLITE[rng.integers(len(POLITE))]
                today.append(told(at, said, row["category"], row.get("product")))
        if last:
            for _ in range(120):
                at = start + timedelta(hours=10, seconds=float(rng.uniform(0, 7200)))
                said = "".join(part[rng.integers(len(part))] for part in NEW)
                today.append(told(at, said, "quality.defect", "空调", "new"))
            rise = rng.poisson(3 * share[everyday] * A_DAY * HOURS[15:18].sum() / HOURS.sum())
            for _ in range(rise):
                at = start + timedelta(hours=15, seconds=float(rng.uniform(0, 3 * 3600)))
                row = rows[everyday]
                said = row["text"][:300] + POLITE[rng.integers(len(POLITE))]
                today.append(told(at, said, row["category"], row.get("product"), "rise"))
        yield from sorted(today, key=lambda one: one.arrival.at)


def main() -> None:
    """Print a line a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="default")
    parser.add_argument("--seeds", type=int, default=3, help="so many simulations a setting")
    parser.add_argument("--similarity", type=float, nargs="+", default=[])
    parser.add_argument("--significance", type=float, nargs="+", default=[0.001, 0.0001, 0.00001])
    parser.add_argument("--growth", type=float, nargs="+", default=[1.3])
    given = parser.parse_args()
    policy = Policy.load(given.policy)
    sys.stdout.write(
        "seed similarity significance growth | complaints until told / of all, minutes: new | rise"
        " | false alerts a week (weeks 3 and 4)\n"
    )
    similarities = given.similarity or [policy.burst.similarity]
    for seed in range(given.seeds):
        stream = list(simulate(seed, policy))
        for similarity, significance, growth in itertools.product(similarities, given.significance, given.growth):
            changed = {"similarity": similarity, "significance": significance, "growth": growth}
            burst = policy.burst.model_copy(update=changed)
            told = " | ".join(run(stream, burst, policy))
            sys.stdout.write(f"{seed:>4} {similarity:<10g} {significance:<12g} {growth:<6g} | {told}\n")
            sys.stdout.flush()


def run(stream: list[Told], burst: object, policy: Policy) -> list[str]:
    """One setting over the whole stream: when each burst was told, and the false alerts a week."""
    memory = Memory()
    count, false = {"new": 0, "rise": 0}, 0
    begun: dict[str, datetime] = {}
    found: dict[str, tuple[int, float]] = {}
    for one in stream:
        placed = place(memory, one.arrival, burst, policy.calendar)  # type: ignore[arg-type]
        if one.burst is not None:
            begun.setdefault(one.burst, one.arrival.at)
            count[one.burst] += 1
            if placed.burst and one.burst not in found:
                minutes = (one.arrival.at - begun[one.burst]).total_seconds() / 60
                found[one.burst] = count[one.burst], minutes
        elif placed.opened and DAY - timedelta(days=13) <= one.arrival.at < DAY + timedelta(days=1):
            false += 1
    told = [
        f"{found[name][0]:>3} / {count[name]:<3} {found[name][1]:>4.0f} min"
        if name in found
        else f"not told of {count[name]}"
        for name in ("new", "rise")
    ]
    return [*told, f"{false / 2:g}"]


if __name__ == "__main__":
    main()
