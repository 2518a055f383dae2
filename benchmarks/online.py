"""`jianwei serve` under load, over HTTP: python -m benchmarks.online."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.load import Load, batch_requests, drive, requests
from benchmarks.rows import Taken, spread, timed
from benchmarks.service import running
from benchmarks.texts import distinct, read
from complaints.bundle import Bundle
from complaints.encoder import Encoder
from complaints.text import clean
from jianwei.default_model import packaged_bundle

CALLERS = (1, 8, 32, 128)
# More than the queue holds and the threads take: some must be refused.
TOO_MANY = 400
CROWD = 2_000
# Callers for the share of the engine: enough that its threads never wait for one.
BUSY = 8
# Texts a request, where a caller has many at once.
TOGETHER = 64
STARTS = 3
# A service asks the registry 5 s after its start, and the first time imports mlflow for it: 3 s of a core.
SETTLED = 12.0
# Texts of a round.
ROUND = 384


@dataclass(frozen=True, slots=True)
class Serving:
    """A running service: its port, its process, seconds from the command to the first `ready`, MB resident then."""

    port: int
    process: psutil.Process
    ready: float
    memory: float

    def resident(self) -> float:
        """MB now."""
        return self.process.memory_info().rss / 1e6

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def serving(home: Path) -> Iterator[Serving]:
    """A service with its databases in `home`, to the twentieth of a second when it was ready."""
    start = time.perf_counter()
    with running(home) as (address, pid):
        taken = time.perf_counter() - start
        inside = psutil.Process(pid)
        yield Serving(int(address.rpartition(":")[2]), inside, taken, inside.memory_info().rss / 1e6)


def online(texts: Sequence[str], *, rounds: int, total: int) -> list[str]:
    """Lines of Markdown: starts, the share of the engine that is kept, waits by number of callers, refusals, memory."""
    cores = os.cpu_count() or 1
    encoder = Encoder(Bundle.open(packaged_bundle()), threads=cores)
    every = distinct(list(texts), (rounds + 1) * ROUND + len(CALLERS) * total + CROWD)
    parts = [every[at * ROUND : (at + 1) * ROUND] for at in range(rounds + 1)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with serving(home) as first:
            lines = [f"First start of all: ready after {first.ready:.1f} s, {first.memory:.0f} MB resident."]
        starts = []
        for _ in range(STARTS - 1):
            with serving(home) as service:
                starts.append(service)
        with serving(home) as service:
            starts.append(service)
            lines.append(
                f"Later starts: ready after {spread([one.ready for one in starts], '.2f')} s, "
                f"{spread([one.memory for one in starts], '.0f')} MB resident."
            )
            time.sleep(SETTLED)
            engine, singly, together = [], [], []
            for part in parts:  # the first warms up
                engine.append(timed(encoder.encode, [clean(text).text for text in part])())
                singly.append(_over_http(service, requests(service.port, part), len(part)))
                together.append(_over_http(service, batch_requests(service.port, part, TOGETHER), len(part)))
            lines.append(f"The engine alone reads {spread([one.rate for one in engine[1:]], '.1f')} texts/s.")
            lines.append(_kept(f"Over HTTP, {BUSY} callers", singly[1:], engine[1:]))
            lines.append(_kept(f"The same with {TOGETHER} texts a request", together[1:], engine[1:]))
            sent = requests(service.port, every[len(parts) * ROUND :])
            lines += [
                "",
                "| callers | predictions/s | p50 ms | p95 ms | p99 ms | answers |",
                "|---|---|---|---|---|---|",
            ]
            for at, callers in enumerate(CALLERS):
                lines.append(_line(drive(service.port, sent[at * total :], callers, total=total)))
            crowd = drive(service.port, sent[-CROWD:], TOO_MANY, total=CROWD)
            lines += [_line(crowd), "", _refused(crowd), f"{service.resident():.0f} MB resident after all of it."]
    return lines


def _over_http(service: Serving, sent: Sequence[bytes], texts: int) -> Taken:
    work = service.cpu()
    load = drive(service.port, sent, BUSY, total=len(sent))
    if len(load.waits) < len(sent):
        raise RuntimeError(f"{BUSY} callers were answered with {dict(load.statuses)}")
    return Taken(texts, load.seconds, service.cpu() - work)


def _kept(what: str, taken: Sequence[Taken], engine: Sequence[Taken]) -> str:
    """How much of the engine's own pace is left, round by round."""
    shares = [one.rate / e.rate for one, e in zip(taken, engine, strict=True)]
    works = [(e.cpu / e.texts) / (one.cpu / one.texts) for one, e in zip(taken, engine, strict=True)]
    return (
        f"{what}: {spread([one.rate for one in taken], '.1f')} predictions/s, {spread(shares, '.1%')} of that kept by "
        f"the clock, {spread(works, '.1%')} by CPU seconds."
    )


def _line(load: Load) -> str:
    waits = " | ".join(f"{load.percentile(q):.1f}" for q in (50, 95, 99))
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(load.statuses.items()))
    return f"| {load.callers} | {load.rate:.1f} | {waits} | {answers} |"


def _refused(load: Load) -> str:
    if not load.refusals:
        return f"{load.callers} callers: none refused."
    p50, p99 = np.percentile(load.refusals, [50, 99])
    return (
        f"{load.callers} callers: {len(load.refusals)} refused after p50 {p50:.1f} ms, p99 {p99:.1f} ms; "
        f"{load.without_retry_after} of them without Retry-After."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="a file of your own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--total", type=int, default=1000, help="requests for each number of callers")
    options = parser.parse_args()
    print("\n".join(online(read(options.texts), rounds=options.rounds, total=options.total)))


if __name__ == "__main__":
    main()
