"""People's decisions on whole cases: accepted, corrected, skipped, taken back. Nothing is overwritten or deleted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, and_, insert, select, update

from complaints.errors import InvalidInput, NotFound
from serving.store.database import Database
from serving.store.ids import new_id, require_id
from serving.store.people import write_log
from serving.store.review_order import DONE, SECOND
from serving.store.review_queue import Leased, Stale, drawn, lock_review, refuse_leased
from serving.store.review_tables import corrections, review_decisions, reviews
from serving.store.review_words import UNDECIDED, Word, heads_of, refuse_reviewed_again, say, words_of
from serving.store.risks import AlreadyDecided, Verdict, write_verdict
from serving.store.tables import predictions, verdicts

OutcomeName = Literal["accepted", "corrected", "skipped"]


@dataclass(frozen=True, slots=True)
class Decided:
    """A person's decision on a whole case."""

    id: str
    prediction_id: str
    actor: str
    outcome: OutcomeName
    second: bool
    at: datetime
    withdrawn_at: datetime | None


class Decisions(Database):
    """What people decide of cases."""

    def review(  # noqa: PLR0913 - what a person says of a case, and what is kept beside it
        self,
        prediction_id: str,
        actor: str,
        labels: Mapping[str, str],
        *,
        note: str | None = None,
        verdict: Verdict | None = None,
        taxonomy_version: str,
        known: Collection[str] | None = None,
        now: datetime,
        second_share: float = 0.0,
    ) -> Decided:
        """Decide a case: `labels` (head -> right label) are corrections, all other heads are accepted as they are.

        `taxonomy_version` is that of `labels`; what is accepted is a label of the version that the answer was given by.
        With `known`, the heads of that taxonomy, nothing is said of others that the prediction may have. A `verdict` on
        the level of its risk is kept with the decision, and taken back with it.

        With `second_share` that share of cases, drawn by their ids, goes back into the queue for another person, who
        is not told what this one said. Raises NotFound, AlreadyDecided, Leased where another person has the case, and
        InvalidInput for a head that was not predicted; whether a label exists, the caller has checked.
        """
        require_id(prediction_id, "pred", "prediction")
        with self._write() as connection:
            heads = heads_of(connection, prediction_id)
            if unknown := [head for head in labels if head not in heads]:
                raise InvalidInput(f"no head {', '.join(unknown)}: this prediction has {', '.join(heads)}")
            row = lock_review(connection, prediction_id)
            if row is None:
                raise NotFound("this prediction is not in the queue: send corrections of single heads")
            if row.state == DONE or (row.state == SECOND and row.done_by == actor):
                raise AlreadyDecided(f"{row.second_by or row.done_by} has reviewed this case already")
            refuse_leased(row, actor, now)
            second = row.state == SECOND
            wrong = any(labels.get(head, one.label) != one.label for head, one in heads.items())
            decided = _decide(connection, prediction_id, actor, "corrected" if wrong else "accepted", second, now)
            answered = select(predictions.c.taxonomy_version).where(predictions.c.id == prediction_id)
            accepted = connection.execute(answered).scalar_one()
            for head, one in heads.items():
                if known is not None and head not in known:
                    continue
                version = taxonomy_version if head in labels else accepted
                word = Word(head, labels.get(head, one.label), actor, note, "explicit", version)
                say(connection, prediction_id, word, one, now, audit=row.audit, decision=(decided.id, second))
            if verdict is not None:
                write_verdict(connection, prediction_id, verdict, decided.id)
            values: dict[str, object] = {"lease_actor": None, "lease_until": None}
            if second:
                values |= {"state": DONE, "second_by": actor, "second_at": now}
            else:
                again = drawn("second", prediction_id, second_share)
                values |= {"state": SECOND if again else DONE, "done_by": actor, "done_at": now}
                values["outcome"] = decided.outcome
            connection.execute(update(reviews).where(reviews.c.prediction_id == prediction_id).values(**values))
            write_log(connection, actor, decided.outcome, prediction_id, {"labels": dict(labels)}, now)
        return decided

    def accept(
        self, prediction_id: str, actor: str, *, taxonomy_version: str, now: datetime, second_share: float = 0.0
    ) -> Decided:
        """Every head is right; as `review` without labels."""
        return self.review(
            prediction_id, actor, {}, taxonomy_version=taxonomy_version, now=now, second_share=second_share
        )

    def skip(self, prediction_id: str, actor: str, *, now: datetime) -> Decided:
        """Leave a case to others; it stays in the queue. Raises NotFound, AlreadyDecided, Leased."""
        require_id(prediction_id, "pred", "prediction")
        with self._write() as connection:
            row = lock_review(connection, prediction_id)
            if row is None:
                raise NotFound("this prediction is not in the queue")
            if row.state == DONE:
                raise AlreadyDecided(f"{row.second_by or row.done_by} has reviewed this case already")
            refuse_leased(row, actor, now)
            decided = _decide(connection, prediction_id, actor, "skipped", row.state == SECOND, now)
            _lease(connection, prediction_id, None, None)
            write_log(connection, actor, "skipped", prediction_id, {}, now)
        return decided

    def undo(self, actor: str, *, since: datetime, until: datetime, now: datetime) -> Decided:
        """Take back one's own last decision since a time that still can be, and have its case again, until `until`.

        Passed over is what another person has gone on from for good. Raises NotFound where there is no decision, Stale
        where there is none but such, Leased where another person has the case now.
        """
        said = review_decisions.c
        mine = select(review_decisions).where(said.actor == actor, said.at >= since, said.withdrawn_at.is_(None))
        with self._read() as connection:
            found = connection.execute(mine.order_by(said.at.desc(), said.id.desc())).mappings().all()
        refused: Stale | None = None
        for last in (Decided(**one) for one in found):
            try:
                self._take_back(last, until, now)
            except Leased:
                raise
            except Stale as error:
                refused = refused or error
            else:
                return last
        raise refused or NotFound("今天没有可以撤销的处理 (there is no decision of yours today to take back)")

    def _take_back(self, last: Decided, until: datetime, now: datetime) -> None:
        """Take back one decision; raises Stale where another person has gone on from it, Leased where one is about to.

        Each in a transaction of its own: one that held the places of many cases could wait for another, and it for
        this one.
        """
        said = review_decisions.c
        with self._write() as connection:
            row = lock_review(connection, last.prediction_id)
            assert row is not None  # noqa: S101  it was decided
            refuse_leased(row, last.actor, now)
            here = and_(said.id == last.id, said.withdrawn_at.is_(None))
            if last.outcome != "skipped":
                if not last.second:
                    refuse_reviewed_again(words_of(connection, last.prediction_id))
                back = {"second_by": None, "second_at": None, "state": SECOND} if last.second else UNDECIDED
                connection.execute(update(reviews).where(reviews.c.prediction_id == last.prediction_id).values(**back))
            elif row.state == DONE:
                raise Stale("another person has reviewed this case since it was skipped")
            if not connection.execute(update(review_decisions).where(here).values(withdrawn_at=now)).rowcount:
                raise Stale("this decision has been taken back already")
            given = and_(corrections.c.decision_id == last.id, corrections.c.withdrawn_at.is_(None))
            connection.execute(update(corrections).where(given).values(withdrawn_at=now))
            connection.execute(update(verdicts).where(verdicts.c.decision_id == last.id).values(withdrawn_at=now))
            _lease(connection, last.prediction_id, last.actor, until)
            write_log(connection, last.actor, "undone", last.prediction_id, {"outcome": last.outcome}, now)


def _decide(
    connection: Connection, prediction_id: str, actor: str, outcome: OutcomeName, second: bool, now: datetime
) -> Decided:
    decided = Decided(new_id(now, "decision"), prediction_id, actor, outcome, second, now, None)
    values = {name: getattr(decided, name) for name in Decided.__dataclass_fields__}
    connection.execute(insert(review_decisions), values)
    return decided


def _lease(connection: Connection, prediction_id: str, actor: str | None, until: datetime | None) -> None:
    here = reviews.c.prediction_id == prediction_id
    connection.execute(update(reviews).where(here).values(lease_actor=actor, lease_until=until))
