"""What the pages ask of the service: every question and every deed of a person, under that person's name.

The pages hold no SQL and no model code: they come here, and here the rules of access hold. Each deed asks again
whether the person is still signed in, for a page stays open longer than a session may last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from complaints.errors import InvalidInput, NotFound
from complaints.records import Prediction
from serving import access
from serving.access import Person, Right
from serving.champion import Snapshot
from serving.pages.view import CaseView, view_of
from serving.service import Service
from serving.store.review_order import Filters
from serving.store.review_queue import Lease, Page, Progress
from serving.store.review_words import Decided

Result = TypeVar("Result")

# Minutes for which a case is kept for the one who has it open; the page prolongs it while somebody works there.
LEASE = 10.0
# Labels a question may offer by key.
CHOICES = 9
# Seconds that a case waits for the model to say what speaks for its answers; without that it is shown unmarked.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back, and its case as it stands again."""

    decided: Decided
    view: CaseView


class Desk:
    """One person's place at the service; `token` is what their browser holds."""

    def __init__(self, service: Service, person: Person, token: str) -> None:
        self.service = service
        self.person = person
        self._token = token

    def may(self, right: Right) -> bool:
        """Whether the person has a right."""
        return access.may(self.person.role, right)

    # ---- the queue

    async def queue(self, filters: Filters, limit: int, offset: int = 0) -> Page:
        """Lines of the person's own queue."""
        store, name = self.service.store, self.person.name
        return await self._ask(
            "review", lambda now: store.queue(filters, now=now, actor=name, limit=limit, offset=offset)
        )

    async def progress(self) -> Progress:
        """What was decided today, by everybody and by this person."""
        return await self._ask("review", lambda now: self.service.store.progress(self.person.name, self.today(now)))

    def today(self, now: datetime) -> datetime:
        """When the day began, where the service's policy works."""
        local = self.service.policies.control.policy.calendar.local(now)
        return (local or now).replace(hour=0, minute=0, second=0, microsecond=0)

    # ---- one case

    async def claim(self, filters: Filters) -> CaseView | None:
        """The next case of the queue, leased; None where none waits."""
        store, name = self.service.store, self.person.name
        leases = await self._ask(
            "review", lambda now: store.claim(name, filters, limit=1, minutes=LEASE, now=now)
        )
        return await self._view(leases[0].prediction_id, leases[0]) if leases else None

    async def held(self) -> list[Lease]:
        """What the person has already, from a page that was closed a moment ago."""
        return await self._ask("review", lambda now: self.service.store.held(self.person.name, now))

    async def open(self, prediction_id: str, *, lease: bool) -> CaseView:
        """One case; leased where it waits for this person and they ask for it. Raises NotFound."""
        store, name = self.service.store, self.person.name
        taken = None
        if lease:
            taken = await self._ask("review", lambda now: store.take(name, prediction_id, minutes=LEASE, now=now))
        return await self._view(prediction_id, taken)

    async def saw(self, view: CaseView) -> Progress:
        """Write down that the person saw a case; returns how far the day is."""
        store, name = self.service.store, self.person.name

        def note(now: datetime) -> Progress:
            store.log(name, "view", view.id, {}, now)
            return store.progress(name, self.today(now))

        return await self._ask("review", note)

    async def decide(self, view: CaseView, picked: Mapping[str, str], note: str | None) -> Decided:
        """Correct what was picked otherwise and accept the rest; on disk when this returns."""
        store, name = self.service.store, self.person.name
        labels = {head: label for head, label in picked.items() if label != view.heads[head].label}
        for head, label in labels.items():
            view.taxonomy.heads[head].members(label)

        def keep(now: datetime) -> Decided:
            decided = store.review(
                view.id,
                name,
                labels,
                note=note,
                taxonomy_version=view.taxonomy.version,
                now=now,
                second_share=self.service.settings.second_share,
            )
            store.log(name, "review", view.id, {"outcome": decided.outcome, "labels": labels}, now)
            return decided

        return await self._ask("review", keep)

    async def skip(self, view: CaseView) -> Decided:
        """Leave a case to others."""
        return await self._ask("review", lambda now: self.service.store.skip(view.id, self.person.name, now=now))

    async def undo(self) -> Undone:
        """Take back the person's last decision of today, and have its case again; raises NotFound, Conflict."""
        store, name = self.service.store, self.person.name

        def back(now: datetime) -> tuple[Decided, Lease]:
            until = now + timedelta(minutes=LEASE)
            decided = store.undo(name, since=self.today(now), until=until, now=now)
            store.log(name, "undo", decided.prediction_id, {"outcome": decided.outcome}, now)
            return decided, Lease(decided.prediction_id, until)

        decided, lease = await self._ask("review", back)
        return Undone(decided, await self._view(decided.prediction_id, lease))

    async def keep(self, views: Sequence[CaseView]) -> datetime | None:
        """Have cases for longer; returns until when, None where there was nothing to keep."""
        store, name = self.service.store, self.person.name

        def longer(now: datetime) -> datetime | None:
            leases = [store.take(name, one.id, minutes=LEASE, now=now) for one in views if one.until is not None]
            return leases[0].until if leases else None

        return await self._ask("review", longer)

    async def release(self, ids: Sequence[str]) -> None:
        """Give cases back; for this nobody needs to be signed in any more."""
        await self.service.stored(lambda: self.service.store.release(self.person.name, ids))

    async def unmask(self, view: CaseView) -> CaseView:
        """The same case with personal numbers, written down; raises Forbidden."""
        await self._ask(
            "unmask", lambda now: self.service.store.log(self.person.name, "unmask", view.id, {}, now)
        )
        return replace(view, unmasked=True)

    # ---- between pages and service

    async def _ask(self, right: Right, query: Callable[[datetime], Result]) -> Result:
        """Run a query beside the event loop, if the person is still signed in and has the right."""
        now = datetime.now(UTC)

        def run() -> Result:
            self.person = access.signed_in(self.service.store, self._token, now)
            access.require(self.person, right)
            return query(now)

        return await self.service.stored(run)

    async def _view(self, prediction_id: str, lease: Lease | None) -> CaseView:
        service, name = self.service, self.person.name
        snapshot = service.source.current()

        def gather(now: datetime) -> CaseView:
            return view_of(service, snapshot, service.store.case(prediction_id, name), lease, now)

        view = await self._ask("review", gather)
        return view.explained(await self._explain(snapshot, view))

    async def _explain(self, snapshot: Snapshot, view: CaseView) -> Prediction | None:
        """What the model that serves now reads in the text; None where it has no time for that."""
        predictor = snapshot.predictor

        def read() -> Prediction:
            [reading] = predictor.read([view.complaint], top_k=CHOICES)
            heads = [name for name in view.heads if name in predictor.taxonomy.heads]
            return predictor.answer(reading, heads, explain=True, risk=view.risk)

        try:
            return await asyncio.wait_for(asyncio.wrap_future(self.service.workers.submit(read)), PATIENCE)
        except (TimeoutError, InvalidInput, NotFound):
            return None
