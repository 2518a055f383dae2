"""One case with everything that the one who reviews it may want to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import Connection, RowMapping, Select, select

from complaints.concentration import unpack
from complaints.errors import NotFound
from complaints.records import Level
from serving.store.database import Database
from serving.store.ids import require_id
from serving.store.review_decisions import Decided
from serving.store.review_order import SECOND
from serving.store.review_tables import corrections, review_decisions, reviews
from serving.store.review_words import Said, words_of
from serving.store.tables import assessments, issues, prediction_heads, predictions

# Complaints of the same customer that are listed.
_OTHERS = 20
# Complaints of one category, the newest, among which the nearest are looked for, and how many of them are shown.
_CANDIDATES, _NEAREST = 500, 5
# Cosine below which two complaints have nothing to do with each other (complaints/priority.py).
_UNLIKE = 0.5


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another complaint: of the same customer, or one that reads alike (`similarity`, the cosine; else None).

    `request` is JSON text with personal data in it; `labels`: head -> the last explicit word, else what was answered.
    """

    prediction_id: str
    ticket_id: str | None
    at: datetime
    request: str
    level: Level
    labels: dict[str, str]
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case stands in the queue; whether it is audited is not told."""

    state: str
    entered_at: datetime
    lease_actor: str | None
    lease_until: datetime | None
    done_by: str | None
    done_at: datetime | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """`request` and `response` are JSON text as they were sent and answered, personal data included.

    To who is to review it a second time, `blind`, what was said the first time is not there. `place` is None for a
    prediction that was never in the queue. The risk as it stands now is computed by `serving.standing`.
    """

    prediction_id: str
    created_at: datetime
    request: str
    response: str
    taxonomy_version: str
    place: Place | None
    blind: bool
    words: Sequence[Said]
    decisions: Sequence[Decided]
    others: Sequence[Neighbour]
    nearest: Sequence[Neighbour]


class Cases(Database):
    """What is known of one case."""

    def case(self, prediction_id: str, viewer: str) -> Case:
        """A case for a viewer; raises NotFound."""
        require_id(prediction_id, "pred", "prediction")
        with self._read() as connection:
            row = connection.execute(_predicted().where(predictions.c.id == prediction_id)).mappings().first()
            if row is None:
                raise NotFound("there is no prediction of this id")
            query = select(reviews).where(reviews.c.prediction_id == prediction_id)
            queued = connection.execute(query).mappings().first()
            blind = queued is not None and queued["state"] == SECOND and queued["done_by"] != viewer
            place = None
            if queued is not None:
                place = Place(**{name: queued[name] for name in Place.__dataclass_fields__})
                if blind:
                    place = Place("waiting", place.entered_at, place.lease_actor, place.lease_until, None, None, None)
            said = review_decisions.c
            decisions = select(review_decisions).where(said.prediction_id == prediction_id).order_by(said.at, said.id)
            return Case(
                prediction_id=prediction_id,
                created_at=row["created_at"],
                request=row["request"],
                response=row["response"],
                taxonomy_version=row["taxonomy_version"],
                place=place,
                blind=blind,
                words=() if blind else words_of(connection, prediction_id),
                decisions=() if blind else [Decided(**one) for one in connection.execute(decisions).mappings()],
                others=_others(connection, row),
                nearest=_nearest(connection, row),
            )


def _predicted() -> Select[tuple[object, ...]]:
    """Every prediction with its assessment; one that was stored without has nulls there."""
    return select(
        *(predictions.c[name] for name in ("id", "created_at", "request", "response", "taxonomy_version")),
        *(assessments.c[name] for name in ("customer", "category", "vector", "ticket_id", "at", "level")),
        issues.c.space,
    ).select_from(
        predictions.outerjoin(assessments, assessments.c.prediction_id == predictions.c.id).outerjoin(
            issues, issues.c.id == assessments.c.issue_id
        )
    )


def _others(connection: Connection, row: RowMapping) -> list[Neighbour]:
    if row["customer"] is None:
        return []
    query = (
        _predicted()
        .where(assessments.c.customer == row["customer"], predictions.c.id != row["id"])
        .order_by(assessments.c.at.desc(), predictions.c.id.desc())
        .limit(_OTHERS)
    )
    return _neighbours(connection, [(one, None) for one in connection.execute(query).mappings()])


def _nearest(connection: Connection, row: RowMapping) -> list[Neighbour]:
    if row["vector"] is None:
        return []
    table = assessments.c
    query = (
        select(table.prediction_id, table.vector)
        .join(issues, issues.c.id == table.issue_id)
        .where(table.category == row["category"], table.prediction_id != row["id"], issues.c.space == row["space"])
        .order_by(table.at.desc())
        .limit(_CANDIDATES)
    )
    found = connection.execute(query).all()
    if not found:
        return []
    vectors = np.stack([unpack(one.vector) for one in found])
    own = unpack(row["vector"])
    scale = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own)
    cosines = vectors @ own / np.maximum(scale, 1e-9)
    best = [int(i) for i in np.argsort(-cosines, kind="stable")[:_NEAREST] if cosines[i] >= _UNLIKE]
    near = {found[i].prediction_id: float(cosines[i]) for i in best}
    rows = connection.execute(_predicted().where(predictions.c.id.in_(near))).mappings()
    pairs = sorted(((one, near[one["id"]]) for one in rows), key=lambda pair: (-pair[1], pair[0]["id"]))
    return _neighbours(connection, pairs)


def _neighbours(connection: Connection, rows: Sequence[tuple[RowMapping, float | None]]) -> list[Neighbour]:
    ids = [row["id"] for row, _ in rows]
    labels: dict[str, dict[str, str]] = {one: {} for one in ids}
    answered = select(prediction_heads.c.prediction_id, prediction_heads.c.head, prediction_heads.c.label)
    table = corrections.c
    corrected = (
        select(table.prediction_id, table.head, table.label)
        .where(table.prediction_id.in_(ids), table.kind == "explicit", table.withdrawn_at.is_(None))
        .order_by(table.given_at, table.id)
    )
    for query in (answered.where(prediction_heads.c.prediction_id.in_(ids)), corrected):
        for prediction_id, head, label in connection.execute(query):
            labels[prediction_id][head] = label
    return [
        Neighbour(row["id"], row["ticket_id"], row["at"], row["request"], row["level"], labels[row["id"]], near)
        for row, near in rows
    ]
