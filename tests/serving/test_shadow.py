"""A challenger in shadow: asked after the answer, on a share, never waited for, and its answers listed."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from complaints.records import Complaint, HeadPrediction
from complaints.risk import Policy
from serving.app import create_app
from serving.champion import Fixed, Snapshot, load
from serving.settings import Settings
from serving.shadow import WAITING, Shadow
from serving.store.queries import Store

EMPTY: dict[str, Any] = {"heads": [], "disagreements": []}


@pytest.fixture(scope="module")
def challenger(make_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Leans to another label than the shared snapshot."""
    bundle = make_bundle(tmp_path_factory.mktemp("other") / "consumer", favour=1)
    return load(bundle.path, Policy.load(), version="8", alias="challenger")


@pytest.fixture
def client(served: Any, snapshot: Snapshot, challenger: Snapshot, tmp_path: Path) -> Iterator[httpx.Client]:
    with served(Settings(home=tmp_path, workers=2, shadow_share=1.0), Fixed(snapshot, challenger)) as one:
        yield one


def test_its_answers_are_listed_beside_those_that_were_given(client: httpx.Client, wait_until: Any) -> None:
    assert client.get("/v1/shadow").json() == {"name": "consumer", "version": "8", "champion": "7"} | EMPTY
    given = client.post("/v1/predictions", json={"text": "空调坏了"}).json()
    batch = client.post("/v1/predictions:batch", json={"items": [{"text": "物流慢"}, {"text": ""}, {"text": "退款"}]})
    assert batch.status_code == 200

    def told() -> dict[str, Any]:
        return client.get("/v1/shadow").json()  # type: ignore[no-any-return]

    wait_until(lambda: [one["answers"] for one in told()["heads"]] == [3] * 4)
    found = told()
    assert {one["same"] for one in found["heads"]} == {0}  # every head leans to the other label
    assert len(found["disagreements"]) == 12
    mine = [one for one in found["disagreements"] if one["prediction_id"] == given["id"]]
    category = next(one for one in mine if one["head"] == "category")
    assert category["label"] == given["heads"]["category"]["label"]
    assert category["shadow_label"] != category["label"]
    assert given["model"]["version"] == "7"
    narrowed = client.get("/v1/shadow", params={"head": "category", "limit": 2}).json()
    assert [one["head"] for one in narrowed["disagreements"]] == ["category"] * 2
    assert client.get("/v1/shadow", params={"version": "99"}).json()["heads"] == []
    assert client.get("/v1/shadow", params={"version": "x"}).status_code == 422


def test_the_same_key_is_answered_in_shadow_once(client: httpx.Client, wait_until: Any) -> None:
    for _ in range(3):
        client.post("/v1/predictions", json={"text": "退款"}, headers={"Idempotency-Key": "k1"})
    wait_until(lambda: client.get("/v1/shadow").json()["heads"])
    assert client.get("/v1/shadow").json()["heads"][0]["answers"] == 1


class Slow:
    """A predictor that waits to be let go, and counts."""

    def __init__(self, real: Any) -> None:
        self.real, self.gate, self.asked = real, threading.Event(), 0

    def read(self, complaints: list[Complaint], **options: Any) -> Any:
        self.asked += 1
        self.gate.wait(10)
        return self.real.read(complaints, **options)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield one
    one.close()


def test_a_slow_challenger_drops_and_never_blocks(snapshot: Snapshot, store: Store, wait_until: Any) -> None:
    slow = Slow(snapshot.predictor)
    shadow = Shadow(Fixed(snapshot, replace(snapshot, predictor=slow)), store, 1.0, lambda: False)  # type: ignore[arg-type]
    started = time.perf_counter()
    for i in range(20 * WAITING):
        shadow.offer(f"pred_{i}", Complaint(text="空调"))
    assert time.perf_counter() - started < 1.0
    wait_until(lambda: slow.asked == 1)
    slow.gate.set()
    wait_until(lambda: slow.asked >= WAITING)
    time.sleep(0.2)
    assert slow.asked <= WAITING + 1  # what did not fit was dropped
    shadow.close()


def test_it_waits_while_callers_do(snapshot: Snapshot, store: Store, wait_until: Any) -> None:
    slow, busy = Slow(snapshot.predictor), threading.Event()
    slow.gate.set()
    busy.set()
    shadow = Shadow(Fixed(snapshot, replace(snapshot, predictor=slow)), store, 1.0, busy.is_set)  # type: ignore[arg-type]
    shadow.offer("pred_1", Complaint(text="空调"))
    time.sleep(0.2)
    assert slow.asked == 0
    busy.clear()
    wait_until(lambda: slow.asked == 1)
    shadow.close()


def test_it_works_on_an_idle_core_alone(snapshot: Snapshot, wait_until: Any, tmp_path: Path) -> None:
    slow = Slow(snapshot.predictor)
    slow.gate.set()
    source = Fixed(snapshot, replace(snapshot, predictor=slow))  # type: ignore[arg-type]
    app, go = create_app(Settings(home=tmp_path, workers=2, shadow_share=1.0), source), threading.Event()
    with TestClient(app):
        service = app.state.service
        jobs = [service.workers.submit(lambda: go.wait(10)) for _ in range(2)]
        wait_until(lambda: service.workers.depth == 0)  # nothing waits, and both cores answer
        service.shadow.offer("pred_1", Complaint(text="空调"))
        time.sleep(0.2)
        assert slow.asked == 0
        go.set()
        wait_until(lambda: slow.asked == 1)
        assert all(job.result(10) for job in jobs)
        go.clear()
        service.workers.submit(lambda: go.wait(10))
        service.shadow.offer("pred_2", Complaint(text="空调"))
        wait_until(lambda: slow.asked == 2)  # one core of two is idle
        go.set()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_it_answers_where_its_priority_cannot_be_lowered(
    snapshot: Snapshot, store: Store, wait_until: Any, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    tried = []

    def refuse(*asked: int) -> None:
        tried.append(asked)
        raise ProcessLookupError

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "setpriority", refuse)
    slow = Slow(snapshot.predictor)
    slow.gate.set()
    shadow = Shadow(Fixed(snapshot, replace(snapshot, predictor=slow)), store, 1.0, lambda: False)  # type: ignore[arg-type]
    shadow.offer("pred_1", Complaint(text="空调"))
    wait_until(lambda: slow.asked == 1)
    assert bool(tried) is (platform == "linux")
    shadow.close()


def test_it_gives_way_before_it_writes(snapshot: Snapshot, store: Store, put: Any, wait_until: Any) -> None:
    slow, busy = Slow(snapshot.predictor), threading.Event()
    shadow = Shadow(Fixed(snapshot, replace(snapshot, predictor=slow)), store, 1.0, busy.is_set)  # type: ignore[arg-type]
    shadow.offer(put(store), Complaint(text="空调"))
    wait_until(lambda: slow.asked == 1)
    busy.set()  # a caller came while it answered
    slow.gate.set()
    time.sleep(0.2)
    assert store.newest_shadow(snapshot.name) is None
    busy.clear()
    wait_until(lambda: store.newest_shadow(snapshot.name) is not None)
    shadow.close()


def test_a_parent_and_its_part_agree(url: str, put: Any) -> None:
    """By the rule of the quality page, on both databases."""
    store = Store(url)
    pairs = (
        ("quality.fake", "quality", True),
        ("quality", "quality.fake", True),
        ("quality.fake", "quality.fake", True),
        ("quality.fake", "quality.defect", False),
        ("after_sale.slow", "after-sale", False),
        ("quality_x.fake", "quality", False),
    )
    asked = {put(store, label=given, vector=i): (given, other) for i, (given, other, _) in enumerate(pairs)}
    for prediction_id, (_, other) in asked.items():
        answer = HeadPrediction(
            decision="auto", label=other, name=other, confidence=0.9, threshold=0.5, prediction_set=(other,), top_k=()
        )
        store.save_shadow(prediction_id, ("m", "8"), {"category": answer}, datetime.now(UTC))
    [found] = store.shadow_agreement("m", "8", "7")
    assert (found.answers, found.same) == (len(pairs), sum(same for *_, same in pairs))
    different = {(one.label, one.shadow_label) for one in store.disagreements("m", "8", "7", None, 10)}
    assert different == {(given, other) for given, other, same in pairs if not same}
    store.close()


def test_other_pairs_of_versions_are_not_mixed_in(
    served: Any, snapshot: Snapshot, challenger: Snapshot, wait_until: Any, tmp_path: Path
) -> None:
    """The champion is swapped while the challenger stays, and then the other way round."""
    source = Fixed(snapshot, challenger)
    with served(Settings(home=tmp_path, workers=2, shadow_share=1.0), source) as client:

        def compared(answers: int) -> bool:
            told = client.get("/v1/shadow").json()
            return [one["answers"] for one in told["heads"]] == [answers] * 4

        ids = []
        for champion, beside in ((snapshot, challenger), (replace(snapshot, version="9"), challenger)):
            source._snapshot, source._challenger = champion, beside
            assert client.get("/v1/shadow").json()["heads"] == []
            ids.append(client.post("/v1/predictions", json={"text": "空调坏了"}).json()["id"])
            wait_until(lambda: compared(1))
        told = client.get("/v1/shadow").json()
        assert (told["version"], told["champion"]) == ("8", "9")
        assert {one["prediction_id"] for one in told["disagreements"]} == {ids[1]}
        source._challenger = replace(challenger, version="10")
        assert client.get("/v1/shadow").json() == {"name": "consumer", "version": "10", "champion": "9"} | EMPTY
        source._snapshot, source._challenger = (
            snapshot,
            challenger,
        )  # rolled back: the first answer counts again
        assert {one["prediction_id"] for one in client.get("/v1/shadow").json()["disagreements"]} == {ids[0]}


def test_the_share_is_drawn_by_the_prediction(snapshot: Snapshot, store: Store) -> None:
    shadow = Shadow(Fixed(snapshot, snapshot), store, 0.25, lambda: True)
    drawn = 0
    for i in range(200):  # a few at a time, for the queue is short
        shadow._queue.clear()
        shadow.offer(f"pred_{i}", Complaint(text="空调"))
        drawn += len(shadow._queue)
    shadow.close()
    assert 25 <= drawn <= 75


def test_without_a_challenger_nothing_is_kept(snapshot: Snapshot, store: Store) -> None:
    shadow = Shadow(Fixed(snapshot), store, 1.0, lambda: False)
    shadow.offer("pred_1", Complaint(text="空调"))
    assert not shadow._queue
    shadow.close()
    assert store.newest_shadow("consumer") is None
