"""The model registry: versions, the champion's alias, and the way back.

Needs mlflow-skinny alone, so that a serving install can promote and roll back too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by mlflow when it is imported
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # see serving/champion.py
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow
import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus
from mlflow.exceptions import MlflowException

from complaints.bundle import Bundle
from complaints.errors import Conflict, RegistryError

CHAMPION = "champion"
# Tag of a registered model: versions that were champion, oldest first, the present one last.
HISTORY = "jianwei.champions"
HISTORY_LENGTH = 50
# The version that runs in shadow.
CHALLENGER = "challenger"
# Files of a run: what was trained, and how it compares with the champion of that time.
RECIPE, COMPARISON = "recipe.yaml", "comparison.json"
# Folder of a run's later evaluations, and what their metrics begin with: those of training stay what they were.
EVALUATIONS, EVALUATION = "evaluations", "evaluation"
# Tags of a version: what the gate said, and why.
GATE, GATE_REASONS = "gate", "gate_reasons"
PASSED, REFUSED = "passed", "refused"
LONGEST_TAG = 4000
# Why a version becomes champion by force alone -> what is written before the reason.
FORCED = {
    "refused": "against the gate",
    "unjudged": "not measured against the champion",
    "outdated": "measured against another champion",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of a model."""

    name: str
    version: str
    aliases: tuple[str, ...]
    created_at: datetime
    run_id: str | None
    tags: dict[str, str]


def gate_tags(passed: bool, reasons: Sequence[str]) -> dict[str, str]:
    """What is written on a version that the gate judged."""
    return {GATE: PASSED if passed else REFUSED, GATE_REASONS: "; ".join(reasons)[:LONGEST_TAG]}


# Parameters of a run that hold the digest of a file that it read, before the file's name.
FILE_DIGEST = "sha256."


def loggable(key: str) -> str:
    """A key or path with a head's or file's name in it, as MLflow takes it: what it refuses becomes `_`."""
    return re.sub(r"[^/\w.\- ]", "_", key)


class Registry:
    """An MLflow tracking server or database with its model registry."""

    def __init__(self, tracking_uri: str, artifacts: Path | None = None) -> None:
        """`artifacts` is where runs of a local database keep their files; None leaves it to the server."""
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        self.tracking_uri = tracking_uri
        self._artifacts = artifacts if tracking_uri.startswith("sqlite:") else None
        if tracking_uri.startswith("sqlite:///"):
            Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.client = MlflowClient(tracking_uri, tracking_uri)
        except Exception as error:  # the store's own types: a file that is no database, a folder closed to us
            raise RegistryError(f"the model registry {tracking_uri} cannot be opened: {error}") from error

    def experiment(self, name: str) -> str:
        """The id of the experiment `name`, made if there is none."""
        with _refused():
            found = self.client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            place = str((self._artifacts / name).absolute()) if self._artifacts is not None else None
            return str(self.client.create_experiment(name, artifact_location=place))

    def register(self, name: str, source: str, run_id: str | None, tags: dict[str, str]) -> str:
        """Register what was logged at `source` as the next version of model `name`; returns the version."""
        with _refused():
            try:
                self.client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            return str(self.client.create_model_version(name, source, run_id, tags=tags).version)

    def register_bundle(self, bundle: Bundle, origin: str) -> str:
        """Log a bundle that was made elsewhere as a run of its own and register it; returns the version."""
        name = bundle.manifest.name
        with _refused():
            with self._new_run(name, origin) as run_id:
                self.client.log_artifacts(run_id, str(bundle.path), "bundle")
                for metric, value in bundle.manifest.metrics.items():
                    self.client.log_metric(run_id, loggable(metric), value)
            return self.register(name, f"runs:/{run_id}/bundle", run_id, {"origin": origin, "digest": bundle.digest})

    def log_evaluation(self, bundle: Bundle, rows: str, page: str, found: dict[str, Any]) -> str:
        """Log an evaluation to the run of the version that is this bundle, or to a run of its own; returns the run.

        `rows` says on what it was measured, `page` is the HTML, `found` evaluate.report(): they become
        evaluations/TIME ROWS/report.html and report.json, and metrics evaluation/HEAD/…. Raises RegistryError whatever
        fails.
        """
        name, now = bundle.manifest.name, datetime.now(UTC)
        folder = f"{EVALUATIONS}/{loggable(f'{now:%Y-%m-%d %H.%M.%S} {rows}'.replace('/', '_'))}"
        metrics = [
            Metric(loggable(f"{EVALUATION}/{head}/{key}"), float(value), int(now.timestamp() * 1000), 0)
            for head, numbers in found["heads"].items()
            for key, value in numbers.items()
            if isinstance(value, int | float)
        ]
        try:
            known = self._run_of(name, bundle.digest)
            with self._new_run(name, "evaluate") if known is None else nullcontext(known) as run_id:
                self.client.log_text(run_id, page, f"{folder}/report.html")
                self.client.log_dict(run_id, found, f"{folder}/report.json")
                self.client.log_batch(run_id, metrics)
            return run_id
        except RegistryError:
            raise
        except Exception as error:  # the store's own types: no network, a folder closed to us
            raise RegistryError(f"the model registry failed: {error}") from error

    def learned_from(self, bundle: Bundle) -> set[str]:
        """Digests of the files that the version which is this bundle was made from, as train.py logs them.

        Empty where its run is not known. Raises RegistryError whatever fails.
        """
        try:
            run_id = self._run_of(bundle.manifest.name, bundle.digest)
            params = {} if run_id is None else self.client.get_run(run_id).data.params
        except Exception as error:  # the store's own types
            raise RegistryError(f"the model registry failed: {error}") from error
        return {value for key, value in params.items() if key.startswith(FILE_DIGEST)}

    def _run_of(self, name: str, digest: str) -> str | None:
        """The run of the first version of `name` that is the bundle of this digest; None where there is none."""
        versions = self.client.search_model_versions(f"name = '{name}'")
        runs = [v.run_id for v in sorted(versions, key=lambda v: int(v.version)) if v.tags.get("digest") == digest]
        return next(filter(None, runs), None)

    @contextmanager
    def _new_run(self, name: str, origin: str) -> Iterator[str]:
        """The id of a new run in the experiment `name`; it ends as FAILED where what is done with it fails."""
        run_id = str(self.client.create_run(self.experiment(name), run_name=origin).info.run_id)
        try:
            yield run_id
        except BaseException:
            self.client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
            raise
        self.client.set_terminated(run_id)

    def champion(self, name: str) -> str | None:
        """The champion's version, None where there is none."""
        return self._aliased(name, CHAMPION)

    def challenger(self, name: str) -> str | None:
        """The version that runs in shadow, None where none does."""
        return self._aliased(name, CHALLENGER)

    def set_challenger(self, name: str, version: str | None) -> None:
        """Let `version` answer in shadow beside the champion; None ends it. Services follow within seconds."""
        with _refused():
            if version is None:
                self.client.delete_registered_model_alias(name, CHALLENGER)
                return
            self.client.get_model_version(name, version)
            if version == self.champion(name):
                raise RegistryError(f"{name} version {version} is the champion: it cannot challenge itself")
            self.client.set_registered_model_alias(name, CHALLENGER, version)

    def card(self, name: str, version: str) -> str | None:
        """The version's model card (Markdown); None where it has none."""
        return self._file(name, version, "README.md", bundled=True)

    def comparison(self, name: str, version: str) -> dict[str, Any] | None:
        """How the version compared with the champion of its time (gate.weigh); None where it was not compared."""
        found = self._file(name, version, COMPARISON)
        return None if found is None else dict(json.loads(found))

    def origin(self, name: str, version: str) -> str | None:
        """Where a version came from: packaged, train, warm start …; None where it was not said."""
        with _refused():
            return self.client.get_model_version(name, version).tags.get("origin")

    def recipe(self, name: str, version: str) -> tuple[str, Path] | None:
        """The recipe (YAML or JSON) that the version was trained by and the folder it lay in; None where unknown."""
        with _refused():
            run_id = self.client.get_model_version(name, version).run_id
            folder = self.client.get_run(run_id).data.tags.get("jianwei.folder") if run_id else None
        found = self._file(name, version, RECIPE)
        return None if found is None or folder is None else (found, Path(folder))

    def _file(self, name: str, version: str, file: str, *, bundled: bool = False) -> str | None:
        """The text of a file of the version's run, or of its bundle; None where there is none."""
        with _refused():
            registered = self.client.get_model_version(name, version)
            uri = f"models:/{name}/{version}" if bundled else f"runs:/{registered.run_id}"
            if not bundled and not registered.run_id:
                return None
            for place in ("", "bundle/", "artifacts/bundle/") if bundled else ("",):
                try:
                    return str(mlflow.artifacts.load_text(f"{uri}/{place}{file}"))
                except (MlflowException, OSError, UnicodeDecodeError):
                    continue
        return None

    def _aliased(self, name: str, alias: str) -> str | None:
        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise RegistryError(_said(error)) from error

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of all models, or of one, newest first."""
        with _refused():
            names = [name] if name else [model.name for model in self.client.search_registered_models()]
            found = []
            for one in names:
                aliases = self.client.get_registered_model(one).aliases
                for v in self.client.search_model_versions(f"name = '{one}'"):
                    mine = tuple(sorted(alias for alias, version in aliases.items() if str(version) == str(v.version)))
                    made = datetime.fromtimestamp(v.creation_timestamp / 1000, UTC)
                    found.append(Version(one, str(v.version), mine, made, v.run_id, dict(v.tags)))
        return sorted(found, key=lambda v: (v.name, -int(v.version)))

    def metrics(self, version: Version) -> dict[str, float]:
        """What the version's run measured; empty where it has none, or its run was deleted for good."""
        if not version.run_id:
            return {}
        try:
            return dict(self.client.get_run(version.run_id).data.metrics)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise RegistryError(_said(error)) from error

    def objection(self, name: str, version: str) -> Literal["refused", "unjudged", "outdated"] | None:
        """Why `version` may become champion by force alone; None where nothing speaks against it.

        Its gate refused it, it was never judged, or it was measured against another champion than today's. Where there
        is no champion, and of the champion itself, no measurement is asked.
        """
        with _refused():
            tags = self.client.get_model_version(name, version).tags
            if tags.get(GATE) == REFUSED:
                return "refused"
            champion = self.champion(name)
            if champion in (None, version):
                return None
            if GATE not in tags:
                return "unjudged"
            against = (self.comparison(name, version) or {}).get("champion")
            today = self.client.get_model_version(name, champion).tags.get("digest")
            return None if against is not None and against == today else "outdated"

    def promote(self, name: str, version: str, reason: str, *, force: bool = False) -> None:
        """Make `version` the champion; `reason` and time are written on the version.

        Raises RegistryError where there is an objection(), unless `force`.
        """
        with _refused():
            objection = self.objection(name, version)
            if objection is not None and not force:
                raise RegistryError(self._objected(name, version, objection))
            if objection is not None:
                reason = f"({FORCED[objection]}) {reason}"
            past = [v for v in self._history(name) if v != version]
            # The alias first: cut short between the two, the history takes in whoever is champion (_history).
            self._crown(name, version)
            self._remember(name, [*past, version])
            stamp = datetime.now(UTC).isoformat(timespec="seconds")
            self.client.set_model_version_tag(name, version, "promoted", f"{stamp} {reason}"[:LONGEST_TAG])

    def _objected(self, name: str, version: str, objection: str) -> str:
        if objection == "refused":
            reasons = self.client.get_model_version(name, version).tags.get(GATE_REASONS)
            said = f"{name} version {version} did not pass its gate: {reasons}."
        else:
            said = f"{name} version {version} was {FORCED[objection]}, which is version {self.champion(name)} now."
            said += " Train it again, which measures it."
        return f"{said} To promote it all the same: --force --reason WHY"

    def rollback(self, name: str, reason: str, leaving: str | None = None) -> str:
        """Make the champion before this one champion again; returns its version. Raises RegistryError if none was.

        Versions that were deleted since are passed over. Raises Conflict where `leaving`, the version that is meant to
        go, is not champion any more: somebody else was quicker.
        """
        with _refused():
            left = self.champion(name)
            if leaving not in (None, left):
                raise Conflict(f"{name} version {leaving} is not champion any more, version {left} is: nothing moved")
            past = self.past(name)
            if not past:
                raise RegistryError(f"{name} has no earlier champion to go back to; see `jianwei models list`")
            # The history first: cut short between the two, the champion that should go is still the last of it, and
            # going back again leads to the same version. The other way round it would be one to go back to.
            self._remember(name, past)
            self._crown(name, past[-1])
            if left is not None:
                stamp = datetime.now(UTC).isoformat(timespec="seconds")
                self.client.set_model_version_tag(name, left, "rolled_back", f"{stamp} {reason}"[:LONGEST_TAG])
            return past[-1]

    def past(self, name: str) -> list[str]:
        """The champions before this one that are still there, the last of them last: where rollback() leads."""
        with _refused():
            champion, there = self.champion(name), {v.version for v in self.versions(name)}
            return [v for v in self._history(name) if v in there and v != champion]

    def _history(self, name: str) -> list[str]:
        tag = self.client.get_registered_model(name).tags.get(HISTORY, "")
        history = [version for version in tag.split(",") if version]
        champion = self.champion(name)  # moved by hand in MLflow's own pages, perhaps
        if champion is not None and champion not in history[-1:]:
            history = [*(v for v in history if v != champion), champion]
        return history

    def _crown(self, name: str, version: str) -> None:
        self.client.set_registered_model_alias(name, CHAMPION, version)
        if self._aliased(name, CHALLENGER) == version:
            self.client.delete_registered_model_alias(name, CHALLENGER)  # it is in no shadow now

    def _remember(self, name: str, history: list[str]) -> None:
        self.client.set_registered_model_tag(name, HISTORY, ",".join(history[-HISTORY_LENGTH:]))


@contextmanager
def _refused() -> Iterator[None]:
    """MLflow's errors as RegistryError."""
    try:
        yield
    except MlflowException as error:
        raise RegistryError(_said(error)) from error


def _said(error: MlflowException) -> str:
    return f"the model registry refused: {error.message}"
