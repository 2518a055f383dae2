"""What a trained model is on disk: a folder that `training` writes and everything else only reads.

bundle.json         Manifest: format, heads, versions, lengths, where it came from, sha256 of every file
taxonomy.yaml       the labels it answers with
calibration.json    temperatures, thresholds and floors a label, the scope (see decision.py)
graph.onnx          int8 graph: input_ids, attention_mask (B, T) -> logits (B, sum of K), heads side by side;
                    contributions (B, T, sum of K) that add up to them; vectors (B, H) of length 1
ngrams.npz          linear model over n-grams of tokens, its logits are added to the graph's (ngrams.py); may be absent
tokenizer.json      the tokenizer, cut down to the vocabulary that can occur
weights.safetensors fp16 weights of encoder and heads, to train further from
encoder.json        the encoder's configuration
README.md           model card
NOTICE              licence of the base model
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from complaints import text
from complaints.errors import BundleError, BundleMismatch, TaxonomyError
from complaints.taxonomy import Taxonomy

FORMAT = 2
MANIFEST = "bundle.json"


class Length(BaseModel):
    """How a text of too many tokens is cut: its first `head` and last `tail` tokens are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_tokens: int = Field(gt=8, description="Special tokens included")
    tail: int = Field(ge=0, description="Of these, how many come from the end of a text that is too long")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tail >= self.max_tokens:
            raise ValueError(f"tail {self.tail} leaves no room in max_tokens {self.max_tokens}")
        return self


class Manifest(BaseModel):
    """`bundle.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    name: str = Field(description="Registered model name")
    created_at: datetime
    run_id: str | None = Field(description="MLflow run that made it")
    base_model: str
    code_version: str
    text_version: str
    taxonomy_version: str
    heads: dict[str, int] = Field(description="Head -> K, in the order of the graph's outputs")
    length: Length
    metrics: dict[str, float] = Field(description="Test metrics, as logged to MLflow")
    files: dict[str, str] = Field(default={}, description="File name -> sha256")


class Bundle:
    """An opened, verified bundle: `path`, `manifest`, `taxonomy`."""

    def __init__(self, path: Path, manifest: Manifest, taxonomy: Taxonomy) -> None:
        self.path = path
        self.manifest = manifest
        self.taxonomy = taxonomy

    @property
    def digest(self) -> str:
        """sha256 of the manifest, which holds the sha256 of everything else: the bundle's identity."""
        return _sha256(self.path / MANIFEST)

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open the bundle in folder `path`, every file checked against the manifest.

        Raises BundleError where it is missing, half-written or damaged, and BundleMismatch, quoting both
        sides, where its heads, taxonomy or normaliser do not fit each other or this version of the code.
        """
        folder = Path(path)
        manifest = _read_manifest(folder)
        if "taxonomy.yaml" not in manifest.files:
            raise BundleError(f"bundle {folder}: {MANIFEST} lists no taxonomy.yaml; copy the bundle again")
        for name, digest in manifest.files.items():
            if not (folder / name).is_file():
                raise BundleError(f"bundle {folder}: {name} is missing; copy the bundle again")
            if _sha256(folder / name) != digest:
                raise BundleError(f"bundle {folder}: {name} is not the file that was written; copy the bundle again")
        try:
            taxonomy = Taxonomy.load(folder / "taxonomy.yaml")
        except TaxonomyError as error:
            raise BundleError(f"bundle {folder}: {error}") from error
        if taxonomy.version != manifest.taxonomy_version:
            raise BundleMismatch(
                f"bundle {folder}: trained on taxonomy version {manifest.taxonomy_version}, "
                f"but its taxonomy.yaml is version {taxonomy.version}"
            )
        if list(taxonomy.sizes.items()) != list(manifest.heads.items()):
            raise BundleMismatch(
                f"bundle {folder}: the model's heads are {manifest.heads}, "
                f"but taxonomy {taxonomy.name} {taxonomy.version} has {taxonomy.sizes}"
            )
        if manifest.text_version not in (text.VERSION, text.READS_COURTESY):
            raise BundleMismatch(
                f"bundle {folder}: trained with normaliser {manifest.text_version}, "
                f"but this version of jianwei has {text.VERSION}; retrain it or install the version that made it"
            )
        return cls(folder, manifest, taxonomy)


def write_bundle(path: Path, manifest: Manifest, taxonomy: Taxonomy, fill: Callable[[Path], None]) -> Bundle:
    """Write a bundle whole or not at all: `fill(folder)` writes the other files into a temporary folder beside `path`.

    Replaces what stood at `path`. Returns the bundle, opened from disk again.
    """
    if path.exists() and not (path / MANIFEST).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise BundleError(f"{path} exists and is no bundle: choose another place, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        (folder / "taxonomy.yaml").write_text(taxonomy.dump(), encoding="utf-8")
        fill(folder)
        files = {p.name: _sha256(p) for p in sorted(folder.iterdir())}
        written = manifest.model_copy(update={"files": files})
        (folder / MANIFEST).write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")
        folder.chmod(0o755)  # mkdtemp makes it private, and some writers their files
        for file in folder.iterdir():
            file.chmod(0o644)
        Bundle.open(folder)  # what cannot be opened must not replace what can
        old = folder.with_name(f"{folder.name}.old")
        if path.exists():
            path.replace(old)
        try:
            folder.replace(path)
        except BaseException:
            if old.exists():
                old.replace(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Bundle.open(path)


def _read_manifest(folder: Path) -> Manifest:
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"no bundle in {folder}: there is no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} cannot be read ({error})") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise BundleError(f"bundle {folder} has format {found}, but this version of jianwei reads {FORMAT}")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} is not valid: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
