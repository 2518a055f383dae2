"""What reviewing needs of model, policy and store together: the pages and the API both come through here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from complaints.errors import InvalidInput
from complaints.records import Complaint, Level
from complaints.taxonomy import Taxonomy
from complaints.text import mask
from serving.access import Person, require
from serving.service import Service
from serving.standing import risk_now
from serving.store.review_decisions import Decided
from serving.store.review_order import Filters, Queued
from serving.store.review_queue import Lease, Progress
from serving.store.risks import Verdict

# What was decided shortly before midnight can be taken back for this long after it.
UNDONE_FOR = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Day:
    """Today's work: what was done of the budget, and what is left of it."""

    progress: Progress
    budget: int

    @property
    def left(self) -> int:
        """Reviews until the budget is used up; more may be done."""
        return max(0, self.budget - self.progress.done)


def check_labels(taxonomy: Taxonomy, labels: Mapping[str, str]) -> None:
    """Raise InvalidInput for a head, UnknownLabel for a label that the taxonomy does not have, naming those it has."""
    for head, label in labels.items():
        if head not in taxonomy.heads:
            raise InvalidInput(f"no head {head}: taxonomy {taxonomy.name} has {', '.join(taxonomy.heads)}")
        taxonomy.heads[head].members(label)


def day_start(service: Service, now: datetime) -> datetime:
    """Midnight where the company is: the budget counts from here, and undoing."""
    here = service.policies.control.policy.calendar.local(now) or now
    return here.replace(hour=0, minute=0, second=0, microsecond=0)


def local(service: Service, moment: datetime | None) -> datetime | None:
    """A time that was given without a zone, where the company is; None stays None."""
    return None if moment is None else service.policies.control.policy.calendar.local(moment)


def today(service: Service, actor: str, now: datetime) -> Day:
    """How far the day's budget is used."""
    return Day(service.store.progress(actor, day_start(service, now)), service.settings.review_budget)


def served(service: Service, filters: Filters) -> Filters:
    """The same of the served model's cases alone: another's ask other questions, and wait until it is served again."""
    return replace(filters, model_name=service.settings.model)


def claim(service: Service, actor: str, filters: Filters, now: datetime, limit: int = 1) -> list[Lease]:
    """The next cases for a person, as long as a lease lasts here."""
    minutes = service.settings.lease_minutes
    return service.store.claim(actor, served(service, filters), limit=limit, minutes=minutes, now=now)


def note(
    service: Service, actor: str, action: str, detail: dict[str, object], shown: Sequence[Queued], now: datetime
) -> None:
    """Write down which cases somebody is handed; where there is none, nothing."""
    if shown:
        service.store.log(actor, action, "reviews", detail | {"cases": [one.prediction_id for one in shown]}, now)


def unmask(service: Service, person: Person, prediction_id: str, now: datetime) -> None:
    """Note that a person sees personal data; raises Forbidden for a role that may not."""
    require(person, "unmask")
    service.store.log(person.name, "unmask", prediction_id, {}, now)


def decide(
    service: Service,
    person: Person,
    prediction_id: str,
    labels: Mapping[str, str],
    now: datetime,
    note: str | None = None,
    level: Level | None = None,
) -> Decided:
    """Head -> right label, all others accepted; raises as `Store.review` and `check_labels` do.

    `level` is the person's word on the suggested level of risk; None where they said nothing of it.
    """
    require(person, "review")
    taxonomy = service.source.current().predictor.taxonomy
    check_labels(taxonomy, labels)
    verdict = None
    if level is not None:
        standing = risk_now(service, prediction_id)
        verdict = Verdict(standing.risk.level, level, standing.ruling.identity, person.name, note, now)
    return service.store.review(
        prediction_id,
        person.name,
        labels,
        note=note,
        verdict=verdict,
        taxonomy_version=taxonomy.version,
        known=taxonomy.heads,
        now=now,
        second_share=service.settings.second_share,
    )


def skip(service: Service, person: Person, prediction_id: str, now: datetime) -> Decided:
    """Leave a case to others."""
    require(person, "review")
    return service.store.skip(prediction_id, person.name, now=now)


def undo(service: Service, person: Person, now: datetime) -> Decided:
    """Take back the last decision of today, or of the last hours, and have its case again."""
    require(person, "review")
    until = now + timedelta(minutes=service.settings.lease_minutes)
    since = min(day_start(service, now), now - UNDONE_FOR)
    return service.store.undo(person.name, since=since, until=until, now=now)


def sent(request: str) -> Complaint:
    """The complaint of a stored request."""
    fields = orjson.loads(request)
    return Complaint.model_validate({name: fields[name] for name in Complaint.model_fields if name in fields})


def masked(text: str | None) -> str | None:
    """A text without personal numbers."""
    return None if text is None else mask(text)
