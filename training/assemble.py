"""What a fitted model needs to become a bundle: graph, calibration, scope, examples; then metrics and card."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from complaints import text
from complaints.bundle import FORMAT, Bundle, Manifest, write_bundle
from complaints.cores import usable_cores
from complaints.decision import Calibration
from complaints.encoder import Encoder
from complaints.examples import write_examples
from complaints.ngrams import FILE as NGRAMS
from complaints.taxonomy import Taxonomy
from training.batches import both_ends, read_text
from training.blend import weigh_beside
from training.calibrate import calibrate_head
from training.card import card, notice
from training.crossing import FOLDS, Crossed
from training.fidelity import Written, write_faithful
from training.model import Base, TriageModel, save_weights
from training.names import named
from training.ngrams import learn_ngrams
from training.recipe import Recipe
from training.scope import fit_scope, foreign_texts
from training.sources import Example, leaves
from training.splits import Parts

log = logging.getLogger(__name__)

# Serving reads up to this many tokens of a long text.
SERVED_TOKENS = 512
# Rows of its own from which a model learns what is foreign to it; more do not move the boundary.
SCOPE_ROWS = 4_000
# Texts that are carried along to be shown, 3 kB each with their vector.
SHOWN_ROWS = 4_000


def draft(
    path: Path,
    model: TriageModel,
    base: Base,
    recipe: Recipe,
    taxonomy: Taxonomy,
    manifest: Manifest,
    parts: Parts,
    crossed: Crossed | None = None,
) -> Bundle:
    """A bundle without test metrics and card, calibrated on what its graph answers, or on `crossed` where rows are few.

    Its manifest says what the graph costs against the fp32 model (fidelity.py).
    """

    def fill(folder: Path) -> None:
        save_weights(model, folder / "weights.safetensors")
        base.encoder.config.save_pretrained(folder)
        (folder / "config.json").rename(folder / "encoder.json")
        base.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        shutil.copy(graph, folder / "graph.onnx")
        written.ngrams.save(folder / NGRAMS)
        encoder = Encoder(Bundle(folder, manifest, taxonomy), threads=usable_cores())
        learned = learn_calibration(encoder, written, recipe, taxonomy, parts, crossed)
        (folder / "calibration.json").write_text(learned.model_dump_json(indent=1), encoding="utf-8")
        if shown := _few([example for example in parts.train if example.show], SHOWN_ROWS, recipe.fit.seed):
            vectors = encoder.encode([read_text(example) for example in shown]).vectors
            write_examples(folder, [(text.mask(one.complaint.text), one.labels) for one in shown], vectors)
        encoder.close()

    read = parts.train if crossed is None else [*parts.train, *parts.calibration, *named(taxonomy)]
    ngrams = learn_ngrams(read, base, taxonomy, manifest.length, recipe.fit)
    if crossed is not None:
        ngrams = weigh_beside(taxonomy, crossed.encoder, ngrams, crossed.ngrams, crossed.examples)
    with tempfile.TemporaryDirectory() as outside:
        graph = Path(outside) / "graph.onnx"
        written = write_faithful(
            model, graph, base, recipe.promise, taxonomy, manifest, parts.calibration, ngrams, weigh=crossed is None
        )
        metrics = written.fidelity.metrics() | ({} if crossed is None else {"calibration/folds": float(FOLDS)})
        manifest = manifest.model_copy(update={"metrics": metrics})
        return write_bundle(path, manifest, taxonomy, fill)


def learn_calibration(
    encoder: Encoder,
    written: Written,
    recipe: Recipe,
    taxonomy: Taxonomy,
    parts: Parts,
    crossed: Crossed | None = None,
) -> Calibration:
    """Temperatures, thresholds, floors, scope and what is usually unseen, from the answers to the calibration rows.

    All but the scope come of `crossed` where it is given.
    """
    answers = written.answers
    examples, logits, unseen = parts.calibration, answers.logits, answers.unseen
    if crossed is not None:
        examples, logits, unseen = crossed.examples, crossed.logits(written.ngrams), crossed.unseen
    heads = {}
    for name, head in taxonomy.heads.items():
        known, truth = leaves(examples, name, head)
        groups = [examples[i].group for i in known]
        heads[name] = calibrate_head(head, logits[name][known], truth, recipe.promise.of(name), groups)
    own = encoder.encode([read_text(example) for example in _few(parts.train, SCOPE_ROWS, recipe.fit.seed)])
    foreign = encoder.encode([text.clean(one.text).text for one in foreign_texts("train")])
    scope = fit_scope(own.vectors, foreign.vectors, answers.vectors)
    usual = None if unseen is None or not len(unseen) else round(float(np.median(unseen)), 4)
    return Calibration(heads=heads, scope=scope, unseen=usual)


def _few(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """At most so many examples, drawn at random; all, in their order, where there are no more."""
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    return list(examples) if len(examples) <= most else draw.sample(list(examples), most)


def finish(
    path: Path,
    made: Bundle,
    found: dict[str, Any],
    anchors: dict[str, dict[str, float]],
    parts: Parts,
) -> Bundle:
    """The draft with its metrics, card and notice, written to `path`; without a test part they are calibration/…."""
    part = "test" if parts.test else "calibration"
    metrics = made.manifest.metrics | {
        f"{part}/{head}/{key}": float(value)
        for head, numbers in found["heads"].items()
        for key, value in numbers.items()
        if isinstance(value, int | float)
    }
    measured = made.manifest.model_copy(update={"metrics": metrics})
    counts = {name: len(getattr(parts, name)) for name in ("train", "calibration", "test")}
    sources = dict(Counter(e.source for e in [*parts.train, *parts.calibration, *parts.test]).most_common())

    def fill(folder: Path) -> None:
        for name in made.manifest.files:
            if name != "taxonomy.yaml":
                shutil.copy(made.path / name, folder / name)
        written = card(measured, made.taxonomy, counts, sources, found, anchors)
        (folder / "README.md").write_text(written, encoding="utf-8")
        (folder / "NOTICE").write_text(notice(measured.base_model), encoding="utf-8")

    return write_bundle(path, measured, made.taxonomy, fill)


def new_manifest(recipe: Recipe, base: Base, taxonomy: Taxonomy, run_id: str, code: str) -> Manifest:
    """The manifest of a bundle that is about to be made, without metrics and files."""
    served = min(max(recipe.fit.max_tokens or 0, SERVED_TOKENS), base.max_tokens)
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
        length=both_ends(served),
        metrics={},
    )
