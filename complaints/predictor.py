"""One complaint, one path: clean -> encode -> decide -> assess.

Evaluation, files of rows and the service all come through here, so what was measured is what is served.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from complaints.bundle import Bundle
from complaints.decision import Calibration, decide, probabilities
from complaints.encoder import Contributions, Encoded, Encoder
from complaints.errors import BundleError, BundleMismatch, InvalidInput
from complaints.evidence import evidence, origins
from complaints.examples import Examples
from complaints.records import Complaint, Evidence, HeadPrediction, Prediction
from complaints.risk import Policy, assess
from complaints.text import Cleaned, clean


class Predictor:
    """A bundle and a policy, ready to answer; safe to use from several threads."""

    def __init__(self, bundle: Bundle, policy: Policy, *, threads: int = 1) -> None:
        """Raises BundleError or BundleMismatch where the bundle cannot be served."""
        self.bundle = bundle
        self.policy = policy
        self.taxonomy = bundle.taxonomy
        self.calibration = read_calibration(bundle)
        self._encoder = Encoder(bundle, threads=threads)
        self._examples = Examples.open(bundle)

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
        `explain` adds the stretches of text that speak for each answer and the nearest known examples, at one more
        pass a text.
        Raises InvalidInput for a head that the model does not have.
        """
        wanted = list(self.taxonomy.heads) if heads is None else list(heads)
        if unknown := [head for head in wanted if head not in self.taxonomy.heads]:
            raise InvalidInput(f"no head {', '.join(unknown)}: this model has {', '.join(self.taxonomy.heads)}")
        cleaned, encoded = self.encode(complaints)
        decided = decide(self.taxonomy, self.calibration, encoded, cleaned, top_k=top_k)
        return [
            Prediction(
                heads={name: decided[i][name] for name in wanted},
                risk=assess(self.policy, complaint, cleaned[i].text, decided[i], self._spread(encoded, i)),
                evidence=self._evidence(complaint, cleaned[i], encoded, i, decided[i], wanted) if explain else (),
                similar=self._examples.nearest(encoded.vectors[i]) if explain else (),
                warnings=("truncated",) if cleaned[i].truncated or encoded.truncated[i] else (),
            )
            for i, complaint in enumerate(complaints)
        ]

    def encode(self, complaints: Sequence[Complaint]) -> tuple[list[Cleaned], Encoded]:
        """Cleaned texts (title first) and their logits."""
        cleaned = [clean(_whole(complaint)) for complaint in complaints]
        return cleaned, self._encoder.encode([one.text for one in cleaned])

    def explain(self, cleaned: str) -> Contributions:
        """What each token of a cleaned text says of each label; one pass."""
        return self._encoder.explain(cleaned)

    def _spread(self, encoded: Encoded, row: int) -> dict[str, float] | None:
        name = self.policy.propagation.head
        if name not in encoded.logits:
            return None
        learned = self.calibration.heads[name]
        values = probabilities(encoded.logits[name][row : row + 1], learned.temperature)[0]
        return dict(zip(self.taxonomy.heads[name].ids, map(float, values), strict=True))

    def _evidence(
        self,
        complaint: Complaint,
        cleaned: Cleaned,
        encoded: Encoded,
        row: int,
        decided: dict[str, HeadPrediction],
        wanted: Sequence[str],
    ) -> tuple[Evidence, ...]:
        if not cleaned.text:
            return ()
        said = self.explain(cleaned.text)
        raw = _whole(complaint)
        where = origins(raw, cleaned.text)
        found: list[Evidence] = []
        for name in wanted:
            p = probabilities(encoded.logits[name][row : row + 1], self.calibration.heads[name].temperature)[0]
            members = self.taxonomy.heads[name].members(decided[name].label)
            found += evidence(name, said, p, members, where, len(raw) - len(complaint.text))
        return tuple(found)


def _whole(complaint: Complaint) -> str:
    """What the model reads: the title first, where there is one."""
    return f"{complaint.title}\n{complaint.text}" if complaint.title else complaint.text


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
