"""People's words as the corrections file has them: what training learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import orjson
from sqlalchemy import RowMapping, and_, or_, select

from complaints.records import Correction
from complaints.text import mask
from serving.store.database import Database
from serving.store.review_tables import corrections
from serving.store.tables import predictions

# Rows read at a time when many are exported.
_CHUNK = 500


class Exports(Database):
    """Words to be carried away."""

    def export(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        kinds: Sequence[str] = ("explicit", "implicit"),
        model: str | None = None,
    ) -> Iterator[Correction]:
        """Standing words in the order in which they were given, as the corrections file has them, masked.

        `model`: only words on its answers.
        """
        last: tuple[datetime, str] | None = None
        table = corrections.c
        columns = [predictions.c[name] for name in ("request", "model_name", "model_version")]
        query = select(corrections, *columns).join(predictions, predictions.c.id == table.prediction_id)
        query = query.where(table.withdrawn_at.is_(None), table.kind.in_(kinds))
        if since is not None:
            query = query.where(table.given_at >= since)
        if until is not None:
            query = query.where(table.given_at < until)
        if model is not None:
            query = query.where(predictions.c.model_name == model)
        while True:
            page = query
            if last is not None:
                later = and_(table.given_at == last[0], table.id > last[1])
                page = query.where(or_(table.given_at > last[0], later))
            with self._read() as connection:
                rows = connection.execute(page.order_by(table.given_at, table.id).limit(_CHUNK)).mappings().all()
            for row in rows:
                yield _exported(row)
            if len(rows) < _CHUNK:
                return
            last = rows[-1]["given_at"], rows[-1]["id"]


def _exported(row: RowMapping) -> Correction:
    sent = orjson.loads(row["request"])
    title, channel = sent.get("title"), sent.get("channel")
    fields = {name: row[name] for name in Correction.model_fields if name in row}
    fields["note"] = mask(row["note"]) if row["note"] is not None else None
    return Correction(
        **fields,
        text=mask(sent["text"]),
        title=mask(title) if title is not None else None,
        channel=mask(channel) if channel is not None else None,
    )
