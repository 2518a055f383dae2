"""Whether the evidence is what the model goes by: delete it and see.

Comprehensiveness: how far the answer's probability falls when the tenth of the characters that speak most for it
is deleted; sufficiency: how far when only they are left (DeYoung et al. 2020, ERASER). Both beside the same share of
characters drawn at random: faithful evidence falls further when deleted, and less when kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from complaints.decision import probabilities
from complaints.evidence import SHARE, speaks_for
from complaints.predictor import Predictor
from complaints.records import Complaint

# Random deletions a text; their mean is compared.
DRAWS = 3
LEAST_CHARACTERS = 20


def faithfulness(predictor: Predictor, complaints: Sequence[Complaint], seed: int = 1) -> dict[str, dict[str, float]]:
    """Head -> mean falls of the answer's probability (-1 to 1) over texts (title included) of LEAST_CHARACTERS or more.

    comprehensiveness (high is good), random_comprehensiveness, sufficiency (low is good), random_sufficiency. No
    head where every text is shorter.
    """
    draw = random.Random(seed)  # noqa: S311 - which characters, no secret
    cleaned, encoded = predictor.encode(complaints)
    kept = [i for i, one in enumerate(cleaned) if len(one.text) >= LEAST_CHARACTERS]
    whole = {n: probabilities(v, predictor.calibration.heads[n]) for n, v in encoded.logits.items()}
    falls: dict[str, dict[str, list[float]]] = {name: {} for name in whole}
    for i in kept:
        text = cleaned[i].text
        count = max(1, round(SHARE * len(text)))
        said = predictor.explain(text)
        for name, p in whole.items():
            answer = int(p[i].argmax())
            per_token = speaks_for(said.shares[name], p[i], (answer,))
            scores = np.full(len(text), -np.inf)
            for (start, end), score in zip(said.spans, per_token, strict=True):
                scores[start:end] = score / max(1, end - start)
            best = set(np.argsort(-scores, kind="stable")[:count].tolist())
            drawn = [set(draw.sample(range(len(text)), count)) for _ in range(DRAWS)]
            masked = []
            for chosen in (best, *drawn):
                masked.append("".join(c for k, c in enumerate(text) if k not in chosen))
                masked.append("".join(c for k, c in enumerate(text) if k in chosen))
            logits = predictor.encode([Complaint(text=one) for one in masked])[1].logits[name]
            left = p[i, answer] - probabilities(logits, predictor.calibration.heads[name])[:, answer]
            parts = {
                "comprehensiveness": left[0],
                "sufficiency": left[1],
                "random_comprehensiveness": left[2::2].mean(),
                "random_sufficiency": left[3::2].mean(),
            }
            for measure, value in parts.items():
                falls[name].setdefault(measure, []).append(float(value))
    return {
        name: {measure: round(float(np.mean(values)), 4) for measure, values in found.items()}
        for name, found in falls.items()
        if found
    }
