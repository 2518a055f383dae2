"""Near-duplicates grouped, and groups divided into train, calibration and test, so that nothing leaks."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from complaints.errors import InvalidInput
from complaints.text import clean
from training.recipe import Split
from training.sources import Example

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts, and the rows that are in none.

    `dropped` counts near-duplicates of rows that are fixed as test or calibration, `copies` those within calibration.
    """

    train: list[Example]
    calibration: list[Example]
    test: list[Example]
    groups: int
    dropped: int
    copies: int = 0


def shingles(text: str, size: int = 3) -> set[str]:
    """Character n-grams of a text without its white space; a text shorter than `size` is one shingle."""
    dense = "".join(text.split())
    return {dense[i : i + size] for i in range(max(1, len(dense) - size + 1))}


def near_duplicate_groups(texts: Sequence[str], threshold: float) -> list[int]:
    """Group number of each text: texts alike (Jaccard of character 3-grams ≥ threshold), directly or through others."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in near_duplicate_pairs(texts, threshold):
        parent[root(i)] = root(j)
    return [root(i) for i in range(len(texts))]


def near_duplicate_pairs(texts: Sequence[str], threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (earlier, later, Jaccard) of texts at least `threshold` alike; each text against earlier ones.

    Exact: sets that alike share a gram among the rarest of each (prefix filter, Bayardo et al. 2007, Scaling Up All
    Pairs Similarity Search), so only texts with a rare gram in common are compared. Copies are paired once.
    """
    sets = [shingles(clean(text).text) for text in texts]
    frequency = Counter(gram for grams in sets for gram in grams)
    index: dict[str, list[int]] = defaultdict(list)
    seen: dict[frozenset[str], int] = {}
    pairs = []
    for i, grams in enumerate(sets):
        same = seen.get(frozenset(grams))
        if same is not None:
            pairs.append((same, i, 1.0))
            continue
        seen[frozenset(grams)] = i
        shared = math.ceil(threshold * len(grams) - 1e-9)  # grams that a text so much alike has in common, at least
        rare = sorted(grams, key=lambda gram: (frequency[gram], gram))[: len(grams) - shared + 1]
        for j in sorted({j for gram in rare for j in index[gram]}):
            alike = len(grams & sets[j]) / len(grams | sets[j])
            if alike >= threshold:
                pairs.append((j, i, alike))
        for gram in rare:
            index[gram].append(i)
    return pairs


def text_of(example: Example) -> str:
    """What is compared of an example."""
    return f"{example.complaint.title or ''}\n{example.complaint.text}"


def split(examples: Sequence[Example], settings: Split) -> Parts:
    """Divide examples by groups of near-duplicates; a group that holds a row with a split of its own follows it.

    Groups without one are ordered by a hash of their text and the seed, stratum by stratum (source and first
    label), and cut at the shares asked for: adding rows later moves few of the old ones. Of strata too small to give
    each part a group, some give to one part and some to another, so that together they give each its share.
    A group whose rows disagree goes where its most protected row belongs: test, then calibration, then train. Its other
    rows are dropped then, for a test or calibration part that is fixed must not grow by what is like it.
    Calibration keeps a row a group: what is promised counts rows as independent. Where every row has a split of its own
    and none is calibration, its share is taken out of train. Raises InvalidInput where rows are too few to divide.
    """
    texts = [text_of(one) for one in examples]
    groups: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(near_duplicate_groups(texts, settings.near_duplicate)):
        groups[group].append(i)
    fixed: dict[int, str] = {}
    for group, rows in groups.items():
        own = {examples[i].split for i in rows}
        if (part := next((part for part in ("test", "calibration", "train") if part in own), None)) is not None:
            fixed[group] = part
    free = {group: rows for group, rows in groups.items() if group not in fixed}
    where = fixed | _divided(examples, texts, free, settings)
    if "calibration" not in where.values():
        learned = {group: rows for group, rows in groups.items() if fixed.get(group) == "train"}
        where |= _divided(examples, texts, learned, settings.model_copy(update={"test": 0.0}))
        if taken := sum(len(groups[group]) for group in learned if where[group] == "calibration"):
            log.info("no row is of the calibration part: %d rows of the training part become it", taken)
    parts: dict[str, list[Example]] = {"train": [], "calibration": [], "test": []}
    dropped = copies = 0
    for group, rows in groups.items():
        part, kept = where[group], rows
        if fixed.get(group) in ("test", "calibration"):
            kept = [i for i in rows if examples[i].split == part]
            dropped += len(rows) - len(kept)
        if part == "calibration":
            copies += len(kept) - 1
            kept = kept[:1]
        parts[part] += [replace(examples[i], split=part) for i in kept]
    if not parts["train"] or not parts["calibration"]:
        raise InvalidInput(
            f"{len(examples)} rows in {len(groups)} groups of near-duplicates are too few to split: "
            f"train {len(parts['train'])}, calibration {len(parts['calibration'])}; add rows"
        )
    if dropped:
        log.info("dropped %d rows, near-duplicates of rows that are fixed as test or calibration", dropped)
    if copies:
        log.info("dropped %d rows, near-duplicates of other calibration rows", copies)
    return Parts(parts["train"], parts["calibration"], parts["test"], len(groups), dropped, copies)


def _divided(
    examples: Sequence[Example], texts: Sequence[str], groups: Mapping[int, Sequence[int]], settings: Split
) -> dict[int, str]:
    """The part of each group of rows, by the shares of `settings` and stratum by stratum."""
    strata: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for group, rows in groups.items():
        first = examples[rows[0]]
        stratum = (first.source, *next(iter(first.labels.items())))
        key = hashlib.sha256(f"{settings.seed}\n{min(texts[i] for i in rows)}".encode()).hexdigest()
        strata[stratum].append((key, group))
    where = {}
    starts = _starts({stratum: len(members) for stratum, members in strata.items()}, settings)
    for stratum, members in strata.items():
        members.sort()
        for (_, group), part in zip(members, _cut(len(members), starts.get(stratum, 0.5), settings), strict=True):
            where[group] = part
    return where


def _cut(size: int, start: float, settings: Split) -> list[str]:
    """The parts of a stratum's groups in their order, the first of which stands at `start` (0 to 1) of its place."""
    parts = []
    for position in ((i + start) / size for i in range(size)):
        in_calibration = position < settings.test + settings.calibration
        parts.append("test" if position < settings.test else "calibration" if in_calibration else "train")
    return parts


def _starts(sizes: Mapping[tuple[str, ...], int], settings: Split) -> dict[tuple[str, ...], float]:
    """Starts of the strata that would leave a part empty at 0.5: spread evenly, in an order drawn by hash.

    A label's only group is no matter of sharing: it is learned from.
    """
    wanted = 3 if settings.test else 2
    small = [one for one, size in sizes.items() if size > 1 and len(set(_cut(size, 0.5, settings))) < wanted]
    small.sort(key=lambda one: hashlib.sha256(f"{settings.seed}\n{one}".encode()).hexdigest())
    return {one: (place + 0.5) / len(small) for place, one in enumerate(small)}
