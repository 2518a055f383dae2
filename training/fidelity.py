"""What int8 costs, measured where it matters: on held-out texts, as they are served, in labels and in decisions.

A graph that costs too much is not written: the next, more exact form takes its place (export.py).
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

from complaints.bundle import Bundle, Manifest
from complaints.cores import usable_cores
from complaints.decision import Calibration, decide
from complaints.encoder import Encoded, Encoder, Logits
from complaints.ngrams import NGrams
from complaints.predictor import whole
from complaints.records import HeadPrediction
from complaints.taxonomy import Head, Taxonomy
from complaints.text import clean
from training.batches import encode, read_text
from training.blend import weigh_beside
from training.calibrate import calibrate_head
from training.export import FORMS, trace, write_graph
from training.model import Base, TriageModel
from training.recipe import Promise
from training.sources import Example, leaves

log = logging.getLogger(__name__)

# The most that int8 may cost: macro-F1 of any head, and automatic answers that fp32 contradicts.
MOST_LOST = 0.003
MOST_CHANGED = 0.002
# A label with fewer rows says nothing of it: one answer of three that tips over is eleven points.
FEWEST = 10
# Texts that it is measured on, and that it is fitted to; both of the calibration rows.
ROWS = 3_000
FITTED = 64


@dataclass(frozen=True)
class Fidelity:
    """A graph beside the fp32 one it comes from, on `rows` texts.

    `lost`: head -> macro-F1 that it loses (negative where it gains), over labels of FEWEST rows and more. `changed`:
    of its decisions, the share that are automatic and contradict fp32's answer. `moved`: the share that are automatic
    in one of the two alone, or name another label; answers that stood near a threshold, mostly.
    """

    form: str
    rows: int
    lost: dict[str, float]
    changed: float
    moved: float

    @property
    def holds(self) -> bool:
        """Whether it may be served."""
        return self.changed <= MOST_CHANGED and all(lost <= MOST_LOST for lost in self.lost.values())

    def metrics(self) -> dict[str, float]:
        """For the manifest: fidelity/…, shares; `fidelity/form` is the place among FORMS, 0 the quickest."""
        found = {f"fidelity/{head}/macro_f1_lost": lost for head, lost in self.lost.items()}
        found |= {"fidelity/form": float(FORMS.index(self.form)), "fidelity/rows": float(self.rows)}
        return found | {"fidelity/changed": self.changed, "fidelity/moved": self.moved}

    def __str__(self) -> str:
        lost = ", ".join(f"{head} {100 * lost:+.2f}" for head, lost in self.lost.items())
        return (
            f"{self.form}: macro-F1 lost against fp32, points: {lost}; automatic answers changed {self.changed:.2%}, "
            f"moved {self.moved:.2%} (of {self.rows} texts)"
        )


@dataclass(frozen=True)
class Written:
    """A graph that was written: what it costs, how n-grams are weighed beside it, what both say of the examples."""

    fidelity: Fidelity
    ngrams: NGrams
    answers: Encoded  # with the share of each that the n-grams have not seen


def write_faithful(  # noqa: PLR0913 - what is written, how it is told, and on what it is measured
    model: TriageModel,
    path: Path,
    base: Base,
    promise: Promise,
    taxonomy: Taxonomy,
    manifest: Manifest,
    examples: Sequence[Example],
    ngrams: NGrams,
    *,
    weigh: bool = True,
) -> Written:
    """Write the quickest graph that holds the limits on `examples`.

    What is measured is what will be served: `ngrams` are added, weighed beside the fp32 graph on these examples, which
    training has not seen then; with `weigh` off they have their weights already.
    """
    graph = trace(model)
    texts = [read_text(example) for example in examples]
    ids = [np.array(row.ids, dtype=np.int64) for row in encode(examples, base, taxonomy, manifest.length)]
    said, unseen = ngrams.read(ids)
    some = random.Random(0).sample(range(len(texts)), min(ROWS, len(texts)))  # noqa: S311 - no secret
    sample, fitted = [examples[i] for i in some], [ids[i] for i in some[:FITTED]]
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        base.tokenizer.save(str(here / "tokenizer.json"))

        def answers(form: str, texts: Sequence[str]) -> Encoded:
            write_graph(graph, here / "graph.onnx", fitted, form)
            encoder = Encoder(Bundle(here, manifest, taxonomy), threads=usable_cores())
            found = encoder.encode(texts)
            encoder.close()
            return found

        exact = answers("fp32", [texts[i] for i in some])
        weighed = ngrams
        if weigh:
            weighed = weigh_beside(taxonomy, exact.logits, ngrams, _rows(said, some), sample)
        added = weighed.by_head(weighed.blended(said))
        exact = _sum(exact, _rows(added, some))
        for form in FORMS:
            served = _sum(answers(form, texts), added)
            there = Encoded(_rows(served.logits, some), served.vectors[some], served.truncated[some])
            found = compare(form, taxonomy, promise, sample, exact, there)
            if found.holds:
                log.info("%s", found)
                shutil.copy(here / "graph.onnx", path)
                return Written(found, weighed, replace(served, unseen=unseen))
            log.warning("%s: too much, a more exact graph is tried", found)
    raise AssertionError("fp32 loses nothing against itself")


def _rows(logits: Mapping[str, Logits], some: Sequence[int]) -> dict[str, Logits]:
    return {head: values[some] for head, values in logits.items()}


def _sum(answers: Encoded, added: Mapping[str, Logits]) -> Encoded:
    return replace(answers, logits={head: values + added[head] for head, values in answers.logits.items()})


def compare(
    form: str, taxonomy: Taxonomy, promise: Promise, examples: Sequence[Example], exact: Encoded, served: Encoded
) -> Fidelity:
    """The Fidelity of `served` against `exact`, both answers to `examples`; thresholds are those that suit `served`."""
    heads, lost = {}, {}
    for name, head in taxonomy.heads.items():
        known, truth = leaves(examples, name, head)
        groups = [examples[i].group for i in known]
        heads[name] = calibrate_head(head, served.logits[name][known], truth, promise.of(name), groups)
        if known:
            lost[name] = macro_f1(truth, exact.logits[name][known]) - macro_f1(truth, served.logits[name][known])
    cleaned = [clean(whole(example.complaint)) for example in examples]
    calibration = Calibration(heads=heads)
    rows = [decide(taxonomy, calibration, one, cleaned, top_k=1) for one in (exact, served)]
    pairs = [(taxonomy.heads[name], a[name], b[name]) for a, b in zip(*rows, strict=True) for name in heads]
    changed = np.mean([b.decision == "auto" and _contradicts(head, a, b) for head, a, b in pairs])
    moved = np.mean([_moved(a, b) for _, a, b in pairs])
    return Fidelity(form, len(examples), lost, float(changed), float(moved))


def _contradicts(head: Head, a: HeadPrediction, b: HeadPrediction) -> bool:
    """Whether neither label is the other, or its parent."""
    return a.label not in (b.label, head.parent(b.label)) and b.label != head.parent(a.label)


def _moved(a: HeadPrediction, b: HeadPrediction) -> bool:
    automatic = [one.decision == "auto" for one in (a, b)]
    return any(automatic) and (not all(automatic) or a.label != b.label)


def macro_f1(truth: npt.NDArray[np.int64], logits: Logits) -> float:
    """Macro-F1, 0 to 1, of logits (N, K) against truth (N,), over labels of FEWEST rows, or all if none has."""
    counts = np.bincount(truth)
    labels = np.flatnonzero(counts >= FEWEST) if (counts >= FEWEST).any() else np.flatnonzero(counts)
    return float(f1_score(truth, logits.argmax(axis=1), labels=labels, average="macro", zero_division=0))
