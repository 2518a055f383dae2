"""Known examples in a bundle: written, read back, refused where damaged, the nearest first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from complaints.bundle import Bundle
from complaints.errors import BundleError, BundleMismatch
from complaints.examples import NEAREST, TEXTS, VECTORS, Examples, write_examples
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy

Make = Callable[..., Bundle]
WIDTH = 14
ROWS = [(f"第{i}条\u2028“屏”\x85坏\n了", {"category": "quality.defect", "sentiment": "angry"}) for i in range(5)]


def units(*angles: float) -> np.ndarray:  # type: ignore[type-arg]
    """Unit vectors in the plane of the first two dimensions."""
    found = np.zeros((len(angles), WIDTH), dtype=np.float32)
    found[:, 0], found[:, 1] = np.cos(angles), np.sin(angles)
    return found


def written(folder: Path) -> None:
    write_examples(folder, ROWS, units(0.0, 0.1, 1.0, 2.0, 3.1))


def test_what_was_written_is_read_back_nearest_first(make_bundle: Make, tmp_path: Path) -> None:
    examples = Examples.open(make_bundle(tmp_path / "b", more=written))
    assert examples.width == WIDTH
    found = examples.nearest(units(0.9)[0])
    assert len(found) == NEAREST
    assert [(one.text, one.labels) for one in found] == [ROWS[2], ROWS[1], ROWS[0]]
    assert [one.similarity for one in found] == pytest.approx(np.cos([0.1, 0.8, 0.9]), abs=2e-3)


def test_similarity_stays_within_bounds_though_vectors_are_kept_in_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    examples = Examples([("屏", {})] * 400, vectors.astype(np.float16))
    assert all(0.99 < examples.nearest(vector)[0].similarity <= 1 for vector in vectors)


def test_fewer_examples_than_are_shown(make_bundle: Make, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", more=lambda folder: write_examples(folder, ROWS[:1], units(0.0)))
    assert len(Examples.open(bundle).nearest(units(3.0)[0])) == 1


def test_a_bundle_without_examples_has_none(tiny_bundle: Bundle) -> None:
    examples = Examples.open(tiny_bundle)
    assert examples.nearest(units(0.0)[0]) == ()
    assert examples.width is None


def replace(name: str, content: bytes) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        written(folder)
        (folder / name).write_bytes(content)

    return fill


def vectors_of(array: np.ndarray) -> Callable[[Path], None]:  # type: ignore[type-arg]
    def fill(folder: Path) -> None:
        written(folder)
        np.save(folder / VECTORS, array)

    return fill


def without_vectors(folder: Path) -> None:
    written(folder)
    (folder / VECTORS).unlink()


LINE = json.dumps({"text": "屏", "labels": {}}).encode() + b"\n"
DAMAGED = {
    "no vectors": without_vectors,
    "empty vectors": replace(VECTORS, b""),
    "no array": replace(VECTORS, b"not an array"),
    "fewer vectors": vectors_of(units(0.0, 1.0)),
    "flat vectors": vectors_of(np.zeros(5, dtype=np.float16)),
    "pickled": vectors_of(np.array([{}] * 5, dtype=object)),
    "no texts": replace(TEXTS, b""),
    "no JSON": replace(TEXTS, LINE * 4 + b"{\n"),
    "no UTF-8": replace(TEXTS, b"\xff\xfe" + LINE * 5),
    "no labels": replace(TEXTS, LINE * 4 + b'{"text": "a"}\n'),
    "a list": replace(TEXTS, LINE * 4 + b"[1]\n"),
    "labels that are none": replace(TEXTS, LINE * 4 + b'{"text": "a", "labels": 5}\n'),
    "fewer texts": replace(TEXTS, LINE * 4),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_damaged_is_refused(make_bundle: Make, tmp_path: Path, damage: str) -> None:
    bundle = make_bundle(tmp_path / "b", more=DAMAGED[damage])
    with pytest.raises(BundleError, match="examples") as refused:
        Examples.open(bundle)
    assert str(bundle.path) in str(refused.value)


def test_vectors_of_another_width_are_refused_quoting_both(make_bundle: Make, tmp_path: Path, policy: Policy) -> None:
    bundle = make_bundle(tmp_path / "b", more=lambda folder: write_examples(folder, ROWS, units(*range(5))[:, :9]))
    with pytest.raises(BundleMismatch, match="its examples is for vectors of 9, the graph gives 14"):
        Predictor(bundle, policy)


def test_an_explained_answer_shows_the_nearest_and_a_plain_one_none(
    make_bundle: Make, tmp_path: Path, predictor: Predictor, policy: Policy
) -> None:
    texts = ["手机屏坏了", "快递在路上", "我谢客服", "我怒了"]
    vectors = predictor.encode([Complaint(text=text) for text in texts])[1].vectors
    rows = [(text, {"category": "quality.defect"}) for text in texts]
    knows = Predictor(make_bundle(tmp_path / "b", more=lambda f: write_examples(f, rows, vectors)), policy)
    (plain,) = knows.predict([Complaint(text="手机屏坏了，没人管")])
    (explained,) = knows.predict([Complaint(text="手机屏坏了，没人管")], explain=True)
    assert plain.similar == ()
    assert len(explained.similar) == NEAREST
    assert explained.similar[0].text == "手机屏坏了"
    assert explained.similar[0].similarity > 0.9
    knows.close()
