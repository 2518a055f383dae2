"""One complaint, one path: clean -> encode -> decide -> assess.

Evaluation, files of rows and the service all come through here, so what was measured is what is served.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from complaints.bundle import Bundle
from complaints.decision import Calibration, decide, probabilities
from complaints.encoder import Encoded, Encoder
from complaints.errors import BundleError, BundleMismatch, InvalidInput
from complaints.records import Complaint, Evidence, HeadPrediction, Prediction
from complaints.risk import Policy, assess
from complaints.text import Cleaned, clean

_CLAUSE = re.compile(r"[^，。！？；,.!?;\n\r]+[，。！？；,.!?;\n\r]*|[，。！？；,.!?;\n\r]+")
# Each clause costs one more pass over the text; a longer text is cut into this many stretches.
MOST_STRETCHES = 16
MOST_EVIDENCE = 3


class Predictor:
    """A bundle and a policy, ready to answer; safe to use from several threads."""

    def __init__(self, bundle: Bundle, policy: Policy, *, threads: int = 1) -> None:
        """Raises BundleError or BundleMismatch where the bundle cannot be served."""
        self.bundle = bundle
        self.policy = policy
        self.taxonomy = bundle.taxonomy
        self.calibration = read_calibration(bundle)
        self._encoder = Encoder(bundle, threads=threads)

    def close(self) -> None:
        """Free the threads."""
        self._encoder.close()

    def predict(
        self,
        complaints: Sequence[Complaint],
        *,
        heads: Collection[str] | None = None,
        top_k: int = 3,
        explain: bool = False,
    ) -> list[Prediction]:
        """Predictions in the order of `complaints`.

        `heads` names the heads to answer with (all by default; risk always sees all); `top_k` ≥ 1 labels a head;
        `explain` adds the stretches of text that speak for each answer, at one more pass a stretch.
        Raises InvalidInput for a head that the model does not have.
        """
        wanted = list(self.taxonomy.heads) if heads is None else list(heads)
        if unknown := [head for head in wanted if head not in self.taxonomy.heads]:
            raise InvalidInput(f"no head {', '.join(unknown)}: this model has {', '.join(self.taxonomy.heads)}")
        cleaned, encoded = self.encode(complaints)
        decided = decide(self.taxonomy, self.calibration, encoded.logits, cleaned, top_k=top_k)
        return [
            Prediction(
                heads={name: decided[i][name] for name in wanted},
                risk=assess(self.policy, complaint, cleaned[i].text, decided[i], self._spread(encoded, i)),
                evidence=tuple(self._evidence(complaint, decided[i], wanted)) if explain else (),
                warnings=("truncated",) if cleaned[i].truncated or encoded.truncated[i] else (),
            )
            for i, complaint in enumerate(complaints)
        ]

    def encode(self, complaints: Sequence[Complaint]) -> tuple[list[Cleaned], Encoded]:
        """Cleaned texts (title first) and their logits."""
        cleaned = [clean(f"{c.title}\n{c.text}" if c.title else c.text) for c in complaints]
        return cleaned, self._encoder.encode([one.text for one in cleaned])

    def _spread(self, encoded: Encoded, row: int) -> dict[str, float] | None:
        name = self.policy.propagation.head
        if name not in encoded.logits:
            return None
        learned = self.calibration.heads[name]
        values = probabilities(encoded.logits[name][row : row + 1], learned.temperature)[0]
        return dict(zip(self.taxonomy.heads[name].ids, map(float, values), strict=True))

    def _evidence(
        self, complaint: Complaint, decided: dict[str, HeadPrediction], wanted: Sequence[str]
    ) -> list[Evidence]:
        """Leave out one stretch after another and see how far each head's answer falls."""
        spans = stretches(complaint.text)
        if len(spans) < 2:
            return []
        without = [complaint.model_copy(update={"text": complaint.text[:a] + complaint.text[b:]}) for a, b in spans]
        _, encoded = self.encode(without)
        evidence = []
        for name in wanted:
            head, learned = self.taxonomy.heads[name], self.calibration.heads[name]
            left = probabilities(encoded.logits[name], learned.temperature)
            falls = decided[name].confidence - left[:, list(head.members(decided[name].label))].sum(axis=1)
            for i in np.argsort(-falls, kind="stable")[:MOST_EVIDENCE]:
                weight = round(float(falls[i]), 4)
                if weight > 0:
                    evidence.append(Evidence(head=name, start=spans[i][0], end=spans[i][1], weight=weight))
        return evidence


def stretches(text: str) -> list[tuple[int, int]]:
    """Clauses of a raw text as (start, end); neighbours joined until there are at most MOST_STRETCHES."""
    spans = [match.span() for match in _CLAUSE.finditer(text)]
    step = -(-len(spans) // MOST_STRETCHES) or 1
    return [(group[0][0], group[-1][1]) for i in range(0, len(spans), step) if (group := spans[i : i + step])]


def read_calibration(bundle: Bundle) -> Calibration:
    """The bundle's calibration; raises BundleError where it is not valid, BundleMismatch where heads are missing."""
    path: Path = bundle.path / "calibration.json"
    try:
        calibration = Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"bundle {bundle.path}: calibration.json cannot be read: {error}") from error
    if list(calibration.heads) != list(bundle.manifest.heads):
        raise BundleMismatch(
            f"bundle {bundle.path}: calibrated for heads {', '.join(calibration.heads)}, "
            f"but the model's heads are {', '.join(bundle.manifest.heads)}"
        )
    return calibration
