"""Reading on: the base learns to guess hidden tokens of a field's texts, and reads nothing that will measure it."""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

import pytest
import torch

from experiments import adapt
from training.model import PACKAGED, Base, load_base

DRAW = random.Random(3)
TEXTS = ["".join(chr(DRAW.randint(0x4E00, 0x9FA0)) for _ in range(12)) + "退换"[i % 2] for i in range(36)]


def test_hidden_tokens_are_guessed_and_marks_never_hidden(base: Base) -> None:
    pieces = adapt.cut(base, ["快递丢了，商家不退款" * 200])
    assert max(map(len, pieces)) <= adapt.LENGTH.max_tokens
    assert {(one[0], one[-1]) for one in pieces} == {(pieces[0][0], pieces[0][-1])}
    torch.manual_seed(1)
    size = base.tokenizer.get_vocab_size()
    ids = torch.randint(5, size, (16, 200))
    ids[:, 0], ids[:, -1] = pieces[0][0], pieces[0][-1]
    shown, chosen = adapt.hide(ids, base, size)
    assert not chosen[:, 0].any()
    assert not chosen[:, -1].any()
    assert float(chosen.float().mean()) == pytest.approx(adapt.GUESSED, abs=0.03)
    assert (shown[~chosen] == ids[~chosen]).all()
    mask = base.tokenizer.token_to_id("[MASK]")
    assert float((shown[chosen] == mask).float().mean()) == pytest.approx(0.8, abs=0.06)


def test_batches_hold_every_piece_once() -> None:
    pieces = [[5] * n for n in (10, 300, 20, 8, 300)] * 50
    made = adapt.batches(pieces, random.Random(1))
    assert sorted(map(len, (one for batch in made for one in batch))) == sorted(map(len, pieces))


def test_reading_on_writes_a_base_that_trains_and_leaves_out_what_measures(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("text", "label", "split"), *((text, "a" if "退" in text else "b", "") for text in TEXTS)])
        rows.writerow(("银行柜台排队三小时没人管", "a", "test"))
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "t.yaml").write_text(
        "name: t\ntitle: 题\nversion: 1.0.0\nheads:\n  topic:\n    name: 主题\n    kind: flat\n"
        "    labels: [{id: a, name: 甲}, {id: b, name: 乙}]\n",
        encoding="utf-8",
    )
    (tmp_path / "r.yaml").write_text(
        "name: r\ntaxonomy: t.yaml\nsources:\n  - {file: rows.csv, heads: {topic: label}, split: split}\n"
        "split: {test: 0}\n",
        encoding="utf-8",
    )
    read: list[str] = []
    monkeypatch.setattr(adapt, "cut", lambda base, texts: read.extend(texts) or [[2, *range(5, 15), 3]] * 40)
    files = [str(tmp_path / name) for name in ("rows.csv", "labels.csv")]
    options = ["--protect", str(tmp_path / "r.yaml"), "--epochs", "2", "--base", str(tiny_encoder)]
    monkeypatch.setattr(sys, "argv", ["adapt.py", *files, *options, "-o", str(tmp_path / "base")])
    with caplog.at_level("INFO"):
        adapt.main()
    assert "银行柜台排队三小时没人管" not in read
    assert 0 < len(read) < len(TEXTS)  # calibration rows are left out as well
    assert any("no column text" in one for one in caplog.messages)
    before, after = (load_base(str(one), tmp_path) for one in (tiny_encoder, tmp_path / "base"))
    assert before.tokenizer.to_str() == after.tokenizer.to_str()
    moved = [
        not torch.equal(a, b) for a, b in zip(before.encoder.parameters(), after.encoder.parameters(), strict=True)
    ]
    assert any(moved)
    assert load_base(PACKAGED, tmp_path / "base").name.endswith("read on over unlabelled texts")
