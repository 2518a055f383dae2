"""Pictures of an evaluation: confusion matrices and reliability diagrams."""

from __future__ import annotations

from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from complaints.taxonomy import Head
from training.evaluate import HeadResult, reliability, risk_coverage

# Labels of a confusion picture, which takes 16 inches then; a thousand would take gigabytes.
MOST_LABELS = 40
# Families with Chinese characters, the first installed of which is drawn with; matplotlib's own have none.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK", "Noto Sans SC", "Source Han Sans", "Microsoft YaHei", "PingFang", "SimHei",
    "Hiragino Sans GB", "Heiti", "WenQuanYi", "Droid Sans Fallback", "Noto Serif CJK", "Source Han Serif", "SimSun",
    "Songti", "AR PL", "Arial Unicode MS",
)  # fmt: skip
# Characters of a name at an axis; a longer one takes the room of the picture.
LONGEST_NAME = 16


def confusion_figure(name: str, head: Head, result: HeadResult) -> Figure:
    """Counts of truth (rows) against guess (columns), shaded by the share of each row; labels by name.

    Where no font here can draw a name, by id. Of more labels than MOST_LABELS, those with the most mistakes.
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
    shown = [_drawable(head.names[label], label) or f"#{head.ids.index(label)}" for label in labels]
    axes.set_xticks(range(len(labels)), shown, rotation=90, fontfamily=font_family(), fontsize=7)
    axes.set_yticks(range(len(labels)), shown, fontfamily=font_family(), fontsize=7)
    for i, j in zip(*np.nonzero(counts), strict=True):
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=6)
    axes.set(xlabel=f"predicted{of}", ylabel="true")
    _entitle(axes, name)
    return figure


def reliability_figure(name: str, result: HeadResult) -> Figure:
    """Share of right answers against confidence in bins of equal mass; the diagonal is honest."""
    bins = reliability(result.confidence, result.right())
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    axes.plot([c for _, c, _ in bins], [a for _, _, a in bins], marker="o")
    axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    _entitle(axes, name)
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
    axes.set(xlabel="share answered", ylabel="share wrong", xlim=(0, 1), ylim=(0, None))
    _entitle(axes, name)
    return figure


@cache
def font_family() -> str:
    """A family of fonts of this machine that has Chinese characters; matplotlib's own, which has none, without one."""
    found = sorted({font.name for font in fontManager.ttflist})
    return next((name for family in CHINESE for name in found if name.startswith(family)), "DejaVu Sans")


@cache
def _characters(family: str) -> frozenset[int]:
    """Code points that can be drawn."""
    return frozenset(FT2Font(fontManager.findfont(family)).get_charmap())


def _drawable(*names: str) -> str | None:
    """The first of `names` that can be drawn without an empty box, cut to LONGEST_NAME; None where none can."""
    known = _characters(font_family())
    name = next((name for name in names if all(ord(character) in known for character in name)), None)
    return name if name is None or len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _entitle(axes: Axes, name: str) -> None:
    if title := _drawable(name):
        axes.set_title(title, fontfamily=font_family())
