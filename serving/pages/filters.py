"""What the queue is narrowed to, in the page's address: it survives a reload, and can be sent to a colleague."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import cast
from urllib.parse import urlencode

from complaints.policy_parts import LEVELS
from complaints.records import Level
from serving.store.review_order import Filters

PERIODS = {"1": "今天", "7": "近 7 天", "30": "近 30 天"}
_NAMES = ("head", "label", "department", "channel", "model_version", "reason", "text")
_LONGEST = 200


def parse(query: Mapping[str, str], today: datetime) -> Filters:
    """Filters of an address; what cannot be one is left out."""
    named = {name: value for name in _NAMES if (value := query.get(name, "").strip()[:_LONGEST])}
    found = replace(Filters(), **{name: value for name, value in named.items() if value.isprintable()})  # type: ignore[arg-type]
    if query.get("level") in LEVELS:
        found = replace(found, level=cast("Level", query["level"]))
    if query.get("days") in PERIODS:
        found = replace(found, since=today - timedelta(days=int(query["days"]) - 1))
    return found


def address(path: str, query: Mapping[str, str], **changed: str) -> str:
    """A page's address with what is asked for, changed here and there; nothing empty stands in it."""
    kept = {name: value for name, value in (dict(query) | changed).items() if value and name in _KNOWN}
    return path + (f"?{urlencode(kept)}" if kept else "")


_KNOWN = {*asdict(Filters()), "days"} - {"since", "until", "model_name"}
