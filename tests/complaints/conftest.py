"""A whole bundle made by hand in a moment: three dozen known characters, a graph of one table, four heads.

The graph quantises its activations over the whole batch, as the real int8 graph does: whoever runs two texts
in one batch gets another answer than for one, and a test sees it. A character's contribution to a label is its row of
the table, a logit their sum, and a text's vector its logits brought to length 1.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

from complaints import text
from complaints.bundle import FORMAT, Bundle, Length, Manifest, write_bundle
from complaints.decision import Calibration, HeadCalibration, Scope
from complaints.predictor import Predictor
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy

TAXONOMY = """
name: tiny
title: 小体系
version: 1.0.0
heads:
  category:
    name: 投诉类别
    kind: hierarchical
    labels:
      - {id: quality, name: 产品质量, leaves: [{id: defect, name: 功能故障}, {id: safety, name: 安全隐患}]}
      - {id: logistics, name: 物流配送, leaves: [{id: delay, name: 配送延误}, {id: lost, name: 丢件}]}
  department:
    name: 责任部门
    kind: flat
    labels: [{id: quality, name: 质量部}, {id: logistics, name: 物流部}, {id: customer_service, name: 客服部}]
  sentiment:
    name: 情绪
    kind: ordinal
    labels:
      - {id: positive, name: 正面}
      - {id: neutral, name: 中性}
      - {id: dissatisfied, name: 不满}
      - {id: angry, name: 愤怒}
  propagation:
    name: 传播风险
    kind: ordinal
    labels: [{id: low, name: 低}, {id: medium, name: 中}, {id: high, name: 高}]
responsibility:
  given: category
  head: department
  allowed:
    quality: [quality, customer_service]
    logistics: [logistics]
"""
# What a character says: output -> logit. 屏 defect, 火 safety, 递 logistics but not which leaf, 谎 contradicts itself.
SIGNALS = {
    "屏": {"category.quality.defect": 8, "department.quality": 8},
    "火": {"category.quality.safety": 8, "department.quality": 8},
    "递": {"category.logistics.delay": 8, "category.logistics.lost": 8, "department.logistics": 8},
    "谎": {"category.logistics.lost": 8, "category.logistics.delay": 8, "department.quality": 8},
    "谢": {"sentiment.positive": 8},
    "怒": {"sentiment.angry": 8},
    "稳": {"propagation.low": 8},
    "曝": {"propagation.high": 8},
}
LETTERS = sorted(
    set("我的手机坏了没人管快递还在路上电池烧起来客服不理要退款三天屏火递谎谢怒稳曝光，。！？abc0123456789")
)
MAX_TOKENS, TAIL = 24, 8


def _calibration(taxonomy: Taxonomy, scope: Scope | None) -> Calibration:
    heads = {}
    for name, head in taxonomy.heads.items():
        thresholds: dict[str, float | None] = dict.fromkeys([*head.ids, *head.parents], 0.8)
        thresholds.pop("customer_service", None)
        heads[name] = HeadCalibration(
            temperature=1.0,
            precision_target=0.9,
            thresholds=thresholds,
            coverage=0.9,
            set_floors=dict.fromkeys(head.ids, 0.05),
        )
    return Calibration(heads=heads, scope=scope)


def _graph(vocabulary: list[str], outputs: list[str], width: int, without: str | None) -> onnx.ModelProto:
    shapes = {"logits": ["B", width], "contributions": ["B", "T", width], "vectors": ["B", width]}
    table = np.random.default_rng(7).normal(0, 0.05, (len(vocabulary), width)).astype(np.float32)
    for letter, signals in SIGNALS.items():
        for output, logit in signals.items():
            if outputs.index(output) < width:
                table[vocabulary.index(letter), outputs.index(output)] = logit
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("DynamicQuantizeLinear", ["rows"], ["small", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["rough"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["rough", "wide"], ["contributions"]),
        helper.make_node("ReduceSum", ["contributions", "middle"], ["logits"], keepdims=0),
        helper.make_node("LpNormalization", ["logits"], ["vectors"], axis=1, p=2),
    ]
    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["B", "T"]) for n in ("input_ids", "attention_mask")]
    constants = {"table": table, "last": np.array([2]), "middle": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "tiny",
        ids,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items() if n != without],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _fill(folder: Path, taxonomy: Taxonomy, width: int, without: str | None, scope: Scope | None) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS]
    tokenizer = Tokenizer(WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    outputs = [f"{name}.{label}" for name, head in taxonomy.heads.items() for label in head.ids]
    onnx.save(_graph(vocabulary, outputs, width, without), folder / "graph.onnx")
    (folder / "calibration.json").write_text(_calibration(taxonomy, scope).model_dump_json(), encoding="utf-8")
    (folder / "README.md").write_text("# tiny\n", encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_taxonomy() -> Taxonomy:
    """Two parents with four leaves, department, sentiment, propagation; ids as the packaged policy knows them."""
    return Taxonomy.parse(TAXONOMY, "tiny.yaml")


@pytest.fixture(scope="session")
def tiny_manifest(tiny_taxonomy: Taxonomy) -> Manifest:
    """The manifest that fits the tiny taxonomy; copy it to make one that does not."""
    return Manifest(
        format=FORMAT,
        name="tiny",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        run_id=None,
        base_model="made by hand",
        code_version="0",
        text_version=text.VERSION,
        taxonomy_version=tiny_taxonomy.version,
        heads=tiny_taxonomy.sizes,
        length=Length(max_tokens=MAX_TOKENS, tail=TAIL),
        metrics={"category.macro_f1": 0.5},
    )


@pytest.fixture(scope="session")
def make_bundle(tiny_taxonomy: Taxonomy, tiny_manifest: Manifest) -> Callable[..., Bundle]:
    """Write a tiny bundle to a path.

    `width` makes the graph answer with another number of logits, `without` leaves an output away, `scope` goes into
    the calibration, and `more(folder)` writes further files.
    """

    def make(
        path: Path,
        *,
        width: int | None = None,
        without: str | None = None,
        scope: Scope | None = None,
        more: Callable[[Path], None] = lambda folder: None,
    ) -> Bundle:
        def fill(folder: Path) -> None:
            _fill(folder, tiny_taxonomy, width or sum(tiny_taxonomy.sizes.values()), without, scope)
            more(folder)

        return write_bundle(path, tiny_manifest, tiny_taxonomy, fill)

    return make


@pytest.fixture(scope="session")
def tiny_bundle(make_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One bundle for every test that only reads."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The packaged policy."""
    return Policy.load()


@pytest.fixture(scope="session")
def predictor(tiny_bundle: Bundle, policy: Policy) -> Predictor:
    """A predictor over the tiny bundle."""
    return Predictor(tiny_bundle, policy)
