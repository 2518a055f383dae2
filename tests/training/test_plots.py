"""Pictures stay of a size whatever the number of labels, and never show an empty box for a character."""

from __future__ import annotations

import io

import numpy as np
import pytest

from complaints.taxonomy import Head, Label
from training.evaluate import HeadResult
from training.plots import LONGEST_NAME, MOST_LABELS, confusion_figure, reliability_figure

MANY = 300


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(name="头", kind="flat", labels=tuple(Label(id=f"l{i:03}", name=f"名{i}") for i in range(MANY)))


@pytest.fixture
def latin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a Chinese font."""
    monkeypatch.setattr("training.plots.font_family", lambda: "DejaVu Sans")


@pytest.mark.usefixtures("latin")
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


def drawn(names: dict[str, str]) -> list[str]:
    """What stands at the axis of labels of these ids and names."""
    head = Head(name="头", kind="flat", labels=tuple(Label(id=key, name=name) for key, name in names.items()))
    figure = confusion_figure("头", head, HeadResult(list(names), list(names), np.ones(len(names)), []))
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


@pytest.mark.usefixtures("latin")
def test_names_are_drawn_where_the_font_has_them_else_ids_else_numbers() -> None:
    assert drawn({"a": "Größe", "b": "质量", "质": "质量"}) == ["Größe", "b", "#2"]
    assert reliability_figure("质量", HeadResult(["a"], ["a"], np.ones(1), [])).axes[0].get_title() == ""
    assert reliability_figure("topic", HeadResult(["a"], ["a"], np.ones(1), [])).axes[0].get_title() == "topic"


def test_chinese_names_are_drawn_with_a_font_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.plots._characters", lambda family: frozenset(map(ord, "质量长b")))
    assert drawn({"a": "质量", "b": "物流", "c": "长" * 40}) == ["质量", "b", "长" * (LONGEST_NAME - 1) + "…"]


def test_no_character_of_this_machines_pictures_is_an_empty_box(head: Head) -> None:
    """Matplotlib warns of a glyph that is missing, which is an error here."""
    figure = confusion_figure("头", head, HeadResult(list(head.ids[:9]), list(head.ids[:9]), np.ones(9), []))
    figure.savefig(io.BytesIO(), format="png")
    figure.axes[0].set_title("名", fontfamily="DejaVu Sans")
    with pytest.warns(UserWarning, match="missing"):  # it does
        figure.savefig(io.BytesIO(), format="png")
