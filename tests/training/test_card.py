"""What the model card says, from hand-made numbers."""

from __future__ import annotations

from typing import Any

import pytest

from complaints.bundle import Bundle
from complaints.taxonomy import Taxonomy
from training.card import card


def written(bundle: Bundle, three: Taxonomy, classes: list[dict[str, Any]], **audit: Any) -> list[str]:
    """Lines of the card of a head with parents, of 50 rows in all and in one part."""
    names = ("accuracy", "macro_f1", "ece", "ece_of_luck", "auto_coverage", "auto_precision")
    numbers: dict[str, Any] = dict.fromkeys((*names, "parent_accuracy", "parent_macro_f1"), 0.5) | {"rows": 50}
    found = {"heads": {"area": numbers | {"classes": classes}}, "slices": {"source: a": {"area": numbers}}} | audit
    return card(bundle.manifest, three, {"train": 1, "calibration": 1, "test": 50}, {"a": 52}, found, {}).splitlines()


def test_parents_say_what_of_auto_they_answer(bundle: Bundle, three: Taxonomy) -> None:
    classes = [
        {"label": "home.door", "auto": 30, "auto_precision": 0.1},
        {"label": "home", "auto": 8, "auto_precision": 0.75},
        {"label": "shop", "auto": 2, "auto_precision": 1.0},
    ]
    everywhere, part = (line for line in written(bundle, three, classes) if line.startswith("| area, parents"))
    assert everywhere == "| area, parents | 50 | 0.500 | 0.500 | | | 0.200 | 0.800 | |"
    assert part == "| area, parents | 50 | 0.500 | 0.500 | | | | | |"


def test_parents_that_were_not_answered_say_nothing(bundle: Bundle, three: Taxonomy) -> None:
    lines = written(bundle, three, [{"label": "home", "auto": 0, "auto_precision": None}])
    assert lines.count("| area, parents | 50 | 0.500 | 0.500 | | | | | |") == 2


def test_which_way_answers_go_is_told(bundle: Bundle, three: Taxonomy) -> None:
    falls = dict.fromkeys(("comprehensiveness", "random_comprehensiveness", "sufficiency", "random_sufficiency"), 0.5)
    moved = {"will not go public": {"head": "mood", "pairs": 144, "kept": 0.924, "moved": None}}
    audit = {"evidence": {"area": falls}, "robustness": {}, "directions": moved}
    assert "| will not go public | mood | 144 | 0.924 |  |" in written(bundle, three, [], **audit)
    assert not [line for line in written(bundle, three, [], **audit | {"directions": {}}) if "the wrong way" in line]


@pytest.mark.parametrize("few", [True, False])
def test_how_it_came_of_its_base_and_of_which_rows(bundle: Bundle, three: Taxonomy, few: bool) -> None:
    manifest = bundle.manifest.model_copy(update={"metrics": {"calibration/folds": 4.0} if few else {}})
    counts = {"train": 94, "calibration": 15, "test": 20}
    text = card(manifest, three, counts, {"a": 129}, {"heads": {}, "slices": {}}, {})
    assert ("Made from tiny in the way of few rows" in text, "Fine-tuned" in text) == (few, not few)
    assert ("Rows: learned from 109, test 20;" in text, "calibration 15" in text) == (few, not few)


def test_heads_that_never_decide_alone_are_on_the_card(bundle: Bundle, three: Taxonomy) -> None:
    assert "Head area: why" in written(bundle, three, [], unsure=["Head area: why"])
