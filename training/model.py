"""One shared encoder; every head looks at the tokens with weights of its own and adds up what they say.

    (B, T) ids, (B, T) mask --encoder--> (B, T, H) states
        --looks-->  (B, T, number of heads), weights of a head sum to 1 over the tokens
        --heads-->  (B, T, sum of K), what each token says of each label
    logits (B, sum of K) = sum over tokens of weight x saying, + bias

So a logit is a sum of its tokens' contributions, which is the evidence that `predictor.py` shows. On consumer
complaints it was also better than the first token's state alone (experiments/LOG.md).

Targets are (B, sum of K) admissible labels: one column for a known leaf, several for a known parent, none at all
for a head that the row is silent about, which then adds nothing to the loss.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from complaints.bundle import Bundle
from complaints.errors import InvalidInput
from complaints.taxonomy import Taxonomy

log = logging.getLogger(__name__)

# The name of the encoder that comes with jianwei.
PACKAGED = "packaged"
# Weight of the ordinal term beside cross-entropy; it is at most K-1, so a far miss counts about twice a near one.
ORDINAL_WEIGHT = 1.0
# The characters that BERT's normaliser sets apart (tokenizers, bert.rs); later extensions are not among them.
_CJK_PIECE = re.compile(
    "^##[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f"
    "\U0002b740-\U0002b81f\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]$"
)

_MARK = re.compile(r"^(?:\[\w+\]|<\w+>)$")  # [CLS], <S>


class TriageModel(nn.Module):
    """An encoder and its heads, side by side in one linear layer."""

    def __init__(self, encoder: nn.Module, hidden: int, taxonomy: Taxonomy, dropout: float) -> None:
        super().__init__()
        self.encoder = quick(encoder)
        self.dropout = FeatureDropout(dropout)
        self.looks = nn.Linear(hidden, len(taxonomy.sizes))
        nn.init.zeros_(self.looks.weight)  # the mean of all tokens, to begin with
        nn.init.zeros_(self.looks.bias)
        self.heads = nn.Linear(hidden, sum(taxonomy.sizes.values()))
        self.sizes = taxonomy.sizes
        owner = [i for i, size in enumerate(taxonomy.sizes.values()) for _ in range(size)]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) token ids and mask -> (B, sum of K) logits."""
        return self.read(input_ids, attention_mask)[0]

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T) token ids and mask -> logits (B, sum of K), contributions (B, T, sum of K), states (B, H).

        Contributions add up to the logits less their bias. States are the mean of what the heads look at.
        """
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = self.looks(states).float().masked_fill(attention_mask.unsqueeze(-1) == 0, -1e4).softmax(dim=1)
        pooled = (weights.mean(dim=-1, keepdim=True) * states).sum(dim=1)
        says = nn.functional.linear(self.dropout(states), self.heads.weight)
        contributions = weights.index_select(-1, self.owner) * says
        logits = contributions.sum(dim=1) + self.heads.bias
        return logits, contributions, pooled


class Traced(nn.Module):
    """What the graph of a bundle computes: the model's readings, its states brought to length 1 as vectors."""

    def __init__(self, model: TriageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As TriageModel.read, but for the last, which are unit vectors."""
        logits, contributions, states = self.model.read(input_ids, attention_mask)
        return logits, contributions, nn.functional.normalize(states, dim=-1)


@dataclass(frozen=True)
class Learned:
    """What a bundle's model had learned beyond its encoder: looks and heads by name, and the labels they are for."""

    weights: dict[str, Tensor]
    taxonomy: Taxonomy


@dataclass(frozen=True)
class Base:
    """An encoder to start from, with its tokenizer; `vocabulary` counts tokens before and after the cut.

    `learned` comes with the encoder of a bundle; training takes it over where it is asked to go on (warm.py).
    """

    encoder: nn.Module
    tokenizer: Tokenizer
    hidden: int
    layers: int
    max_tokens: int
    name: str
    vocabulary: tuple[int, int]
    learned: Learned | None = None

    @property
    def pad(self) -> int:
        """The token that fills up shorter texts of a batch."""
        return self.tokenizer.token_to_id("[PAD]") or 0


def load_base(name: str, packaged: Path) -> Base:
    """Load an encoder: PACKAGED is the one in the folder `packaged`, else a hub name, a folder, or a bundle's folder.

    Where the hub cannot be reached, the packaged one stands in. Raises InvalidInput where `name` is a folder without
    a model, or has no fast tokenizer.
    """
    if (Path(name) / "bundle.json").is_file():
        return _from_bundle(Path(name))
    transformers_logging.set_verbosity_error()  # a pooler that is not in the file is no news
    transformers_logging.disable_progress_bar()
    place = packaged if name == PACKAGED else name
    try:
        encoder = AutoModel.from_pretrained(place, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        if name == PACKAGED or Path(name).exists():
            raise InvalidInput(f"no encoder in {place}: {error}") from error
        log.warning("the hub cannot give %s; starting from the encoder that comes with jianwei instead", name)
        return load_base(PACKAGED, packaged)
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise InvalidInput(f"{name} has no fast tokenizer (tokenizer.json); choose an encoder that has one")
    encoder.pooler = None
    before = fast.get_vocab_size()
    fast, kept = cut_vocabulary(lower_case(fast))
    if kept is not None:
        table = encoder.get_input_embeddings().weight.detach()[kept]
        encoder.resize_token_embeddings(len(kept))
        encoder.get_input_embeddings().weight.data.copy_(table)
    said = Path(name).resolve().name if Path(name).is_dir() else name  # a path is nobody else's business
    if name == PACKAGED:
        said = encoder.config.base_model
    return _base(encoder, fast, said, (before, fast.get_vocab_size()))


def _from_bundle(path: Path) -> Base:
    bundle = Bundle.open(path)
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(path / "encoder.json"))
    encoder.pooler = None
    weights = load_file(path / "weights.safetensors")
    inside = {k.removeprefix("encoder."): v.float() for k, v in weights.items() if k.startswith("encoder.")}
    encoder.load_state_dict(inside)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    learned = Learned({k: v.float() for k, v in weights.items() if not k.startswith("encoder.")}, bundle.taxonomy)
    name = f"{bundle.manifest.name} (from {bundle.manifest.base_model})"
    return replace(_base(encoder, tokenizer, name, (size, size)), learned=learned)


def _base(encoder: nn.Module, tokenizer: Tokenizer, name: str, vocabulary: tuple[int, int]) -> Base:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    config = encoder.config
    return Base(
        encoder,
        tokenizer,
        config.hidden_size,
        config.num_hidden_layers,
        min(512, getattr(config, "max_position_embeddings", 512)),
        name,
        vocabulary,
    )


class FeatureDropout(nn.Module):
    """Dropout of whole features: of (B, T, H) states, a feature is dropped for all tokens of a text alike.

    As in Gal and Ghahramani (2016, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks), and
    cheap: a fifth of a training step went into drawing a number for every token.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, states: Tensor) -> Tensor:
        """States with some features set to 0 and the rest scaled up, in training; else as they are."""
        if not self.training or self.p == 0:
            return states
        kept = torch.rand(states.shape[0], 1, states.shape[-1]) >= self.p
        return states * (kept.to(states.dtype) / (1 - self.p))


def quick(encoder: nn.Module) -> nn.Module:
    """Make an encoder cheaper to train on a CPU: plain attention without dropout on its weights, FeatureDropout.

    The fused attention's backward pass took a quarter of the time, and drawing random numbers for every pair of tokens
    a tenth (experiments/LOG.md).
    """
    encoder.set_attn_implementation("eager")  # type: ignore[operator]
    for name, module in list(encoder.named_modules()):
        for inner, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, inner, FeatureDropout(0.0 if name.endswith(".self") else child.p))
    return encoder


def lower_case(tokenizer: Tokenizer) -> Tokenizer:
    """Make a BERT tokenizer lower its letters where its vocabulary holds no capital that it could find.

    BAAI/bge-small-zh-v1.5 says that it keeps capitals, but knows none: "APP" and "iPhone" came out as unknown.
    """
    data = json.loads(tokenizer.to_str())
    normalizer = data.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer" or normalizer.get("lowercase"):
        return tokenizer
    if any(token != token.lower() and not _MARK.match(token) for token in data["model"]["vocab"]):
        return tokenizer
    normalizer["lowercase"] = True
    return Tokenizer.from_str(json.dumps(data))


def cut_vocabulary(tokenizer: Tokenizer) -> tuple[Tokenizer, list[int] | None]:
    """Drop tokens that a BERT tokenizer can never produce; the ids kept, in order, or None for other tokenizers.

    BERT puts every Chinese character between spaces before it looks for word pieces, so a continuation piece
    `##字` cannot occur; `[unusedN]` are place-holders. Texts tokenize to the same strings as before.
    """
    data = json.loads(tokenizer.to_str())
    model, normalizer = data["model"], data.get("normalizer") or {}
    if model["type"] != "WordPiece" or not normalizer.get("handle_chinese_chars"):
        return tokenizer, None
    by_hand = {one["content"]: one["id"] for one in data.get("added_tokens", [])}  # found before any word piece
    tokens = sorted((model["vocab"] | by_hand).items(), key=lambda item: item[1])
    kept = [(t, i) for t, i in tokens if t in by_hand or not (_CJK_PIECE.match(t) or re.match(r"^\[unused\d+\]$", t))]
    renumbered = {token: new for new, (token, _) in enumerate(kept)}
    model["vocab"] = {token: new for token, new in renumbered.items() if token in model["vocab"]}
    for added in data.get("added_tokens", []):
        added["id"] = renumbered[added["content"]]
    processor = data.get("post_processor") or {}
    for token, special in processor.get("special_tokens", {}).items():  # TemplateProcessing
        special["ids"] = [renumbered[token]]
    for field in ("cls", "sep"):  # BertProcessing
        if field in processor:
            processor[field][1] = renumbered[processor[field][0]]
    return Tokenizer.from_str(json.dumps(data)), [i for _, i in kept]


def targets(taxonomy: Taxonomy, labels: Mapping[str, str]) -> Tensor:
    """(sum of K,) True at every admissible label of the heads that `labels` names."""
    row = torch.zeros(sum(taxonomy.sizes.values()), dtype=torch.bool)
    start = 0
    for name, head in taxonomy.heads.items():
        if name in labels:
            row[[start + i for i in head.members(labels[name])]] = True
        start += head.size
    return row


def losses(taxonomy: Taxonomy, logits: Tensor, admissible: Tensor) -> dict[str, Tensor]:
    """Head -> mean loss over its labelled rows; heads without one in this batch are absent.

    Cross-entropy of the admissible labels together, so a row known by its parent alone teaches the sum of its
    leaves. Ordinal heads add the squared earth mover's distance between predicted and true distribution
    (Hou et al., Squared Earth Mover's Distance-based Loss, 2016), which makes a far miss worse than a near one.
    """
    found = {}
    start = 0
    for name, head in taxonomy.heads.items():
        part, mask = logits[:, start : start + head.size], admissible[:, start : start + head.size]
        start += head.size
        known = mask.any(dim=1)
        if not known.any():
            continue
        log_p, mask = part[known].log_softmax(dim=1), mask[known]
        loss = -log_p.masked_fill(~mask, -torch.inf).logsumexp(dim=1).mean()
        if head.kind == "ordinal":
            truth = mask.float() / mask.sum(dim=1, keepdim=True)
            gap = log_p.exp().cumsum(dim=1) - truth.cumsum(dim=1)
            loss = loss + ORDINAL_WEIGHT * gap.square().sum(dim=1).mean()
        found[name] = loss
    return found


def save_weights(model: TriageModel, path: Path) -> None:
    """Write encoder and heads as fp16 safetensors."""
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)
