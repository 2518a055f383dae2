"""The model that comes with the package, and which model a command is about."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from complaints.errors import InvalidInput, JianweiError, RegistryError

if TYPE_CHECKING:
    from complaints.bundle import Bundle
    from serving.champion import First
    from serving.settings import Settings
    from training.registry import Registry

NAME = "consumer"
# Origin of its version in a registry.
PACKAGED = "packaged"
# What a registry answers where there is no such model, version or alias, as against not answering.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# Characters of a library's own words that are shown.
SHOWN = 160


@dataclass(frozen=True, slots=True)
class Chosen:
    """The bundle that a command uses: its folder, the name it is registered by, and its version.

    `version` is `packaged` for the model that comes with the package, and `bundle` for a folder, whose `name` is None.
    """

    path: Path
    name: str | None
    version: str

    def describe(self, bundle: Bundle) -> str:
        """Name, version and the start of the digest of the opened bundle, which tells it from all others."""
        return f"{self.name or bundle.manifest.name} {self.version} {bundle.digest[:12]}"


def packaged_bundle() -> Path:
    """Folder of the bundle inside the installed package."""
    return Path(str(resources.files("jianwei") / "bundles" / NAME))


def packaged_base() -> Path:
    """Folder of the encoder from which training starts, inside the installed package."""
    return Path(str(resources.files("jianwei") / "bundles" / "base"))


def packaged_recipe() -> Path | None:
    """The recipe of the packaged model; None where the package was installed without the project around it."""
    recipe = Path(__file__).parents[1] / "experiments" / f"{NAME}.yaml"
    return recipe if recipe.exists() else None


def first_start(settings: Settings) -> First | None:
    """What a very first start answers with, before it has a registry of its own; None on every other start."""
    from serving.champion import First, no_registry

    if settings.model != NAME or not no_registry(settings.tracking_uri) or remembers(settings):
        return None
    return First(packaged_bundle(), lambda: ensure_champion(settings))


def ensure_champion(settings: Settings) -> None:
    """Put the packaged bundle into a local registry as champion, where it holds no champion of the model served.

    A start that remembers a champion does not ask: importing mlflow alone takes seconds. Other people's registries
    (MLFLOW_TRACKING_URI) are never written to by serving. Raises InvalidInput where there is nothing to serve.
    """
    if remembers(settings) or not settings.tracking_uri.startswith("sqlite:"):
        return
    from complaints.bundle import Bundle
    from training.registry import Registry

    registry = Registry(settings.tracking_uri, settings.artifacts)
    if registry.champion(settings.model) is not None:
        return
    if settings.model != NAME:
        raise InvalidInput(f"model {settings.model} has no champion: train one, or `jianwei models promote` a version")
    sys.stderr.write("first start: putting the model that comes with jianwei into the registry …\n")
    version = registry.register_bundle(Bundle.open(packaged_bundle()), PACKAGED)
    registry.promote(NAME, version, "first start")


def remembers(settings: Settings, name: str | None = None) -> bool:
    """Whether a service has followed a champion of `name`, by default of the model served, from this home."""
    return (settings.models / f"champion-{name or settings.model}.json").exists()


def open_registry(settings: Settings) -> Registry:
    """The registry that is there, opened when it is first needed: importing mlflow takes seconds.

    Raises RegistryError where it is a local file and is not there: an empty one in its place would hide the loss.
    """
    from serving.champion import no_registry

    if no_registry(settings.tracking_uri):
        raise RegistryError(
            f"there is no model registry at {settings.tracking_uri}: if there was one, put it back or set JIANWEI_HOME "
            "or MLFLOW_TRACKING_URI to where it is; the first `jianwei serve` or `jianwei train` makes one"
        )
    from training.registry import Registry

    return Registry(settings.tracking_uri, settings.artifacts)


def bundle_for(settings: Settings, model: str | None, bundle: Path | None) -> Path:
    """The folder of the bundle that `choose` chooses."""
    return choose(settings, model, bundle).path


def choose(settings: Settings, model: str | None, bundle: Path | None) -> Chosen:
    """The bundle that `--bundle` or `--model` names; else the champion of the model served; else the packaged one.

    `model` is NAME, NAME@ALIAS or NAME:VERSION. Raises RegistryError or BundleError where it is not there, and
    RegistryError where the registry does not answer: nobody can say then whether there is a champion.
    """
    if bundle is not None:
        return Chosen(bundle, None, "bundle")
    packaged = Chosen(packaged_bundle(), NAME, PACKAGED)
    from serving.champion import fetch, no_registry

    if model is None and settings.model == NAME and no_registry(settings.tracking_uri) and not remembers(settings):
        return packaged

    name, _, which = (model or settings.model).replace(":", "@").partition("@")
    try:
        path, version = fetch(settings.tracking_uri, name, which or "champion", settings.models)
    except RegistryError as error:
        absent = getattr(error.__cause__, "error_code", None) in ABSENT
        if absent and model is None and settings.model == NAME:
            return packaged
        if absent or error.__cause__ is None:
            raise
        raise _unanswered(name, error) from error
    except JianweiError:
        raise
    except Exception as error:  # the store's own types: a file that is no database
        raise _unanswered(name, error) from error
    return Chosen(path, name, version)


def _unanswered(name: str, error: Exception) -> RegistryError:
    said = str(error).partition("\n")[0]
    return RegistryError(
        f"the model registry does not answer, so it is not known which version of {name} to use: see to "
        f"MLFLOW_TRACKING_URI, or give --bundle FOLDER ({said[:SHOWN]}{'…' if len(said) > SHOWN else ''})"
    )
