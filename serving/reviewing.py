"""What reviewing needs of model, policy and store together: the pages and the API both come through here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from complaints.errors import InvalidInput, NotFound
from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from complaints.text import mask
from serving.access import Person, require
from serving.routes.risk_schemas import RiskOut
from serving.routes.risks import risk_now
from serving.service import Service
from serving.store.review_cases import Case
from serving.store.review_order import Filters
from serving.store.review_queue import Lease, Page, Progress
from serving.store.review_words import Decided


@dataclass(frozen=True, slots=True)
class Opened:
    """A case as it is shown; `risk` as it stands now, None for a prediction that was stored without one."""

    case: Case
    risk: RiskOut | None


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
    """Midnight where the company is: the budget and undoing count from here."""
    here = service.policies.control.policy.calendar.local(now) or now
    return here.replace(hour=0, minute=0, second=0, microsecond=0)


def local(service: Service, moment: datetime | None) -> datetime | None:
    """A time that was given without a zone, where the company is; None stays None."""
    return None if moment is None else service.policies.control.policy.calendar.local(moment)


def today(service: Service, actor: str, now: datetime) -> Day:
    """How far the day's budget is used."""
    return Day(service.store.progress(actor, day_start(service, now)), service.settings.review_budget)


def budgeted(service: Service, actor: str, filters: Filters, now: datetime) -> Page:
    """The cases that the rest of today's budget is best spent on, in the order in which they will come."""
    left = today(service, actor, now).left
    return service.store.queue(filters, now=now, actor=actor, limit=left)


def claim(service: Service, actor: str, filters: Filters, now: datetime, limit: int = 1) -> list[Lease]:
    """The next cases for a person, as long as a lease lasts here."""
    return service.store.claim(actor, filters, limit=limit, minutes=service.settings.lease_minutes, now=now)


def open_case(service: Service, person: Person, prediction_id: str, now: datetime) -> Opened:
    """A case for who reviews it, which the audit log notes; raises Forbidden, NotFound.

    What it holds is not masked: show `masked(...)` of it until `unmask` was called.
    """
    require(person, "review")
    case = service.store.case(prediction_id, person.name)
    try:
        risk = risk_now(service, prediction_id)
    except NotFound:
        risk = None
    service.store.log(person.name, "view", prediction_id, {}, now)
    return Opened(case, risk)


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
) -> Decided:
    """Head -> right label, all others accepted; raises as `Store.review` and `check_labels` do."""
    require(person, "review")
    taxonomy = service.source.current().predictor.taxonomy
    check_labels(taxonomy, labels)
    return service.store.review(
        prediction_id,
        person.name,
        labels,
        note=note,
        taxonomy_version=taxonomy.version,
        now=now,
        second_share=service.settings.second_share,
    )


def skip(service: Service, person: Person, prediction_id: str, now: datetime) -> Decided:
    """Leave a case to others."""
    require(person, "review")
    return service.store.skip(prediction_id, person.name, now=now)


def undo(service: Service, person: Person, now: datetime) -> Decided:
    """Take back the last decision of today and have its case again."""
    require(person, "review")
    until = now + timedelta(minutes=service.settings.lease_minutes)
    return service.store.undo(person.name, since=day_start(service, now), until=until, now=now)


def sent(request: str) -> Complaint:
    """The complaint of a stored request."""
    fields = orjson.loads(request)
    return Complaint.model_validate({name: fields[name] for name in Complaint.model_fields if name in fields})


def masked(text: str | None) -> str | None:
    """A text without personal numbers."""
    return None if text is None else mask(text)
