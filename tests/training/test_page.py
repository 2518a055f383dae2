"""The page that an evaluation writes: whole in itself, and true to the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest

from complaints.bundle import Bundle
from complaints.predictor import Predictor
from complaints.risk import Policy
from training.audit import audit
from training.evaluate import evaluate, report
from training.page import write_page
from training.plots import risk_coverage_figure
from training.sources import Example

Make = Callable[..., Example]


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Iterator[Predictor]:
    made = Predictor(bundle, Policy.load())
    yield made
    made.close()


class Outside(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href"):
                self.pictures += tag == "img"
                if not (value or "").startswith("data:"):
                    self.fetched.append(f"{tag} {value}")


@pytest.fixture(scope="module")
def page(predictor: Predictor, example: Make) -> str:
    rows = [
        Example(
            example("快递没动静<b>，回电13812345678").complaint, {"topic": "parcel", "mood": "calm"}, "a", show=True
        ),
        Example(example("屏幕出了问题，我要退款").complaint, {"topic": "goods", "mood": "angry"}, "b", show=False),
        Example(example("退款让我再等等，客服说不清楚到底什么时候到账").complaint, {"topic": "money"}, "b", show=False),
    ]
    results = evaluate(predictor, rows, quiet=True)
    found = report(predictor, results, rows) | audit(predictor, rows)
    return write_page(predictor, results, rows, found, {"topic": {"macro_f1": 0.123, "accuracy": 0.5}})


def test_it_fetches_nothing(page: str) -> None:
    parser = Outside()
    parser.feed(page)
    assert parser.fetched == []
    assert parser.pictures == 6  # two heads were labelled: reliability, risk-coverage, confusion of each
    assert "<script" not in page


def test_it_holds_numbers_of_every_head_and_the_rival(page: str) -> None:
    assert {"topic 主题", "mood 情绪"} <= set(re.findall(r"<h2>(.+?)</h2>", page))
    assert "SVM 0.123" in page
    assert "Out of scope" not in page  # this model has no scope
    assert "traditional" in page
    assert "near-duplicates drawn together" in page
    assert "something changes that matters" not in page  # nor has it the heads of which the sentences speak


def test_it_shows_which_way_answers_go(predictor: Predictor, example: Make) -> None:
    rows = [example("快递没动静"), example("屏幕碎了")]
    results = evaluate(predictor, rows, quiet=True)
    moved = {"customer swears": {"head": "mood", "pairs": 144, "kept": 0.987, "moved": None}}
    page = write_page(predictor, results, rows, report(predictor, results, rows) | {"directions": moved})
    cells = re.findall(r"<td>(.*?)</td>", page.split("something changes that matters")[1])[:5]
    assert cells[:4] == ["customer swears", "mood", "144", "0.987"]
    assert "–" in cells[4]


def test_only_texts_that_may_be_shown_are(page: str) -> None:
    assert "屏幕出了问题" not in page
    assert "到账" not in page
    assert "<b>" not in page.split("<body>")[1]  # and what is shown is escaped
    assert "快递没动静" in page
    assert "13812345678" not in page


@pytest.mark.parametrize("split", ["calibration", "test", None])
def test_it_says_where_its_figures_are_of_calibration_rows(
    predictor: Predictor, example: Make, split: str | None
) -> None:
    rows = [
        example("快递没动静", {"topic": "parcel"}, split=split),
        example("屏幕碎了", {"topic": "goods"}, split=split),
    ]
    results = evaluate(predictor, rows, quiet=True)
    page = write_page(predictor, results, rows, report(predictor, results, rows))
    assert ("There was no test part" in page) == (split == "calibration")


def test_the_picture_of_risk_shows_what_was_promised(predictor: Predictor, example: Make) -> None:
    result = evaluate(predictor, [example("快递没动静"), example("屏幕碎了")], quiet=True)["topic"]
    (axes,) = risk_coverage_figure("topic", result, 0.8).axes
    assert list(axes.lines[1].get_ydata()) == pytest.approx([0.2, 0.2])
