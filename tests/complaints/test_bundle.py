"""A bundle is written whole or not at all, and opened only when it is what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from complaints import text
from complaints.bundle import MANIFEST, Bundle, Length, Manifest, write_bundle
from complaints.errors import BundleError, BundleMismatch, JianweiError
from complaints.predictor import read_calibration
from complaints.taxonomy import Taxonomy

Make = Callable[..., Bundle]


@pytest.fixture
def bundle(make_bundle: Make, tmp_path: Path) -> Bundle:
    """A bundle of one's own, to damage."""
    return make_bundle(tmp_path / "models" / "tiny")


def edit(bundle: Bundle, **changes: Any) -> None:
    """Change fields of bundle.json."""
    path = bundle.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def rewrite(bundle: Bundle, name: str, content: str) -> None:
    """Change a file, and its checksum with it."""
    (bundle.path / name).write_text(content, encoding="utf-8")
    files = bundle.manifest.files | {name: hashlib.sha256(content.encode()).hexdigest()}
    edit(bundle, files=files)


# ---- writing


def test_what_was_written_is_read_back(bundle: Bundle, tiny_taxonomy: Taxonomy, tiny_manifest: Manifest) -> None:
    again = Bundle.open(bundle.path)
    assert again.taxonomy == tiny_taxonomy
    assert again.manifest.model_copy(update={"files": {}}) == tiny_manifest
    assert set(again.manifest.files) == {
        "taxonomy.yaml",
        "graph.onnx",
        "tokenizer.json",
        "calibration.json",
        "README.md",
    }
    assert again.digest == bundle.digest
    assert [p.name for p in bundle.path.parent.iterdir()] == ["tiny"]
    assert bundle.path.stat().st_mode & 0o755 == 0o755


def test_the_digest_changes_with_any_file(bundle: Bundle) -> None:
    before = bundle.digest
    rewrite(bundle, "README.md", "# other\n")
    assert Bundle.open(bundle.path).digest != before


@pytest.mark.parametrize("failure", [RuntimeError("disk full"), KeyboardInterrupt(), SystemExit(1)])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, tiny_manifest: Manifest, tiny_taxonomy: Taxonomy, failure: BaseException
) -> None:
    def fill(folder: Path) -> None:
        (folder / "graph.onnx").write_bytes(b"half")
        raise failure

    with pytest.raises(type(failure)):
        write_bundle(tmp_path / "models" / "tiny", tiny_manifest, tiny_taxonomy, fill)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_write_that_fails_keeps_what_stood_there(
    bundle: Bundle, tiny_manifest: Manifest, tiny_taxonomy: Taxonomy
) -> None:
    def fill(folder: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_bundle(bundle.path, tiny_manifest, tiny_taxonomy, fill)
    assert Bundle.open(bundle.path).digest == bundle.digest
    assert [p.name for p in bundle.path.parent.iterdir()] == ["tiny"]


def test_a_second_write_replaces_the_first(bundle: Bundle, tiny_manifest: Manifest, tiny_taxonomy: Taxonomy) -> None:
    write_bundle(bundle.path, tiny_manifest, tiny_taxonomy, lambda folder: (folder / "only.txt").touch())
    assert {p.name for p in bundle.path.iterdir()} == {"taxonomy.yaml", "only.txt", MANIFEST}


def test_a_move_that_fails_keeps_what_stood_there(
    bundle: Bundle, tiny_manifest: Manifest, tiny_taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if Path(target) == bundle.path and (self / "only.txt").exists():
            raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(bundle.path, tiny_manifest, tiny_taxonomy, lambda folder: (folder / "only.txt").touch())
    assert Bundle.open(bundle.path).digest == bundle.digest


def test_a_bundle_that_does_not_fit_itself_never_replaces_one_that_does(
    bundle: Bundle, tiny_manifest: Manifest, tiny_taxonomy: Taxonomy
) -> None:
    wrong = tiny_manifest.model_copy(update={"taxonomy_version": "9"})
    with pytest.raises(BundleMismatch):
        write_bundle(bundle.path, wrong, tiny_taxonomy, lambda folder: None)
    assert Bundle.open(bundle.path).digest == bundle.digest


def test_a_folder_that_is_no_bundle_is_not_removed(
    tmp_path: Path, tiny_manifest: Manifest, tiny_taxonomy: Taxonomy
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.md").write_text("…", encoding="utf-8")
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "thesis", tiny_manifest, tiny_taxonomy, lambda folder: None)
    assert (tmp_path / "thesis" / "chapter1.md").exists()


# ---- damage


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle in .*: there is no bundle\.json"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(BundleError, match="no bundle in"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("name", ["taxonomy.yaml", "graph.onnx", "tokenizer.json", "calibration.json", "README.md"])
def test_a_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing; copy the bundle again"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["taxonomy.yaml", "graph.onnx", "tokenizer.json", "calibration.json", "README.md"])
def test_a_flipped_byte_is_found(bundle: Bundle, name: str) -> None:
    data = bytearray((bundle.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle.path / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is not the file that was written"):
        Bundle.open(bundle.path)


def test_a_file_cut_short_is_found(bundle: Bundle) -> None:
    path = bundle.path / "graph.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"graph\.onnx is not the file"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{}", b"[]", b"null", b'{"format": 2}'])
def test_a_manifest_that_is_none_is_refused(bundle: Bundle, content: bytes) -> None:
    (bundle.path / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=str(bundle.path)):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("number", [0, 1, 3, "2", None])
def test_another_format_quotes_both(bundle: Bundle, number: object) -> None:
    edit(bundle, format=number)
    with pytest.raises(BundleError, match=f"has format {number}, but this version of jianwei reads 2"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("heads", {"category": "four"}), ("length", {"max_tokens": 4, "tail": 0}), ("colour", "red"), ("metrics", None)],
)
def test_a_manifest_with_a_wrong_field_is_refused(bundle: Bundle, field: str, value: object) -> None:
    edit(bundle, **{field: value})
    with pytest.raises(BundleError, match=field):
        Bundle.open(bundle.path)


def test_another_normaliser_quotes_both(bundle: Bundle) -> None:
    edit(bundle, text_version="0")
    with pytest.raises(BundleMismatch, match=f"normaliser 0, but this version of jianwei has {text.VERSION}"):
        Bundle.open(bundle.path)


def test_a_bundle_of_the_normaliser_before_is_opened(bundle: Bundle) -> None:
    edit(bundle, text_version=text.READS_COURTESY)
    assert Bundle.open(bundle.path).manifest.text_version == text.READS_COURTESY


def test_another_taxonomy_version_quotes_both(bundle: Bundle) -> None:
    edit(bundle, taxonomy_version="0.9.0")
    with pytest.raises(BundleMismatch, match=r"0\.9\.0.*1\.0\.0"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    "heads",
    [
        {"category": 5, "department": 3, "sentiment": 4, "propagation": 3},
        {"category": 4, "department": 3, "sentiment": 4},
        {"department": 3, "category": 4, "sentiment": 4, "propagation": 3},  # the graph's outputs have an order
    ],
)
def test_heads_that_do_not_fit_the_taxonomy_quote_both(bundle: Bundle, heads: dict[str, int]) -> None:
    edit(bundle, heads=heads)
    with pytest.raises(BundleMismatch) as refused:
        Bundle.open(bundle.path)
    assert str(heads) in str(refused.value)
    assert str(bundle.taxonomy.sizes) in str(refused.value)


def test_a_manifest_that_lists_no_files_is_refused(bundle: Bundle) -> None:
    edit(bundle, files={})
    (bundle.path / "graph.onnx").unlink()
    with pytest.raises(BundleError):
        Bundle.open(bundle.path)


def test_a_broken_taxonomy_inside_is_a_bundle_error(bundle: Bundle) -> None:
    rewrite(bundle, "taxonomy.yaml", "name: tiny\n")
    with pytest.raises(BundleError):
        Bundle.open(bundle.path)


def test_a_broken_taxonomy_inside_is_at_least_one_of_our_errors(bundle: Bundle) -> None:
    rewrite(bundle, "taxonomy.yaml", "name: tiny\n")
    with pytest.raises(JianweiError, match=r"taxonomy\.yaml"):
        Bundle.open(bundle.path)


# ---- length and calibration


@pytest.mark.parametrize("tail", [16, 20])
def test_a_tail_as_long_as_the_whole_is_refused(tail: int) -> None:
    with pytest.raises(ValidationError):
        Length(max_tokens=16, tail=tail)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"temperature":1.0', '"temperature":0'), ('"coverage":0.9', '"coverage":1.5'), ("{", "")],
)
def test_a_calibration_that_cannot_be_read_is_refused(bundle: Bundle, old: str, new: str) -> None:
    content = (bundle.path / "calibration.json").read_text("utf-8")
    assert old in content
    rewrite(bundle, "calibration.json", content.replace(old, new, 1))
    with pytest.raises(BundleError, match=r"calibration\.json cannot be read"):
        read_calibration(Bundle.open(bundle.path))


def test_a_calibration_of_other_heads_quotes_both(bundle: Bundle) -> None:
    content = json.loads((bundle.path / "calibration.json").read_text("utf-8"))
    del content["heads"]["sentiment"]
    rewrite(bundle, "calibration.json", json.dumps(content))
    with pytest.raises(
        BundleMismatch, match=r"category, department, propagation, .*category, department, sentiment, prop"
    ):
        read_calibration(Bundle.open(bundle.path))
