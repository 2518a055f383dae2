"""One training run, from a recipe to a registered version:

sources -> split -> fit -> int8 graph -> calibrate -> evaluate through predictor.py -> bundle -> MLflow

Nothing is registered before everything is made, so a run that is killed leaves no half version behind.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.data
import mlflow.pyfunc
import numpy as np
import pandas as pd
import torch
from mlflow.models import infer_signature

import complaints
from complaints import text
from complaints.bundle import FORMAT, Bundle, Length, Manifest, write_bundle
from complaints.decision import Calibration
from complaints.encoder import Encoder
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from training import plots
from training.baseline import baseline
from training.calibrate import calibrate_head
from training.card import card, notice
from training.evaluate import HeadResult, evaluate, report
from training.export import export_graph
from training.fit import encode, fit_model, read_text
from training.model import Base, TriageModel, load_base, save_weights
from training.recipe import Recipe
from training.registry import Registry
from training.sources import Example, read_sources
from training.splits import Parts, split

log = logging.getLogger(__name__)

# Serving reads up to this many tokens of a long text, a quarter of them from its end, where demands stand.
SERVED_TOKENS = 512
TAIL_SHARE = 4
PACKAGES = ("onnxruntime", "tokenizers", "opencc", "pydantic", "pyyaml", "numpy", "pandas")


@dataclass(frozen=True)
class Trained:
    """What a run made: the bundle, its registered version, its test report, the SVM's and the champion's."""

    bundle: Bundle
    version: str
    report: dict[str, Any]
    baseline: dict[str, dict[str, float]]
    champion: dict[str, Any] | None


def train(
    recipe: Recipe,
    taxonomy: Taxonomy,
    *,
    folders: list[Path],
    output: Path,
    registry: Registry,
    fallback: Path,
    champion: Predictor | None = None,
) -> Trained:
    """Run `recipe`; its bundle is left in `output` and registered under the recipe's name.

    `folders` are searched for data files; `fallback` is a bundle to start from where the hub cannot be reached;
    `champion`, where given and its labels are the same, is measured on the same test rows.
    """
    read = read_sources(recipe, taxonomy, folders)
    for reason, rows in read.left_out.items():
        log.warning("left out %d rows: %s", rows, reason)
    parts = split(read.examples, recipe.split)
    log.info("rows: train %d, calibration %d, test %d", len(parts.train), len(parts.calibration), len(parts.test))
    torch.manual_seed(recipe.fit.seed)
    code = code_version()  # now, for the checkout may move on while the run goes
    base = load_base(recipe.base, fallback)
    with mlflow.start_run(experiment_id=registry.experiment(recipe.name), log_system_metrics=True) as run:
        _log_inputs(recipe, base, parts, read.digests, code)
        model = TriageModel(base.encoder, base.hidden, taxonomy, recipe.fit.dropout)
        read_tokens = min(recipe.fit.max_tokens, base.max_tokens)
        length = Length(max_tokens=read_tokens, tail=read_tokens // TAIL_SHARE)
        rows = [encode(part, base, taxonomy, length) for part in (parts.train, parts.calibration)]
        best = fit_model(model, base, taxonomy, rows[0], rows[1], recipe.fit, mlflow.log_metrics)
        mlflow.log_metric("best_epoch", best)
        manifest = _manifest(recipe, base, taxonomy, run.info.run_id, code)
        with tempfile.TemporaryDirectory() as folder:
            draft = _draft(Path(folder) / "draft", model, base, recipe, taxonomy, manifest, parts.calibration)
            predictor = Predictor(draft, Policy.load(), threads=os.cpu_count() or 1)
            results = evaluate(predictor, parts.test or parts.calibration)
            found = report(predictor, results)
            anchors = baseline(taxonomy, parts.train, parts.test or parts.calibration)
            rival = _rival(champion, taxonomy, parts.test)
            slices = _slices(predictor, parts.test)
            predictor.close()
            bundle = _finish(output, draft, manifest, found, slices, anchors, parts)
        _log_results(found, results, anchors, rival, taxonomy)
        source = _log_model(bundle)
    registered = registry.register(recipe.name, source, run.info.run_id, {"digest": bundle.digest, "origin": "train"})
    return Trained(bundle, registered, found, anchors, rival)


def _draft(
    path: Path,
    model: TriageModel,
    base: Base,
    recipe: Recipe,
    taxonomy: Taxonomy,
    manifest: Manifest,
    calibration: Sequence[Example],
) -> Bundle:
    """A bundle without metrics and card, calibrated on what its int8 graph answers."""

    def fill(folder: Path) -> None:
        save_weights(model, folder / "weights.safetensors")
        base.encoder.config.save_pretrained(folder)
        (folder / "config.json").rename(folder / "encoder.json")
        base.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        export_graph(model, folder / "graph.onnx")
        encoder = Encoder(Bundle(folder, manifest, taxonomy), threads=os.cpu_count() or 1)
        logits = encoder.encode([read_text(example) for example in calibration]).logits
        encoder.close()
        heads = {}
        for name, head in taxonomy.heads.items():
            known = [i for i, e in enumerate(calibration) if e.labels.get(name) in head.ids]
            truth = np.array([head.ids.index(calibration[i].labels[name]) for i in known], dtype=np.int64)
            heads[name] = calibrate_head(head, logits[name][known], truth, recipe.promise)
        (folder / "calibration.json").write_text(Calibration(heads=heads).model_dump_json(indent=1), encoding="utf-8")

    return write_bundle(path, manifest, taxonomy, fill)


def _finish(
    path: Path,
    draft: Bundle,
    manifest: Manifest,
    found: dict[str, Any],
    slices: dict[str, Any],
    anchors: dict[str, dict[str, float]],
    parts: Parts,
) -> Bundle:
    """The draft with its metrics, card and notice, written to `path`."""
    metrics = {
        f"test/{head}/{key}": float(value)
        for head, numbers in found["heads"].items()
        for key, value in numbers.items()
        if isinstance(value, int | float)
    }
    measured = manifest.model_copy(update={"metrics": metrics})
    counts = {name: len(getattr(parts, name)) for name in ("train", "calibration", "test")}
    sources = dict(Counter(e.source for e in [*parts.train, *parts.calibration, *parts.test]).most_common())

    def fill(folder: Path) -> None:
        for name in draft.manifest.files:
            if name != "taxonomy.yaml":
                shutil.copy(draft.path / name, folder / name)
        written = card(measured, draft.taxonomy, counts, sources, {"all": found["heads"]} | slices, anchors)
        (folder / "README.md").write_text(written, encoding="utf-8")
        (folder / "NOTICE").write_text(notice(manifest.base_model), encoding="utf-8")

    return write_bundle(path, measured, draft.taxonomy, fill)


def _slices(predictor: Predictor, test: Sequence[Example]) -> dict[str, Any]:
    """Reports of each source's test rows, where there are several sources."""
    sources = Counter(example.source for example in test)
    if len(sources) < 2:
        return {}
    return {
        source: report(predictor, evaluate(predictor, [e for e in test if e.source == source], quiet=True))["heads"]
        for source, _ in sources.most_common()
    }


def _rival(champion: Predictor | None, taxonomy: Taxonomy, test: Sequence[Example]) -> dict[str, Any] | None:
    if champion is None or not test:
        return None
    if {n: h.ids for n, h in champion.taxonomy.heads.items()} != {n: h.ids for n, h in taxonomy.heads.items()}:
        return None
    return report(champion, evaluate(champion, test))


def _manifest(recipe: Recipe, base: Base, taxonomy: Taxonomy, run_id: str, code: str) -> Manifest:
    served = min(max(recipe.fit.max_tokens, SERVED_TOKENS), base.max_tokens)
    return Manifest(
        format=FORMAT,
        name=recipe.name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        run_id=run_id,
        base_model=base.name,
        code_version=code,
        text_version=text.VERSION,
        taxonomy_version=taxonomy.version,
        heads=taxonomy.sizes,
        length=Length(max_tokens=served, tail=served // TAIL_SHARE),
        metrics={},
    )


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


def _log_inputs(recipe: Recipe, base: Base, parts: Parts, digests: dict[str, str], code: str) -> None:
    settings = {"name": recipe.name, "taxonomy": recipe.taxonomy, "base": base.name, "code": code}
    for section in ("fit", "split", "promise"):
        settings |= {f"{section}.{key}": value for key, value in getattr(recipe, section).model_dump().items()}
    mlflow.log_params(settings | {f"sha256.{name}": digest for name, digest in digests.items()})
    mlflow.log_params({"vocabulary.before": base.vocabulary[0], "vocabulary.after": base.vocabulary[1]})
    mlflow.log_metrics({"near_duplicate_groups": parts.groups, "rows_moved": parts.moved})
    mlflow.log_dict(recipe.model_dump(mode="json"), "recipe.yaml")
    for name in ("train", "calibration", "test"):
        part = getattr(parts, name)
        mlflow.log_metric(f"rows/{name}", len(part))
        if part:
            frame = pd.DataFrame([{"text": e.complaint.text, **e.labels} for e in part])
            mlflow.log_input(mlflow.data.from_pandas(frame, name=f"{recipe.name}-{name}"), context=name)


def _log_results(
    found: dict[str, Any],
    results: dict[str, HeadResult],
    anchors: dict[str, dict[str, float]],
    rival: dict[str, Any] | None,
    taxonomy: Taxonomy,
) -> None:
    mlflow.log_dict(found, "report.json")
    for name, result in results.items():
        head = taxonomy.heads[name]
        numbers = {k: v for k, v in result.metrics(head).items() if not math.isnan(v)}
        mlflow.log_metrics({f"test/{name}/{key}": value for key, value in numbers.items()})
        mlflow.log_metrics({f"svm/{name}/{key}": value for key, value in anchors.get(name, {}).items()})
        mlflow.log_table(pd.DataFrame(result.classes(head)), f"classes/{name}.json")
        mlflow.log_figure(plots.confusion_figure(name, head, result), f"confusion/{name}.png")
        mlflow.log_figure(plots.reliability_figure(name, result), f"reliability/{name}.png")
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
    warnings.filterwarnings("ignore", message=".*type hints", category=UserWarning)  # mlflow wants its own kind
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"bundle": str(bundle.path)},
        code_paths=[str(Path(complaints.__file__).parent)],
        signature=infer_signature(example, pd.DataFrame([row])),
        input_example=example,
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES] + [f"mlflow=={mlflow.__version__}"],
    )
    return str(info.model_uri)
