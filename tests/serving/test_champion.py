"""Fetching, swapping, and what happens when either goes wrong; against a real registry."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pytest
import structlog

from complaints.bundle import MANIFEST, Bundle
from complaints.errors import BundleError, NotReady, RegistryError
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from serving.champion import Champion, First, fetch, load, registered
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

    def challenge(self, version: str) -> None:
        self.client.set_registered_model_alias(self.name, "challenger", version)

    def digest(self, version: str) -> str:
        """Of the bundle that lies there."""
        place = self.client.get_model_version_download_uri(self.name, version)
        [manifest] = Path(place.removeprefix("file://")).rglob(MANIFEST)
        return Bundle.open(manifest.parent).digest

    def tag(self, version: str, digest: str) -> None:
        self.client.set_model_version_tag(self.name, version, "digest", digest)


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
    meant = registry.digest(version)
    registry.tag(version, here.digest)
    assert Bundle.open(fetch(registry.uri, registry.name, version, models)[0]).digest == here.digest
    registry.tag(version, meant)
    path, _ = fetch(registry.uri, registry.name, version, models)
    assert Bundle.open(path).digest == meant
    registry.tag(version, "0" * 64)
    with pytest.raises(BundleError, match=f"registered as bundle 000000000000, but {meant[:12]} lies there"):
        fetch(registry.uri, registry.name, version, models)
    assert Bundle.open(path).digest == meant


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
        registered(f"sqlite:///{tmp_path / 'none.db'}", registry.name, "champion")
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

    registry.challenge(versions[1])
    wait_until(lambda: champion.challenger() is not None)
    beside = champion.challenger()
    assert beside is not None
    assert (beside.version, beside.alias) == (versions[1], "challenger")
    registry.challenge(damaged)
    time.sleep(0.5)
    assert champion.challenger() is beside  # the one before goes on
    registry.crown(versions[2])
    wait_until(lambda: champion.current().version == versions[2])
    registry.client.delete_registered_model_alias(registry.name, "challenger")
    wait_until(lambda: champion.challenger() is None)
    assert champion.current().version == versions[2]


class Slow:
    """Stands for mlflow's download: those of one version wait to be let go."""

    def __init__(self, registry: Registry, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = registry.client.get_model_version_download_uri(registry.name, version)
        self.real = mlflow.artifacts.download_artifacts
        self.begun, self.gate = threading.Event(), threading.Event()
        monkeypatch.setattr(mlflow.artifacts, "download_artifacts", self)

    def __call__(self, *, artifact_uri: str, **options: Any) -> str:
        if artifact_uri == self.place:
            self.begun.set()
            assert self.gate.wait(60)
        return str(self.real(artifact_uri=artifact_uri, **options))


@pytest.mark.parametrize("slow_one", ["challenger", "champion"])
def test_a_slow_download_of_one_does_not_hold_the_other_up(
    registry: Registry, champion: Champion, monkeypatch: pytest.MonkeyPatch, wait_until: Any, slow_one: str
) -> None:
    first, slow, quick = (registry.register("bundle", favour=i) for i in range(3))
    registry.crown(first)
    champion.start()
    wait_until(lambda: champion._snapshot is not None)
    download = Slow(registry, slow, monkeypatch)
    if slow_one == "challenger":
        registry.challenge(slow)
        assert download.begun.wait(20)
        registry.crown(quick)
        wait_until(lambda: champion.current().version == quick)
        registry.crown(first)
        wait_until(lambda: champion.current().version == first)
        assert champion.challenger() is None
    else:
        registry.crown(slow)
        assert download.begun.wait(20)
        registry.challenge(quick)
        wait_until(lambda: champion.challenger() is not None)
        assert champion.current().version == first
    download.gate.set()
    wait_until(lambda: slow in (champion.current().version, getattr(champion.challenger(), "version", None)))


def test_what_comes_after_the_end_is_not_loaded(
    registry: Registry, champion: Champion, settings: Settings, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    first, slow = registry.register("bundle"), registry.register("bundle", favour=1)
    registry.crown(first)
    champion.start()
    note = settings.models / f"champion-{registry.name}.json"
    wait_until(note.exists)
    written = note.read_bytes()
    download = Slow(registry, slow, monkeypatch)
    registry.crown(slow)
    assert download.begun.wait(20)
    champion.stop()
    download.gate.set()
    wait_until(lambda: not any(thread.is_alive() for thread in champion._threads))
    assert (champion.current().version, note.read_bytes()) == (first, written)
    assert not [left for left in settings.models.iterdir() if left.name.startswith(".")]


def test_version_1_of_another_registry_is_another_model(
    registry: Registry, champion: Champion, settings: Settings, wait_until: Any
) -> None:
    """Champion and challenger, followed by number and digest; what has no digest by its number alone."""

    def begin(*favours: int) -> list[str]:
        versions = [registry.register("bundle", favour=favour) for favour in favours]
        digests = [registry.digest(version) for version in versions]
        for version, digest in zip(versions, digests, strict=True):
            registry.tag(version, digest)
        registry.challenge(versions[1])
        registry.crown(versions[0])
        return [*versions, *digests]

    def answering() -> list[str]:
        both = [champion._snapshot, champion.challenger()]
        return [*(one.version for one in both if one), *(one.digest for one in both if one)]

    before = begin(0, 1)
    champion.start()
    wait_until(lambda: answering() == before)
    registry.client.delete_registered_model(registry.name)
    registry.client.create_registered_model(registry.name)
    after = begin(2, 3)
    assert after[:2] == before[:2] == ["1", "2"]
    wait_until(lambda: answering() == after)
    again = Champion(settings, Policy.load())  # and it is what is remembered
    again._recall()
    assert again.current().digest == after[2]


def test_another_database_in_the_registry_s_place_is_read(registry: Registry, tmp_path: Path) -> None:
    """As where a backup is put back under a service that runs."""
    versions = [registry.register("bundle", favour=i) for i in range(2)]
    registry.crown(versions[0])
    here, other = tmp_path / "here.db", tmp_path / "other.db"
    for copy in (here, other):
        with (
            closing(sqlite3.connect(registry.uri.removeprefix("sqlite:///"))) as there,
            closing(sqlite3.connect(copy)) as made,
        ):
            there.backup(made)
        registry.crown(versions[1])
    assert registered(f"sqlite:///{here}", registry.name, "champion").version == versions[0]
    other.replace(here)
    assert registered(f"sqlite:///{here}", registry.name, "champion").version == versions[1]


def test_what_killed_downloads_left_is_removed(registry: Registry, tmp_path: Path) -> None:
    models = tmp_path / "models"
    abandoned, under_way = models / f".{registry.name}-v1-abc", models / f".{registry.name}-v1-def"
    for left in (abandoned, under_way):
        (left / "bundle").mkdir(parents=True)
    os.utime(abandoned, (0, 0))
    path, _ = fetch(registry.uri, registry.name, registry.register("bundle"), models)
    assert {one.name for one in models.iterdir()} == {path.name, under_way.name}


def test_a_champion_that_could_not_be_written_down_is_as_soon_as_there_is_room(
    registry: Registry, champion: Champion, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [registry.register("bundle", favour=i) for i in range(2)]
    registry.crown(versions[0])
    champion.look()
    registry.crown(versions[1])

    def full(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no space left"):
            champion.look()
    assert champion.current().version == versions[1]
    assert not [left for left in settings.models.iterdir() if left.name.startswith(".")]
    champion.look()
    again = Champion(settings, Policy.load())
    again._recall()
    assert again.current().version == versions[1]
