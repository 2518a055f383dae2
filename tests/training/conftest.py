"""A taxonomy with a head of each kind, and an untrained tiny model over it, as torch module and as bundle."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from transformers import AutoModel

from complaints import text
from complaints.bundle import FORMAT, Bundle, Length, Manifest, write_bundle
from complaints.decision import Calibration
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training.calibrate import calibrate_head
from training.export import export_graph
from training.model import Base, TriageModel, load_base, save_weights
from training.recipe import Promise
from training.registry import Registry
from training.sources import Example

TAXONOMY = """
name: three
title: 三问
version: 2.0.0
heads:
  topic:
    name: 主题
    kind: flat
    labels: [{id: goods, name: 质量}, {id: parcel, name: 物流}, {id: money, name: 退款}]
  area:
    name: 地点
    kind: hierarchical
    labels:
      - {id: shop, name: 店里, leaves: [{id: counter, name: 柜台}, {id: online, name: 网上}]}
      - {id: home, name: 家里, leaves: [{id: door, name: 门口}, {id: phone, name: 电话}, {id: inside, name: 屋内}]}
  mood:
    name: 情绪
    kind: ordinal
    labels: [{id: calm, name: 平静}, {id: upset, name: 不满}, {id: angry, name: 愤怒}, {id: furious, name: 暴怒}]
former:
  topic: {old_parcel: parcel, gossip: null}
"""

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def three() -> Taxonomy:
    """Heads topic (flat, 3), area (hierarchical, 2 + 3 leaves), mood (ordinal, 4); topic has former labels."""
    return Taxonomy.parse(TAXONOMY, "three.yaml")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write text to a file of the test's folder."""

    def inside(name: str, content: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode(encoding))
        return path

    return inside


@pytest.fixture(scope="session")
def base(tiny_encoder: Path) -> Base:
    return load_base(str(tiny_encoder), tiny_encoder)


@pytest.fixture(scope="session")
def packaged(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder in half precision, in a folder made like the one that comes with jianwei."""
    folder = tmp_path_factory.mktemp("packaged") / "base"
    shutil.copytree(tiny_encoder, folder)
    encoder = AutoModel.from_pretrained(tiny_encoder).half()
    encoder.config.base_model = "nobody/tiny"
    encoder.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(tiny_encoder: Path, three: Taxonomy) -> TriageModel:
    """An untrained model with weights large enough that texts differ in their logits."""
    torch.manual_seed(3)
    base = load_base(str(tiny_encoder), tiny_encoder)
    made = TriageModel(base.encoder, base.hidden, three, 0.0)
    with torch.no_grad():
        made.looks.weight.normal_(0, 0.2)  # heads that look at different tokens, as they learn to
        for name, parameter in made.named_parameters():
            if parameter.ndim == 2 and "LayerNorm" not in name:
                parameter.mul_(1.0 if name.startswith("heads.") else 8.0)
    return made.eval()


@pytest.fixture(scope="session")
def bundle(model: TriageModel, base: Base, three: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The untrained model as a bundle that promises nothing."""
    manifest = Manifest(
        format=FORMAT,
        name="three",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        run_id=None,
        base_model="tiny",
        code_version="0",
        text_version=text.VERSION,
        taxonomy_version=three.version,
        heads=three.sizes,
        length=Length(max_tokens=64, tail=16),
        metrics={"test/topic/macro_f1": 0.25},
    )

    def fill(folder: Path) -> None:
        save_weights(model, folder / "weights.safetensors")
        model.encoder.config.save_pretrained(folder)
        (folder / "config.json").rename(folder / "encoder.json")
        base.tokenizer.save(str(folder / "tokenizer.json"))
        rng = np.random.default_rng(5)
        export_graph(model, folder / "graph.onnx", [rng.integers(6, 30, 40) for _ in range(30)])
        none = np.zeros(0, dtype=np.int64)
        heads = {
            name: calibrate_head(head, np.zeros((0, head.size), dtype=np.float32), none, Promise())
            for name, head in three.heads.items()
        }
        (folder / "calibration.json").write_text(Calibration(heads=heads).model_dump_json(), encoding="utf-8")

    return write_bundle(tmp_path_factory.mktemp("bundles") / "three", manifest, three, fill)


@pytest.fixture(scope="session")
def new_registry(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Copy an empty registry, whose tables take seconds to make, into a folder; gives its URI."""
    made = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Registry(f"sqlite:///{made}").versions()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)

    def copy(folder: Path) -> str:
        with closing(sqlite3.connect(made)) as there, closing(sqlite3.connect(folder / "mlflow.db")) as here:
            there.backup(here)
        return f"sqlite:///{folder}/mlflow.db"

    return copy


@pytest.fixture(scope="session")
def example() -> Callable[..., Example]:
    """An example of text, labels, source and split."""

    def make(words: str, labels: dict[str, str] | None = None, source: str = "s", split: str | None = None) -> Example:
        return Example(Complaint(text=words), {"topic": "goods"} if labels is None else labels, source, split)

    return make


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in fp32, whatever the processor."""
    monkeypatch.setattr("training.batches.HALVES", ())


@pytest.fixture
def fresh(tiny_encoder: Path, three: Taxonomy) -> tuple[Base, TriageModel]:
    """A small encoder under heads that have learned nothing."""
    torch.manual_seed(1)
    base = load_base(str(tiny_encoder), tiny_encoder)
    return base, TriageModel(base.encoder, base.hidden, three, 0.0)
