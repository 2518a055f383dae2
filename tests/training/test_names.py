"""What labels are called is read as a text of theirs, where it says something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from complaints.taxonomy import Taxonomy
from training.batches import both_ends, encode
from training.fit import fit_few, predict_logits
from training.model import Base, TriageModel
from training.names import REPEAT, named
from training.recipe import Fit
from training.sources import Example

Make = Callable[..., Example]

CODES = """
name: codes
title: 代码
version: 1.0.0
heads:
  code: {name: 代码, kind: flat, labels: [{id: a, name: A01}, {id: b, name: 物流}]}
  area: {name: 区域, kind: flat, labels: [{id: x, name: 柜台}, {id: y, name: VIP专线}]}
"""


def test_every_leaf_of_a_head_that_is_named_in_chinese(three: Taxonomy) -> None:
    found = named(three)
    assert len(found) == 3 + 5 + 4
    assert {one.repeat for one in found} == {REPEAT}
    said = {one.labels["area"]: one.complaint.text for one in found if "area" in one.labels}
    assert said["shop.counter"] == "店里/柜台"


def test_codes_are_no_texts_and_one_code_spoils_its_head() -> None:
    codes = Taxonomy.parse(CODES.replace("heads:\n", "heads:\n"), "codes.yaml")
    assert {tuple(one.labels) for one in named(codes)} == {("area",)}


def test_a_label_without_any_row_is_found_by_its_name(
    fresh: tuple[Base, TriageModel], three: Taxonomy, example: Make
) -> None:
    base, model = fresh
    texts = {"goods": ("屏幕坏了", "开关坏了"), "parcel": ("快递丢了", "快递晚了")}
    rows = [example(text, {"topic": label}) for label, some in texts.items() for text in some]
    read = encode(rows, base, three, both_ends(32))
    torch.manual_seed(0)
    fit_few(model, base, three, read, Fit(), 2)
    names = encode([one for one in named(three) if "topic" in one.labels], base, three, both_ends(32))
    said = predict_logits(model, names, Fit(), base.pad)[:, :3].numpy()
    assert np.argmax(said, axis=1).tolist() == [0, 1, 2]
