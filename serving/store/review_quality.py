"""What is counted for the quality page: people's words against the model's, and what came in when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import orjson
from sqlalchemy import func, select

from serving.store.database import Database
from serving.store.review_tables import corrections, reviews
from serving.store.tables import prediction_heads, predictions

# Texts of one period that are read for its lengths and words: enough for steady shares, few enough for a second.
_TEXTS = 3000
# Where the random end of an id begins (`ids.new_id`): to order by it is to draw, and to draw the same again.
_LUCK = 16


# Name and version.
Model: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One head of one prediction, made at `created_at`, and the last explicit word on it, of its first review."""

    prediction_id: str
    created_at: datetime
    given_at: datetime
    head: str
    predicted: str
    label: str
    decision: str
    confidence: float
    audit: bool
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came in in a period: model -> predictions; model -> head -> label -> how many; and some of the texts."""

    predictions: dict[Model, int]
    labels: dict[Model, dict[str, dict[str, int]]]
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Audited:
    """One model's predictions of a period that were drawn for the audit, and how many of these are reviewed.

    `auto`: head -> label -> how many of those drawn, reviewed or not, it answered with it alone.
    """

    drawn: int
    reviewed: int
    auto: dict[str, dict[str, int]]


class Quality(Database):
    """Counts over time."""

    def judged(self, since: datetime, until: datetime, *, second: bool = False) -> list[Judged]:
        """The last standing explicit word on each head of each prediction, given from `since` until before `until`.

        With `second` those of second reviews.
        """
        table = corrections.c
        columns = [(table if name in table else predictions.c)[name] for name in Judged.__dataclass_fields__]
        query = (
            select(*columns)
            .join(predictions, predictions.c.id == table.prediction_id)
            .where(
                table.given_at >= since,
                table.given_at < until,
                table.kind == "explicit",
                table.second.is_(second),
                table.withdrawn_at.is_(None),
            )
            .order_by(table.given_at, table.id)
        )
        last: dict[tuple[str, str], Judged] = {}
        with self._read() as connection:
            for row in connection.execute(query).mappings():
                last[row["prediction_id"], row["head"]] = Judged(**row)
        return list(last.values())

    def traffic(self, since: datetime, until: datetime) -> Traffic:
        """Predictions given from `since` until before `until`; the texts, as they were sent, are drawn from all."""
        there = (predictions.c.created_at >= since, predictions.c.created_at < until)
        heads, model = prediction_heads.c, (predictions.c.model_name, predictions.c.model_version)
        totals = select(*model, func.count()).where(*there).group_by(*model)
        counts = (
            select(*model, heads.head, heads.label, func.count())
            .join(predictions, predictions.c.id == heads.prediction_id)
            .where(*there)
            .group_by(*model, heads.head, heads.label)
        )
        labels: dict[Model, dict[str, dict[str, int]]] = {}
        with self._read() as connection:
            total = {(name, version): count for name, version, count in connection.execute(totals)}
            for name, version, head, label, count in connection.execute(counts):
                labels.setdefault((name, version), {}).setdefault(head, {})[label] = count
            drawn = select(predictions.c.id).where(*there).order_by(func.substr(predictions.c.id, _LUCK)).limit(_TEXTS)
            requests = select(predictions.c.request).where(predictions.c.id.in_(drawn))
            texts = [orjson.loads(one)["text"] for one in connection.execute(requests).scalars()]
        return Traffic(total, labels, texts)

    def audited(self, since: datetime, until: datetime, model: Model) -> Audited:
        """What of a model's predictions from `since` until before `until` was drawn for the audit."""
        there = (
            reviews.c.audit,
            reviews.c.entered_at >= since,
            reviews.c.entered_at < until,
            predictions.c.model_name == model[0],
            predictions.c.model_version == model[1],
        )
        cases = reviews.join(predictions, predictions.c.id == reviews.c.prediction_id)
        total = select(func.count(), func.count(reviews.c.done_at)).select_from(cases).where(*there)
        heads = prediction_heads.c
        answers = (
            select(heads.head, heads.label, func.count())
            .select_from(cases.join(prediction_heads, heads.prediction_id == reviews.c.prediction_id))
            .where(*there, heads.decision == "auto")
            .group_by(heads.head, heads.label)
        )
        auto: dict[str, dict[str, int]] = {}
        with self._read() as connection:
            drawn, reviewed = connection.execute(total).one()
            for head, label, count in connection.execute(answers):
                auto.setdefault(head, {})[label] = count
        return Audited(drawn, reviewed, auto)
