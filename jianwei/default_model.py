"""The model that comes with the package, and which model a command is about."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from complaints.errors import InvalidInput

if TYPE_CHECKING:
    from serving.champion import First
    from serving.settings import Settings
    from training.registry import Registry

NAME = "consumer"
# Origin of its version in a registry.
PACKAGED = "packaged"


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
    from serving.champion import First

    local = settings.tracking_uri.removeprefix("sqlite:///")
    if settings.model != NAME or local == settings.tracking_uri or Path(local).exists() or _remembers(settings):
        return None
    return First(packaged_bundle(), lambda: ensure_champion(settings))


def ensure_champion(settings: Settings) -> None:
    """Put the packaged bundle into a local registry as champion, where it holds no champion of the model served.

    A start that remembers a champion does not ask: importing mlflow alone takes seconds. Other people's registries
    (MLFLOW_TRACKING_URI) are never written to by serving. Raises InvalidInput where there is nothing to serve.
    """
    if _remembers(settings) or not settings.tracking_uri.startswith("sqlite:"):
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


def _remembers(settings: Settings) -> bool:
    return (settings.models / f"champion-{settings.model}.json").exists()


def open_registry(settings: Settings) -> Registry:
    """The registry of a service, opened when it is first needed: importing mlflow takes seconds."""
    from training.registry import Registry

    return Registry(settings.tracking_uri, settings.artifacts)


def bundle_for(settings: Settings, model: str | None, bundle: Path | None) -> Path:
    """The bundle that `--bundle` or `--model` names; else the champion of the model served; else the packaged one.

    `model` is NAME, NAME@ALIAS or NAME:VERSION. Raises RegistryError or BundleError where it is not there.
    """
    if bundle is not None:
        return bundle
    local = settings.tracking_uri.removeprefix("sqlite:///")
    if model is None and settings.tracking_uri.startswith("sqlite:///") and not Path(local).exists():
        return packaged_bundle()
    from complaints.errors import RegistryError
    from serving.champion import fetch

    name, _, which = (model or settings.model).replace(":", "@").partition("@")
    try:
        path, _ = fetch(settings.tracking_uri, name, which or "champion", settings.models)
    except RegistryError:
        if model is None and settings.model == NAME:
            return packaged_bundle()
        raise
    return path
