"""Two reviewers in processes of their own share a queue: no case twice, none lost, whoever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from serving.store.queries import Store
from serving.store.review_order import Filters

CASES = 500
# Takes cases and decides them, telling which; leases last seconds, so that those of the killed come back.
REVIEWER = """
import sys, time
from datetime import UTC, datetime
from serving.store.queries import Store
from serving.store.review_order import Filters

url, actor, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(url)
while True:
    leases = store.claim(actor, limit=size, minutes=8 / 60, now=datetime.now(UTC))
    for lease in leases:
        try:
            store.accept(lease.prediction_id, actor, taxonomy_version="1", now=datetime.now(UTC))
        except Exception as error:
            # Slower than its lease on a busy machine: another has the case.
            print("late", type(error).__name__, flush=True)
            continue
        print(lease.prediction_id, flush=True)
    if not leases:
        if store.queue(Filters(), now=datetime.now(UTC)).waiting == 0:
            break
        time.sleep(0.1)
"""


def test_two_reviewers_share_500_cases(url: str, put: Any) -> None:
    store = Store(url)
    for i in range(20):
        put(store, confidence=0.2 + i / 40, vector=i, copies=CASES // 20)
    cases = {one.prediction_id for one in store.queue(Filters(), now=datetime.now(UTC), limit=2 * CASES).items}
    assert len(cases) == CASES

    def begin(actor: str, size: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", REVIEWER, url, actor, str(size)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    killed, other = begin("王芳", 20), begin("李明", 3)
    assert killed.stdout is not None
    said = [killed.stdout.readline() for _ in range(50)]
    left = _stopped_with_cases(killed, store, "王芳")
    killed.send_signal(signal.SIGKILL)
    said += killed.communicate()[0].splitlines()
    told = {line.strip() for line in said}
    again = begin("王芳", 5)
    for process in (other, again):
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        said += out.splitlines()
    decided = [line.strip() for line in said if line.startswith("pred_") and len(line.strip()) == 31]
    found = store.judged(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    assert {one.prediction_id for one in found} == cases
    assert len(decided) == len(set(decided))
    # What was decided when it was killed may not have been told.
    assert len(cases - set(decided)) <= 1
    assert len((left - told) & set(decided)) >= len(left) - 1  # what it had came back, and others decided it
    words = [one for case in cases for one in store.words(case)]
    assert len(words) == 2 * CASES  # one word a head: nothing was decided twice
    store.close()


def _stopped_with_cases(reviewer: subprocess.Popen[str], store: Store, actor: str) -> set[str]:
    """Stop a reviewer who has several cases and has not decided them; those cases."""
    while True:
        assert reviewer.poll() is None
        reviewer.send_signal(signal.SIGSTOP)
        held = {lease.prediction_id for lease in store.held(actor, datetime.now(UTC))}
        if len(held) > 1:
            return held
        reviewer.send_signal(signal.SIGCONT)
        time.sleep(0.01)
