"""What a user would write instead: transformers with the bundle's own weights, and an SVM over characters."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence

import torch

from benchmarks.texts import CORPUS
from complaints.bundle import Bundle
from training.baseline import unfitted
from training.batches import padded
from training.model import Base, TriageModel, load_base

BATCH = 16

Run = Callable[[Sequence[str]], object]


def fp32(bundle: Bundle) -> tuple[Base, TriageModel]:
    """The bundle's weights in transformers, as it would run them."""
    base = load_base(str(bundle.path), bundle.path)
    model = TriageModel(base.encoder, base.hidden, bundle.taxonomy, 0.0)
    assert base.learned is not None  # noqa: S101 - a bundle has learned
    model.load_state_dict(base.learned.weights, strict=False)
    base.encoder.set_attn_implementation("sdpa")  # as transformers has it; training takes the plain one
    return base, model.eval()


def batches(base: Base, model: torch.nn.Module) -> Run:
    """Texts as they come, batches of 16, padded to the longest: logits alone, no decision, no risk."""

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> list[torch.Tensor]:
        found = []
        for start in range(0, len(texts), BATCH):
            ids = [e.ids[:512] for e in base.tokenizer.encode_batch(list(texts[start : start + BATCH]))]
            width = max(map(len, ids))
            found.append(model(*padded(ids, width, 0)))
        return found

    return run


def by_length(run: Run) -> Run:
    """The same, but the texts sorted by length first."""
    return lambda texts: run(sorted(texts, key=len))


def dynamic_int8(model: TriageModel) -> torch.nn.Module:
    """Torch's own int8, weights beforehand and activations as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but what torch alone has for linear layers on a CPU
        return torch.ao.quantization.quantize_dynamic(  # the heads are read as plain weights, and are nothing
            model,
            {f"encoder.{name}" for name, one in model.encoder.named_modules() if isinstance(one, torch.nn.Linear)},
        )


def svm(heads: Sequence[str]) -> Run:
    """TF-IDF over one to three characters and one linear SVM a head, fitted on the corpus; scores for all heads."""
    rows = [json.loads(line) for path in sorted(CORPUS.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    models = []
    for head in heads:
        known = [row for row in rows if row.get(head)]
        models.append(unfitted().fit([row["text"] for row in known], [row[head] for row in known]))
    return lambda texts: [model.decision_function(texts) for model in models]
