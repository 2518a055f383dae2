"""What a model was made for, and what it was not: a linear boundary between its own texts and foreign ones.

Foreign texts are poems, news, code, advertisements, chat, other languages … written for this purpose
(`out_of_scope.jsonl`, which comes with the package). They stand for all that no training row shows; a boundary drawn
against them held for kinds of text that were kept from it (experiments/LOG.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from complaints.decision import Scope
from complaints.encoder import Vectors

# At most this share of calibration texts, which all belong, may be called foreign.
FALSE_ALARMS = 0.01
# Vectors have length 1, so weights must be large to tell them apart: regularise little.
C = 100.0


@dataclass(frozen=True, slots=True)
class Foreign:
    """A text that is no complaint, of a kind (poem, code …); `hard` ones use a complaint's words."""

    text: str
    kind: str
    hard: bool
    split: str


def foreign_texts(split: str) -> list[Foreign]:
    """The out-of-scope texts of `train` or `test`."""
    lines = resources.files("training").joinpath("out_of_scope.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return [Foreign(r["text"], r["kind"], r["hard"], r["split"]) for r in rows if r["split"] == split]


def fit_scope(own: Vectors, foreign: Vectors, calibration: Vectors) -> Scope:
    """Draw the boundary: `own` (N, H) and `foreign` (M, H) to learn from, `calibration` (L, H) to set the threshold."""
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    model.fit(np.concatenate([own, foreign]), np.array([1] * len(own) + [0] * len(foreign)))
    weights = tuple(float(value) for value in np.round(model.coef_[0], 5))
    drawn = Scope(weights=weights, bias=round(float(model.intercept_[0]), 5), threshold=0.0)
    # Of few rows the lowest: between it and the next lies no row to say where one in a hundred would be.
    threshold = float(np.quantile(drawn.scores(calibration), FALSE_ALARMS, method="lower"))
    return drawn.model_copy(update={"threshold": math.floor(threshold * 1e5) / 1e5})


def scope_report(scope: Scope, own: Vectors, foreign: Vectors, kinds: Sequence[str]) -> dict[str, float]:
    """How well the scope holds on texts it has not seen: `own` (N, H), and `foreign` (M, H) of `kinds` (M,).

    auroc (0.5 is chance, 1 best), own_kept (share of own texts let in), foreign_caught (share kept out), and the same
    a kind.
    """
    inside, outside = scope.scores(own), scope.scores(foreign)
    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    caught = outside < scope.threshold
    found = {
        "auroc": float(roc_auc_score(truth, np.concatenate([inside, outside]))),
        "own_kept": float((inside >= scope.threshold).mean()),
        "foreign_caught": float(caught.mean()),
    }
    for kind in sorted(set(kinds)):
        found[f"caught/{kind}"] = float(caught[np.array(kinds) == kind].mean())
    return {name: round(value, 4) for name, value in found.items()}
