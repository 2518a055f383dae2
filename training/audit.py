"""What an evaluation asks beyond right and wrong: are answers steady, or moved as they must, is evidence faithful …"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from complaints.predictor import Predictor
from complaints.records import Complaint
from training.directions import directions
from training.faithfulness import faithfulness
from training.robustness import robustness
from training.scope import foreign_texts, scope_report
from training.sources import Example

# Texts whose evidence is deleted; each costs some thirty passes.
MOST_EXPLAINED = 100
# Own texts set against the foreign ones.
MOST_OWN = 1_000


def audit(predictor: Predictor, examples: Sequence[Example], seed: int = 1) -> dict[str, Any]:
    """`evidence`: head -> faithfulness; `robustness`, `directions`: change -> shares; `scope`: scope_report.

    The scope is set between `examples` and the out-of-scope test texts; there is none where the model has none.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    explained = draw.sample(list(examples), min(MOST_EXPLAINED, len(examples)))
    found: dict[str, Any] = {
        "evidence": faithfulness(predictor, [one.complaint for one in explained]),
        "robustness": robustness(predictor, [one.complaint for one in examples]),
        "directions": directions(predictor),
    }
    if predictor.calibration.scope is not None:
        own = draw.sample(list(examples), min(MOST_OWN, len(examples)))
        foreign = foreign_texts("test")
        found["scope"] = scope_report(
            predictor.calibration.scope,
            predictor.encode([one.complaint for one in own])[1].vectors,
            predictor.encode([Complaint(text=one.text) for one in foreign])[1].vectors,
            [one.kind for one in foreign],
        )
    return found
