"""An evaluation as one HTML page that needs nothing else: pictures, tables, and the worst mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from matplotlib.figure import Figure

from complaints.predictor import Predictor
from complaints.text import mask
from training import plots
from training.card import NO_TEST
from training.evaluate import HeadResult
from training.sources import Example

# Mistakes shown a head, the surest first; only texts that may be shown.
WORST = 15
MEASURES = {
    "rows": "rows",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "parent_macro_f1": "parents macro-F1",
    "quadratic_kappa": "kappa",
    "ece": "ECE",
    "ece_of_luck": "ECE of luck alone",
    "aurc": "AURC",
    "auto_coverage": "auto: share",
    "auto_precision": "auto: right",
    "set_coverage": "sets: hold truth",
    "set_size": "sets: labels",
}


def write_page(
    predictor: Predictor,
    results: dict[str, HeadResult],
    examples: Sequence[Example],
    found: dict[str, Any],
    anchors: dict[str, dict[str, float]] | None = None,
) -> str:
    """The page as HTML; `found` is evaluate.report() of `results`, with audit() where it was made.

    `anchors` are the SVM's metrics, where there is one. Texts are shown only of examples that may be (`show`), without
    personal numbers. Where all examples are calibration rows, the page says what their figures are worth.
    """
    heads = {
        name: {
            "title": predictor.taxonomy.heads[name].name,
            "numbers": {label: found["heads"][name].get(key) for key, label in MEASURES.items()},
            "svm": {label: (anchors or {}).get(name, {}).get(key) for key, label in MEASURES.items()},
            "intervals": {label: found["heads"][name]["intervals"].get(key) for key, label in MEASURES.items()},
            "promised": found["heads"][name]["precision_target"],
            "coverage": found["heads"][name]["coverage"],
            "classes": found["heads"][name]["classes"],
            "confusions": found["heads"][name]["confusions"],
            "pictures": [
                _picture(plots.reliability_figure(name, result)),
                _picture(plots.risk_coverage_figure(name, result, found["heads"][name]["precision_target"])),
                _picture(plots.confusion_figure(name, predictor.taxonomy.heads[name], result)),
            ],
            "worst": _worst(result, examples),
        }
        for name, result in results.items()
    }
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("training").joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        manifest=predictor.bundle.manifest,
        digest=predictor.bundle.digest,
        warning=NO_TEST if {one.split for one in examples} == {"calibration"} else None,
        heads=heads,
        slices={
            part: {name: {label: numbers.get(key) for key, label in MEASURES.items()} for name, numbers in of.items()}
            for part, of in found["slices"].items()
        },
        measures=list(MEASURES.values()),
        scope=found.get("scope"),
        evidence=found.get("evidence"),
        robustness=found.get("robustness"),
        directions=found.get("directions"),
    )


def _picture(figure: Figure) -> str:
    """A figure as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _worst(result: HeadResult, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The surest mistakes on texts that may be shown."""
    wrong = [
        k
        for k in result.confidence.argsort()[::-1]
        if result.truth[k] != result.guess[k] and examples[result.rows[k]].show
    ]
    return [
        {
            "text": mask(examples[result.rows[k]].complaint.text),
            "truth": result.truth[k],
            "guess": result.guess[k],
            "confidence": float(result.confidence[k]),
        }
        for k in wrong[:WORST]
    ]
