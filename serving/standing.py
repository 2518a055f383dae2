"""A stored complaint's risk as it stands now: by the policy in force, all that was observed, and what people said."""

from __future__ import annotations

from dataclasses import dataclass

from complaints.records import Level, Risk
from serving.assessing import assess_again, complaint_of, in_force
from serving.policies import Ruling
from serving.service import Service
from serving.store.risks import Assessed


@dataclass(frozen=True, slots=True)
class Standing:
    """What was `stored`, the policy that assesses it now, and the risk it finds; `level` is the one that holds."""

    stored: Assessed
    ruling: Ruling
    risk: Risk
    level: Level


def risk_now(service: Service, prediction_id: str) -> Standing:
    """A complaint's risk as it stands now; reads the store. Raises NotFound."""
    stored = service.store.assessed(prediction_id, service.policies.control.policy)
    ruling = service.policies.choose(complaint_of(stored).business_line)
    risk = assess_again(ruling.policy, stored, stored.context)
    return Standing(stored, ruling, risk, in_force(stored, risk.level))
