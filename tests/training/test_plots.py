"""Pictures stay of a size whatever the number of labels."""

from __future__ import annotations

import numpy as np
import pytest

from complaints.taxonomy import Head, Label
from training.evaluate import HeadResult
from training.plots import MOST_LABELS, confusion_figure

MANY = 300


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(name="头", kind="flat", labels=tuple(Label(id=f"l{i:03}", name=f"名{i}") for i in range(MANY)))


def test_of_many_labels_the_most_confused_are_drawn(head: Head) -> None:
    truth = list(head.ids) * 2
    guess = list(head.ids) * 2
    guess[7], guess[200] = "l201", "l008"
    figure = confusion_figure("h", head, HeadResult(truth, guess, np.ones(len(truth)), []))
    assert max(figure.get_size_inches()) <= 16
    (axes,) = figure.axes
    drawn = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(drawn) == MOST_LABELS
    assert {"l007", "l008", "l200", "l201"} <= set(drawn)
    assert drawn == sorted(drawn)
    assert axes.get_xlabel() == f"predicted (the {MOST_LABELS} labels of {MANY} with the most mistakes)"
    shares = axes.images[0].get_array()
    assert shares is not None
    row = drawn.index("l007")  # half of its rows went astray
    assert (shares[row, row], shares[row, drawn.index("l201")]) == (0.5, 0.5)


def test_a_row_is_shaded_by_all_of_its_rows(head: Head) -> None:
    """Also where some of them were taken for labels that are not drawn."""
    truth = ["l000"] * (MANY - 1) + list(head.ids)
    guess = list(head.ids[1:]) + list(head.ids)
    figure = confusion_figure("h", head, HeadResult(truth, guess, np.ones(len(truth)), []))
    shares = figure.axes[0].images[0].get_array()
    assert shares is not None
    assert shares[0].max() == pytest.approx(1 / MANY)
