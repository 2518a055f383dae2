"""A tiny encoder and a small labelled file, made on the spot: real training steps without the hub."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # threads cost more than they bring at this size

# Two topics with words of their own, and what people say around them.
TOPICS = {
    "物流": ["快递", "包裹", "配送员", "驿站", "物流", "派件"],
    "质量": ["屏幕", "电池", "按键", "外壳", "主板", "喇叭"],
    "退款": ["退款", "退货", "运费", "退钱", "换货", "货款"],
}
HAPPENINGS = ["一直没动静", "出了问题", "没人管", "让我再等等", "弄错了", "越来越差", "说好了又变", "拖了很久"]
PEOPLE = ["我妈", "同事", "邻居", "朋友", "我", "孩子", "老人", "房东"]
TIMES = ["昨天", "上周", "三天前", "月初", "今早", "中秋那天", "前天夜里", "开学时"]


@pytest.fixture(scope="session")
def labelled_rows() -> list[dict[str, str]]:
    """180 short complaints, no two alike, of three topics and two tempers."""
    rows = []
    for i in range(180):
        topic = list(TOPICS)[i % 3]
        word = TOPICS[topic][(i // 3) % 6]
        other = TOPICS[topic][(i // 7 + 1) % 6]
        angry = i % 5 == 0
        text = (
            f"{TIMES[i % 8]}{PEOPLE[(i // 2) % 8]}的{word}{HAPPENINGS[(i * 5) % 8]}，编号{i * 37 % 1009}，"
            f"{other}也{HAPPENINGS[(i * 3 + 1) % 8]}{'，骗子！！' if angry else ''}"
        )
        rows.append({"内容": text, "主题": topic, "情绪": "愤怒" if angry else "平静"})
    return rows


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, labelled_rows: list[dict[str, str]]) -> Path:
    """Folder of a BERT with two layers of width 32 and a vocabulary of the characters that the rows need."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-encoder")
    characters = sorted({c for row in labelled_rows for c in row["内容"]} | set("客服不好卡请问，。！？abc0123456789"))
    tokens = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, "##中", "##国", "##a", "##1"]
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def labelled_file(tmp_path_factory: pytest.TempPathFactory, labelled_rows: list[dict[str, str]]) -> Path:
    """The rows as JSONL."""
    path = tmp_path_factory.mktemp("data") / "tickets.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in labelled_rows), encoding="utf-8")
    return path
