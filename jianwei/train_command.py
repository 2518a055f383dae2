"""`jianwei train`."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from complaints.cores import usable_cores
from complaints.errors import BundleError, InvalidInput, RegistryError
from jianwei.work_commands import DATASETS, Datasets, Heads, comparison, prepare, source_of

if TYPE_CHECKING:
    from complaints.predictor import Predictor
    from complaints.taxonomy import Taxonomy
    from serving.settings import Settings
    from training.recipe import Recipe, Source
    from training.registry import Registry
    from training.train import Trained

# What parts of a data set are called, in small letters -> what a recipe calls them (training/sources.py).
PARTS = {
    "train": "train", "training": "train", "训练": "train", "训练集": "train",
    "dev": "calibration", "val": "calibration", "valid": "calibration", "validation": "calibration",
    "calibration": "calibration", "验证": "calibration", "验证集": "calibration", "校准": "calibration",
    "test": "test", "测试": "test", "测试集": "test",
}  # fmt: skip
# Metric of a manifest whose model has read all rows but the test's (training/assemble.py).
FOLDS = "calibration/folds"


def train(
    context: typer.Context,
    recipe: Annotated[Path | None, typer.Argument(help="Recipe (YAML), as in experiments/")] = None,
    data: Annotated[Path | None, typer.Option(help="Instead of a recipe: a file of labelled rows")] = None,
    taxonomy: Annotated[str | None, typer.Option(help="With --data: taxonomy file, or a packaged name")] = None,
    head: Heads = None,
    text: Annotated[str, typer.Option(help="With --data: column of the complaint")] = "text",
    title: Annotated[str | None, typer.Option(help="With --data: column of a subject line")] = None,
    name: Annotated[str | None, typer.Option(help="With --data: registered name (default: the taxonomy's)")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            envvar="JIANWEI_BASE_MODEL",
            help="Encoder to start from: hub name, folder, or a bundle's folder (default: the packaged one)",
        ),
    ] = None,
    datasets: Datasets = DATASETS,
    corrections: Annotated[
        Path | None, typer.Option(help="A corrections file (jianwei corrections export) to mix with the recipe's rows")
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            help="Go on from this version or alias, in minutes: learn the corrections of --data, by its own recipe"
        ),
    ] = None,
    promote: Annotated[bool, typer.Option(help="Make the new version champion at once, if it passes the gate")] = False,
) -> None:
    """Train a model from labelled complaints; track, measure and register it.

    jianwei train experiments/citizen.yaml

    jianwei train --data tickets.csv --taxonomy mine.yaml --head department=部门 --text 内容

    jianwei train --warm-start champion --data corrections.jsonl

    The new version becomes champion by itself only where there is none; else see `jianwei models promote`.
    """
    _all_are_read(context, recipe, warm_start)
    prepare()
    from jianwei.default_model import packaged_base
    from serving.settings import load_settings
    from training.train import Retraining
    from training.train import train as run

    settings = load_settings()
    if warm_start is not None:
        corrections, data = corrections or data, None
        if corrections is None:
            raise InvalidInput(
                "a warm start learns corrections: say --data FILE, see jianwei corrections export --help"
            )
        plan = _warm_plan(settings, recipe, name, warm_start)
    elif (recipe is None) == (data is None):
        raise InvalidInput("say either a recipe or --data FILE; see jianwei train --help")
    elif recipe is not None:
        plan = _written_plan(recipe, base)
    else:
        chosen, found = _recipe_for(data, taxonomy, head, text, title, name)
        _tell_parts(chosen.sources[0], [Path(), datasets])
        plan = _Plan(_based(chosen, base), found, Path())
    chosen = plan.recipe
    registry, champion = _registry_for(settings, chosen.name)
    rival = None if champion is None else _rival(settings, chosen.name, champion)
    trained = run(
        chosen,
        plan.taxonomy,
        folders=[plan.folder, datasets],
        output=settings.models / f"{chosen.name}-trained",
        registry=registry,
        packaged=packaged_base(),
        champion=rival,
        retraining=None if corrections is None else Retraining(corrections, warm_start is not None),
    )
    crowned = champion is None or (promote and trained.verdict is not None and trained.verdict.passed)
    if crowned:
        why = "first version" if champion is None else "jianwei train --promote"
        registry.promote(chosen.name, trained.version, why)
    typer.echo(_said(trained, chosen.name, None if crowned else champion))
    if promote and not crowned:
        raise typer.Exit(1)


def _registry_for(settings: Settings, name: str) -> tuple[Registry, str | None]:
    """The registry, made where this is the first run, and the champion's version, None where there never was one.

    Raises RegistryError, before hours of work, where a champion is served that the registry does not know: what is
    trained would take its place without having been measured against it.
    """
    from jianwei.default_model import open_registry, remembers
    from training.registry import Registry

    served = remembers(settings, name)
    registry = open_registry(settings) if served else Registry(settings.tracking_uri, settings.artifacts)
    champion = registry.champion(name)
    if served and champion is None:
        raise RegistryError(
            f"a champion of {name} was served from {settings.home}, but the registry {registry.tracking_uri} has none, "
            "so nothing could be measured against it: put the registry back, set MLFLOW_TRACKING_URI to where it is, "
            f"or make one of its versions champion (jianwei models promote {name} VERSION). To begin anew without it, "
            "set another JIANWEI_HOME"
        )
    return registry, champion


def _rival(settings: Settings, name: str, version: str) -> Predictor | None:
    """The champion, to be measured against; None, with a warning, where its bundle does not open any more."""
    from complaints.bundle import Bundle
    from complaints.predictor import Predictor
    from complaints.risk import Policy
    from serving.champion import fetch

    try:
        path, _ = fetch(settings.tracking_uri, name, version, settings.models)
        return Predictor(Bundle.open(path), Policy.load(), threads=usable_cores())
    except BundleError as error:
        logging.getLogger("jianwei").warning(
            "champion %s version %s cannot be opened, so the new version is not compared with it: %s",
            name,
            version,
            error,
        )
        return None


def _all_are_read(context: typer.Context, recipe: Path | None, warm_start: str | None) -> None:
    """Raises InvalidInput naming the options given that this run would not look at."""
    about_rows = ("taxonomy", "head", "text", "title")
    unread: list[tuple[tuple[str, ...], str]] = []
    if recipe is not None:
        remedy = "a recipe says that itself: write it there, or say --data instead of a recipe"
        unread.append((("name", *about_rows), remedy))
    if warm_start is not None:
        remedy = "a warm start goes on by its version's own recipe: leave it out, or train anew without --warm-start"
        unread.append(((*about_rows, "base"), remedy))
    for options, remedy in unread:
        sources = {one: context.get_parameter_source(one) for one in options}
        # By name, for typer brings its own copy of click: --base may come from the environment, which is no mistake.
        if given := [f"--{one}" for one, source in sources.items() if source and source.name == "COMMANDLINE"]:
            raise InvalidInput(f"{', '.join(given)}: {remedy}")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a run is to do, and the folder of its recipe."""

    recipe: Recipe
    taxonomy: Taxonomy
    folder: Path


def _written_plan(path: Path, base: str | None) -> _Plan:
    from training.recipe import Recipe

    recipe, folder = Recipe.load(path), path.parent
    return _Plan(_based(recipe, base), recipe.labels(folder), folder)


def _warm_plan(settings: Settings, recipe: Path | None, name: str | None, version: str) -> _Plan:
    """Go on from a version by its own recipe and taxonomy, or by the `recipe` given; the packaged one by the project's.

    Raises InvalidInput where the version came without a recipe and none is given, for its old rows are not known then;
    and where it has learned from its calibration rows, on which nothing could be promised any more.
    """
    import yaml

    from complaints.bundle import Bundle
    from jianwei.default_model import PACKAGED, ensure_champion, open_registry, packaged_recipe
    from serving.champion import fetch
    from training.recipe import Recipe

    given = None if recipe is None else _written_plan(recipe, None)
    model = given.recipe.name if given is not None else name or settings.model
    if model == settings.model:
        ensure_champion(settings)  # nothing may have been served from here yet
    path, number = fetch(settings.tracking_uri, model, version, settings.models)
    if FOLDS in Bundle.open(path).manifest.metrics:
        raise InvalidInput(
            f"{model} version {number} was made from few rows and has learned from its calibration rows too, so what "
            "goes on from it cannot be calibrated. Train anew, in minutes for so few: "
            f"jianwei train {recipe or 'RECIPE'} --corrections FILE (or --data … as before, with --corrections FILE)"
        )
    if given is not None:
        return _Plan(_based(given.recipe, str(path)), given.taxonomy, given.folder)
    registry = open_registry(settings)
    known, ours = registry.recipe(model, number), packaged_recipe()
    if known is None and ours is not None and registry.origin(model, number) == PACKAGED:
        return _written_plan(ours, str(path))
    if known is None:
        raise InvalidInput(
            f"{model} version {number} came without its recipe, so its old rows are not known: say it, "
            f"jianwei train RECIPE --warm-start {version} --data FILE"
        )
    written, folder = known
    return _Plan(_based(Recipe.model_validate(yaml.safe_load(written)), str(path)), Bundle.open(path).taxonomy, folder)


def _based(recipe: Recipe, base: str | None) -> Recipe:
    return recipe if base is None else recipe.model_copy(update={"base": base})


def _said(trained: Trained, name: str, champion: str | None) -> str:
    """What a run ends with; `champion` where another version is still that."""
    from training.card import NO_TEST

    lines = [comparison(trained.report, trained.baseline, trained.champion)]
    if not any(key.startswith("test/") for key in trained.bundle.manifest.metrics):
        lines = [NO_TEST, "", *lines]
    if trained.verdict is not None:
        lines += ["", f"gate: {'passed' if trained.verdict.passed else 'refused'}"]
        lines += [f"  {reason}" for reason in trained.verdict.reasons]
    registered = f"registered: {name} version {trained.version}"
    still = f"; champion is still {champion}: jianwei models promote {name} {trained.version}"
    lines += ["", f"bundle: {trained.bundle.path}", registered + (still if champion is not None else " (champion)")]
    return "\n".join(lines)


def _tell_parts(source: Source, folders: list[Path]) -> None:
    """Warn of columns that seem to say which part a row is of: `--data` cannot name one, and divides anew."""
    from complaints.files import DataFile, Row
    from training.recipe import find

    file = DataFile(find(source.file, folders))
    told = {source.text, source.title, *source.heads.values()}
    seen: dict[str, set[str]] = {column: set() for column in file.columns if column not in told}
    for row in file:
        if not seen:  # mostly after a row or two
            return
        for column, value in row.values.items() if isinstance(row, Row) else ():
            if column in seen and value is not None and value.strip():
                seen[column].add(value)
                if value.strip().lower() not in PARTS:
                    del seen[column]
    for column, values in seen.items():
        means = {value: PARTS[value.strip().lower()] for value in sorted(values)}
        if len(set(means.values())) < 2:
            continue
        written = f"split: {json.dumps(column, ensure_ascii=False)}"
        if renamed := {value: part for value, part in means.items() if value != part}:
            written += f", parts: {json.dumps(renamed, ensure_ascii=False)}"
        logging.getLogger("jianwei").warning(
            "column %r of %s seems to name parts (%s): they are not used, and rows are divided anew. To keep them, "
            "train by a recipe whose source says %s",
            column,
            file.path.name,
            ", ".join(means),
            written,
        )


def _recipe_for(
    data: Path | None, taxonomy: str | None, heads: list[str] | None, text: str, title: str | None, name: str | None
) -> tuple[Recipe, Any]:
    from pydantic import ValidationError

    from complaints.taxonomy import Taxonomy
    from training.recipe import Recipe

    if taxonomy is None:
        raise InvalidInput("say --taxonomy FILE; `jianwei taxonomy draft` writes one from your labels")
    found = Taxonomy.load(taxonomy)
    source = source_of(data, heads, text, title)
    # A model answers for every head of its taxonomy, so heads without a column cannot stay in it.
    if missing := [head for head in found.heads if head not in source.heads]:
        kept = {head: value for head, value in found.heads.items() if head in source.heads}
        if not kept:
            raise InvalidInput(f"taxonomy {found.name} has heads {', '.join(found.heads)}, none of them in --head")
        logging.getLogger("jianwei").warning("no --head for %s: left out of the model", ", ".join(missing))
        former = {head: labels for head, labels in found.former.items() if head in kept}
        table = found.responsibility
        if table is not None and not {table.given, table.head} <= kept.keys():
            logging.getLogger("jianwei").warning(
                "the responsibility table needs heads %s and %s: left out of the model", table.given, table.head
            )
            table = None
        found = found.model_copy(update={"heads": kept, "responsibility": table, "former": former})
    named = name or found.name
    try:
        return Recipe(name=named, taxonomy=taxonomy, sources=(source,)), found
    except ValidationError:
        raise InvalidInput(
            f"{named!r} cannot name a model: say --name with up to 64 Latin letters, digits, - and _, for instance "
            "--name complaints"
        ) from None
