"""The loss and what it teaches, the vocabulary cut down, and where an encoder comes from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer

from complaints.bundle import Bundle
from complaints.errors import InvalidInput
from complaints.taxonomy import Taxonomy
from jianwei.default_model import packaged_base
from training.model import (
    PACKAGED,
    Base,
    Traced,
    TriageModel,
    cut_vocabulary,
    load_base,
    losses,
    lower_case,
    save_weights,
    targets,
)

TOPIC, AREA, MOOD = slice(0, 3), slice(3, 8), slice(8, 12)
HAN = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))


def admissible(three: Taxonomy, *rows: dict[str, str]) -> torch.Tensor:
    return torch.stack([targets(three, row) for row in rows])


def test_targets(three: Taxonomy) -> None:
    row = targets(three, {"topic": "parcel", "area": "home"})
    assert row.tolist() == [False, True, False] + [False, False, True, True, True] + [False] * 4
    assert not targets(three, {}).any()


def test_a_silent_row_adds_no_gradient(three: Taxonomy) -> None:
    logits = torch.randn(3, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    rows = admissible(three, {"topic": "goods"}, {"area": "home.door", "mood": "calm"}, {"mood": "angry"})
    torch.stack(list(losses(three, logits, rows).values())).sum().backward()
    grad = logits.grad
    assert grad is not None
    for row, (topic, area, mood) in enumerate([(True, False, False), (False, True, True), (False, False, True)]):
        for part, taught in ((TOPIC, topic), (AREA, area), (MOOD, mood)):
            assert bool(grad[row, part].abs().sum() > 0) is taught
    assert torch.isfinite(grad).all()


def test_a_head_without_any_label_is_absent_and_others_do_not_change(three: Taxonomy) -> None:
    logits = torch.randn(2, 12, generator=torch.Generator().manual_seed(1))
    alone = losses(three, logits[:1], admissible(three, {"topic": "goods"}))
    both = losses(three, logits, admissible(three, {"topic": "goods"}, {}))
    assert alone.keys() == both.keys() == {"topic"}
    assert torch.allclose(alone["topic"], both["topic"])


def test_a_parent_teaches_the_sum_of_its_leaves(three: Taxonomy) -> None:
    scores = np.array([0.3, -1.2, 2.0, 0.5, -0.7])
    p = np.exp(scores) / np.exp(scores).sum()
    logits = torch.zeros(1, 12)
    logits[0, AREA] = torch.tensor(scores, dtype=torch.float32)
    for label, wanted in (("home", p[2:].sum()), ("shop", p[:2].sum()), ("home.phone", p[3])):
        found = losses(three, logits, admissible(three, {"area": label}))["area"]
        assert found.item() == pytest.approx(-np.log(wanted), abs=1e-5)


def test_the_gradient_of_a_parent_leaves_its_leaves_their_order(three: Taxonomy) -> None:
    logits = torch.zeros(1, 12)
    logits[0, AREA] = torch.tensor([0.0, 1.0, 2.0, 0.5, -0.5])
    logits.requires_grad_()
    losses(three, logits, admissible(three, {"area": "home"}))["area"].backward()
    assert logits.grad is not None
    inside = logits.grad[0, 5:8]
    assert (inside < 0).all()  # every leaf of the parent rises
    assert (logits.grad[0, 3:5] > 0).all()
    assert inside.argmin() == 0  # the likeliest most


def test_extreme_logits_give_a_finite_loss_and_gradient(three: Taxonomy) -> None:
    logits = torch.full((1, 12), -80.0)
    logits[0, [0, 3, 8]] = 80.0
    logits.requires_grad_()
    rows = admissible(three, {"topic": "money", "area": "home", "mood": "furious"})
    found = torch.stack(list(losses(three, logits, rows).values())).sum()
    found.backward()
    assert torch.isfinite(found)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_far_miss_of_an_ordered_head_costs_more_than_a_near_one(three: Taxonomy) -> None:
    def cost(guess: int) -> float:
        logits = torch.zeros(1, 12)
        logits[0, 8 + guess] = 5.0
        return float(losses(three, logits, admissible(three, {"mood": "calm"}))["mood"])

    costs = [cost(guess) for guess in range(4)]
    assert costs == sorted(costs)
    assert costs[1] < costs[2] - 0.5 < costs[3] - 1.0


def test_ordinal_loss_by_hand(three: Taxonomy) -> None:
    scores = np.array([1.0, 0.0, -1.0, 0.5])
    p = np.exp(scores) / np.exp(scores).sum()
    logits = torch.zeros(1, 12)
    logits[0, MOOD] = torch.tensor(scores, dtype=torch.float32)
    found = losses(three, logits, admissible(three, {"mood": "upset"}))["mood"]
    emd = ((p.cumsum() - np.array([0, 1, 1, 1])) ** 2).sum()
    assert found.item() == pytest.approx(-np.log(p[1]) + emd, abs=1e-5)


def test_a_flat_head_knows_no_near_and_far(three: Taxonomy) -> None:
    found = []
    for guess in (1, 2):
        logits = torch.zeros(1, 12)
        logits[0, guess] = 5.0
        found.append(losses(three, logits, admissible(three, {"topic": "goods"}))["topic"])
    assert torch.equal(found[0], found[1])


def test_the_model_answers_for_all_heads_side_by_side(model: TriageModel) -> None:
    ids = torch.tensor([[3, 6, 7, 4, 0, 0], [3, 6, 7, 8, 9, 4]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    with torch.inference_mode():
        both, alone = model(ids, mask), model(ids[:1, :4], mask[:1, :4])
    assert both.shape == (2, 12)
    assert torch.allclose(both[:1], alone, atol=1e-5)  # padding changes nothing


IDS = torch.tensor([[3, 6, 7, 4, 0, 0], [3, 6, 7, 8, 9, 4]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])


def test_contributions_add_up_to_the_logits_less_their_bias(model: TriageModel) -> None:
    with torch.inference_mode():
        logits, contributions, states = model.read(IDS, MASK)
    assert contributions.shape == (2, 6, 12)
    assert states.shape == (2, 32)
    assert torch.allclose(contributions.sum(dim=1), logits - model.heads.bias, atol=1e-5)
    assert (contributions[0, 4:] == 0).all()  # padding says nothing
    assert (contributions[0, :4] != 0).any(dim=-1).all()
    assert torch.equal(logits, model(IDS, MASK))


def test_padding_is_not_read_whatever_stands_there(model: TriageModel) -> None:
    other = torch.where(MASK == 1, IDS, 17)
    with torch.inference_mode():
        for one, two in zip(model.read(IDS, MASK), model.read(other, MASK), strict=True):
            assert torch.allclose(one, two, atol=1e-5)


def test_an_untrained_head_looks_at_all_tokens_alike(base: Base, three: Taxonomy) -> None:
    fresh = TriageModel(base.encoder, base.hidden, three, 0.0).eval()
    with torch.inference_mode():
        states = fresh.encoder(input_ids=IDS, attention_mask=MASK).last_hidden_state
        logits, _, pooled = fresh.read(IDS, MASK)
    mean = torch.stack([states[0, :4].mean(dim=0), states[1].mean(dim=0)])
    assert torch.allclose(pooled, mean, atol=1e-5)
    assert torch.allclose(logits, fresh.heads(mean), atol=1e-4)


def test_each_head_looks_with_weights_of_its_own(model: TriageModel) -> None:
    with torch.inference_mode():
        states = model.encoder(input_ids=IDS[1:], attention_mask=MASK[1:]).last_hidden_state[0]
        weights = model.looks(states).softmax(dim=0)
        logits = model(IDS[1:], MASK[1:])[0]
    for head, part in enumerate((TOPIC, AREA, MOOD)):
        wanted = model.heads((weights[:, head : head + 1] * states).sum(dim=0))[part]
        assert torch.allclose(logits[part], wanted, atol=1e-4)
    assert not torch.allclose(weights[:, 0], weights[:, 1], atol=1e-2)


def test_vectors_have_length_1(model: TriageModel) -> None:
    with torch.inference_mode():
        logits, contributions, vectors = Traced(model)(IDS, MASK)
        plain = model.read(IDS, MASK)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(2))
    assert torch.allclose(vectors * plain[2].norm(dim=-1, keepdim=True), plain[2], atol=1e-5)
    assert torch.equal(logits, plain[0])
    assert torch.equal(contributions, plain[1])


def test_features_are_dropped_in_training_alone(base: Base, three: Taxonomy) -> None:
    torch.manual_seed(0)
    some = TriageModel(base.encoder, base.hidden, three, 0.5)
    with torch.no_grad():
        some.train()
        first, contributions, _ = some.read(IDS, MASK)
        second = some(IDS, MASK)
        assert not torch.allclose(first, second)
        assert torch.allclose(contributions.sum(dim=1), first - some.heads.bias, atol=1e-5)
        some.eval()
        assert torch.equal(some(IDS, MASK), some(IDS, MASK))


# --- vocabulary


def word_pieces(extra: tuple[str, ...] = ()) -> Tokenizer:
    """A BERT tokenizer of 300 Chinese characters and some Latin ones, each with a continuation piece."""
    letters = [*HAN, *"abcdefgxyz0123456789", "，", "。", "!"]
    tokens = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused99]", *letters]
    tokens += ["ab", "##bc", "##cd", *(f"##{letter}" for letter in letters), *extra]
    made = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return made


FULL = word_pieces()
CUT, KEPT = cut_vocabulary(word_pieces())
mixed = st.text(
    st.one_of(st.sampled_from(HAN), st.sampled_from("abcdxyz0123，。！ \t"), st.characters(exclude_categories=["Cs"])),
    max_size=40,
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(text=st.one_of(mixed, mixed.map(lambda t: f"[MASK]{t}[SEP]"), st.just("[unused1] a[unused99]")))
def test_texts_tokenize_to_the_same_strings(text: str) -> None:
    assert CUT.encode(text).tokens == FULL.encode(text).tokens


def test_what_is_cut_is_what_cannot_occur() -> None:
    assert KEPT is not None
    gone = {token for token, i in FULL.get_vocab().items() if i not in set(KEPT)}
    assert gone == {f"##{letter}" for letter in HAN} | {"[unused1]", "[unused99]"}
    assert sorted(KEPT) == KEPT
    assert [CUT.id_to_token(new) for new in range(len(KEPT))] == [FULL.id_to_token(old) for old in KEPT]
    assert CUT.get_vocab_size() == len(KEPT)


def test_special_tokens_are_renumbered_with_the_rest() -> None:
    encoding = CUT.encode("ab" + HAN[0])
    assert encoding.tokens == ["[CLS]", "ab", HAN[0], "[SEP]"]
    assert encoding.ids == [CUT.token_to_id(token) for token in encoding.tokens]
    assert CUT.encode("[MASK]").ids[1] == CUT.token_to_id("[MASK]")


def test_the_template_form_of_special_tokens_is_renumbered_too() -> None:
    full = word_pieces()
    full.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 3), ("[SEP]", 4)]
    )
    cut, _ = cut_vocabulary(full)
    encoding = cut.encode("ab")
    assert encoding.ids == [cut.token_to_id(token) for token in ("[CLS]", "ab", "[SEP]")]


def test_characters_that_bert_does_not_set_apart_keep_their_pieces() -> None:
    rare = "\U0002ceb0"
    full = word_pieces((f"##{rare}",))
    cut, _ = cut_vocabulary(word_pieces((f"##{rare}",)))
    assert full.encode(f"a{rare}").tokens == ["[CLS]", "a", f"##{rare}", "[SEP]"]
    assert cut.encode(f"a{rare}").tokens == full.encode(f"a{rare}").tokens


@pytest.mark.parametrize("added", ["<手机号>", "[unused1]"])
def test_tokens_that_were_added_to_the_vocabulary_stay(added: str) -> None:
    full, other = word_pieces(), word_pieces()
    for one in (full, other):
        one.add_tokens([AddedToken(added, normalized=False)])
    cut, kept = cut_vocabulary(other)
    text = f"ab{added}{HAN[3]}"
    assert added in full.encode(text).tokens
    assert cut.encode(text).tokens == full.encode(text).tokens
    assert kept is not None
    assert cut.encode(text).ids == [kept.index(i) for i in full.encode(text).ids]


def other_tokenizers() -> list[Tokenizer]:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "##中": 1, "a": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), ("##中", -1.0), ("a", -2.0)], 0))
    joined = word_pieces()
    joined.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    plain = word_pieces()
    plain.normalizer = normalizers.NFKC()
    return [words, pieces, joined, plain]


@pytest.mark.parametrize("tokenizer", other_tokenizers(), ids=["word level", "unigram", "chinese joined", "no bert"])
def test_other_tokenizers_are_left_alone(tokenizer: Tokenizer) -> None:
    before = tokenizer.to_str()
    found, kept = cut_vocabulary(tokenizer)
    assert kept is None
    assert found.to_str() == before


# --- capitals


def cased(*extra: str) -> Tokenizer:
    """A BERT tokenizer that says that it keeps capitals."""
    made = word_pieces(extra)
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    return made


def test_letters_are_lowered_where_no_capital_is_known() -> None:
    assert cased().encode("ABx").tokens == ["[CLS]", "[UNK]", "[SEP]"]
    assert lower_case(cased()).encode("ABx").tokens == lower_case(cased()).encode("abx").tokens
    assert lower_case(cased()).encode("Ab 是ABC").tokens[1] == "ab"


@pytest.mark.parametrize("token", ["A", "##B", "App"])
def test_a_vocabulary_with_capitals_keeps_them(token: str) -> None:
    tokenizer = cased(token)
    assert lower_case(tokenizer).to_str() == tokenizer.to_str()


@pytest.mark.parametrize("mark", ["[MASK2]", "<S>"])
def test_marks_are_no_capitals(mark: str) -> None:
    assert lower_case(cased(mark)).encode("AB").tokens == ["[CLS]", "ab", "[SEP]"]


@pytest.mark.parametrize(
    "tokenizer", [*other_tokenizers()[:2], other_tokenizers()[3]], ids=["words", "unigram", "nfkc"]
)
def test_tokenizers_of_other_kinds_keep_their_capitals(tokenizer: Tokenizer) -> None:
    before = tokenizer.to_str()
    assert lower_case(tokenizer).to_str() == before


# --- where an encoder comes from


def test_embeddings_of_kept_tokens_are_the_same_rows(tiny_encoder: Path, base: Base) -> None:
    raw, tokenizer = AutoModel.from_pretrained(tiny_encoder), AutoTokenizer.from_pretrained(tiny_encoder)
    before, after = raw.get_input_embeddings().weight, base.encoder.get_input_embeddings().weight
    vocabulary = base.tokenizer.get_vocab()
    assert base.vocabulary == (len(tokenizer), len(vocabulary))
    assert set(tokenizer.get_vocab()) - set(vocabulary) == {"[unused1]", "##中", "##国"}
    assert after.shape[0] == len(vocabulary)
    for token, new in vocabulary.items():
        assert torch.equal(after[new], before[tokenizer.get_vocab()[token]])


def test_the_cut_encoder_answers_as_before(tiny_encoder: Path, base: Base, labelled_rows: list[dict[str, str]]) -> None:
    raw, tokenizer = AutoModel.from_pretrained(tiny_encoder).eval(), AutoTokenizer.from_pretrained(tiny_encoder)
    text = labelled_rows[0]["内容"]
    old = torch.tensor([tokenizer(text)["input_ids"]])
    new = torch.tensor([base.tokenizer.encode(text).ids])
    base.encoder.eval()
    with torch.inference_mode():
        states = [m(input_ids=i).last_hidden_state for m, i in ((raw, old), (base.encoder, new))]
    assert not torch.equal(old, new)
    assert torch.allclose(states[0], states[1], atol=1e-5)


def test_what_is_known_of_the_base(tiny_encoder: Path, base: Base) -> None:
    assert (base.hidden, base.layers, base.max_tokens, base.name) == (32, 2, 128, tiny_encoder.name)
    assert base.encoder.pooler is None
    assert base.tokenizer.padding is None
    assert base.tokenizer.truncation is None


def test_a_bundle_is_a_base(bundle: Bundle, model: TriageModel, tmp_path: Path) -> None:
    found = load_base(str(bundle.path), tmp_path)
    assert found.name == "three (from tiny)"
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(found.encoder.state_dict()[name], value.half().float())
    assert found.vocabulary[0] == found.vocabulary[1]
    assert found.tokenizer.encode("快递").tokens == ["[CLS]", "快", "递", "[SEP]"]


def test_the_packaged_one_stands_in_where_the_hub_cannot_give(packaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="training.model"):
        found = load_base("nobody/no-such-encoder", packaged)
    assert found.name == "nobody/tiny"
    assert "nobody/no-such-encoder" in caplog.text


@pytest.mark.parametrize("name", ["nobody/no-such-encoder", PACKAGED])
def test_a_package_without_its_encoder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="no encoder in") as caught:
        load_base(name, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_the_packaged_one_is_its_source_in_half(tiny_encoder: Path, base: Base, packaged: Path) -> None:
    found = load_base(PACKAGED, packaged)
    assert (found.name, found.vocabulary, found.hidden) == ("nobody/tiny", base.vocabulary, base.hidden)
    assert found.tokenizer.to_str() == base.tokenizer.to_str()
    assert all(parameter.dtype == torch.float32 for parameter in found.encoder.parameters())
    for name, value in base.encoder.state_dict().items():
        assert torch.equal(found.encoder.state_dict()[name], value.half().float()), name


# Means of the last states over the tokens, as transformers gave them of experiments/adapt.py's folder, in fp32: first
# eight of 512.
SENTENCE = "快递三天没动静，APP也打不开"
STATES = [0.2361, 0.3324, 0.1756, -0.3773, -0.2413, 0.1270, -0.2506, -0.0609]


def test_the_encoder_that_comes_with_jianwei_gives_the_states_of_its_source(tmp_path: Path) -> None:
    found = load_base(PACKAGED, packaged_base())
    assert found.name == "BAAI/bge-small-zh-v1.5, read on over unlabelled texts"
    assert (found.hidden, found.layers, found.max_tokens) == (512, 4, 512)
    assert found.vocabulary[0] == found.vocabulary[1] < 14_000  # cut once and for all
    encoding = found.tokenizer.encode(SENTENCE)
    assert encoding.tokens == ["[CLS]", *"快递三天没动静，", "app", *"也打不开", "[SEP]"]
    found.encoder.eval()
    with torch.inference_mode():
        states = found.encoder(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0].mean(dim=0)
    assert states[:8].tolist() == pytest.approx(STATES, abs=2e-3)


def test_a_folder_without_a_model_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no encoder in") as caught:
        load_base(str(tmp_path), bundle.path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_weights_is_refused(tiny_encoder: Path, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="no encoder in"):
        load_base(str(tmp_path / "half"), bundle.path)


def test_weights_are_kept_in_half(model: TriageModel, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "w.safetensors")
    header = (tmp_path / "w.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    tensors = {k: v for k, v in json.loads(header[8 : 8 + size]).items() if k != "__metadata__"}
    assert {v["dtype"] for v in tensors.values()} == {"F16"}
    assert set(tensors) == set(model.state_dict())
