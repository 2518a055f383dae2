"""`Store`: answers written before they are given, and found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, insert, select

from complaints.errors import NotFound
from complaints.policy import Policy
from complaints.records import Context, HeadPrediction, Risk
from serving.store.contexts import Draft, Gathered, customer_hash, gather, lock, same_caller
from serving.store.database import StoreError
from serving.store.ids import is_id, new_id
from serving.store.keys import Key, KeyTaken, claim_key, set_answer
from serving.store.people import People
from serving.store.review_cases import Cases
from serving.store.review_decisions import Decisions
from serving.store.review_export import Exports
from serving.store.review_order import pending
from serving.store.review_quality import Quality
from serving.store.review_queue import Entry, Queue, enqueue
from serving.store.review_tables import reviews
from serving.store.review_words import Words
from serving.store.risks import Risks
from serving.store.shadows import Shadows
from serving.store.tables import assessments, prediction_heads, predictions

__all__ = ["Draft", "Key", "Outcome", "Store", "StoreError", "Stored", "new_id"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One prediction as it is kept; `request` and `response` are JSON text."""

    id: str
    created_at: datetime
    ticket_id: str | None
    request: str
    response: str
    model_name: str
    model_version: str
    bundle_digest: str
    taxonomy_version: str
    policy_version: str
    request_id: str
    heads: dict[str, HeadPrediction]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A draft that was assessed in its context: the prediction to store, and what is looked for later."""

    stored: Stored
    risk: Risk
    department: str | None
    policy: str
    arm: str


# Built once, with values beside them: making a statement costs SQLAlchemy more than running it.
_PREDICTION, _HEADS, _ASSESSMENT = insert(predictions), insert(prediction_heads), insert(assessments)


class Store(Queue, Decisions, Words, Exports, Cases, Quality, People, Shadows, Risks):
    """Answers written before they are given, what became of them, and what people said of them."""

    def save(self, rows: Sequence[Stored], answer: str, key: Key | None = None) -> str:
        """Write predictions in one transaction and return what to answer once it is on disk.

        That is `answer`, unless the same key was used at the same time: then the answer that was stored first,
        and nothing is written. Raises Conflict where the key came with another body, StoreError where the
        database failed; then nothing was written.
        """
        try:
            with self._write() as connection:
                if key is not None:
                    claim_key(connection, key, answer)
                for row in rows:
                    _insert(connection, row)
        except KeyTaken:
            assert key is not None  # noqa: S101  only a key can be taken
            stored = self.recall(key)
            return answer if stored is None else stored
        return answer

    def save_assessed(
        self,
        drafts: Sequence[Draft],
        settle: Callable[[int, Context], Outcome],
        answer: Callable[[Sequence[Stored]], str],
        *,
        policy: Policy,
        salt: str,
        key: Key | None = None,
        audit_share: float = 0.0,
    ) -> tuple[str, list[Outcome]]:
        """Gather each draft's context, have it assessed (`settle`, by the draft's place), and write all of it at once.

        Returns what to answer and what was written; nothing where another request with the same key was first.
        `policy` rules history and bursts; `audit_share` of all predictions are drawn for review whatever they say. A
        ticket that is sent again while a person is still to review it does not enter the queue a second time.
        Raises as `save` does and what `settle` raises; then nothing was written.
        """

        def write(connection: Connection) -> tuple[str, list[Outcome]]:
            outcomes = []
            if key is not None:
                claim_key(connection, key, "")
            customers = [customer_hash(salt, one.customer) for one in drafts]
            lock(connection, drafts, customers)
            for at, (draft, customer) in enumerate(zip(drafts, customers, strict=True)):
                gathered = gather(connection, draft, customer, policy)
                outcome = settle(at, gathered.context)
                _insert(connection, outcome.stored)
                _insert_assessment(connection, draft, gathered, outcome)
                if gathered.counted or not _waits(connection, draft, outcome):
                    enqueue(connection, draft, _entry(outcome), audit_share)
                outcomes.append(outcome)
            text = answer([one.stored for one in outcomes])
            if key is not None:
                set_answer(connection, key, text)
            return text, outcomes

        try:
            return self._together(write)
        except KeyTaken:
            assert key is not None  # noqa: S101  only a key can be taken
            stored = self.recall(key)
            if stored is None:  # it grew old in between
                return self.save_assessed(
                    drafts, settle, answer, policy=policy, salt=salt, key=key, audit_share=audit_share
                )
            return stored, []

    def response(self, prediction_id: str) -> str:
        """A prediction as it was answered, JSON text; raises NotFound."""
        # Not every string can be asked for: PostgreSQL refuses U+0000.
        if is_id(prediction_id):
            with self._read() as connection:
                query = select(predictions.c.response).where(predictions.c.id == prediction_id)
                found = connection.execute(query).scalar_one_or_none()
            if found is not None:
                return str(found)
        raise NotFound("there is no prediction of this id")


def _insert(connection: Connection, row: Stored) -> None:
    connection.execute(_PREDICTION, {column.name: getattr(row, column.name) for column in predictions.columns})
    heads = [
        {
            "prediction_id": row.id,
            "head": name,
            "label": one.label,
            "decision": one.decision,
            "confidence": one.confidence,
            "reason": one.reason,
        }
        for name, one in row.heads.items()
    ]
    connection.execute(_HEADS, heads)


def _insert_assessment(connection: Connection, draft: Draft, gathered: Gathered, outcome: Outcome) -> None:
    arrival, risk = draft.arrival, outcome.risk
    values = {
        "prediction_id": outcome.stored.id,
        "stored_at": outcome.stored.created_at,
        "at": arrival.at,
        "ticket_id": draft.ticket_id,
        "counted": gathered.counted,
        "customer": gathered.customer,
        "category": arrival.category,
        "label": draft.label,
        "product": arrival.product,
        "business_line": draft.business_line,
        "issue_id": gathered.placement.issue_id,
        "vector": arrival.vector,
        "inputs": draft.inputs,
        "context": gathered.context.model_dump_json(),
        "level": risk.level,
        "severity": risk.severity,
        "department": outcome.department,
        "respond_by": risk.respond_by,
        "resolve_by": risk.resolve_by,
        "policy": outcome.policy,
        "arm": outcome.arm,
        "caller": draft.caller,
    }
    connection.execute(_ASSESSMENT, values)


def _entry(outcome: Outcome) -> Entry:
    stored = outcome.stored
    return Entry(stored.id, stored.created_at, stored.heads, outcome.risk.level)


def _waits(connection: Connection, draft: Draft, outcome: Outcome) -> bool:
    """Whether this ticket, sent before by the same caller with the same text, still waits for a person.

    One that has become a high risk is let in beside one that was not: it must not wait at the old one's place.
    """
    query = (
        select(predictions.c.request)
        .join(reviews, reviews.c.prediction_id == predictions.c.id)
        .join(assessments, assessments.c.prediction_id == predictions.c.id)
        .where(
            assessments.c.ticket_id == draft.ticket_id,
            predictions.c.model_name == outcome.stored.model_name,  # another model's cases are not reviewed now
            same_caller(draft),
            pending(),
        )
    )
    if outcome.risk.level == "high":
        query = query.where(assessments.c.level == "high")
    said = _said(outcome.stored.request)
    return any(_said(one) == said for one in connection.execute(query).scalars())


def _said(request: str) -> tuple[str | None, str | None]:
    sent = orjson.loads(request)
    return sent.get("title"), sent.get("text")
