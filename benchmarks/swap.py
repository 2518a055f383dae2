"""Three promotions and a rollback under load: is an answer lost, or not that of the version it names?

python -m benchmarks.swap. The service is `jianwei serve` with its default settings, the registry a real one, the model
the packaged one in four versions that differ in their temperatures, so that each gives other confidences to every text.
Eight callers send corpus texts over HTTP, every fifth request a batch of four. Each answer is compared, all heads and
numbers, with what the version it names says of that text when it is asked alone.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.texts import read
from complaints.bundle import MANIFEST, Bundle, Manifest, write_bundle
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy

BATCH = 4  # texts of every fifth request
FACTORS = (1.0, 1.1, 1.2, 1.3)  # by which the versions' temperatures differ
TEXTS = 120

# version -> text -> heads, as JSON has them
Expected = Mapping[str, Mapping[str, Any]]
# A promotion or rollback, and the version that answers after it.
Deed = tuple[Callable[[], object], str]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: when it was sent and answered, in seconds of the monotonic clock."""

    at: float
    until: float


class Load:
    """Callers that ask one by one until so many requests were answered; a fault ends it."""

    def __init__(self, address: str, expected: Expected, requests: int, callers: int) -> None:
        self._address, self._expected, self._requests = address, expected, requests
        self._texts = list(next(iter(expected.values())))
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]
        self.failures: list[str] = []
        self.mixed: list[str] = []
        self.answers: Counter[str] = Counter()
        self.sent: list[Sent] = []

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the last answer."""
        for thread in self._threads:
            thread.join()

    @property
    def faults(self) -> list[str]:
        """All that must not be."""
        return self.failures + self.mixed

    @property
    def over(self) -> bool:
        """Whether nothing more is asked."""
        return bool(self.faults) or len(self.sent) >= self._requests

    def _ask(self) -> None:
        with httpx.Client(base_url=self._address, timeout=30, trust_env=False) as client:
            while (number := next(self._numbers)) < self._requests and not self.faults:
                batch = number % 5 == 0
                texts = [self._texts[(number + i) % len(self._texts)] for i in range(BATCH if batch else 1)]
                began = time.monotonic()
                try:
                    if batch:
                        items = {"items": [{"text": text} for text in texts]}
                        found = client.post("/v1/predictions:batch", json=items)
                    else:
                        found = client.post("/v1/predictions", json={"text": texts[0]})
                except httpx.HTTPError as error:
                    self.failures.append(f"request {number}: {error!r}")
                    return
                with self._lock:
                    self.sent.append(Sent(began, time.monotonic()))
                    self._check(number, texts, found)

    def _check(self, number: int, texts: Sequence[str], found: httpx.Response) -> None:
        told = found.json() if found.status_code == 200 else None
        if told is None or any(one["status"] != 200 for one in told.get("items", ())):
            self.failures.append(f"request {number}: {found.status_code} {found.text[:200]}")
            return
        answers = [one["prediction"] for one in told["items"]] if "items" in told else [told]
        versions = {one["model"]["version"] for one in answers}
        if len(versions) != 1:
            self.mixed.append(f"request {number}: a batch of versions {versions}")
        for text, one in zip(texts, answers, strict=True):
            version = one["model"]["version"]
            if one["heads"] != self._expected[version][text]:
                self.mixed.append(f"request {number}: not what version {version} answers")
            self.answers[version] += 1


def alone(bundles: Mapping[str, Bundle], texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What each version answers to each text when nothing else goes on; raises ValueError where two answer alike."""
    expected: dict[str, dict[str, Any]] = {}
    asked = list(texts)
    for version, bundle in bundles.items():
        predictor = Predictor(bundle, Policy.load())
        answers = predictor.predict([Complaint(text=text) for text in asked])
        expected[version] = {
            text: json.loads(answer.model_dump_json())["heads"] for text, answer in zip(asked, answers, strict=True)
        }
        predictor.close()
    for text in asked:
        if len({json.dumps(of[text]) for of in expected.values()}) < len(expected):
            raise ValueError(f"two versions give {text!r} the same answer: it cannot be told which one answered")
    return expected


def swap(load: Load, deeds: Sequence[Deed], requests: int) -> list[tuple[float, float]]:
    """Promote or roll back at even distances while the load goes on; from when until when each swap took.

    A swap ends with the first answer of the version that it brings; without one before the load is over it failed.
    """
    took = []
    for number, (deed, version) in enumerate(deeds, 1):
        while len(load.sent) < number * requests // (len(deeds) + 1) and not load.over:
            time.sleep(0.02)
        before, began = load.answers[version], time.monotonic()
        deed()
        while load.answers[version] == before and not load.over:
            time.sleep(0.01)
        took.append((began, time.monotonic()))
        if load.answers[version] == before:
            load.failures.append(f"version {version} was not noticed before the last answer")
    return took


def variant(folder: Path, original: Bundle, factor: float) -> Bundle:
    """The bundle with other temperatures, and so with other confidences for every text."""

    def fill(into: Path) -> None:
        for name in original.manifest.files:
            shutil.copy(original.path / name, into / name)
        calibration = json.loads((into / "calibration.json").read_text(encoding="utf-8"))
        for head in calibration["heads"].values():
            head["temperature"] *= factor
        (into / "calibration.json").write_text(json.dumps(calibration), encoding="utf-8")

    kept = json.loads((original.path / MANIFEST).read_text(encoding="utf-8")) | {"files": {}}
    return write_bundle(folder, Manifest.model_validate(kept), original.taxonomy, fill)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=8)
    options = parser.parse_args()
    from benchmarks.service import running
    from jianwei.default_model import packaged_bundle
    from training.registry import Registry

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        original = Bundle.open(packaged_bundle())
        made = [variant(home / f"variant-{factor}", original, factor) for factor in FACTORS]
        registry, name = Registry(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts"), original.manifest.name
        bundles = {registry.register_bundle(one, "benchmark"): one for one in made}
        first, second, third, fourth = bundles
        registry.promote(name, first, "first")
        expected = alone(bundles, read()[:TEXTS])
        with running(home) as (address, _):
            load = Load(address, expected, options.requests, options.callers)
            load.start()
            deeds: list[Deed] = [
                (functools.partial(registry.promote, name, version, "better", force=True), version)
                for version in (second, third, fourth)
            ]
            deeds.append((lambda: registry.rollback(name, "worse"), third))
            swaps = swap(load, deeds, options.requests)
            load.join()
    tell(load, swaps)
    sys.exit(1 if load.faults or set(load.answers) != set(bundles) else 0)


def tell(load: Load, swaps: Sequence[tuple[float, float]]) -> None:
    inside = [s for s in load.sent if any(s.at < end and s.until > begin for begin, end in swaps)]
    outside = list(set(load.sent) - set(inside))
    print(f"{len(load.sent)} requests, {load.answers.total()} answers: {dict(load.answers)} by version")
    print(f"failed {len(load.failures)}, mixed or wrong {len(load.mixed)}")
    print("swapped after " + ", ".join(f"{end - begin:.1f}" for begin, end in swaps) + " s")
    for what, some in (("during swaps", inside), ("outside", outside)):
        if len(some) > 1:
            times = sorted((one.until - one.at) * 1000 for one in some)
            p95 = statistics.quantiles(times, n=20)[-1]
            print(f"{what}: {len(some)} requests, p50 {statistics.median(times):.0f} ms, p95 {p95:.0f} ms")
    for fault in load.faults[:5]:
        print(fault)


if __name__ == "__main__":
    main()
