"""Texts to logits: the same bits alone and in any company, in the order they came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.bundle import Bundle, Length
from complaints.encoder import Encoder, cut_tokens
from complaints.errors import BundleError, BundleMismatch
from complaints.ngrams import BITS, FILE, NGrams
from complaints.taxonomy import Taxonomy
from complaints.text import READS_COURTESY

MAX_TOKENS, TAIL = 24, 8  # as the tiny bundle has them


def _ngrams(heads: dict[str, int], seed: int = 3) -> NGrams:
    """Random weights for every pair of tokens of the tiny vocabulary."""
    draw = np.random.default_rng(seed)
    keys = np.sort([(one + 1) << BITS | (two + 1) for one in range(64) for two in range(64)])
    features, width = len(keys), sum(heads.values())
    return NGrams(
        heads,
        keys,
        draw.uniform(1, 4, features).astype(np.float16).astype(np.float32),
        draw.integers(-127, 128, (features, width)).astype(np.int8),
        draw.uniform(0.01, 0.02, features).astype(np.float16).astype(np.float32),
        draw.normal(size=width).astype(np.float32),
        draw.uniform(0, 3, len(heads)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def with_ngrams(make_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    def more(folder: Path) -> None:
        heads = {name: head.size for name, head in Taxonomy.load(folder / "taxonomy.yaml").heads.items()}
        _ngrams(heads).save(folder / FILE)

    return make_bundle(tmp_path_factory.mktemp("bundles") / "ngrams", more=more)


@pytest.fixture(scope="module", params=["graph alone", "with n-grams"])
def encoders(request: pytest.FixtureRequest, tiny_bundle: Bundle, with_ngrams: Bundle) -> Iterator[dict[int, Encoder]]:
    bundle = with_ngrams if request.param == "with n-grams" else tiny_bundle
    made = {threads: Encoder(bundle, threads=threads) for threads in (1, 2, 5)}
    yield made
    for encoder in made.values():
        encoder.close()


texts = st.lists(st.text("我的屏幕坏了火递怒曝光谢稳，。a1龘 ", max_size=40), max_size=12)


@settings(max_examples=80, deadline=None)
@given(texts, st.sampled_from([1, 2, 5]))
def test_a_text_gets_the_same_bits_in_any_company(encoders: dict[int, Encoder], batch: list[str], threads: int) -> None:
    together = encoders[threads].encode(batch)
    for i, one in enumerate(batch):
        alone = encoders[1].encode([one])
        for head, logits in together.logits.items():
            assert logits[i].tobytes() == alone.logits[head][0].tobytes()
        assert together.vectors[i].tobytes() == alone.vectors[0].tobytes()
        assert together.truncated[i] == alone.truncated[0]


def test_the_word_of_the_ngrams_is_added(tiny_bundle: Bundle, with_ngrams: Bundle) -> None:
    text, heads = "我的屏幕坏了，曝光", tiny_bundle.manifest.heads
    alone, both = Encoder(tiny_bundle), Encoder(with_ngrams)
    ids = alone._tokenize([text])[0].ids
    model = NGrams.open(with_ngrams.path / FILE, heads)
    for head, weight in zip(heads, model.blend, strict=True):
        wanted = alone.encode([text]).logits[head] + weight * model.logits([ids])[head]
        assert both.encode([text]).logits[head] == pytest.approx(wanted, abs=1e-4)
        shares = alone.explain(text).shares[head] + weight * model.contributions(ids)[head]
        assert both.explain(text).shares[head] == pytest.approx(shares, abs=1e-4)


def test_a_shared_batch_would_have_been_seen(encoders: dict[int, Encoder]) -> None:
    """The graph is one whose answers depend on their neighbours: the test above can fail."""
    session = encoders[1]._session
    calm, loud = np.array([[2, 5, 3]]), np.array([[2, 40, 3]])
    one = session.run(None, {"input_ids": calm, "attention_mask": np.ones_like(calm)})[0][0]
    both = np.concatenate([calm, *[np.full((1, 3), i) for i in range(4, 40)], loud])
    shared = session.run(None, {"input_ids": both, "attention_mask": np.ones_like(both)})[0][0]
    assert one.tobytes() != shared.tobytes()


def test_rows_come_back_in_order(encoders: dict[int, Encoder]) -> None:
    batch = ["屏", "递" * 9, "", "怒" * 30, "火" * 3]
    category = encoders[2].encode(batch).logits["category"]
    assert category[0].argmax() == 0
    assert set(category[1].argsort()[-2:]) == {2, 3}
    assert category[4].argmax() == 1
    assert encoders[2].encode(batch).logits["sentiment"][3].argmax() == 3


def test_shapes(encoders: dict[int, Encoder], tiny_bundle: Bundle) -> None:
    encoded = encoders[1].encode(["屏幕坏了", "火"])
    assert {head: logits.shape for head, logits in encoded.logits.items()} == {
        head: (2, size) for head, size in tiny_bundle.manifest.heads.items()
    }
    assert all(logits.dtype == np.float32 for logits in encoded.logits.values())


@pytest.mark.parametrize("threads", [1, 2])
def test_no_texts(encoders: dict[int, Encoder], threads: int) -> None:
    encoded = encoders[threads].encode([])
    assert encoded.logits["category"].shape == (0, 4)
    assert encoded.truncated.shape == (0,)


def test_an_empty_text_is_answered(encoders: dict[int, Encoder]) -> None:
    encoded = encoders[1].encode([""])
    assert np.isfinite(encoded.logits["category"]).all()
    assert not encoded.truncated[0]


# ---- vectors and contributions


def test_vectors_have_length_1_and_like_texts_are_near(encoders: dict[int, Encoder]) -> None:
    vectors = encoders[2].encode(["手机屏坏了", "快递在路上", "", "手机屏坏了没人管", "怒" * 80]).vectors
    assert vectors.shape == (5, 14)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[3] > 0.9 > vectors[0] @ vectors[1]


@settings(max_examples=60, deadline=None)
@given(st.text("我的屏幕坏了火递怒曝光谢稳，。a1龘 ", max_size=60))
def test_contributions_add_up_to_the_logits_less_a_bias(encoders: dict[int, Encoder], text: str) -> None:
    said, said_of_nothing = encoders[1].explain(text), encoders[1].explain("")
    for head, logits in encoders[1].encode([text, ""]).logits.items():
        assert said.shares[head].shape == (len(said.spans), logits.shape[1])
        bias = logits[1] - said_of_nothing.shares[head].sum(axis=0)
        assert said.shares[head].sum(axis=0) + bias == pytest.approx(logits[0], abs=1e-4)


def test_spans_say_which_characters_a_token_holds(encoders: dict[int, Encoder]) -> None:
    text = "我的屏坏了"
    said = encoders[1].explain(text)
    assert [text[a:b] for a, b in said.spans] == ["", *text, ""]
    assert said.shares["category"][:, 0].argmax() == 1 + text.index("屏")


def test_spans_of_a_text_that_is_cut_jump_over_its_middle(encoders: dict[int, Encoder]) -> None:
    text = "火" + "我" * 80 + "屏"
    said = encoders[1].explain(text)
    assert len(said.spans) == MAX_TOKENS
    assert [a for a, b in said.spans if b > a] == [*range(MAX_TOKENS - TAIL - 1), *range(82 - TAIL + 1, 82)]
    assert said.shares["category"][-2].argmax() == 0


def test_courtesy_is_not_read_and_spans_are_of_the_whole_text(encoders: dict[int, Encoder]) -> None:
    text = "您好,我的屏坏了,火大。谢谢,盼复"
    said, bare = encoders[1].explain(text), encoders[1].explain("我的屏坏了,火大")
    assert [text[a:b] for a, b in said.spans] == ["", *"我的屏坏了,火大", ""]
    assert said.spans[1:-1, 0].tolist() == [*range(3, 11)]
    for head, logits in encoders[1].encode([text, "我的屏坏了,火大"]).logits.items():
        assert said.shares[head] == pytest.approx(bare.shares[head])
        assert logits[0].tobytes() == logits[1].tobytes()


def test_a_bundle_that_was_trained_with_courtesy_reads_it(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest.model_copy(update={"text_version": READS_COURTESY})
    older = Encoder(Bundle(tiny_bundle.path, manifest, tiny_bundle.taxonomy))
    text = "您好,我的屏坏了"
    assert [text[a:b] for a, b in older.explain(text).spans] == ["", *text, ""]
    assert len(Encoder(tiny_bundle).explain(text).spans) == len(text) + 2 - 3


def test_an_empty_text_is_explained(encoders: dict[int, Encoder]) -> None:
    assert encoders[1].explain("").spans.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("output", ["logits", "contributions", "vectors"])
def test_a_graph_that_lacks_an_output_is_refused_by_name(
    make_bundle: Callable[..., Bundle], tmp_path: Path, output: str
) -> None:
    with pytest.raises(BundleMismatch, match=f"does not answer with {output}"):
        Encoder(make_bundle(tmp_path / "old", without=output))


# ---- length


def test_truncation_is_told_to_the_token(encoders: dict[int, Encoder]) -> None:
    room = MAX_TOKENS - 2  # [CLS] and [SEP]
    assert encoders[1].encode(["我" * room, "我" * (room + 1)]).truncated.tolist() == [False, True]


def test_head_and_tail_are_read_and_the_middle_is_not(encoders: dict[int, Encoder]) -> None:
    def says_fire(text: str) -> bool:
        return bool(encoders[1].encode([text]).logits["category"][0, 1] > 4)

    assert says_fire("火" + "我" * 80)
    assert says_fire("我" * 80 + "火")
    assert not says_fire("我" * 40 + "火" + "我" * 40)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(9, 40), st.data())
def test_cut_tokens(count: int, most: int, data: st.DataObject) -> None:
    tail = data.draw(st.integers(0, most - 1))
    ids = np.arange(count)
    kept, cut = cut_tokens(ids, Length(max_tokens=most, tail=tail))
    assert cut == (count > most)
    if cut:
        assert kept.tolist() == [*range(most - tail), *range(count - tail, count)]
        assert len(kept) == most
    else:
        assert kept.tolist() == ids.tolist()


def test_many_callers_at_once(encoders: dict[int, Encoder]) -> None:
    batch = ["屏幕坏了", "火" * 20, "", "快递还在路上，怒"]
    expected = encoders[1].encode(batch).logits["category"].tobytes()
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: encoders[2].encode(batch).logits["category"].tobytes(), range(40)))
    assert set(answers) == {expected}


@pytest.mark.parametrize("width", [13, 15])
def test_a_graph_of_another_width_is_refused_quoting_both(
    make_bundle: Callable[..., Bundle], tmp_path: Path, width: int
) -> None:
    with pytest.raises(BundleMismatch, match=f"answers with {width} logits, .* need 14"):
        Encoder(make_bundle(tmp_path / "odd", width=width))


@pytest.mark.parametrize("name", ["graph.onnx", "tokenizer.json"])
def test_what_the_engine_cannot_load_is_a_bundle_error(
    make_bundle: Callable[..., Bundle], tmp_path: Path, name: str
) -> None:
    bundle = make_bundle(tmp_path / "broken")
    (bundle.path / name).write_bytes(b"not a model")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Encoder(bundle)
