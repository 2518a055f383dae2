"""Fetching, swapping, and what happens when either goes wrong; against a real registry."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from complaints.bundle import Bundle
from complaints.errors import BundleError, NotReady, RegistryError
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from serving.champion import Champion, First, fetch, load, resolve
from serving.settings import Settings

NAMES = itertools.count()


class Registry:
    """One registered model of its own in the session's registry."""

    def __init__(self, client: Any, folder: Path, make_bundle: Any) -> None:
        self.client, self.folder, self.make_bundle = client, folder, make_bundle
        self.uri = client.tracking_uri
        self.name = f"model-{next(NAMES)}"
        client.create_registered_model(self.name)

    def register(self, place: str, **bundle: Any) -> str:
        """A new version whose bundle lies at `place` among its artefacts, and leans to label `favour`."""
        source = self.folder / f"{self.name}-{next(NAMES)}"
        self.make_bundle(source / place, **bundle)
        return str(self.client.create_model_version(self.name, str(source)).version)

    def crown(self, version: str) -> None:
        self.client.set_registered_model_alias(self.name, "champion", version)


@pytest.fixture
def registry(mlflow_client: Any, tmp_path: Path, make_bundle: Any) -> Registry:
    return Registry(mlflow_client, tmp_path / "artifacts", make_bundle)


@pytest.fixture
def settings(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    return Settings(home=tmp_path / "home", model=registry.name, poll=0.1, workers=2)


@pytest.fixture
def champion(settings: Settings) -> Iterator[Champion]:
    one = Champion(settings, Policy.load())
    yield one
    one.stop()


@pytest.mark.parametrize("place", ["bundle", "artifacts/bundle"])
def test_fetch_brings_the_bundle_once(registry: Registry, tmp_path: Path, place: str) -> None:
    version = registry.register(place)
    registry.crown(version)
    models = tmp_path / "models"
    path, found = fetch(registry.uri, registry.name, "champion", models)
    assert (path, found) == (models / f"{registry.name}-v{version}", version)
    written = (path / "graph.onnx").stat().st_mtime_ns
    assert fetch(registry.uri, registry.name, version, models) == (path, version)
    assert (path / "graph.onnx").stat().st_mtime_ns == written
    (path / "graph.onnx").write_bytes(b"damaged since")
    assert fetch(registry.uri, registry.name, version, models) == (path, version)
    Bundle.open(path)
    assert [entry.name for entry in models.iterdir()] == [path.name]


def test_the_same_version_of_another_registry_is_not_taken(
    registry: Registry, make_bundle: Any, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    version = registry.register("bundle", favour=1)
    here = make_bundle(models / f"{registry.name}-v{version}", favour=2)
    meant = make_bundle(tmp_path / "meant", favour=1)
    registry.client.set_model_version_tag(registry.name, version, "digest", here.digest)
    assert Bundle.open(fetch(registry.uri, registry.name, version, models)[0]).digest == here.digest
    registry.client.set_model_version_tag(registry.name, version, "digest", meant.digest)
    path, _ = fetch(registry.uri, registry.name, version, models)
    assert Bundle.open(path).manifest.files["graph.onnx"] == meant.manifest.files["graph.onnx"]


def test_what_cannot_be_fetched_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    models = tmp_path / "models"
    damaged = registry.register("bundle", damage=True)
    with pytest.raises(BundleError, match=r"graph\.onnx"):
        fetch(registry.uri, registry.name, damaged, models)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "MLmodel").write_text("x")
    other = str(registry.client.create_model_version(registry.name, str(empty)).version)
    with pytest.raises(BundleError, match="no bundle"):
        fetch(registry.uri, registry.name, other, models)
    for version in ("99", "champion"):
        with pytest.raises(RegistryError):
            fetch(registry.uri, registry.name, version, models)
    with pytest.raises(RegistryError, match="no registry"):
        resolve(f"sqlite:///{tmp_path / 'none.db'}", registry.name, "champion")
    assert not (tmp_path / "none.db").exists()
    assert not list(models.iterdir())


def test_a_damaged_champion_does_not_replace_a_good_one(
    registry: Registry, champion: Champion, settings: Settings, wait_until: Any
) -> None:
    with structlog.testing.capture_logs() as logs:
        champion.start()
        with pytest.raises(NotReady):
            champion.current()
        good, bad = registry.register("bundle"), registry.register("bundle", damage=True)
        registry.crown(good)
        wait_until((settings.models / f"champion-{registry.name}.json").exists)
        assert champion.current().version == good
        registry.crown(bad)
        wait_until(lambda: any("graph.onnx" in line.get("reason", "") for line in logs))
        time.sleep(0.5)
        assert champion.current().version == good
        registry.crown(registry.register("artifacts/bundle", favour=1))
        wait_until(lambda: champion.current().version not in (good, bad))
    assert sum("graph.onnx" in line.get("reason", "") for line in logs) == 1  # not a line at every look


def test_it_starts_from_memory_with_a_dead_registry(
    registry: Registry, settings: Settings, served: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    version = registry.register("bundle")
    registry.crown(version)
    Champion(settings, Policy.load()).look()
    for dead in ("http://127.0.0.1:9", "sqlite:////nowhere/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", dead)
        with structlog.testing.capture_logs() as logs:
            one = Champion(settings, Policy.load())
            one.start()
            assert one.current().version == version
            wait_until(lambda logs=logs: any(line["event"] == "champion_kept" for line in logs))
            assert one.current().version == version
            one.stop()
    with served(settings) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/predictions", json={"text": "空调"}).json()["model"] == {
            "name": registry.name, "version": version, "alias": "champion",
        }  # fmt: skip
    shutil.rmtree(settings.models / f"{registry.name}-v{version}")
    with served(settings) as client:
        assert client.get("/health/live").status_code == 200
        for response in (client.get("/health/ready"), client.post("/v1/predictions", json={"text": "空调"})):
            assert (response.status_code, response.json()["type"]) == (503, "urn:jianwei:problem:not-ready")
            assert int(response.headers["retry-after"]) > 0


def test_a_first_start_answers_before_there_is_a_registry(
    registry: Registry, settings: Settings, make_bundle: Any, tmp_path: Path, wait_until: Any
) -> None:
    packaged = make_bundle(tmp_path / "packaged")
    digest = packaged.digest
    asked, may = [], threading.Event()

    def register() -> None:
        asked.append("once more")
        may.wait(30)
        if len(asked) == 1:
            raise RegistryError("the disk is full")
        source = registry.folder / registry.name
        shutil.copytree(packaged.path, source / "bundle")
        registry.crown(str(registry.client.create_model_version(registry.name, str(source)).version))

    one = Champion(settings, Policy.load(), First(packaged.path, register))
    note = settings.models / f"champion-{registry.name}.json"
    with structlog.testing.capture_logs() as logs:
        one.start()
        first = one.current()
        assert (first.version, first.alias, first.digest) == ("1", "champion", digest)
        may.set()
        wait_until(note.exists)
    assert any("the disk is full" in line.get("reason", "") for line in logs)
    assert one.current() is first  # what is in the registry now is what answered all the time
    shutil.rmtree(packaged.path)  # as another release would
    two = Champion(settings, Policy.load())
    two.start()
    assert (two.current().version, two.current().digest) == ("1", digest)
    registry.crown(registry.register("bundle", favour=1))
    wait_until(lambda: one.current().version == two.current().version == "2")
    one.stop()
    two.stop()


def test_a_swap_under_load_mixes_nothing(registry: Registry, settings: Settings, served: Any, wait_until: Any) -> None:
    versions = [registry.register("bundle", favour=i) for i in range(2)]
    registry.crown(versions[0])
    labels = Taxonomy.load("consumer").heads["category"].ids
    expected = {version: labels[i] for i, version in enumerate(versions)}
    seen: list[tuple[str, str]] = []
    failures: list[object] = []
    stop = threading.Event()
    with served(settings) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)

        def ask() -> None:
            while not stop.is_set():
                one = client.post("/v1/predictions", json={"text": "空调坏了"})
                many = client.post("/v1/predictions:batch", json={"items": [{"text": "空调坏了"}] * 4})
                if one.status_code != 200 or many.status_code != 200:
                    failures.append((one.text, many.text))
                    return
                batch = [item["prediction"] for item in many.json()["items"]]
                if len({answer["model"]["version"] for answer in batch}) != 1:
                    failures.append("a batch of two models")
                for answer in (one.json(), *batch):
                    seen.append((answer["model"]["version"], answer["heads"]["category"]["label"]))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in (versions[1], versions[0], versions[1]):
            registry.crown(version)
            wait_until(lambda version=version: client.get("/v1/model").json()["version"] == version)
            start = len(seen)
            wait_until(lambda start=start: len(seen) > start + 20 or failures)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert {version for version, _ in seen} == set(versions)
    assert all(expected[version] == label for version, label in seen)


def test_load_refuses_what_cannot_answer(make_bundle: Any, tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", damage=True)
    with pytest.raises(BundleError):
        load(tmp_path / "b", Policy.load(), version="1", alias=None)


def test_the_challenger_is_followed_beside_the_champion(
    registry: Registry, champion: Champion, make_bundle: Any, wait_until: Any
) -> None:
    versions = [registry.register("bundle", favour=i) for i in range(3)]
    damaged = registry.register("bundle", damage=True)
    registry.crown(versions[0])
    champion.start()
    wait_until(lambda: champion._snapshot is not None)
    assert champion.challenger() is None

    def challenge(version: str) -> None:
        registry.client.set_registered_model_alias(registry.name, "challenger", version)

    challenge(versions[1])
    wait_until(lambda: champion.challenger() is not None)
    beside = champion.challenger()
    assert beside is not None
    assert (beside.version, beside.alias) == (versions[1], "challenger")
    challenge(damaged)
    time.sleep(0.5)
    assert champion.challenger() is beside  # the one before goes on
    registry.crown(versions[2])
    wait_until(lambda: champion.current().version == versions[2])
    registry.client.delete_registered_model_alias(registry.name, "challenger")
    wait_until(lambda: champion.challenger() is None)
    assert champion.current().version == versions[2]
