"""What a cheap first stage could answer in the encoder's stead: python experiments/cascade.py --datasets FOLDER

The first stage is the n-gram model alone, fitted on the recipe's train part and calibrated on its calibration part
under the recipe's promise; the second the packaged model. A first stage saves the encoder's work on a text only where
every head of it is `auto`: with one head open the text must be read all the same. Printed, on the recipe's test part:

- each head's share and precision of `auto`, by stage; the share of texts of which all heads are `auto`;
- risk at coverage (error among the surest so many), by stage; --plot draws the curves;
- the time of both stages, and the most that a cascade can gain: 1 / (first / second + 1 - share answered first);
- what archives repeat: rows that are the same as an earlier one, as they came and as the model reads them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from complaints.bundle import Bundle
from complaints.decision import Calibration, decide, parent_probabilities, probabilities
from complaints.encoder import Encoded, Encoder, cut_tokens
from complaints.files import DataFile, Row
from complaints.ngrams import NGrams
from complaints.predictor import read_calibration, whole
from complaints.records import HeadPrediction
from complaints.text import Cleaned, clean
from jianwei.default_model import packaged_bundle
from training.calibrate import calibrate_head
from training.model import targets
from training.ngrams import fit_ngrams
from training.recipe import Recipe
from training.sources import Example, leaves, read_sources
from training.splits import Parts, split

RECIPE = Path(__file__).parent / "consumer.yaml"
ARCHIVES = ("shopping_reviews", "citizen_messages", "finance_complaints")
COVERAGES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
# A text of fewer characters is a word or two: 无, 谢谢, 已解决.
SHORT = 6
Answers = list[dict[str, HeadPrediction]]


def say(line: str) -> None:
    """One line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class First:
    """The n-gram model by itself, from texts to logits."""

    def __init__(self, bundle: Bundle, recipe: Recipe, parts: Parts) -> None:
        self._bundle = bundle
        self._tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        taxonomy = bundle.taxonomy
        rows = self.ids([clean(whole(e.complaint)).text for e in parts.train])
        labels = np.stack([targets(taxonomy, e.labels).numpy() for e in parts.train])
        self.model: NGrams = fit_ngrams(taxonomy, rows, labels)
        logits = self.logits([clean(whole(e.complaint)).text for e in parts.calibration])
        heads = {}
        for name, head in taxonomy.heads.items():
            known = [i for i, e in enumerate(parts.calibration) if e.labels.get(name) in head.ids]
            truth = np.array([head.ids.index(parts.calibration[i].labels[name]) for i in known])
            groups = [parts.calibration[i].group for i in known]
            heads[name] = calibrate_head(head, logits[name][known], truth, recipe.promise.of(name), groups)
        self.calibration = Calibration(heads=heads)

    def ids(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """Token ids as the encoder reads them."""
        found = self._tokenizer.encode_batch(list(texts))
        return [cut_tokens(np.array(one.ids, dtype=np.int64), self._bundle.manifest.length)[0] for one in found]

    def logits(self, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Head -> (B, K)."""
        return self.model.logits(self.ids(texts))


def right(bundle: Bundle, name: str, one: HeadPrediction, example: Example) -> bool | None:
    """Whether an answer, a leaf or a parent, is right; None where the truth is not known."""
    head = bundle.taxonomy.heads[name]
    truth = example.labels.get(name)
    return None if truth not in head.ids else head.ids.index(truth) in head.members(one.label)


def automatic(stage: str, bundle: Bundle, answers: Answers, examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    """Print what a stage decides alone; (N,) whether all heads of a text are `auto`."""
    for name in bundle.taxonomy.heads:
        auto = [(one[name], e) for one, e in zip(answers, examples, strict=True) if one[name].decision == "auto"]
        known = [r for one, e in auto if (r := right(bundle, name, one, e)) is not None]
        precision = f"{np.mean(known):.3f}" if known else "-"
        say(f"{stage:<8}{name:<14}auto {len(auto) / len(answers):.3f}, of these right {precision}")
    every = np.array([all(one.decision == "auto" for one in row.values()) for row in answers], dtype=np.bool_)
    known = [
        r
        for row, e, whole_row in zip(answers, examples, every, strict=True)
        if whole_row
        for name in row
        if (r := right(bundle, name, row[name], e)) is not None
    ]
    say(f"{stage:<8}all heads     auto {every.mean():.3f}, of their labels right {np.mean(known) if known else 0:.3f}")
    return every


def curves(
    bundle: Bundle, logits: Mapping[str, npt.NDArray[np.float32]], calibration: Calibration, examples: Sequence[Example]
) -> dict[str, npt.NDArray[np.float64]]:
    """Head -> (N,) error among the surest 1, 2, … N answers (leaves; parents under HEAD/parents)."""
    found = {}
    for name, head in bundle.taxonomy.heads.items():
        known, truth = leaves(examples, name, head)
        leaf = probabilities(logits[name][known], calibration.heads[name])
        asked = {name: (leaf, truth)}
        if head.parents:
            parent_of = np.array([head.parents.index(str(head.parent(label))) for label in head.ids])
            asked[f"{name}/parents"] = (parent_probabilities(head, leaf), parent_of[truth])
        for key, (p, true) in asked.items():
            wrong = p.argmax(axis=1) != true
            order = np.argsort(-p.max(axis=1), kind="stable")
            found[key] = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    return found


def repeats(path: Path) -> None:
    """Print how many rows of an archive are the same as an earlier one."""
    raw: set[str] = set()
    read: set[str] = set()
    same = alike = short = rows = 0
    for row in DataFile(path):
        text = row.values.get("text") if isinstance(row, Row) else None
        if not text:
            continue
        rows += 1
        cleaned = clean(text).text
        same += text in raw
        alike += cleaned in read
        short += len(cleaned) < SHORT
        raw.add(text)
        read.add(cleaned)
    say(
        f"{path.stem:<22}{rows} rows: {same / rows:.4f} the same as an earlier one, {alike / rows:.4f} once cleaned, "
        f"{short / rows:.4f} of fewer than {SHORT} characters"
    )


def plot(
    path: Path, first: Mapping[str, npt.NDArray[np.float64]], second: Mapping[str, npt.NDArray[np.float64]]
) -> None:
    """Both stages' curves, a panel a head."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(first), figsize=(3.2 * len(first), 3), sharey=True)
    for panel, name in zip(np.atleast_1d(panels), first, strict=True):
        for label, errors in (("n-grams", first[name]), ("encoder", second[name])):
            panel.plot(np.arange(1, len(errors) + 1) / len(errors), errors, label=label)
        panel.axhline(0.05, linestyle=":", color="grey")
        panel.set(title=name, xlabel="coverage", ylim=(0, 0.5))
    np.atleast_1d(panels)[0].set_ylabel("risk")
    np.atleast_1d(panels)[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the report; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=Path(os.environ.get("JIANWEI_DATASETS", "../shared/datasets")))
    parser.add_argument("--plot", type=Path, help="PNG to draw the curves into")
    options = parser.parse_args()
    bundle, recipe = Bundle.open(packaged_bundle()), Recipe.load(RECIPE)
    read = read_sources(recipe, bundle.taxonomy, [RECIPE.parent, options.datasets])
    parts = split(read.examples, recipe.split)
    first, encoder = First(bundle, recipe, parts), Encoder(bundle)
    cleaned: list[Cleaned] = [clean(whole(e.complaint)) for e in parts.test]
    texts = [one.text for one in cleaned]
    clock = [time.process_time()]
    logits = first.logits(texts)
    clock.append(time.process_time())
    encoded = encoder.encode(texts)
    clock.append(time.process_time())
    taken = np.diff(clock) / len(texts) * 1e3
    cheap = Encoded(logits, encoded.vectors, encoded.truncated)
    whole_calibration = read_calibration(bundle)
    one = decide(bundle.taxonomy, first.calibration, cheap, cleaned)
    two = decide(bundle.taxonomy, whole_calibration, encoded, cleaned)
    answered = automatic("n-grams", bundle, one, parts.test)
    sure = automatic("encoder", bundle, two, parts.test)
    found = [
        curves(bundle, said, learned, parts.test)
        for said, learned in ((logits, first.calibration), (encoded.logits, whole_calibration))
    ]
    say(f"\n{'risk at coverage':<34}" + "".join(f"{share:>7}" for share in COVERAGES))
    for stage, errors in zip(("n-grams", "encoder"), found, strict=True):
        for name, risk in errors.items():
            at = [risk[max(1, round(share * len(risk))) - 1] for share in COVERAGES]
            say(f"{stage:<12}{name:<22}" + "".join(f"{value:>7.3f}" for value in at))
    say(f"\nCPU ms a text, tokens included: n-grams {taken[0]:.3f}, encoder {taken[1]:.3f}")
    for what, share in (("as it answers", answered.mean()), ("if it were sure of all the encoder is", sure.mean())):
        gain = 1 / (taken[0] / taken[1] + 1 - share)
        say(f"a cascade's most against the encoder alone, first stage {what}: x{gain:.2f}")
    for name in ARCHIVES:
        if (path := options.datasets / f"{name}.parquet").exists():
            repeats(path)
    if options.plot is not None:
        plot(options.plot, *found)


if __name__ == "__main__":
    main()
