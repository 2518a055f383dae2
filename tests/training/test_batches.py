"""Batches: every row once, like lengths together, few shapes, texts read as serving reads them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.bundle import Length
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training.batches import MOST_USUAL, STEP, Encoded, batches, collate, encode, halves, read_text, usual_length
from training.model import Base, targets
from training.recipe import Fit
from training.sources import Example

Make = Callable[..., Example]
NONE = torch.zeros(12, dtype=torch.bool)


def rows_of(lengths: list[int]) -> list[Encoded]:
    return [Encoded([5] * n, NONE) for n in lengths]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), max_size=200),
    budget=st.integers(128, 1024),
    most=st.integers(1, 16),
    seed=st.none() | st.integers(0, 9),
)
def test_batches_hold_every_row_once_within_budget(
    lengths: list[int], budget: int, most: int, seed: int | None
) -> None:
    rows = rows_of(lengths)
    rng = None if seed is None else random.Random(seed)
    made = list(batches(rows, Fit(batch_tokens=budget, batch_rows=most), rng))
    assert sorted(i for batch in made for i in batch) == list(range(len(rows)))
    for batch in made:
        assert 1 <= len(batch) <= most
        ids, mask, _ = collate([rows[i] for i in batch], 0)
        assert ids.shape == mask.shape
        assert ids.shape[1] % STEP == 0
        assert len(batch) == 1 or ids.numel() <= budget


def test_batches_are_like_in_length_and_random_in_order() -> None:
    rng = random.Random(0)
    rows = rows_of([rng.randint(5, 200) for _ in range(400)])
    fit = Fit(batch_tokens=4096, batch_rows=16)
    made = list(batches(rows, fit, random.Random(1)))
    padded = sum(len(b) * max(len(rows[i].ids) for i in b) for b in made)
    assert padded < 1.2 * sum(len(row.ids) for row in rows)
    widths = [max(len(rows[i].ids) for i in b) for b in made]
    assert widths != sorted(widths)
    assert made == list(batches(rows, fit, random.Random(1)))
    assert made != list(batches(rows, fit, random.Random(2)))


@pytest.mark.parametrize("seed", [None, 1])
def test_there_are_few_shapes(seed: int | None) -> None:
    rng = random.Random(0)
    rows = rows_of([rng.randint(5, 384) for _ in range(6000)])
    fit = Fit()
    made = list(batches(rows, fit, None if seed is None else random.Random(seed)))
    shapes = {tuple(collate([rows[i] for i in batch], 0)[0].shape) for batch in made}
    assert {width for _, width in shapes} <= set(range(STEP, 385, STEP))
    whole = [b for b in made if len(b) == min(fit.batch_rows, fit.batch_tokens // width_of(rows, b))]
    assert len(whole) >= 0.9 * len(made)  # all but the last of a window, so a width has one number of rows
    assert len({(len(b), width_of(rows, b)) for b in whole}) <= 384 // STEP


def width_of(rows: list[Encoded], batch: list[int]) -> int:
    return -(-max(len(rows[i].ids) for i in batch) // STEP) * STEP


def test_no_rows_make_no_batches() -> None:
    assert list(batches([], Fit(), None)) == list(batches([], Fit(), random.Random(0))) == []


def test_half_precision_is_used_where_the_processor_has_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.ones(2, 2), torch.ones(2, 2)
    for has, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx2": True, "avx512_bf16": has})
        with halves():
            assert (a @ b).dtype == wanted


def test_collate_pads_and_masks() -> None:
    one = torch.arange(12) == 1
    ids, mask, admissible = collate([Encoded([7, 8], NONE), Encoded([9, 9, 9, 9], one)], pad=3)
    assert STEP == 16
    assert ids.tolist() == [[7, 8, *[3] * 14], [9, 9, 9, 9, *[3] * 12]]
    assert mask.tolist() == [[1, 1, *[0] * 14], [1, 1, 1, 1, *[0] * 12]]
    assert collate([Encoded([7] * 16, NONE)], pad=3)[0].shape == (1, 16)
    assert collate([Encoded([7] * 17, NONE)], pad=3)[0].shape == (1, 32)
    assert admissible.tolist() == [NONE.tolist(), one.tolist()]


def test_long_texts_are_cut_as_serving_cuts_them(base: Base, three: Taxonomy, example: Make) -> None:
    long, short = "快递" * 40 + "退款", "快递没到"
    found = encode([example(long), example(short, {"mood": "angry"})], base, three, Length(max_tokens=20, tail=5))
    whole = base.tokenizer.encode(read_text(example(long))).ids
    assert found[0].ids == whole[:15] + whole[-5:]
    assert found[1].ids == base.tokenizer.encode(short).ids
    assert torch.equal(found[1].admissible, targets(three, {"mood": "angry"}))


def test_texts_are_read_cleaned_with_the_title_first() -> None:
    made = Example(Complaint(text="電話 13800138000", title="標題"), {}, "s")
    assert read_text(made) == "标题 电话 <手机号>"


def test_nine_texts_in_ten_stay_within_the_usual_length(base: Base, example: Make) -> None:
    texts = ["快递很慢，" * n for n in range(1, 21)]
    rows = [example(text) for text in texts]
    counts = sorted(len(base.tokenizer.encode(read_text(one)).ids) for one in rows)
    found = usual_length(rows, base)
    assert found % STEP == 0
    assert sum(count <= found for count in counts) >= 18
    assert found - STEP < counts[-1]
    assert usual_length([example("很长" * 2000)], base) == MOST_USUAL
