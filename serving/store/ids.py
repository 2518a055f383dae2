"""Ids that sort by time."""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from complaints.errors import NotFound

# Crockford's base 32: its digits sort as the numbers do, and none is mistaken for another.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(f"[a-z]{{3,12}}_[{_DIGITS}]{{26}}")


def new_id(now: datetime, kind: str = "pred") -> str:
    """The kind, `_` and 26 characters: milliseconds since 1970, then 80 random bits, so that ids sort by time."""
    number = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return f"{kind}_" + "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -5, -5))


def is_id(text: str, kind: str = "pred") -> bool:
    """Whether an id may look so: not every string can be asked for, PostgreSQL refuses U+0000."""
    return text.startswith(f"{kind}_") and _ID.fullmatch(text) is not None


def require_id(text: str, kind: str, what: str) -> None:
    """Raise NotFound for what no id looks like; `what` is named in the message."""
    if not is_id(text, kind):
        raise NotFound(f"there is no {what} of this id")
