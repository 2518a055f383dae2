"""One training run, from a recipe to a registered version:

sources -> split -> fit -> int8 graph -> calibrate -> evaluate through predictor.py -> bundle -> MLflow

Nothing is registered before everything is made, so a run that is killed leaves no half version behind.
"""

from __future__ import annotations

import hashlib
import logging
import math
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.data
import mlflow.pyfunc
import pandas as pd
import torch
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema

import complaints
from complaints.bundle import Bundle, Length
from complaints.cores import usable_cores
from complaints.corrections import read_corrections
from complaints.errors import InvalidInput
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from complaints.text import clean
from training import plots
from training.assemble import draft, finish, new_manifest
from training.audit import audit
from training.baseline import baseline
from training.batches import encode, learned_length
from training.calibrate import unsure
from training.compare import HeadChange, changes, same_labels
from training.contrast import rows_a_label
from training.corrections import Mixed, mix, settle
from training.crossing import FOLDS, Crossed, cross
from training.evaluate import HeadResult, answers, of_leaves, report
from training.fit import MANY, few_rows, fit_few, way_of_few
from training.gate import Verdict, weigh
from training.model import Base, TriageModel, load_base
from training.page import write_page
from training.recipe import Recipe
from training.registry import COMPARISON, FILE_DIGEST, RECIPE, Registry, gate_tags, loggable
from training.sources import Example, check_heads, read_sources, repeated
from training.splits import Parts, split, text_of
from training.steady import fine_tune
from training.warm import SHOWN, gentle, hold, inherit, rehearsal

log = logging.getLogger(__name__)

PACKAGES = ("onnxruntime", "tokenizers", "opencc", "pydantic", "pyyaml", "numpy", "pandas")


@dataclass(frozen=True)
class Trained:
    """What a run made: the bundle, its registered version, its test report, the SVM's and the champion's.

    `verdict` is the gate's, None where there was no champion to be measured against.
    """

    bundle: Bundle
    version: str
    report: dict[str, Any]
    baseline: dict[str, dict[str, float]]
    champion: dict[str, Any] | None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Retraining:
    """What people corrected: a corrections file to mix with the recipe's rows.

    `warm` goes on from the trained model that the recipe's base names: it reads the corrections and some of the old
    rows, gently.
    """

    corrections: Path
    warm: bool


def train(
    recipe: Recipe,
    taxonomy: Taxonomy,
    *,
    folders: list[Path],
    output: Path,
    registry: Registry,
    packaged: Path,
    champion: Predictor | None = None,
    retraining: Retraining | None = None,
) -> Trained:
    """Run `recipe`; its bundle is left in `output` and registered under the recipe's name.

    `folders` are searched for data files; `packaged` is the folder of the encoder that comes with jianwei;
    `champion`, where given, is measured on the same rows, and the gate judges the new version by it.
    """
    warm = retraining is not None and retraining.warm
    mixed, digests = _rows(recipe, taxonomy, folders, retraining)
    parts = mixed.parts
    torch.manual_seed(recipe.fit.seed)
    code = code_version()  # now, for the checkout may move on while the run goes
    base = load_base(recipe.base, packaged)
    with mlflow.start_run(experiment_id=registry.experiment(recipe.name), log_system_metrics=True) as run:
        _log_inputs(recipe, base, mixed, digests, code)
        mlflow.set_tags({"jianwei.folder": str(folders[0].absolute()), "jianwei.warm": str(warm)})
        model = TriageModel(base.encoder, base.hidden, taxonomy, recipe.fit.dropout)
        manifest = new_manifest(recipe, base, taxonomy, run.info.run_id, code)
        crossed = None if warm else _fit_few(model, base, taxonomy, recipe, mixed, manifest.length)
        if crossed is None:
            mlflow.log_metric("best_epoch", _fit(model, base, taxonomy, recipe, mixed, warm=warm))
        with tempfile.TemporaryDirectory() as folder:
            made = draft(Path(folder) / "draft", model, base, recipe, taxonomy, manifest, parts, crossed)
            _log_metrics(made.manifest.metrics)
            predictor = Predictor(made, Policy.load(), threads=usable_cores())
            measured = parts.test or parts.calibration
            answered = answers(predictor, measured)
            results = of_leaves(predictor, answered)
            found, anchors = report(predictor, results, measured), {}
            calibrated = parts.calibration if crossed is None else crossed.examples
            found["unsure"] = unsure(predictor.calibration.heads, taxonomy, recipe.promise, calibrated)
            for line in found["unsure"]:
                log.info(line)
            if not warm:  # which takes less time than these
                found |= audit(predictor, measured)
                learned = parts.train if crossed is None else [*parts.train, *parts.calibration]
                anchors = baseline(taxonomy, learned, measured)
            rival = tested = None
            if champion is not None and parts.test and same_labels(predictor, champion):
                before = answers(champion, parts.test)
                rival = report(champion, of_leaves(champion, before), parts.test)
                tested = {"test": changes(predictor, answered, before)}
            verdict, comparison = _weigh(predictor, champion, mixed, recipe, tested)
            page = write_page(predictor, results, measured, found, anchors)
            predictor.close()
            bundle = finish(output, made, found, anchors, parts)
        mlflow.log_text(page, "report.html")
        _log_results("test" if parts.test else "calibration", found, results, anchors, rival, taxonomy)
        if comparison is not None:
            mlflow.log_dict(comparison, COMPARISON)
        source = _log_model(bundle)
    tags = {"digest": bundle.digest, "origin": "warm start" if warm else "train"}
    if verdict is not None:
        tags |= gate_tags(verdict.passed, [str(reason) for reason in verdict.reasons])
    registered = registry.register(recipe.name, source, run.info.run_id, tags)
    return Trained(bundle, registered, found, anchors, rival, verdict)


def _rows(
    recipe: Recipe, taxonomy: Taxonomy, folders: list[Path], retraining: Retraining | None
) -> tuple[Mixed, dict[str, str]]:
    """The recipe's rows, with the corrections of `retraining`, in parts; and the digests of their files."""
    read = read_sources(recipe, taxonomy, folders)
    read.tell()
    _tell_contradictions(read.examples, taxonomy)
    mixed = Mixed(split(read.examples, recipe.split))
    if retraining is not None:
        mixed = _mixed(recipe, taxonomy, mixed.parts, retraining)
        digest = hashlib.sha256(retraining.corrections.read_bytes()).hexdigest()[:16]
        read.digests[retraining.corrections.name] = digest
    parts = mixed.parts
    if retraining is None or not retraining.warm:  # which goes on from what was learned before
        check_heads(read, parts.train, taxonomy)
    log.info("rows: train %d, calibration %d, test %d", len(parts.train), len(parts.calibration), len(parts.test))
    return mixed, read.digests


def _tell_contradictions(examples: Sequence[Example], taxonomy: Taxonomy) -> None:
    """Warn of texts that stand with labels of a head of which one at most can be right, as a leaf and its parent can.

    The texts are not shown, for they may hold personal data.
    """
    given: dict[str, dict[str, set[str]]] = {head: defaultdict(set) for head in taxonomy.heads}
    for one in examples:
        text = clean(text_of(one)).text
        for head, label in one.labels.items():
            given[head][text].add(label)
    for name, head in taxonomy.heads.items():
        count = sum(len(labels - {head.parent(label) for label in labels}) > 1 for labels in given[name].values())
        if count:
            log.warning(
                "head %s: %d texts stand with two different labels or more; no row is left out for that, and "
                "jianwei data check lists them",
                name,
                count,
            )


def _mixed(recipe: Recipe, taxonomy: Taxonomy, parts: Parts, retraining: Retraining) -> Mixed:
    settled, counts = settle(read_corrections(retraining.corrections), taxonomy, recipe.name)
    mixed = mix(settled, counts, parts, recipe.corrections, recipe.split.near_duplicate)
    for what, count in mixed.counts.items():
        log.info("%s: %d", what, count)
    if retraining.warm and not mixed.corrected:
        raise InvalidInput(f"{retraining.corrections}: no corrected text is left to learn from: {dict(mixed.counts)}")
    return mixed


def _fit_few(
    model: TriageModel, base: Base, taxonomy: Taxonomy, recipe: Recipe, mixed: Mixed, served: Length
) -> Crossed | None:
    """Fit the model on training and calibration rows together, if both are few and there are others to measure on.

    Corrected rows do not count for calibration: they were picked for being hard. Returns None where nothing was fitted.
    """
    parts, fit = mixed.parts, recipe.fit
    examples = [*parts.train, *parts.calibration]
    learned = repeated(examples)
    if not parts.test or len(learned) >= MANY:
        return None
    length = learned_length(learned, base, fit)
    rows = encode(learned, base, taxonomy, length)
    if not few_rows(taxonomy, rows, fit):
        return None
    a_label = rows_a_label(taxonomy, rows)
    log.info("few rows: %s", way_of_few(a_label))
    crossed = cross(model, base, taxonomy, recipe, examples, (length, served))
    if crossed is None:
        return None
    crossed = crossed.without(mixed.corrected).apart(recipe.split.near_duplicate)
    log.info("fit %d of %d: all %d rows", FOLDS + 1, FOLDS + 1, len(examples))
    fit_few(model, base, taxonomy, rows, fit, a_label)
    mlflow.log_metric("rows_a_label", a_label)
    return crossed


def _fit(model: TriageModel, base: Base, taxonomy: Taxonomy, recipe: Recipe, mixed: Mixed, *, warm: bool) -> int:
    """Fit the model on the training rows; returns the epoch that was kept."""
    fit = recipe.fit
    rows = repeated(mixed.parts.train)
    length = learned_length(rows, base, fit)
    log.info("texts are cut to %d tokens in training", length.max_tokens)
    shown = mixed.parts.calibration
    if warm:
        inherit(model, base, taxonomy)
        hold(model, base.layers)
        rows = rehearsal(mixed.corrected, mixed.parts.train, recipe.corrections.replay, fit.seed)
        fit, shown = gentle(fit), shown[:SHOWN]
    return fine_tune(model, base, taxonomy, (rows, shown), length, fit, _log_metrics, warm=warm)


def _weigh(
    predictor: Predictor,
    champion: Predictor | None,
    mixed: Mixed,
    recipe: Recipe,
    tested: dict[str, dict[str, HeadChange]] | None,
) -> tuple[Verdict | None, dict[str, Any] | None]:
    if champion is None:
        return None, None
    sets = {"test": mixed.parts.test, "newest": mixed.newest, "audit": mixed.audit}
    return weigh(predictor, champion, sets, recipe.gate, tested)


def code_version() -> str:
    """The installed version, with the commit where the code stands in a git checkout."""
    try:
        released = version("jianwei")
    except PackageNotFoundError:
        released = "unreleased"
    here = Path(complaints.__file__).parents[1]
    if not (here / ".git").exists():
        return released
    try:
        said = subprocess.run(  # noqa: S603 - nothing of it comes from outside
            ["git", "-C", str(here), "describe", "--always", "--dirty"],  # noqa: S607
            check=False,
            capture_output=True,
            text=True,
        )
    except OSError:
        return released
    return f"{released}+{said.stdout.strip()}" if said.returncode == 0 else released


def _log_inputs(recipe: Recipe, base: Base, mixed: Mixed, digests: dict[str, str], code: str) -> None:
    parts = mixed.parts
    settings = {"name": recipe.name, "taxonomy": recipe.taxonomy, "base": base.name, "code": code}
    for section in ("fit", "split", "promise", "corrections", "gate"):
        settings |= {f"{section}.{key}": value for key, value in getattr(recipe, section).model_dump().items()}
    mlflow.log_params(settings | {loggable(f"{FILE_DIGEST}{name}"): digest for name, digest in digests.items()})
    mlflow.log_params({"vocabulary.before": base.vocabulary[0], "vocabulary.after": base.vocabulary[1]})
    mlflow.log_metrics({"near_duplicate_groups": parts.groups})
    mlflow.log_metrics({"rows_dropped": parts.dropped, "calibration_copies_dropped": parts.copies})
    mlflow.log_dict(recipe.model_dump(mode="json"), RECIPE)
    if mixed.counts:
        mlflow.log_dict(dict(mixed.counts), "corrections.json")
    for name in ("train", "calibration", "test"):
        part = getattr(parts, name)
        mlflow.log_metric(f"rows/{name}", len(part))
        if part:
            frame = pd.DataFrame([{"text": e.complaint.text, **e.labels} for e in part])
            mlflow.log_input(mlflow.data.from_pandas(frame, name=f"{recipe.name}-{name}"), context=name)


def _log_metrics(metrics: dict[str, float], step: int | None = None) -> None:
    mlflow.log_metrics({loggable(key): value for key, value in metrics.items()}, step)


def _log_results(
    part: str,
    found: dict[str, Any],
    results: dict[str, HeadResult],
    anchors: dict[str, dict[str, float]],
    rival: dict[str, Any] | None,
    taxonomy: Taxonomy,
) -> None:
    mlflow.log_dict(found, "report.json")
    for name, result in results.items():
        head, target = taxonomy.heads[name], found["heads"][name]["precision_target"]
        numbers = {k: v for k, v in result.metrics(head).items() if not math.isnan(v)}
        file = loggable(name)
        _log_metrics({f"{part}/{file}/{key}": value for key, value in numbers.items()})
        _log_metrics({f"svm/{file}/{key}": value for key, value in anchors.get(name, {}).items()})
        mlflow.log_table(pd.DataFrame(result.classes(head)), f"classes/{file}.json")
        mlflow.log_figure(plots.confusion_figure(name, head, result), f"confusion/{file}.png")
        mlflow.log_figure(plots.reliability_figure(name, result), f"reliability/{file}.png")
        mlflow.log_figure(plots.risk_coverage_figure(name, result, target), f"risk_coverage/{file}.png")
    if rival is not None:
        mlflow.log_dict(rival, "champion_report.json")


def _log_model(bundle: Bundle) -> str:
    """Log the bundle inside a pyfunc model; returns the model's URI."""
    example = pd.DataFrame({"text": ["快递三天没动静，客服也不回"]})
    predictor = Predictor(bundle, Policy.load())
    row: dict[str, Any] = {}
    for name, head in predictor.predict([Complaint(text=example["text"][0])])[0].heads.items():
        row |= {name: head.label, f"{name}_confidence": head.confidence, f"{name}_decision": head.decision}
    row |= {"risk_level": "low", "propagation_index": 1.0}
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"bundle": str(bundle.path)},
        code_paths=[str(Path(complaints.__file__).parent)],
        signature=ModelSignature(
            inputs=Schema([ColSpec("string", "text"), ColSpec("string", "title", required=False)]),
            outputs=infer_signature(example, pd.DataFrame([row])).outputs,
        ),
        input_example=example,
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES] + [f"mlflow=={mlflow.__version__}"],
    )
    return str(info.model_uri)
