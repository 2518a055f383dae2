"""One complaint, one path: clean -> encode -> decide -> assess.

Evaluation, files of rows and the service all come through here, so what was measured is what is served.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from complaints.bundle import Bundle
from complaints.decision import Calibration, decide, probabilities
from complaints.encoder import Contributions, Encoded, Encoder
from complaints.errors import BundleError, BundleMismatch, InvalidInput
from complaints.evidence import evidence, origins
from complaints.examples import Examples
from complaints.priority import strangeness
from complaints.records import Complaint, Context, Evidence, HeadPrediction, Prediction, Risk
from complaints.risk import Policy, assess
from complaints.text import Cleaned, clean


@dataclass(frozen=True, slots=True)
class Reading:
    """One complaint as the model reads it, before any policy.

    `spreads`: ordinal head -> probability of each label; `vector`: (H,) of length 1; `encoded` and `row`: the pass that
    it came from; `strangeness`: how many times as much of it as usual training has not seen, from 1.
    """

    complaint: Complaint
    cleaned: Cleaned
    heads: dict[str, HeadPrediction]
    spreads: dict[str, dict[str, float]]
    vector: npt.NDArray[np.float32]
    encoded: Encoded
    row: int
    strangeness: float = 1.0


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
        scope, width = self.calibration.scope, self._encoder.width
        for what, found in (("scope", scope and len(scope.weights)), ("examples", self._examples.width)):
            if found is not None and found != width:
                raise BundleMismatch(
                    f"bundle {bundle.path}: its {what} is for vectors of {found}, the graph gives {width}"
                )

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
        return [self.answer(one, wanted, explain=explain) for one in self.read(complaints, top_k=top_k)]

    def read(self, complaints: Sequence[Complaint], *, top_k: int = 3) -> list[Reading]:
        """What the model makes of complaints, in their order; `answer` and `assess` go on from there."""
        cleaned, encoded = self.encode(complaints)
        decided = decide(self.taxonomy, self.calibration, encoded, cleaned, top_k=top_k)
        unseen = encoded.unseen
        return [
            Reading(
                complaint=complaint,
                cleaned=cleaned[i],
                heads=decided[i],
                spreads=self._spreads(encoded, i),
                vector=encoded.vectors[i],
                encoded=encoded,
                row=i,
                strangeness=strangeness(None if unseen is None else unseen[i], self.calibration.unseen),
            )
            for i, complaint in enumerate(complaints)
        ]

    def assess(self, reading: Reading, context: Context | None = None, policy: Policy | None = None) -> Risk:
        """The risk of a complaint by `policy`, the predictor's own where not given."""
        return assess_reading(policy or self.policy, reading, context or Context())

    def answer(
        self, reading: Reading, heads: Collection[str], *, explain: bool = False, risk: Risk | None = None
    ) -> Prediction:
        """The prediction with the answers of `heads`; `risk` is assessed without context where not given."""
        cut = reading.cleaned.truncated or bool(reading.encoded.truncated[reading.row])
        return Prediction(
            heads={name: reading.heads[name] for name in heads},
            risk=risk if risk is not None else self.assess(reading),
            evidence=self._evidence(reading, heads) if explain else (),
            similar=self._examples.nearest(reading.vector) if explain else (),
            warnings=("truncated",) if cut else (),
        )

    def encode(self, complaints: Sequence[Complaint]) -> tuple[list[Cleaned], Encoded]:
        """Cleaned texts (title first) and their logits."""
        cleaned = [clean(whole(complaint)) for complaint in complaints]
        return cleaned, self._encoder.encode([one.text for one in cleaned])

    def explain(self, cleaned: str) -> Contributions:
        """What each token of a cleaned text says of each label; one pass."""
        return self._encoder.explain(cleaned)

    def _spreads(self, encoded: Encoded, row: int) -> dict[str, dict[str, float]]:
        spreads = {}
        for name, logits in encoded.logits.items():
            head = self.taxonomy.heads[name]
            if head.kind == "ordinal":
                values = probabilities(logits[row : row + 1], self.calibration.heads[name])[0]
                spreads[name] = dict(zip(head.ids, map(float, values), strict=True))
        return spreads

    def _evidence(self, reading: Reading, wanted: Collection[str]) -> tuple[Evidence, ...]:
        cleaned, complaint = reading.cleaned.text, reading.complaint
        if not cleaned:
            return ()
        said = self.explain(cleaned)
        raw = whole(complaint)
        where = origins(raw, cleaned)
        found: list[Evidence] = []
        for name in wanted:
            row = reading.encoded.logits[name][reading.row : reading.row + 1]
            p = probabilities(row, self.calibration.heads[name])[0]
            members = self.taxonomy.heads[name].members(reading.heads[name].label)
            found += evidence(name, said, p, members, where, len(raw) - len(complaint.text))
        return tuple(found)


def whole(complaint: Complaint) -> str:
    """What the model reads: the title first, where there is one."""
    return f"{complaint.title}\n{complaint.text}" if complaint.title else complaint.text


def assess_reading(policy: Policy, reading: Reading, context: Context) -> Risk:
    """The risk of a complaint as it was read, by any policy."""
    spread = reading.spreads.get(policy.propagation.head)
    return assess(policy, reading.complaint, reading.cleaned.text, reading.heads, spread, context)


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
