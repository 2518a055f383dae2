"""Between the model's reading and the store: what is kept of a reading, and how a risk is assessed from it again."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from pydantic import BaseModel, ConfigDict

from complaints.bursts import Arrival
from complaints.concentration import fingerprint, pack, product_key
from complaints.policy import BY_HEAD, LEVELS, Policy
from complaints.predictor import Reading, assess_reading, whole
from complaints.records import Complaint, Context, HeadPrediction, Level, Prediction, Risk
from complaints.risk import assess
from complaints.text import clean
from serving.champion import Snapshot
from serving.policies import Policies, Ruling
from serving.store.contexts import Draft
from serving.store.risks import Assessed

_LONGEST_LINE = 200


class Inputs(BaseModel):
    """What of a model's reading a risk is assessed from: all heads, and the probabilities of the ordinal ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    heads: dict[str, HeadPrediction]
    spreads: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Assessment:
    """A complaint that was read and assessed without its context, and what the store needs to gather that."""

    reading: Reading
    prediction: Prediction
    ruling: Ruling
    draft: Draft

    def settle(self, context: Context) -> Prediction:
        """The prediction in its context."""
        if context == Context():
            return self.prediction
        risk = assess_reading(self.ruling.policy, self.reading, context)
        return self.prediction.model_copy(update={"risk": risk})

    @property
    def department(self) -> str | None:
        """The label of the head by which the policy's actions name their owner."""
        return department(self.ruling.policy, self.reading.heads)


def read(
    snapshot: Snapshot,
    policies: Policies,
    complaint: Complaint,
    answer: Callable[[Reading, Risk], Prediction],
    top_k: int,
) -> Assessment:
    """Run the model on one complaint, and assess it by the policy that its business line is under."""
    [reading] = snapshot.predictor.read([complaint], top_k=top_k)
    ruling = policies.choose(complaint.business_line)
    risk = assess_reading(ruling.policy, reading, Context())
    draft = _draft(snapshot, policies.control.policy, reading)
    return Assessment(reading, answer(reading, risk), ruling, draft)


def _draft(snapshot: Snapshot, control: Policy, reading: Reading) -> Draft:
    complaint = reading.complaint
    one = reading.heads.get(control.burst.head)
    label = one.label if one is not None else ""
    created = complaint.created_at and control.calendar.local(complaint.created_at)
    now = datetime.now(UTC)
    return Draft(
        arrival=Arrival(
            at=(created or now).astimezone(UTC),
            category=label.split(".", 1)[0],
            product=product_key(complaint.product),
            space=snapshot.digest[:64],  # another model's vectors cannot be compared
            vector=pack(fingerprint(reading.cleaned.text, reading.vector)),
            received=now,
        ),
        ticket_id=complaint.ticket_id,
        customer=complaint.customer.id,
        label=label,
        business_line=_plain(complaint.business_line),
        inputs=orjson.dumps(Inputs(heads=reading.heads, spreads=reading.spreads).model_dump()).decode(),
        channel=_plain(complaint.channel),
        cleaned=reading.cleaned.text,
        strangeness=reading.strangeness,
    )


def assess_again(policy: Policy, stored: Assessed, context: Context) -> Risk:
    """The risk of a stored complaint by any policy, from what the model said then."""
    complaint, inputs = complaint_of(stored), Inputs.model_validate_json(stored.inputs)
    spread = inputs.spreads.get(policy.propagation.head)
    return assess(policy, complaint, clean(whole(complaint)).text, inputs.heads, spread, context)


def complaint_of(stored: Assessed) -> Complaint:
    """The complaint as it was sent."""
    sent = orjson.loads(stored.request)
    return Complaint.model_validate({name: sent[name] for name in Complaint.model_fields if name in sent})


def heads_of(stored: Assessed) -> dict[str, HeadPrediction]:
    """What the model said of a stored complaint."""
    return Inputs.model_validate_json(stored.inputs).heads


def department(policy: Policy, heads: dict[str, HeadPrediction]) -> str | None:
    """The label of the head by which a policy's actions name their owner; None where they name none."""
    head = owner_head(policy)
    return heads[head].label if head in heads else None


def owner_head(policy: Policy) -> str:
    """The head by which the policy's actions name their owner; empty where they name none."""
    named = (action.owner for level in LEVELS for action in policy.actions[level] if action.owner.startswith(BY_HEAD))
    return next(named, "").removeprefix(BY_HEAD)


def in_force(stored: Assessed, suggested: Level) -> Level:
    """The level that holds: the last word of a person, else what is suggested."""
    return stored.verdicts[-1].level if stored.verdicts else suggested


def _plain(name: str | None) -> str | None:
    """A name without control characters, which PostgreSQL would refuse."""
    if name is None:
        return None
    return "".join(c for c in name if unicodedata.category(c)[0] != "C")[:_LONGEST_LINE]
