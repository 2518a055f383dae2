"""`jianwei evaluate | predict`, and what they share with `jianwei train`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from complaints.errors import InvalidInput, RegistryError

if TYPE_CHECKING:
    from complaints.bundle import Bundle
    from serving.settings import Settings
    from training.recipe import Source

Heads = Annotated[
    list[str] | None,
    typer.Option("--head", help="HEAD=COLUMN that holds its labels; once a head", metavar="HEAD=COLUMN"),
]
Model = Annotated[str | None, typer.Option(help="NAME, NAME@ALIAS or NAME:VERSION of the registry")]
BundleAt = Annotated[Path | None, typer.Option("--bundle", help="A bundle's folder, instead of the registry")]
Datasets = Annotated[
    Path, typer.Option(envvar="JIANWEI_DATASETS", help="Folder searched for a recipe's files after the recipe's own")
]
DATASETS = Path("../shared/datasets")

log = logging.getLogger(__name__)


def evaluate(
    recipe: Annotated[Path | None, typer.Argument(help="Measure on this recipe's test part …")] = None,
    data: Annotated[Path | None, typer.Option(help="… or on all rows of a file")] = None,
    head: Heads = None,
    text: Annotated[str, typer.Option(help="With --data: column of the complaint")] = "text",
    title: Annotated[str | None, typer.Option(help="With --data: column of a subject line")] = None,
    model: Model = None,
    bundle: BundleAt = None,
    datasets: Datasets = DATASETS,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON on standard output")] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Write a page (HTML, nothing else needed) with pictures and tables; MLflow gets it too",
        ),
    ] = None,
) -> None:
    """Measure a model on labelled rows, through the very path that serves.

    jianwei evaluate --data test.csv --head department=部门 --model mine --json

    jianwei evaluate experiments/consumer.yaml --report consumer.html

    A recipe is measured with the model of its name, unless --model or --bundle says another.
    """
    prepare()
    import orjson

    from complaints.cores import usable_cores
    from complaints.predictor import Predictor
    from complaints.risk import Policy
    from jianwei.default_model import NAME
    from serving.settings import load_settings
    from training.audit import audit
    from training.evaluate import evaluate as run
    from training.evaluate import report
    from training.recipe import Recipe
    from training.sources import read_sources
    from training.splits import split

    if (recipe is None) == (data is None):
        raise InvalidInput("say either a recipe or --data FILE; see jianwei evaluate --help")
    if page is not None and not page.parent.is_dir():  # said before minutes of work
        raise InvalidInput(f"--report {page}: there is no folder {page.parent}; make it first")
    settings = load_settings()
    chosen = Recipe.load(recipe) if recipe is not None else None
    if chosen is not None and model is None and bundle is None:
        if chosen.name == NAME:  # not as `model`, for the packaged one is meant where no other is registered
            settings = settings.model_copy(update={"model": NAME})
        else:
            model = chosen.name
    opened, _ = _open(settings, model, bundle)
    predictor = Predictor(opened, Policy.load(settings.policy), threads=usable_cores())
    folders = [Path()] if recipe is None else [recipe.parent, datasets]
    if chosen is None:
        source = source_of(data, head, text, title)
        chosen = Recipe(name="evaluation", taxonomy=opened.taxonomy.name, sources=(source,))
    read = read_sources(chosen, opened.taxonomy, folders, strict=False)
    read.tell()
    if recipe is None:
        _warn_of_learned_rows(settings, opened, read.digests)
    examples = read.examples if recipe is None else split(read.examples, chosen.split).test
    if not examples:
        raise InvalidInput(f"{recipe} has no test part: see its `split`, or measure on a file with --data and --head")
    results = run(predictor, examples)
    found = report(predictor, results, examples) | audit(predictor, examples)
    if page is not None:
        from training.page import write_page

        html = write_page(predictor, results, examples, found)
        page.write_text(html, encoding="utf-8")
        _log_page(settings, opened, recipe or Path(str(data)), html, found)
    if as_json:
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        typer.echo(comparison(found, {}, None))


def predict(
    source: Annotated[str, typer.Argument(help="A file (CSV, JSONL, .xlsx, Parquet), or a complaint itself")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV, JSONL or Parquet to write")] = None,
    text: Annotated[str, typer.Option(help="Column of the complaint")] = "text",
    title: Annotated[str | None, typer.Option(help="Column of a subject line")] = None,
    created_at: Annotated[
        str | None,
        typer.Option(help="Column of the time it came in (2026-03-02 09:30, 20260302 …); deadlines count from it"),
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Column of where it came in: app, weibo …")] = None,
    model: Model = None,
    bundle: BundleAt = None,
) -> None:
    """Predict a file of complaints, or one complaint given in quotes.

    jianwei predict tickets.csv -o answers.csv --text 内容

    jianwei predict "快递三天没动静，客服也不回"

    The same command goes on with a run that was cut short. JIANWEI_WORKERS processes share the work.
    """
    prepare()
    from complaints.files import SUFFIXES
    from complaints.predictor import Predictor
    from complaints.records import Complaint
    from complaints.risk import Policy
    from serving.settings import load_settings

    settings = load_settings()
    is_file = output is not None or (len(source) < 1000 and Path(source).suffix.lower() in SUFFIXES)
    if not is_file and (created_at or channel):
        raise InvalidInput("--created-at and --channel name columns of a file; this is a complaint itself")
    opened, said = _open(settings, model, bundle)
    predictor = Predictor(opened, Policy.load(settings.policy), threads=settings.workers)
    if not is_file:
        import json

        from serving.bulk_output import versions_of

        found = predictor.predict([Complaint(text=source)], explain=True)[0].model_dump(mode="json")
        typer.echo(json.dumps(found | versions_of(predictor, said), ensure_ascii=False, indent=2))
        return
    if output is None:
        raise InvalidInput("say where to write: -o answers.csv, .jsonl or .parquet")
    from rich.console import Console

    from serving.bulk import predict_file

    done = predict_file(
        predictor,
        Path(source),
        output,
        text=text,
        title=title,
        channel=channel,
        created_at=created_at,
        model=said,
        processes=settings.workers,
        console=Console(stderr=True),
    )
    if done.dropped:
        names = ", ".join(map(repr, done.dropped))
        typer.echo(f"not in {output}, for no early row has them: columns {names}; write .jsonl to keep them", err=True)
    typer.echo(
        f"{done.predicted} rows -> {output}"
        + (f"; {done.failed} could not be read, see {done.errors}" if done.failed else "")
        + (f"; {done.resumed} of all were done before" if done.resumed else "")
    )


def _warn_of_learned_rows(settings: Settings, bundle: Bundle, digests: dict[str, str]) -> None:
    """Warn where a file is one that the model was made from, whatever its name is now, as far as MLflow knows."""
    from serving.champion import ask_briefly, no_registry

    if no_registry(settings.tracking_uri):
        return
    ask_briefly()
    from training.registry import Registry

    try:
        known = Registry(settings.tracking_uri, settings.artifacts).learned_from(bundle)
    except (RegistryError, OSError):
        return
    for name, digest in digests.items():
        if digest in known:
            log.warning(
                "%s: the model was made from this very file and has learned most of these rows, so this says little of "
                "new ones. What it does on rows that were kept apart stands in its bundle's README.md",
                name,
            )


def _log_page(settings: Settings, bundle: Bundle, rows: Path, html: str, found: dict[str, Any]) -> None:
    """Log a page that is written to MLflow; where that fails there is a warning, and still the page."""
    from jianwei.default_model import SHOWN
    from serving.champion import ask_briefly

    ask_briefly()
    from training.registry import Registry

    try:
        registry = Registry(settings.tracking_uri, settings.artifacts)
        run_id = registry.log_evaluation(bundle, rows.name, html, found)
    except (RegistryError, OSError) as error:
        said = str(error).partition("\n")[0][:SHOWN]
        log.warning("the page is written, but not logged to MLflow: see to MLFLOW_TRACKING_URI (%s)", said)
    else:
        typer.echo(f"logged to MLflow run {run_id}", err=True)


def _open(settings: Settings, model: str | None, bundle: Path | None) -> tuple[Bundle, str]:
    """The bundle that a command uses, and its name, version and digest, which are told on standard error."""
    from complaints.bundle import Bundle
    from jianwei.default_model import choose

    chosen = choose(settings, model, bundle)
    opened = Bundle.open(chosen.path)
    said = chosen.describe(opened)
    typer.echo(f"model: {said}", err=True)
    return opened, said


def prepare() -> None:
    """Plain logs on standard error; libraries speak only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name in ("training", "jianwei", "serving"):
        logging.getLogger(name).setLevel(logging.INFO)
    for noisy in ("onnx_ir", "onnxscript", "mlflow", "alembic", "httpx", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def parse_heads(heads: list[str] | None) -> dict[str, str]:
    """`--head HEAD=COLUMN` options as a mapping; raises InvalidInput."""
    pairs = [head.partition("=") for head in heads or []]
    if not pairs or any(not name or not column for name, _, column in pairs):
        raise InvalidInput("say which column holds the labels: --head HEAD=COLUMN, for instance --head department=部门")
    return {name: column for name, _, column in pairs}


def source_of(data: Path | None, heads: list[str] | None, text: str, title: str | None) -> Source:
    """The source that `--data` and its options describe; raises InvalidInput."""
    from training.recipe import Source

    return Source(file=str(data), text=text, title=title, heads=parse_heads(heads))


def comparison(found: dict[str, Any], anchors: dict[str, dict[str, float]], rival: dict[str, Any] | None) -> str:
    """The table that a training run or an evaluation ends with."""
    lines = [
        f"{'head':<14}{'measure':<18}{'model':>8}"
        + (f"{'SVM':>8}" if anchors else "")
        + ("  champion" if rival else "")
    ]
    for name, numbers in found["heads"].items():
        for measure, value in numbers.items():
            if isinstance(value, list | dict):
                continue
            shown = f"{value:>8.4f}" if isinstance(value, float) else f"{value if value is not None else '-':>8}"
            svm = anchors.get(name, {}).get(measure)
            old = rival["heads"].get(name, {}).get(measure) if rival else None
            lines.append(
                f"{name:<14}{measure:<18}{shown}"
                + ((f"{svm:>8.4f}" if svm is not None else " " * 8) if anchors else "")
                + (f"{old:>10.4f}" if isinstance(old, float) else "")
            )
    return "\n".join(lines)
