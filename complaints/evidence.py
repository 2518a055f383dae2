"""Which characters of a text, as it was sent, speak for an answer.

    contributions (T, K) --towards the answer--> (T,) --the strongest tenth--> stretches of the cleaned text
        --origins--> stretches of the raw text

No further pass through the model is needed: a logit is the sum of its tokens' contributions (training/model.py).
What the stretches are worth is measured by deleting them (training/faithfulness.py).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from complaints.encoder import Contributions, Logits
from complaints.records import Evidence
from complaints.text import simplify

Scores = npt.NDArray[np.float64]

# Stretches hold this share of the characters at most, but always room for a word or two.
SHARE, LEAST = 0.1, 6
MOST_STRETCHES = 3
# Strong tokens with no more than this between them are read as one stretch.
GAP = 2
# Probabilities that sum to less have lost their digits.
SMALLEST = 1e-290
# A text that cleaning changed is laid beside the raw one; beyond this many characters that takes too long.
LONGEST = 4_000


def speaks_for(shares: Logits, p: Scores, members: Sequence[int]) -> Scores:
    """How far each token moves the log-odds of an answer: (T, K) contributions, (K,) probabilities -> (T,).

    The first-order change of log p - log(1 - p) of the labels `members` together: what a token says of them less what
    it says of the other labels, by their probabilities. Positive speaks for the answer, negative against it. Log p
    alone would order and share out alike, but comes to nothing where the answer is sure.
    """
    answer = np.zeros(len(p), dtype=np.bool_)
    answer[list(members)] = True
    return shares.astype(np.float64) @ (_mean_of(p, answer) - _mean_of(p, ~answer))


def _mean_of(p: Scores, which: npt.NDArray[np.bool_]) -> Scores:
    """(K,) weights of a mean over the labels `which` by their probabilities; evenly where they have none left."""
    weights = np.where(which, p, 0.0)
    if weights.sum() < SMALLEST:
        weights = which.astype(np.float64)
    return weights / weights.sum() if which.any() else weights


def strongest(scores: Scores, spans: npt.NDArray[np.int64], characters: int) -> list[tuple[int, int, float]]:
    """The stretches of a text that say most: (start, end, share of all that speaks for the answer), best first.

    `scores` (T,) and `spans` (T, 2) of the tokens, `characters` the length of the text.
    """
    room = max(LEAST, round(SHARE * characters))
    total = float(scores[scores > 0].sum())
    chosen: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        width = int(spans[i, 1] - spans[i, 0])
        if scores[i] <= 0 or (chosen and width > room):  # the strongest is shown, however long a word it is
            break
        if width:
            chosen.append(int(i))
            room -= width
    found: list[tuple[int, int, float]] = []
    for i in sorted(chosen, key=lambda i: int(spans[i, 0])):
        start, end, share = int(spans[i, 0]), int(spans[i, 1]), float(scores[i]) / total
        if found and start - found[-1][1] <= GAP:
            start, share = found[-1][0], share + found.pop()[2]
        found.append((start, end, share))
    return sorted(found, key=lambda one: -one[2])[:MOST_STRETCHES]


def origins(raw: str, cleaned: str) -> list[int | None]:
    """For each character of a cleaned text the index of the raw character it came from; None where there is none.

    Texts of more than LONGEST characters that cleaning changed are not laid side by side: None throughout.
    """
    if raw == cleaned:
        return list(range(len(raw)))
    found: list[int | None] = [None] * len(cleaned)
    if len(raw) > LONGEST:
        return found
    folded = {c: (simplify(unicodedata.normalize("NFKC", c)) or " ")[0] for c in set(raw)}
    for there, here in common_subsequence([folded[c] for c in raw], cleaned):
        found[here] = there
    return found


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Places (in `one`, in `other`) of a longest common subsequence, last first.

    A row of the table is one integer (Hyyrö 2004, Bit-parallel LCS-length computation revisited), so that no text,
    however it is built, takes long; difflib took minutes where invisible characters stood between all others.
    """
    at: dict[str, int] = {}
    for j, c in enumerate(other):
        at[c] = at.get(c, 0) | 1 << j
    full = (1 << len(other)) - 1
    rows = [full]  # bit j of row i is 0 where other[j] makes the subsequence longer
    for c in one:
        row = rows[-1]
        met = row & at.get(c, 0)
        rows.append(((row + met) | (row - met)) & full)
    found = []
    i, j = len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            found.append((i, j))
        elif rows[i] >> (j - 1) & 1:
            j -= 1
        else:
            i -= 1
    return found


def evidence(
    head: str, contributions: Contributions, p: Scores, members: Sequence[int], where: Sequence[int | None], offset: int
) -> list[Evidence]:
    """Evidence for one head's answer, in characters of the raw text.

    `where` comes from `origins`. Tokens that come from before `offset` in the raw text (a title), or from nowhere in it
    (a mask), count in the sum of all that speaks for the answer, but are not shown.
    """
    scores = speaks_for(contributions.shares[head], p, members)
    shown = [any(i is not None and i >= offset for i in where[start:end]) for start, end in contributions.spans]
    spans = np.where(np.array(shown, dtype=np.bool_)[:, None], contributions.spans, 0)
    found = []
    for start, end, share in strongest(scores, spans, len(where)):
        inside = [i for i in where[start:end] if i is not None and i >= offset]
        if weight := round(share, 4):
            found.append(Evidence(head=head, start=inside[0] - offset, end=inside[-1] + 1 - offset, weight=weight))
    return found
