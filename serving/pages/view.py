"""A case as a page shows it: gathered from the store, the policy and the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from complaints.errors import NotFound
from complaints.records import Complaint, Evidence, HeadPrediction, Level, Prediction, Risk, Similar
from complaints.taxonomy import Taxonomy
from serving import reviewing
from serving.champion import Snapshot
from serving.pages.marks import plain
from serving.pages.words import LEVELS, OUTCOMES
from serving.service import Service
from serving.standing import Standing, risk_now
from serving.store.review_cases import Case, Neighbour
from serving.store.review_decisions import Decided
from serving.store.review_queue import Lease
from serving.store.review_words import Said

# Characters of another complaint's text that are shown.
SNIPPET = 90


@dataclass(frozen=True, slots=True)
class Nearby:
    """Another case, in one line, masked."""

    id: str
    at: datetime
    text: str
    label: str
    level: Level
    note: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done with a case; `note` is in the person's own words, not masked."""

    at: datetime
    actor: str
    what: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class CaseView:
    """Everything that a page shows of one case.

    `heads` are as they were answered; `model` gave that answer, `reader` is the model whose reading is marked.
    `level` is the one that holds, `judged` whether a person said so; None where no risk was stored.
    `until` is None where the person has no lease on it.
    """

    id: str
    complaint: Complaint
    received_at: datetime
    model: str
    reader: str
    taxonomy: Taxonomy
    heads: dict[str, HeadPrediction]
    risk: Risk
    level: Level
    judged: bool | None
    alike_before: int
    burst: int
    warnings: tuple[str, ...]
    said: dict[str, str]
    others: Sequence[Nearby]
    near: Sequence[Nearby]
    history: Sequence[Event]
    until: datetime | None
    done: bool
    evidence: tuple[Evidence, ...] = ()
    similar: tuple[Similar, ...] = ()
    unmasked: bool = False

    def explained(self, reading: Prediction | None) -> CaseView:
        """With what speaks for the answers, and with more choices where the same model says the same again."""
        if reading is None:
            return self
        heads = dict(self.heads)
        for name, one in reading.heads.items():
            if self.model == self.reader and one.label == heads[name].label:
                heads[name] = heads[name].model_copy(update={"top_k": one.top_k})
        return replace(self, heads=heads, evidence=reading.evidence, similar=reading.similar)


def view_of(service: Service, snapshot: Snapshot, case: Case, lease: Lease | None) -> CaseView:
    """A case as it stands now; reads the store."""
    response = orjson.loads(case.response)
    complaint = reviewing.sent(case.request)
    heads = {name: HeadPrediction.model_validate(one) for name, one in response["heads"].items()}
    taxonomy = snapshot.predictor.taxonomy
    try:
        now = risk_now(service, case.prediction_id)
    except NotFound:  # it was stored before risks were
        now = None
    if now is not None and case.blind:  # another person's word would sway who reviews it a second time
        now = replace(now, stored=replace(now.stored, verdicts=()), level=now.risk.level)
    return CaseView(
        id=case.prediction_id,
        complaint=complaint,
        received_at=complaint.created_at or case.created_at,
        model=response["model"]["version"],
        reader=snapshot.version,
        taxonomy=taxonomy,
        heads={name: one for name, one in heads.items() if name in taxonomy.heads},
        risk=now.risk if now is not None else Risk.model_validate(response["risk"]),
        level=now.level if now is not None else response["risk"]["level"],
        judged=bool(now.stored.verdicts) if now is not None else None,
        alike_before=now.stored.context.alike_before if now is not None else 0,
        burst=now.stored.context.burst if now is not None else 0,
        warnings=tuple(response["warnings"]),
        said={one.head: one.label for one in case.words if one.kind == "explicit" and one.withdrawn_at is None},
        others=[_nearby(taxonomy, one) for one in case.others],
        near=[_nearby(taxonomy, one) for one in case.nearest],
        history=sorted(_events(taxonomy, case.words, case.decisions, now), key=lambda one: one.at),
        until=lease.until if lease is not None else None,
        done=case.place is not None and case.place.state == "done",
    )


def _nearby(taxonomy: Taxonomy, one: Neighbour) -> Nearby:
    said = [_name(taxonomy, head, label) for head, label in one.labels.items() if head in taxonomy.heads]
    note = f"相似度 {one.similarity:.2f}" if one.similarity is not None else ""
    return Nearby(
        one.prediction_id,
        one.at,
        plain(reviewing.sent(one.request).text, SNIPPET),
        " · ".join(said[:2]),
        one.level,
        note,
    )


def _events(
    taxonomy: Taxonomy, words: Iterable[Said], decisions: Iterable[Decided], risk: Standing | None
) -> Iterable[Event]:
    said = list(words)
    for one in decisions:
        changed = [
            f"{taxonomy.heads[word.head].name} → {_name(taxonomy, word.head, word.label)}"
            for word in said
            if word.decision_id == one.id and word.label != word.predicted and word.head in taxonomy.heads
        ]
        notes = dict.fromkeys(word.note for word in said if word.decision_id == one.id and word.note)
        what = OUTCOMES[one.outcome] + ("（复审）" if one.second else "")
        what += f"：{'，'.join(changed)}" if changed else ""
        what += "（已撤销）" if one.withdrawn_at is not None else ""
        yield Event(one.at, one.actor, what, "；".join(notes))
    for word in said:
        if word.decision_id is None and word.head in taxonomy.heads:
            source = "结单结果" if word.kind == "implicit" else "更正"
            what = f"{source}：{taxonomy.heads[word.head].name} → {_name(taxonomy, word.head, word.label)}"
            yield Event(word.given_at, word.actor, what + ("（已撤销）" if word.withdrawn_at is not None else ""))
    if risk is not None:
        for verdict in risk.stored.verdicts:
            verb = "确认" if verdict.level == verdict.suggested else "改定"
            yield Event(verdict.given_at, verdict.actor, f"{verb}风险等级为{LEVELS[verdict.level]}")
        for seen in risk.stored.observations:
            yield Event(seen.at, "监测", f"公开传播：阅读 {seen.reads or 0}，转发 {seen.reposts or 0}")


def _name(taxonomy: Taxonomy, head: str, label: str) -> str:
    return taxonomy.heads[head].names.get(label, label)
