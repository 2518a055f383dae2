"""Promotions and a rollback under load; `python -m benchmarks.swap` sends 10,000 requests to the packaged model."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.swap import Load, alone, swap
from training.registry import Registry

REQUESTS, CALLERS = 900, 4
NOTICED = 15.0  # seconds
TEXTS = ("空调坏了", "物流慢，退款慢", "客服态度差，投诉！")


def test_three_promotions_and_a_rollback_lose_and_mix_nothing(
    mlflow_client: Any, make_bundle: Any, apart: Any, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_client.tracking_uri)
    registry, name = Registry(mlflow_client.tracking_uri, tmp_path / "artifacts"), "consumer"
    made = [make_bundle(tmp_path / f"favour-{i}", favour=i) for i in range(4)]
    bundles = {registry.register_bundle(one, "test"): one for one in made}
    first, second, third, fourth = bundles
    registry.promote(name, first, "first", force=True)  # other tests may have left a champion
    deeds: list[Any] = [
        (functools.partial(registry.promote, name, version, "better", force=True), version)
        for version in (second, third, fourth)
    ]
    deeds.append((lambda: registry.rollback(name, "worse"), third))
    with apart(None, home=tmp_path / "home", model=name, poll=0.5, timeout=30) as (address, _):
        wait_until(lambda: httpx.get(f"{address}/health/ready", trust_env=False).status_code == 200)
        load = Load(address, alone(bundles, TEXTS), REQUESTS, CALLERS)
        load.start()
        took = swap(load, deeds, REQUESTS)
        load.join()
    assert not load.faults, load.faults[0]
    assert len(load.sent) == REQUESTS
    assert set(load.answers) == set(bundles)
    assert max(end - begin for begin, end in took) < NOTICED
