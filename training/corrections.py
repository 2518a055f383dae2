"""What people said of predictions -> training rows, newest rows and audit rows; whatever cannot be settled stays out.

    last word of each person or ticket --explicit outvotes implicit--> votes --majority--> a label a text and head

Corrections were mostly chosen because the model was unsure, so they are like no random draw of the traffic: they never
become calibration rows, on which thresholds are promised. Rows of the audit share are such a draw; they are kept from
training for good and only measure.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from complaints.errors import UnknownLabel
from complaints.predictor import whole
from complaints.records import Complaint, Correction
from complaints.taxonomy import Taxonomy
from complaints.text import clean
from training.recipe import Mixing
from training.sources import Example, sha1
from training.splits import Parts, near_duplicate_groups

log = logging.getLogger(__name__)

SOURCE = "corrections"


@dataclass(frozen=True, slots=True)
class Settled:
    """One text with the labels that people agree on, when the first of them spoke, and whether audit drew it."""

    example: Example
    at: datetime
    audit: bool


@dataclass
class Mixed:
    """The recipe's parts with corrections among the training rows; `newest` and `audit` rows only measure.

    `corrected` are the training rows that people corrected; `counts` say what became of every correction and text.
    """

    parts: Parts
    corrected: list[Example] = field(default_factory=list)
    newest: list[Example] = field(default_factory=list)
    audit: list[Example] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def settle(corrections: Iterable[Correction], taxonomy: Taxonomy, model: str) -> tuple[list[Settled], Counter[str]]:
    """One row a text, in the order of time, and counts: words read, outvoted, in conflict, of labels unknown.

    Words of answers that another model than `model` gave are left out, for its labels may mean something else; words
    that name no model are not.

    Per text and head each person's last word counts, and the last of each closed ticket. A person's word outvotes what
    was read off closed tickets; where persons, or else tickets, differ, more than half of them decide, and where there
    is no such half the head is left out.
    """
    counts: Counter[str] = Counter()
    others: Counter[str] = Counter()
    texts: dict[str, list[tuple[Correction, str]]] = defaultdict(list)
    for one in corrections:
        counts["corrections"] += 1
        if one.model_name not in (model, ""):
            others[one.model_name] += 1
            continue
        try:
            label = taxonomy.resolve(one.head, one.label) if one.head in taxonomy.heads else None
        except UnknownLabel:
            label = None
        if label is None:
            counts["of a head or label that the taxonomy does not hold"] += 1
            continue
        texts[_key(one)].append((one, label))
    if others:
        counts["of another model"] = others.total()
        named = ", ".join(f"{name} ({words})" for name, words in others.most_common())
        log.warning(
            "left out %d corrections of other models than %s: %s; to learn from them too, empty their model_name",
            others.total(),
            model,
            named,
        )
    found = []
    for words in texts.values():
        labels = {}
        for head in taxonomy.heads:
            mine = [(one, label) for one, label in words if one.head == head]
            label = _vote(mine, counts) if mine else None
            if label is not None:
                labels[head] = label
        if labels:
            first, since = words[0][0], min(one.given_at for one, _ in words)
            complaint = Complaint(text=first.text, title=first.title, channel=first.channel)
            example = Example(complaint, labels, SOURCE, group=SOURCE)
            found.append(Settled(example, since, any(one.audit for one, _ in words)))
    counts["texts settled"] = len(found)
    return sorted(found, key=lambda one: (one.at, _text(one.example))), counts


def _key(one: Correction) -> str:
    return sha1(_cleaned(Complaint(text=one.text, title=one.title)))


def _text(example: Example) -> str:
    return _cleaned(example.complaint)


def _cleaned(complaint: Complaint) -> str:
    """By which texts are the same: corrections come masked, and training rows as they were written."""
    return clean(whole(complaint)).text


def _vote(words: Sequence[tuple[Correction, str]], counts: Counter[str]) -> str | None:
    """The label of one text and head; None where people differ without a majority."""
    last: dict[tuple[str, ...], tuple[Correction, str]] = {}
    cases: dict[tuple[str, ...], str] = {}
    for one, label in sorted(words, key=lambda word: (word[0].given_at, word[0].id)):
        case = one.kind, one.actor, one.prediction_id
        counts["taken back by a later word of the same person"] += cases.get(case, label) != label
        cases[case] = label
        # One system closes the tickets of many people, who each chose a label; a person has one vote a text.
        last[case if one.kind == "implicit" else case[:2]] = one, label
    persons = [label for one, label in last.values() if one.kind == "explicit"]
    tickets = [label for one, label in last.values() if one.kind == "implicit"]
    votes = persons or tickets
    if persons:
        counts["of closed tickets, outvoted by a person"] += sum(label not in persons for label in tickets)
    (label, most), *_ = Counter(votes).most_common(1)
    if 2 * most <= len(votes):
        counts["in conflict, without a majority"] += len(votes)
        return None
    counts["outvoted"] += len(votes) - most
    return label


def mix(settled: Sequence[Settled], counts: Counter[str], parts: Parts, settings: Mixing, near: float) -> Mixed:
    """Put settled corrections beside a recipe's parts.

    A text that is nearly (`near`, Jaccard of 3-grams) one of calibration or test is left out. Audit texts only measure,
    and so do the newest, a share of the others cut by the time of their first word, near-duplicates together on the
    older side. As a file of corrections only grows, what is newest today was never trained on by the champions before.
    A training row like a text that measures is dropped; one of the very same text as a corrected one takes the labels
    that people gave.
    """
    mixed = Mixed(parts, counts=Counter(counts))
    protected = [*parts.calibration, *parts.test]
    groups = near_duplicate_groups([_text(one) for one in (*protected, *(s.example for s in settled))], near)
    held = set(groups[: len(protected)])
    own = groups[len(protected) :]
    free = [i for i in range(len(settled)) if own[i] not in held]
    mixed.counts["texts like a calibration or test row"] = len(settled) - len(free)
    audited = {own[i] for i in free if settled[i].audit}
    mixed.audit = [settled[i].example for i in free if settled[i].audit]
    mixed.counts["texts like an audited one"] = sum(own[i] in audited and not settled[i].audit for i in free)
    rest = [i for i in free if own[i] not in audited]
    texts = [_text(one) for one in parts.train]
    trained = set(texts)  # which cannot measure any more
    fresh = [i for i in rest if _text(settled[i].example) not in trained]
    cut = len(fresh) - round(settings.newest * len(fresh))
    older = {own[i] for i in (*fresh[:cut], *(set(rest) - set(fresh)))}
    mixed.newest = [settled[i].example for i in rest if own[i] not in older]
    mixed.corrected = [
        replace(settled[i].example, split="train", repeat=settings.repeat) for i in rest if own[i] in older
    ]
    mixed.counts["texts trained on"] = len(mixed.corrected)
    mixed.counts["texts held out, newest"] = len(mixed.newest)
    mixed.counts["texts held out, audit"] = len(mixed.audit)
    measuring = [_text(one) for one in (*mixed.audit, *mixed.newest)]
    groups = near_duplicate_groups([*measuring, *texts], near) if measuring else []
    out = set(groups[: len(measuring)])
    learned = [i for i in range(len(texts)) if not measuring or groups[len(measuring) + i] not in out]
    mixed.counts["training rows like an audit or newest text, dropped"] = len(texts) - len(learned)
    said = {_text(one): one.labels for one in mixed.corrected}
    before = [parts.train[i] for i in learned]
    kept = [
        replace(one, labels={h: v for h, v in one.labels.items() if h not in said.get(texts[i], {})})
        for i, one in zip(learned, before, strict=True)
    ]
    mixed.counts["labels of training rows overruled"] = sum(
        len(one.labels) - len(after.labels) for one, after in zip(before, kept, strict=True)
    )
    train = [*(one for one in kept if one.labels), *mixed.corrected]
    mixed.parts = replace(parts, train=train)
    return mixed
