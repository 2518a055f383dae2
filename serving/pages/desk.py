"""What the pages ask of the service: every question and every deed of a person, under that person's name.

The pages hold no SQL and no model code: they come here, and here the rules of access hold. Each deed asks again
whether the person is still signed in, for a page stays open longer than a session may last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from complaints.errors import InvalidInput, NotReady, Overloaded
from complaints.records import Level, Prediction
from complaints.taxonomy import Head, Taxonomy
from complaints.text import mask
from serving import access, reviewing
from serving.access import Person, Right
from serving.champion import Snapshot
from serving.pages.view import CaseView, view_of
from serving.reviewing import Day
from serving.service import Service
from serving.store.review_decisions import Decided
from serving.store.review_order import Filters
from serving.store.review_queue import Lease, Page

Result = TypeVar("Result")

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
    """One person's place at the service; `token` and `device` are what their browser holds."""

    def __init__(self, service: Service, person: Person, token: str, device: str | None = None) -> None:
        self.service = service
        self.person = person
        self._token, self._device = token, device

    def may(self, right: Right) -> bool:
        """Whether the person has a right."""
        return access.may(self.person.role, right)

    @property
    def taxonomy(self) -> Taxonomy:
        """The labels of the model that answers now; raises NotReady."""
        return self.service.source.current().predictor.taxonomy

    @property
    def questions(self) -> Mapping[str, Head]:
        """The heads of the model that answers now, for their names; none while there is no model."""
        try:
            return self.taxonomy.heads
        except NotReady:
            return {}

    def now(self) -> datetime:
        """The present, in the time zone of the policy's calendar: all times of the pages are told in it."""
        now = datetime.now(UTC)
        return reviewing.local(self.service, now) or now

    def midnight(self) -> datetime:
        """When the day began."""
        return reviewing.day_start(self.service, datetime.now(UTC))

    async def change_password(self, present: str, password: str) -> None:
        """Give oneself another password, and end one's other sessions.

        Raises as `access.change_password`, and Overloaded where too many passwords wait.
        """
        store, token, device = self.service.store, self._token, self._device
        await self.service.checked(
            lambda: access.change_password(store, token, present, password, datetime.now(UTC), device)
        )

    async def add_person(self, name: str, role: str, password: str) -> None:
        """Let somebody sign in; raises as `access.add_user`, Forbidden, Overloaded where too many passwords wait."""
        store, who = self.service.store, self.person.name

        def add(now: datetime) -> None:
            access.add_user(store, name, role, password, now)
            store.log(who, "add_user", name, {"role": role}, now)

        await self.service.checked(self._asked("users", add))

    # ---- the queue

    async def queue(self, filters: Filters, limit: int, offset: int = 0) -> Page:
        """Lines of the person's own queue; that they saw them is written down."""
        service, name = self.service, self.person.name
        asked = {field: str(value) for field, value in asdict(filters).items() if value is not None}
        if filters.text is not None:
            asked["text"] = reviewing.masked(filters.text) or ""

        def look(now: datetime) -> Page:
            narrow = reviewing.served(service, filters)
            page = service.store.queue(narrow, now=now, actor=name, limit=limit, offset=offset)
            reviewing.note(service, name, "list", {"filters": asked}, page.items, now)
            return page

        return await self.ask("review", look)

    async def versions(self) -> list[str]:
        """The model versions that answered what waits, the newest first."""
        return await self.ask("review", lambda _now: self.service.store.versions(self.service.settings.model))

    async def channels(self) -> list[str]:
        """The channels that what waits came in by, masked."""
        found = await self.ask("review", lambda _now: self.service.store.channels(self.service.settings.model))
        return sorted({mask(one) for one in found})

    async def today(self) -> Day:
        """How far the day's budget is used."""
        return await self.ask("review", lambda now: reviewing.today(self.service, self.person.name, now))

    # ---- one case

    async def claim(self, filters: Filters) -> CaseView | None:
        """The next case of the queue, leased; None where none waits."""
        leases = await self.ask("review", lambda now: reviewing.claim(self.service, self.person.name, filters, now))
        return await self._view(leases[0].prediction_id, leases[0]) if leases else None

    async def held(self) -> list[Lease]:
        """What the person has already, from a page that was closed a moment ago."""
        store, name, model = self.service.store, self.person.name, self.service.settings.model
        return await self.ask("review", lambda now: store.held(name, now, model))

    async def open(self, prediction_id: str, *, lease: bool) -> CaseView:
        """One case; leased where they ask for it. Raises NotFound, Stale where it does not wait for this person."""
        return await self._view(prediction_id, await self._take(prediction_id) if lease else None)

    async def saw(self, view: CaseView) -> Day:
        """Write down that the person saw a case; returns how far the day is."""

        def note(now: datetime) -> Day:
            self.service.store.log(self.person.name, "view", view.id, {}, now)
            return reviewing.today(self.service, self.person.name, now)

        return await self.ask("review", note)

    async def decide(
        self, view: CaseView, picked: Mapping[str, str], note: str | None, level: Level | None = None
    ) -> Decided:
        """Correct what was picked otherwise and accept the rest; on disk when this returns.

        `level` confirms or overrules the suggested level of risk; None leaves it as it is.
        """
        labels = {head: label for head, label in picked.items() if label != view.heads[head].label}
        return await self.ask(
            "review", lambda now: reviewing.decide(self.service, self.person, view.id, labels, now, note, level)
        )

    async def skip(self, view: CaseView) -> Decided:
        """Leave a case to others."""
        return await self.ask("review", lambda now: reviewing.skip(self.service, self.person, view.id, now))

    async def undo(self) -> Undone:
        """Take back the person's last decision of today, and have its case again; raises NotFound, Stale."""
        decided = await self.ask("review", lambda now: reviewing.undo(self.service, self.person, now))
        return Undone(decided, await self.open(decided.prediction_id, lease=True))

    async def keep(self, view: CaseView) -> datetime:
        """Have a case for longer; returns until when. Raises Stale where it is another's by now, or done."""
        return (await self._take(view.id)).until

    async def release(self, ids: Sequence[str]) -> None:
        """Give cases back; for this nobody needs to be signed in any more."""
        await self.service.stored(lambda: self.service.store.release(self.person.name, ids))

    async def unmask(self, view: CaseView) -> CaseView:
        """The same case with personal numbers, written down; raises Forbidden."""
        await self.ask("unmask", lambda now: reviewing.unmask(self.service, self.person, view.id, now))
        return replace(view, unmasked=True)

    async def _take(self, prediction_id: str) -> Lease:
        store, name, settings = self.service.store, self.person.name, self.service.settings

        def take(now: datetime) -> Lease:
            return store.take(name, prediction_id, minutes=settings.lease_minutes, now=now, model_name=settings.model)

        return await self.ask("review", take)

    # ---- between pages and service

    async def ask(self, right: Right, query: Callable[[datetime], Result]) -> Result:
        """Run a query beside the event loop, if the person is still signed in and has the right."""
        return await self.service.stored(self._asked(right, query))

    def _asked(self, right: Right, query: Callable[[datetime], Result]) -> Callable[[], Result]:
        now = datetime.now(UTC)

        def run() -> Result:
            self.person = access.signed_in(self.service.store, self._token, now)
            access.require(self.person, right)
            return query(now)

        return run

    async def _view(self, prediction_id: str, lease: Lease | None) -> CaseView:
        service, name = self.service, self.person.name
        snapshot = service.source.current()

        def gather(_now: datetime) -> CaseView:
            return view_of(service, snapshot, service.store.case(prediction_id, name), lease)

        view = await self.ask("review", gather)
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
        except (TimeoutError, InvalidInput, Overloaded):
            return None
