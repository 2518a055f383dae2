"""Recipes: those of the project load, and what is wrong with one is said with file, line and field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from complaints.errors import InvalidInput, RecipeError, UnreadableFile
from complaints.taxonomy import Taxonomy
from training.model import PACKAGED
from training.recipe import BASE_MODEL, Fit, Recipe, find

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RECIPES = sorted(p for p in EXPERIMENTS.glob("*.yaml") if not p.name.endswith(".taxonomy.yaml"))
GOOD = """name: mine
taxonomy: consumer
sources:
  - file: a.csv
    heads: {category: 类别}
"""
Write = Callable[..., Path]


def refused(path: Path) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_of_the_project_load_and_fit_their_taxonomies(path: Path) -> None:
    recipe = Recipe.load(path)
    inside = path.parent / recipe.taxonomy
    taxonomy = Taxonomy.load(inside if inside.is_file() else recipe.taxonomy)
    assert {head for source in recipe.sources for head in source.heads} == set(taxonomy.heads)
    for source in recipe.sources:
        for file in (source.file, source.annotations):
            if file is not None and file.startswith(".."):  # of this repository
                assert find(file, [path.parent]).is_file()
    assert recipe.name == path.stem


def test_there_are_recipes() -> None:
    assert {p.stem for p in RECIPES} >= {"citizen", "consumer", "consumer-written"}


def test_every_corpus_file_is_in_both_recipes_that_use_the_corpus() -> None:
    written = {f"../data/corpus/{p.name}" for p in (EXPERIMENTS.parent / "data" / "corpus").glob("*.jsonl")}
    for name in ("consumer", "consumer-written"):
        sources = Recipe.load(EXPERIMENTS / f"{name}.yaml").sources
        assert {s.file for s in sources if s.file.startswith("..")} == written
        assert all(s.split == "split" for s in sources if s.file.startswith(".."))


def test_defaults(write: Write) -> None:
    recipe = Recipe.load(write("r.yaml", GOOD))
    assert recipe.base == BASE_MODEL == PACKAGED
    assert recipe.sources[0].show is False
    assert recipe.fit == Fit()
    assert recipe.sources[0].text == "text"
    assert recipe.promise.precision_target == 0.95


def test_a_head_may_promise_something_else(write: Write, tmp_path: Path) -> None:
    more = "promise: {precision_target: 0.97, risk: 0.05, heads: {sentiment: {precision_target: 0.9}}}\n"
    recipe = Recipe.load(write("r.yaml", GOOD + more))
    assert recipe.labels(tmp_path).name == "consumer"
    found = recipe.promise.of("sentiment")
    assert (found.precision_target, found.risk) == (0.9, 0.05)
    assert recipe.promise.of("category").precision_target == 0.97


def test_a_promise_for_a_head_that_is_not_there_names_those_that_are(write: Write, tmp_path: Path) -> None:
    recipe = Recipe.load(write("r.yaml", GOOD + "promise: {heads: {mood: {precision_target: 0.9}}}\n"))
    with pytest.raises(
        RecipeError, match=r"promise\.heads\.mood: no head 'mood' in taxonomy consumer: it has category,"
    ):
        recipe.labels(tmp_path)


def test_yaml_reads_1e_4_as_text_yet_it_is_a_number(write: Write) -> None:
    assert Recipe.load(write("r.yaml", GOOD + "fit: {learning_rate: 1e-4}\n")).fit.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("more", "line", "field"),
    [
        ("fit: {learningrate: 1}\n", 6, "fit.learningrate"),
        ("fit:\n  epochs: 3\n  epoch: 3\n", 8, "fit.epoch"),
        ("fit:\n  epochs: 0\n", 7, "fit.epochs"),
        ("fit:\n  epochs: viele\n", 7, "fit.epochs"),
        ("split:\n  test: 0.1\n  calibration: 0.5\n", 8, "split.calibration"),
        ("split: {near_duplicate: 0}\n", 6, "split.near_duplicate"),
        ("promise:\n  precision_target: 1.0\n", 7, "promise.precision_target"),
        ("promise: {coverage: 90}\n", 6, "promise.coverage"),
        ("promise: {heads: {category: {precision_target: 0.4}}}\n", 6, "promise.heads.category.precision_target"),
        ("promise: {heads: {category: {}}}\n", 6, "promise.heads.category.precision_target"),
        ("extra: 1\n", 6, "extra"),
    ],
)
def test_a_fault_is_named_with_file_line_and_field(write: Write, more: str, line: int, field: str) -> None:
    path = write("r.yaml", GOOD + more)
    said = refused(path)
    assert len(said) == 1
    assert said[0].startswith(f"{path}:{line}: {field}: ")


def test_every_fault_has_a_line_of_its_own(write: Write) -> None:
    path = write("r.yaml", "name: not a name!\ntaxonomy: consumer\nsources:\n  - file: a.csv\n    head: {a: b}\n")
    places = {": ".join(re.sub(r"^.*r\.yaml:", "", line).split(": ")[:2]) for line in refused(path)}
    assert {"1: name", "4: sources.0.heads", "5: sources.0.head"} <= places


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD.replace("name: mine\n", ""), "name: Field required"),
        (GOOD.replace("mine", "2024"), "put it in quotes"),
        (GOOD.replace("{category: 类别}", "{}"), "sources.0.heads"),
        (GOOD.replace("{category: 类别}", "{category: no}"), "put it in quotes"),
        ("name: mine\ntaxonomy: consumer\nsources: []\n", "sources"),
        (GOOD + "name: other\n", "name: written twice"),
        ("- a\n- b\n", "must be a YAML mapping"),
        ("name: [\n", "not valid YAML"),
        (GOOD.replace("mine", "../evil"), "name"),
    ],
)
def test_what_is_no_recipe_is_refused(write: Write, content: str, says: str) -> None:
    assert says in "\n".join(refused(write("r.yaml", content)))


def test_a_recipe_that_is_not_there_says_where_to_look(tmp_path: Path) -> None:
    said = refused(tmp_path / "no.yaml")
    assert str(tmp_path / "no.yaml") in said[0]
    assert "experiments/" in said[0]


def test_a_recipe_in_another_encoding_is_refused(write: Write) -> None:
    assert "UTF-8" in refused(write("r.yaml", GOOD, "gb18030"))[0]


def test_find_takes_the_first_folder_that_has_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.csv").touch()
    folders = [tmp_path / "a", tmp_path / "b"]
    assert find("x.csv", folders) == tmp_path / "b" / "x.csv"
    (tmp_path / "a" / "x.csv").touch()
    assert find("x.csv", folders) == tmp_path / "a" / "x.csv"
    with pytest.raises(UnreadableFile) as caught:
        find("y.csv", folders)
    assert all(str(folder / "y.csv") in str(caught.value) for folder in folders)
    assert isinstance(caught.value, InvalidInput)
