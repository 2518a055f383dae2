"""What the challenger would have answered, beside what was answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Integer, and_, cast, func, insert, not_, or_, select

from complaints.records import HeadPrediction
from serving.store.database import Database
from serving.store.review_tables import shadows
from serving.store.tables import prediction_heads, predictions


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one head: `answers` that both gave, how many say the `same`, and how many each would decide alone.

    A label and one that is a part of it (`quality`, `quality.fake`) say the same, as in `serving.quality.right`.
    """

    head: str
    answers: int
    same: int
    auto: int
    shadow_auto: int


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One answer and what the challenger would have said instead."""

    prediction_id: str
    at: datetime
    head: str
    label: str
    decision: str
    confidence: float
    shadow_label: str
    shadow_decision: str
    shadow_confidence: float


_BOTH = shadows.join(
    prediction_heads,
    and_(prediction_heads.c.prediction_id == shadows.c.prediction_id, prediction_heads.c.head == shadows.c.head),
).join(predictions, predictions.c.id == shadows.c.prediction_id)
_GIVEN, _OTHER = prediction_heads.c.label, shadows.c.label
# `serving.quality.right` in SQL. No LIKE: `_` in a label would stand for any character.
_AGREE = or_(
    _GIVEN == _OTHER,
    func.substr(_GIVEN, 1, func.length(_OTHER) + 1) == _OTHER + ".",
    func.substr(_OTHER, 1, func.length(_GIVEN) + 1) == _GIVEN + ".",
)


class Shadows(Database):
    """Answers in shadow."""

    def save_shadow(
        self, prediction_id: str, model: tuple[str, str], heads: Mapping[str, HeadPrediction], at: datetime
    ) -> None:
        """Keep what a model, (name, version), would have answered; a version answers a prediction once."""
        name, version = model
        here = and_(shadows.c.prediction_id == prediction_id, shadows.c.model_version == version)
        rows = [
            {
                "prediction_id": prediction_id,
                "model_version": version,
                "head": head,
                "model_name": name,
                "label": one.label,
                "decision": one.decision,
                "confidence": one.confidence,
                "at": at,
            }
            for head, one in heads.items()
        ]
        with self._write() as connection:
            if rows and connection.execute(select(shadows.c.head).where(here).limit(1)).first() is None:
                connection.execute(insert(shadows), rows)

    def newest_shadow(self, name: str) -> str | None:
        """The version of a model that answered in shadow last; None where none did."""
        query = select(shadows.c.model_version).where(shadows.c.model_name == name).order_by(shadows.c.at.desc())
        with self._read() as connection:
            return connection.execute(query.limit(1)).scalar_one_or_none()

    def shadow_agreement(self, name: str, version: str, champion: str) -> list[Agreement]:
        """Head by head, how often a version in shadow says what the version `champion` answered."""
        answered = prediction_heads.c
        query = (
            select(
                shadows.c.head,
                func.count(),
                func.sum(cast(_AGREE, Integer)),
                func.sum(cast(answered.decision == "auto", Integer)),
                func.sum(cast(shadows.c.decision == "auto", Integer)),
            )
            .select_from(_BOTH)
            .where(*_versions(name, version, champion))
            .group_by(shadows.c.head)
            .order_by(shadows.c.head)
        )
        with self._read() as connection:
            return [Agreement(row[0], *(int(value) for value in row[1:])) for row in connection.execute(query)]

    def disagreements(self, name: str, version: str, champion: str, head: str | None, most: int) -> list[Disagreement]:
        """Where a version in shadow says another label than the version `champion` answered, the newest first."""
        answered = prediction_heads.c
        where = [*_versions(name, version, champion), not_(_AGREE)]
        if head is not None:
            where.append(shadows.c.head == head)
        query = (
            select(
                shadows.c.prediction_id,
                shadows.c.at,
                shadows.c.head,
                answered.label,
                answered.decision,
                answered.confidence,
                shadows.c.label.label("shadow_label"),
                shadows.c.decision.label("shadow_decision"),
                shadows.c.confidence.label("shadow_confidence"),
            )
            .select_from(_BOTH)
            .where(*where)
            .order_by(shadows.c.at.desc(), shadows.c.prediction_id.desc(), shadows.c.head)
            .limit(most)
        )
        with self._read() as connection:
            return [Disagreement(**row) for row in connection.execute(query).mappings()]


def _versions(name: str, version: str, champion: str) -> list[ColumnElement[bool]]:
    """One version of a model in shadow of one that answered: what other pairs said of each other is not mixed in."""
    answered = predictions.c
    return [
        shadows.c.model_name == name,
        shadows.c.model_version == version,
        answered.model_name == name,
        answered.model_version == champion,
    ]
