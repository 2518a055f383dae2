"""The model to beat: character TF-IDF and a linear SVM, fitted on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from complaints.taxonomy import Taxonomy
from training.batches import read_text
from training.evaluate import quadratic_kappa
from training.sources import Example


def unfitted() -> Pipeline:
    """TF-IDF over one to three characters, and a linear SVM."""
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, max_features=300_000)
    return make_pipeline(vectors, LinearSVC(random_state=0))


def baseline(taxonomy: Taxonomy, train: Sequence[Example], test: Sequence[Example]) -> dict[str, dict[str, float]]:
    """Head -> accuracy, macro_f1 (and quadratic_kappa of ordinal heads) of the SVM on `test`, as evaluate.py counts."""
    texts = {id(example): read_text(example) for example in [*train, *test]}
    found = {}
    for name, head in taxonomy.heads.items():
        fitted, scored = ([e for e in part if e.labels.get(name) in head.ids] for part in (train, test))
        if len({e.labels[name] for e in fitted}) < 2 or not scored:
            continue
        model = unfitted().fit([texts[id(e)] for e in fitted], [e.labels[name] for e in fitted])
        guess = list(model.predict([texts[id(e)] for e in scored]))
        truth = [e.labels[name] for e in scored]
        found[name] = {
            "accuracy": float(accuracy_score(truth, guess)),
            "macro_f1": float(f1_score(truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0)),
        }
        if head.kind == "ordinal":
            found[name]["quadratic_kappa"] = quadratic_kappa(head, truth, guess)
    return found
