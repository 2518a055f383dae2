"""A registry that is not where it was: nothing takes its place unseen, and nothing becomes champion unmeasured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from complaints.errors import InvalidInput, RegistryError
from complaints.risk import Policy
from jianwei.default_model import ensure_champion, open_registry, packaged_bundle
from serving.champion import Champion
from serving.settings import load_settings
from training.registry import Registry

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(command: Command, tmp_path: Path) -> Path:
    """Of the commands; empty."""
    assert command  # sets it
    return tmp_path / "home"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the model that comes with the package; training itself ends at once, and says with which champion."""

    def run(*_: object, champion: object, **__: object) -> None:
        raise InvalidInput("far enough, " + ("no champion" if champion is None else "with a champion"))

    monkeypatch.setattr("training.train.train", run)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: consumer\ntaxonomy: consumer\nsources: [{file: a.csv, heads: {category: c}}]\n", encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("compare", "consumer", "1"),
        ("promote", "consumer", "1"),
        ("rollback", "consumer"),
        ("challenge", "consumer", "1"),
        ("export", "consumer", "{home}/there"),
    ],
)
def test_what_needs_a_registry_makes_none(command: Command, home: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = command("models", *(one.format(home=home) for one in arguments))
    assert (code, out) == (2, "")
    assert f"sqlite:///{home}/mlflow.db" in err
    assert "MLFLOW_TRACKING_URI" in err
    assert not home.exists()


@pytest.mark.parametrize("maker", ["train", "import"])
def test_a_first_run_and_an_import_make_one(command: Command, recipe: Path, maker: str) -> None:
    if maker == "train":
        assert "far enough, no champion" in command("train", recipe)[2]
    else:
        assert "registered consumer version 1" in command("models", "import", packaged_bundle())[1]
    assert command("models", "list")[0] == 0


def test_where_a_champion_was_served_nothing_is_trained_or_answered_without_it(
    command: Command, home: Path, recipe: Path, tmp_path: Path
) -> None:
    settings = load_settings()
    ensure_champion(settings)
    Champion(settings, Policy.load()).look()
    assert "far enough, with a champion" in command("train", recipe)[2]
    registry = Registry(settings.tracking_uri, settings.artifacts)
    registry.client.delete_registered_model_alias("consumer", "champion")  # as in a new registry that is empty
    code, _, err = command("train", recipe)
    assert (code, "a champion of consumer was served from" in err) == (2, True)
    assert "jianwei models promote consumer VERSION" in err
    registry.promote("consumer", "1", "it is back")
    assert "far enough, with a champion" in command("train", recipe)[2]
    (home / "mlflow.db").rename(tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match="there is no model registry at"):
        open_registry(settings)
    for asked in (("train", recipe), ("predict", "快递三天没动静"), ("models", "list")):
        code, out, err = command(*asked)
        assert (code, out) == (2, "")
        assert f"registry at sqlite:///{home}/mlflow.db" in err
    assert not (home / "mlflow.db").exists()


def test_without_a_registry_the_packaged_model_stands_for_no_other(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("predict", "快递三天没动静")[0] == 0
    monkeypatch.setenv("JIANWEI_MODEL", "mine")
    code, out, err = command("predict", "快递三天没动静")
    assert (code, out) == (2, "")
    assert f"there is no registry at sqlite:///{home}/mlflow.db" in err
