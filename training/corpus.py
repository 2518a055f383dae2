"""The project's own labelled corpus examined: counts, duplicates, leaks, agreement, difficulty, doubtful labels.

`data/corpus/*.jsonl` holds written complaints; `data/annotations/labels.csv` labels of real texts by sha1 of the text,
`double.csv` the test rows that two labellers labelled blind, `double_train.csv` later ones that were not settled. The
real texts themselves are read from the datasets folder, where it is at hand.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.metrics import cohen_kappa_score, f1_score
from sklearn.tree import DecisionTreeClassifier

from complaints.decision import probabilities
from complaints.errors import UnreadableFile
from complaints.files import DataFile, Row
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from complaints.text import mask
from training.baseline import baseline
from training.sources import Example, sha1
from training.splits import near_duplicate_pairs

NEAR = 0.6
# Doubtful labels listed a head; the most doubtful first.
LISTED = 40
WRITTEN, REAL = "written", "real"


@dataclass(frozen=True, slots=True)
class Text:
    """A labelled text: `key` is its id (written) or sha1 (real); `kind` is written or real."""

    key: str
    text: str
    source: str
    kind: str
    split: str
    labels: dict[str, str]


def read_corpus(data: Path, datasets: Path, taxonomy: Taxonomy) -> tuple[list[Text], int]:
    """All labelled texts, and how many annotated real texts are not at hand. Raises UnreadableFile, UnknownLabel."""
    files = sorted((data / "corpus").glob("*.jsonl"))
    if not files:
        raise UnreadableFile(f"no corpus in {data}: name the folder that holds corpus/ and annotations/")
    found = []
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.append(Text(row["id"], row["text"], path.stem, WRITTEN, row["split"], _labels(row, taxonomy)))
    with (data / "annotations" / "labels.csv").open(encoding="utf-8", newline="") as file:
        wanted = {(row["source"], row["sha1"]): row for row in csv.DictReader(file)}
    missing = set(wanted)
    for source in sorted({source for source, _ in wanted}):
        path = datasets / f"{source}.parquet"
        if not path.exists():
            continue
        for one in DataFile(path):
            text = (one.values.get("text") or "") if isinstance(one, Row) else ""
            key = (source, sha1(text))
            if key in missing:
                missing.discard(key)
                row = wanted[key]
                found.append(Text(row["sha1"], text, source, REAL, row["split"], _labels(row, taxonomy)))
    return found, len(missing)


def _labels(row: dict[str, str], taxonomy: Taxonomy) -> dict[str, str]:
    for head in taxonomy.heads:
        taxonomy.heads[head].members(row[head])
    return {head: row[head] for head in taxonomy.heads}


def describe(data: Path, datasets: Path, taxonomy: Taxonomy, predictor: Predictor) -> str:
    """The whole report as text; takes a few minutes, most of them for the models that judge difficulty.

    `predictor` is a model of this taxonomy trained on these rows' train part; its doubts about the others are listed.
    """
    texts, missing = read_corpus(data, datasets, taxonomy)
    parts = [
        _counts(texts, missing),
        _labels_table(texts, taxonomy),
        _duplicates(texts),
        *(_agreement(path, taxonomy) for path in sorted((data / "annotations").glob("double*.csv"))),
        _difficulty(texts, taxonomy),
        _doubtful(texts, predictor),
        _personal(texts),
    ]
    return "\n\n".join(parts)


def _counts(texts: Sequence[Text], missing: int) -> str:
    lines = [f"{len(texts)} texts" + (f"; {missing} annotated real texts are not at hand" if missing else "")]
    lines.append(f"{'source':<24}{'kind':<9}{'train':>7}{'calib':>7}{'test':>7}{'median':>8}{'longest':>9}")
    groups: dict[tuple[str, str], list[Text]] = defaultdict(list)
    for one in texts:
        groups[one.source, one.kind].append(one)
        groups["all", one.kind].append(one)
    for (source, kind), members in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0])):
        parts = Counter(one.split for one in members)
        lengths = sorted(len(one.text) for one in members)
        lines.append(
            f"{source:<24}{kind:<9}{parts['train']:>7}{parts['calibration']:>7}{parts['test']:>7}"
            f"{lengths[len(lengths) // 2]:>8}{lengths[-1]:>9}"
        )
    return "\n".join(lines)


def _labels_table(texts: Sequence[Text], taxonomy: Taxonomy) -> str:
    lines = []
    for name, head in taxonomy.heads.items():
        counts = {kind: Counter(one.labels[name] for one in texts if one.kind == kind) for kind in (WRITTEN, REAL)}
        lines.append(f"{name:<28}{WRITTEN:>9}{REAL:>9}")
        lines += [f"  {label:<26}{counts[WRITTEN][label]:>9}{counts[REAL][label]:>9}" for label in head.ids]
    outside = sum(not taxonomy.allowed(one.labels) for one in texts)
    return "\n".join([*lines, f"outside the responsibility table: {outside}"])


def _duplicates(texts: Sequence[Text]) -> str:
    pairs = near_duplicate_pairs([one.text for one in texts], NEAR)
    written = {later for first, later, _ in pairs if texts[first].kind == texts[later].kind == WRITTEN}
    total = sum(one.kind == WRITTEN for one in texts)
    leaks = [(first, later) for first, later, _ in pairs if texts[first].split != texts[later].split]
    lines = [
        f"near-duplicates (Jaccard of character 3-grams >= {NEAR}): {len(written)} of {total} written texts "
        f"({len(written) / total:.2%}); {len(pairs)} pairs in all",
        f"leaks, near-duplicates in different splits: {len(leaks)}",
    ]
    return "\n".join(lines + [f"  {texts[first].key} ~ {texts[later].key}" for first, later in leaks[:10]])


def _agreement(path: Path, taxonomy: Taxonomy) -> str:
    pairs: dict[str, list[dict[str, str]]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pairs[row["sha1"]].append(row)
    twice = [rows for rows in pairs.values() if len(rows) == 2]
    lines = [f"labelled twice, blind ({path.name}): {len(twice)} texts (Cohen's kappa; quadratic for ordered heads)"]
    for name, head in taxonomy.heads.items():
        order = [[head.ids.index(row[name]) for row in side] for side in zip(*twice, strict=True)]
        weights = "quadratic" if head.kind == "ordinal" else None
        kappa = cohen_kappa_score(*order, labels=range(head.size), weights=weights)
        agreed = np.mean(np.array(order[0]) == np.array(order[1]))
        lines.append(f"  {name:<14} kappa {kappa:.3f}  same {agreed:.1%}")
    return "\n".join(lines)


def _difficulty(texts: Sequence[Text], taxonomy: Taxonomy) -> str:
    lines = ["macro-F1 on test of a bag of words (character TF-IDF + SVM) and of length alone, fitted on train:"]
    train = [one for one in texts if one.split == "train"]
    for kind in (WRITTEN, REAL):
        test = [one for one in texts if one.split == "test" and one.kind == kind]
        if not test:
            continue
        words = baseline(taxonomy, _examples(train), _examples(test))
        for name in taxonomy.heads:
            lengths = DecisionTreeClassifier(max_depth=6, random_state=0)
            lengths.fit([[len(one.text)] for one in train], [one.labels[name] for one in train])
            truth = [one.labels[name] for one in test]
            guess = lengths.predict([[len(one.text)] for one in test])
            alone = f1_score(truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0)
            lines.append(f"  {kind:<8} {name:<14} words {words[name]['macro_f1']:.3f}  length {alone:.3f}")
    return "\n".join(lines)


def _examples(texts: Sequence[Text]) -> list[Example]:
    return [Example(Complaint(text=one.text), one.labels, one.source, one.split) for one in texts]


def _doubtful(texts: Sequence[Text], predictor: Predictor) -> str:
    """Confident learning (Northcutt et al. 2021) on calibration rows, from which the model's weights learned nothing.

    The labels that it doubts are for a person to look at; `data/annotations/doubtful.csv` holds what came of it.
    """
    rows = [one for one in texts if one.split == "calibration"]
    if not rows:
        return "likely label errors: there are no calibration rows"
    if rows[0].labels.keys() != predictor.taxonomy.heads.keys():
        return "likely label errors: the packaged model answers another taxonomy, so it has no opinion"
    _, encoded = predictor.encode([Complaint(text=one.text) for one in rows])
    lines = [f"likely label errors of {len(rows)} calibration rows (confident learning), the most doubtful first:"]
    for name, head in predictor.taxonomy.heads.items():
        p = probabilities(encoded.logits[name], predictor.calibration.heads[name])
        seen, dense = np.unique([head.ids.index(one.labels[name]) for one in rows], return_inverse=True)
        known = p[:, seen] / p[:, seen].sum(axis=1, keepdims=True)
        found = find_label_issues(dense, known, return_indices_ranked_by="self_confidence", n_jobs=1)
        lines.append(f"  {name}: {len(found)}")
        for i in found[:LISTED]:
            lines.append(
                f"    {rows[i].key}  {rows[i].labels[name]} -> {head.ids[int(p[i].argmax())]} ({p[i].max():.2f})"
            )
    return "\n".join(lines)


def _personal(texts: Sequence[Text]) -> str:
    written = [one.key for one in texts if one.kind == WRITTEN and mask(one.text) != one.text]
    return f"personal numbers in written texts: {len(written) or 'none'} {' '.join(written[:10])}".rstrip()
