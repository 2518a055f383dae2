"""Near-duplicates grouped, and groups divided into train, calibration and test, so that nothing leaks."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from complaints.errors import InvalidInput
from complaints.text import clean
from training.recipe import Split
from training.sources import Example


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts; `moved` counts rows whose own split was overruled because a near-duplicate was elsewhere."""

    train: list[Example]
    calibration: list[Example]
    test: list[Example]
    groups: int
    moved: int


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
    A group whose rows disagree goes where its most protected row belongs: test, then calibration, then train.
    """
    texts = [text_of(one) for one in examples]
    groups: dict[int, list[int]] = defaultdict(list)
    for i, group in enumerate(near_duplicate_groups(texts, settings.near_duplicate)):
        groups[group].append(i)
    where: dict[int, str] = {}
    strata: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for group, rows in groups.items():
        own = {examples[i].split for i in rows} - {None}
        fixed = next((part for part in ("test", "calibration", "train") if part in own), None)
        if fixed is not None:
            where[group] = fixed
            continue
        first = examples[rows[0]]
        stratum = (first.source, *next(iter(first.labels.items())))
        key = hashlib.sha256(f"{settings.seed}\n{min(texts[i] for i in rows)}".encode()).hexdigest()
        strata[stratum].append((key, group))
    starts = _starts({stratum: len(members) for stratum, members in strata.items()}, settings)
    for stratum, members in strata.items():
        members.sort()
        for (_, group), part in zip(members, _cut(len(members), starts.get(stratum, 0.5), settings), strict=True):
            where[group] = part
    parts: dict[str, list[Example]] = {"train": [], "calibration": [], "test": []}
    moved = 0
    for group, rows in groups.items():
        for i in rows:
            moved += examples[i].split not in (None, where[group])
            parts[where[group]].append(replace(examples[i], split=where[group]))
    if not parts["train"] or not parts["calibration"]:
        raise InvalidInput(
            f"{len(examples)} rows in {len(groups)} groups of near-duplicates are too few to split: "
            f"train {len(parts['train'])}, calibration {len(parts['calibration'])}; add rows"
        )
    return Parts(parts["train"], parts["calibration"], parts["test"], len(groups), moved)


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
