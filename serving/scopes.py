"""What an API key may be used for."""

from __future__ import annotations

from typing import Literal, cast, get_args

from complaints.errors import InvalidInput, JianweiError

Scope = Literal["predict", "review", "export", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERY: frozenset[Scope] = frozenset(SCOPES)


class Forbidden(JianweiError):
    """Known, but may not do this."""


def parse_key(written: str) -> tuple[str, frozenset[Scope]]:
    """`KEY` (all scopes) or `KEY:scope+scope`, as in JIANWEI_API_KEYS; raises InvalidInput naming the known scopes."""
    key, colon, named = written.partition(":")
    if not colon:
        return key, EVERY
    scopes = named.split("+")
    if unknown := [one for one in scopes if one not in SCOPES]:
        raise InvalidInput(f"no scope {', '.join(map(repr, unknown))}: write KEY:{'+'.join(SCOPES)}, or fewer of them")
    return key, frozenset(cast("list[Scope]", scopes))
