"""Pictures of an evaluation: confusion matrices and reliability diagrams."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from complaints.taxonomy import Head
from training.evaluate import HeadResult, reliability, risk_coverage

# Labels of a confusion picture, which takes 16 inches then; a thousand would take gigabytes.
MOST_LABELS = 40


def confusion_figure(name: str, head: Head, result: HeadResult) -> Figure:
    """Counts of truth (rows) against guess (columns), shaded by the share of each row; labels by id.

    Of more labels than MOST_LABELS, those with the most mistakes.
    """
    labels, counts = result.confusion(head)
    rows = np.maximum(1, counts.sum(axis=1, keepdims=True))
    of = ""
    if len(labels) > MOST_LABELS:
        mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_LABELS])
        of = f" (the {MOST_LABELS} labels of {len(labels)} with the most mistakes)"
        labels, counts, rows = [labels[i] for i in kept], counts[np.ix_(kept, kept)], rows[kept]
    size = max(4.0, 0.35 * len(labels) + 2)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / rows, cmap="Blues", vmin=0, vmax=1)
    plain = [label if label.isascii() else f"#{head.ids.index(label)}" for label in labels]  # fonts may lack Chinese
    axes.set_xticks(range(len(labels)), plain, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), plain, fontsize=7)
    for i, j in zip(*np.nonzero(counts), strict=True):
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=6)
    axes.set(xlabel=f"predicted{of}", ylabel="true", title=name if name.isascii() else None)
    return figure


def reliability_figure(name: str, result: HeadResult) -> Figure:
    """Share of right answers against confidence in bins of equal mass; the diagonal is honest."""
    bins = reliability(result.confidence, result.right())
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    axes.plot([c for _, c, _ in bins], [a for _, _, a in bins], marker="o")
    axes.set(
        xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1), title=name if name.isascii() else None
    )
    return figure


def risk_coverage_figure(name: str, result: HeadResult, target: float) -> Figure:
    """Share of wrong answers among the surest, as ever less sure ones are let in; low is good.

    The line is what a precision of `target` allows.
    """
    coverage, risk = risk_coverage(result.confidence, result.right())
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(coverage, risk)
    axes.axhline(1 - target, color="grey", linewidth=1, linestyle="--")
    axes.set(
        xlabel="share answered",
        ylabel="share wrong",
        xlim=(0, 1),
        ylim=(0, None),
        title=name if name.isascii() else None,
    )
    return figure
