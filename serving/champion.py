"""Which model answers: the registry's champion, fetched, loaded beside the one that serves, and swapped in.

The last champion is remembered on disk and loaded at once on the next start: asking the registry takes seconds
(mlflow alone two to import), and a registry that is down must not keep a model from serving. For the same reason the
very first start answers before there is a registry, and makes it behind its answers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict

from complaints.bundle import MANIFEST, Bundle
from complaints.errors import BundleError, JianweiError, NotReady, RegistryError
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy
from serving.settings import Settings

CHAMPION, CHALLENGER = "champion", "challenger"
# Registries count from it.
FIRST_VERSION = "1"
# Seconds until a version that could not be loaded is fetched again; one that is whole would not change.
RETRY = 60.0
# Seconds after which what was half downloaded is that of a process that was killed: no bundle takes an hour.
ABANDONED = 3600.0
# Mlflow's own defaults try a dead server for minutes; here the next look comes in seconds anyway. And it keeps a
# database open, so that it would go on reading a file of which another has taken the place.
_MLFLOW = {
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # it tells of every database that it opens so
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

log = structlog.get_logger()

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One loaded model and its names; a request keeps the one it started with, so its answer names what made it."""

    predictor: Predictor
    name: str
    version: str
    alias: str | None
    digest: str


class Source(Protocol):
    """Where requests get their model from."""

    def start(self) -> None:
        """Begin loading; returns before a registry is asked."""

    def current(self) -> Snapshot:
        """The model that answers now; raises NotReady where there is none yet."""

    def challenger(self) -> Snapshot | None:
        """The model that answers in shadow; None where there is none."""

    def stop(self) -> None:
        """Stop watching."""


class Fixed:
    """A source that always answers with one bundle: for demonstrations, and for tests."""

    def __init__(self, snapshot: Snapshot, challenger: Snapshot | None = None) -> None:
        self._snapshot = snapshot
        self._challenger = challenger

    def start(self) -> None:
        """Nothing: it is loaded."""

    def current(self) -> Snapshot:
        """The one."""
        return self._snapshot

    def challenger(self) -> Snapshot | None:
        """The other, if one was given."""
        return self._challenger

    def stop(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class First:
    """What answers while there is no registry yet: `bundle`, a folder, which `register` makes FIRST_VERSION of one.

    `register` also makes it the champion, where no other is by then; it is called until it raises nothing.
    """

    bundle: Path
    register: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Registered:
    """A version as the registry has it; `digest` is that of its bundle, None where it was registered without one.

    The number alone is not enough: another registry's version 1 is another bundle.
    """

    version: str
    digest: str | None

    def is_loaded(self, present: Snapshot | None) -> bool:
        """Whether the model that is loaded is this version."""
        return present is not None and present.version == self.version and self.digest in (None, present.digest)


class _Remembered(BaseModel):
    """`champion-<name>.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: str
    folder: Path


class Champion:
    """The model under the alias `champion`, and the one under `challenger`, each watched by a thread of its own.

    A slow download of one does not hold the other up. Whatever goes wrong (registry dead, bundle damaged, policy unfit)
    is logged, and the model that served goes on serving.
    """

    def __init__(self, settings: Settings, policy: Policy, first: First | None = None) -> None:
        self._settings = settings
        self._policy = policy
        self._first = first
        self._note = settings.models / f"champion-{settings.model}.json"
        self._snapshot: Snapshot | None = None
        self._challenger: Snapshot | None = None
        self._unwritten: _Remembered | None = None  # what the note should say and does not: the disk may be full
        self._refused: dict[str, tuple[Registered, float]] = {}  # alias -> version, and when it may be tried again
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(f"{alias}_kept", look), name=alias, daemon=True)
            for alias, look in ((CHAMPION, self.look), (CHALLENGER, self.look_beside))
        ]

    def start(self) -> None:
        """Load the remembered champion, or what a first start answers with, and begin to watch the registry."""
        try:
            self._recall()
        except (JianweiError, OSError, ValueError) as error:
            log.warning("champion_not_remembered", model=self._settings.model, reason=str(error))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop watching; a download under way is left to end by itself, and what it brought is not loaded."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=1.0)

    def current(self) -> Snapshot:
        """The champion as last loaded; raises NotReady where none could be loaded yet."""
        snapshot = self._snapshot
        if snapshot is None:
            raise NotReady(
                f"no champion of model {self._settings.model!r} is loaded: "
                "promote a version with `jianwei models promote`, or wait until it is fetched"
            )
        return snapshot

    def challenger(self) -> Snapshot | None:
        """The challenger as last loaded; None where there is none, or where no traffic is to be answered in shadow."""
        return self._challenger

    def look(self) -> None:
        """Ask the registry once and load a new champion if there is one; raises RegistryError or BundleError."""
        if self._first is not None:
            self._register(self._first)
        name, served = self._settings.model, self._snapshot
        loaded = self._load(CHAMPION, registered(self._settings.tracking_uri, name, CHAMPION), served)
        if loaded is not None:
            self._snapshot = loaded
            self._unwritten = _Remembered(version=loaded.version, folder=loaded.predictor.bundle.path)
            log.info("champion_loaded", model=name, version=loaded.version, before=served.version if served else None)
        if self._unwritten is not None:
            _write(self._note, self._unwritten.model_dump_json())
            self._unwritten = None

    def look_beside(self) -> None:
        """The same for the challenger, which may also be gone; raises RegistryError or BundleError."""
        name = self._settings.model
        if self._settings.shadow_share == 0:
            return
        if self._first is not None or self._snapshot is None:
            return  # there may be no registry yet, and until there is a champion there is nothing to challenge
        found = challenger_of(self._settings.tracking_uri, name)
        if found is None:
            self._challenger = None
            return
        loaded = self._load(CHALLENGER, found, self._challenger)
        if loaded is not None:
            self._challenger = loaded
            log.info("challenger_loaded", model=name, version=loaded.version)

    def _load(self, alias: str, found: Registered, present: Snapshot | None) -> Snapshot | None:
        """Fetch and load a version; None where it is loaded, failed a short while ago, or is not wanted any more."""
        if found.is_loaded(present):
            return None
        refused = self._refused.get(alias)
        if refused is not None and refused[0] == found and time.monotonic() < refused[1]:
            return None
        self._refused[alias] = found, time.monotonic() + RETRY
        folder, version = fetch(self._settings.tracking_uri, self._settings.model, found.version, self._settings.models)
        if self._stopped.is_set():
            return None
        loaded = load(folder, self._policy, version=version, alias=alias, name=self._settings.model)
        self._refused.pop(alias, None)
        return loaded

    def _register(self, first: First) -> None:
        """Put what answers into the registry; it goes on answering, and is remembered from where the registry's lies.

        The package's own folder is not remembered: the next release has another model there.
        """
        first.register()
        folder, version = fetch(self._settings.tracking_uri, self._settings.model, CHAMPION, self._settings.models)
        self._first, served = None, self._snapshot
        if Registered(version, Bundle.open(folder).digest).is_loaded(served):
            self._unwritten = _Remembered(version=version, folder=folder)

    def _recall(self) -> None:
        name = self._settings.model
        if self._first is not None:
            path, version = self._first.bundle, FIRST_VERSION
        elif self._note.exists():
            note = _Remembered.model_validate_json(self._note.read_text(encoding="utf-8"))
            path, version = note.folder, note.version
        else:
            return
        self._snapshot = load(path, self._policy, version=version, alias=CHAMPION, name=name)
        log.info("champion_remembered" if self._first is None else "first_start", model=name, version=version)

    def _watch(self, event: str, look: Callable[[], None]) -> None:
        said = ""
        while not self._stopped.is_set():
            try:
                look()
                said = ""
            except Exception as error:  # a watcher that dies leaves the service on an old model unseen
                problem = f"{type(error).__name__}: {error}"
                if problem != said:  # once, not every few seconds for as long as a server is down
                    log.error(event, model=self._settings.model, reason=problem)
                said = problem
            self._stopped.wait(self._settings.poll)


def load(path: Path, policy: Policy, *, version: str, alias: str | None, name: str | None = None) -> Snapshot:
    """Open, verify and warm up the bundle in folder `path`; raises BundleError where it cannot be served.

    `name` is the registered name, the manifest's where not given.
    """
    bundle = Bundle.open(path)
    predictor = Predictor(bundle, policy)
    try:
        predictor.predict([Complaint(text="手机坏了，客服不理人，要求退款。")])
    except JianweiError:
        raise
    except Exception as error:  # the graph ran into something that no check foresaw
        raise BundleError(f"bundle {path}: it loads, but cannot answer ({type(error).__name__})") from error
    return Snapshot(predictor, name or bundle.manifest.name, version, alias, bundle.digest)


def registered(tracking_uri: str, name: str, version_or_alias: str) -> Registered:
    """The version of this number (digits) or under this alias. Raises RegistryError."""
    client = _client(tracking_uri)
    ask = client.get_model_version if version_or_alias.isdigit() else client.get_model_version_by_alias
    found = _asked(lambda: ask(name, version_or_alias))
    return Registered(str(found.version), found.tags.get("digest"))


def challenger_of(tracking_uri: str, name: str) -> Registered | None:
    """The version that runs in shadow; None where there is none. Raises RegistryError where nobody can say."""
    client = _client(tracking_uri)
    version = _asked(lambda: client.get_registered_model(name)).aliases.get(CHALLENGER)
    return None if version is None else registered(tracking_uri, name, str(version))


def fetch(tracking_uri: str, name: str, version_or_alias: str, folder: Path) -> tuple[Path, str]:
    """Bring a registered version's bundle to `folder/<name>-v<version>`, whole or not at all; returns path, version.

    What is there already is used as it is, unless it is damaged or of another registry. Raises RegistryError where
    the registry refuses or cannot be reached, BundleError where the version holds no bundle that opens, or another
    than was registered.
    """
    meant = registered(tracking_uri, name, version_or_alias)
    version, target = meant.version, folder / f"{name}-v{meant.version}"
    if _opens(target, meant.digest):
        return target, version
    client = _client(tracking_uri)
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder, name)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=folder) as temporary:
        # Not models:/name/version: for that mlflow looks at its registry for the whole process, which others may set.
        place = _asked(lambda: client.get_model_version_download_uri(name, version))
        _asked(lambda: download_artifacts(artifact_uri=place, dst_path=temporary, tracking_uri=tracking_uri))
        manifests = sorted(Path(temporary).rglob(MANIFEST), key=lambda path: len(path.parts))
        if not manifests:
            raise BundleError(f"{name} version {version} holds no bundle: was it registered by `jianwei train`?")
        found = manifests[0].parent
        if (digest := Bundle.open(found).digest) != meant.digest and meant.digest is not None:
            raise BundleError(
                f"{name} version {version} was registered as bundle {meant.digest[:12]}, but {digest[:12]} lies there: "
                "import the bundle that is meant as a new version (jianwei models import FOLDER)"
            )
        found.chmod(0o755)
        _replace(found, target)
    return target, version


def _sweep(folder: Path, name: str) -> None:
    """Remove what processes that were killed in the midst of a download left there; others may be downloading."""
    for left in folder.glob(f".{name}-v*"):
        with suppress(FileNotFoundError):  # another was quicker
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def _opens(path: Path, digest: str | None = None) -> bool:
    """Whether a whole bundle lies there, and is the one registered: another registry's version 1 may lie there too."""
    try:
        return Bundle.open(path).digest == digest or digest is None
    except JianweiError:
        return False


def _replace(found: Path, target: Path) -> None:
    """Move a verified bundle to its place; another process may do the same at the same time."""
    try:
        found.replace(target)
    except OSError:
        if _opens(target, Bundle.open(found).digest):
            return
        damaged = found.parent / "damaged"
        target.replace(damaged)  # a folder cannot be replaced by a folder
        found.replace(target)


def _client(tracking_uri: str) -> Any:
    """Mlflow's client, imported at the first use: two seconds that no start has to wait for."""
    if no_registry(tracking_uri):
        raise RegistryError(f"there is no registry at {tracking_uri}: train a model, or set MLFLOW_TRACKING_URI")
    ask_briefly()
    import mlflow

    return mlflow.MlflowClient(tracking_uri, tracking_uri)


def no_registry(tracking_uri: str) -> bool:
    """Whether the registry is a local file, and is not there: who opens it would make an empty one."""
    path = tracking_uri.removeprefix("sqlite:///")
    return path != tracking_uri and not Path(path).exists()


def ask_briefly() -> None:
    """Have mlflow, before it is imported, give a dead server up within seconds and see which file is its database now.

    What the environment says of it goes first.
    """
    for variable, value in _MLFLOW.items():
        os.environ.setdefault(variable, value)


def _asked(question: Callable[[], Answer]) -> Answer:
    """Mlflow's errors, and those of the libraries beneath it, as RegistryError."""
    try:
        return question()
    except Exception as error:
        raise RegistryError(f"the model registry failed: {error}") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
