"""The story's mechanics, on a few of the project's own texts and with vectors of their wording."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from complaints.concentration import lexical
from complaints.predictor import whole
from complaints.text import clean

ROOT = Path(__file__).parents[2]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("story", ROOT / "experiments" / "story.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "story", module)
    spec.loader.exec_module(module)
    for name, value in {
        "STREAM": 60,
        "KNOWN": 120,
        "TEST": 60,
        "ARRIVALS": 10,
        "REVIEWS": 5,
        "DAYS_A_WEEK": 3,
    }.items():
        monkeypatch.setattr(module, name, value)

    def states(examples: Any, *_: Any) -> torch.Tensor:
        return torch.from_numpy(np.stack([lexical(clean(whole(one.complaint)).text) for one in examples]))

    monkeypatch.setattr(module, "_states", states)
    return module


def test_it_is_told_to_its_end(story: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere, out = tmp_path / "nowhere", tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["story.py", "--datasets", str(nowhere), "-o", str(out)])
    story.main()
    found = json.loads((out / "story.json").read_text(encoding="utf-8"))
    assert found["recipe"] == "consumer-written"
    for order in ("queue", "random"):
        points = [one for one in found["points"] if one["order"] == order]
        assert [one["labels"] for one in points] == [0, 15, 30]
        assert all(0 <= score <= 1 for one in points for score in one["macro_f1"].values())
        assert all(one["promoted"] or one["reasons"] for one in points)
    assert (out / "story.png").stat().st_size > 1000

    notebook = nbformat.read(ROOT / "notebooks" / "story.ipynb", as_version=4)
    monkeypatch.setenv("JIANWEI_STORY", str(out / "story.json"))
    done = NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert not any(o.output_type == "error" for cell in done.cells for o in cell.get("outputs", []))


@pytest.mark.parametrize("among", [0, 2])
def test_no_text_of_the_stream_or_the_test_is_known_at_the_start(story: ModuleType, tmp_path: Path, among: int) -> None:
    _, world = story.read_world(tmp_path / "nowhere", 1, among)
    known = {whole(one.complaint) for one in (*world.known.train, *world.known.calibration, *world.known.test)}
    new = [world.examples[i] for i in (*world.stream, *world.test)]
    assert not known & {whole(one.complaint) for one in new}
    assert not set(world.stream) & set(world.test)
    others = [i for i in world.stream if i not in world.unseen]
    assert len(others) == among * len(world.unseen)
    assert {world.examples[i].source for i in (*world.unseen, *world.test)} <= set(story.WRITTEN["unseen"])
    assert {world.examples[i].source for i in others} <= set(story.WRITTEN["known"])


def test_the_curves_meet_where_they_do(story: ModuleType) -> None:
    points = [
        {"order": order, "labels": labels, "seed": seed, "macro_f1": {"a": score + seed / 100}}
        for order, scores in (("queue", (0.1, 0.5, 0.7)), ("random", (0.1, 0.3, 0.5)))
        for labels, score in zip((0, 500, 1000), scores, strict=True)
        for seed in (0, 2)
    ]
    assert story.mean_curve(points, "queue", "a") == pytest.approx({0: 0.11, 500: 0.51, 1000: 0.71})
    assert {n: pytest.approx(ahead) for n, ahead in story.leads(points, "a").items()} == {
        0: [0, 0],
        500: [0.2, 0.2],
        1000: [0.2, 0.2],
    }
    assert "random ends at 0.5100; the queue's order reaches it with 500 labels, 50% of 1000" in story.summary(
        points, ["a"]
    )
