"""The one table from errors to HTTP, and the one shape they travel in: RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from complaints.errors import Conflict, InvalidInput, JianweiError, NotFound, NotReady, Overloaded
from serving.access import SignInRefused
from serving.scopes import Forbidden
from serving.store.database import StoreError
from serving.store.review_queue import Leased, Stale
from serving.store.risks import AlreadyDecided

MEDIA_TYPE = "application/problem+json"


class MalformedJson(InvalidInput):
    """A body that is not JSON."""


class WrongMediaType(InvalidInput):
    """A body that does not claim to be JSON."""


class TooLarge(InvalidInput):
    """A body, or a text in it, of more than the service reads."""


class TooSlow(InvalidInput):
    """A body that stops coming before it is whole."""


class Unauthorised(JianweiError):
    """No API key, or a wrong one."""


class CallerGone(JianweiError):
    """The caller hung up before there was an answer; nobody will read this one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one error class looks over HTTP; `retry_after` in seconds."""

    status: int
    slug: str
    title: str
    retry_after: int | None = None


# Looked up along the class tree: the nearest ancestor counts. What is not here is a fault of ours: 500, unexplained.
KINDS: dict[type[Exception], Kind] = {
    MalformedJson: Kind(400, "malformed-json", "The body is not JSON"),
    Unauthorised: Kind(401, "unauthorised", "An API key is needed"),
    SignInRefused: Kind(401, "sign-in-refused", "Nobody is signed in"),
    Forbidden: Kind(403, "forbidden", "That is not yours to do"),
    NotFound: Kind(404, "not-found", "There is no such thing"),
    TooSlow: Kind(408, "too-slow", "The body did not come in time"),
    Conflict: Kind(409, "conflict", "The key was used for another request"),
    AlreadyDecided: Kind(409, "already-decided", "A person has decided already"),
    Leased: Kind(409, "leased", "Another person is on this case"),
    Stale: Kind(409, "stale", "That is not possible any more"),
    TooLarge: Kind(413, "too-large", "That is more than is read at once"),
    WrongMediaType: Kind(415, "wrong-media-type", "The body must be application/json"),
    InvalidInput: Kind(422, "invalid-input", "What was sent cannot be used"),
    CallerGone: Kind(499, "caller-gone", "The caller hung up"),
    Overloaded: Kind(503, "overloaded", "Too many requests at once", retry_after=1),
    NotReady: Kind(503, "not-ready", "No model is loaded yet", retry_after=5),
    StoreError: Kind(503, "store-failed", "The database does not answer", retry_after=5),
}
UNEXPECTED = Kind(500, "unexpected", "Something went wrong on our side")


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where it stands, dotted; empty for the whole body", examples=["customer.followers"])
    message: str = Field(description="What is wrong with it", examples=["Input should be greater than or equal to 0"])


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:jianwei:problem:invalid-input",
                    "title": "What was sent cannot be used",
                    "status": 422,
                    "detail": "1 field cannot be used",
                    "request_id": "b1c9e5d27f0a4e0d9c53a8f1d3f5a6b7",
                    "errors": [{"field": "text", "message": "Field required"}],
                }
            ]
        }
    )
    type: str = Field(description="Stable name of the kind of problem, to branch on")
    title: str = Field(description="The kind of problem, for people")
    status: int = Field(description="The HTTP status again", ge=400, le=599)
    detail: str | None = Field(None, description="What is wrong this time, and what to do")
    request_id: str = Field(description="Quote this when asking for help; it stands in the service's log")
    errors: list[Fault] = Field([], description="What is wrong with which field, for problems of validation")


def kind_of(error: Exception) -> Kind:
    """The entry for an error's class or its nearest ancestor; UNEXPECTED where there is none."""
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), UNEXPECTED)


def problem_of(error: Exception, request_id: str) -> Problem:
    """The problem document of an error; of an unexpected one it says nothing that comes from inside."""
    kind, detail, faults = kind_of(error), None, []
    if isinstance(error, RequestValidationError):
        kind, faults = KINDS[InvalidInput], faults_of(error.errors())
        detail = f"{len(faults)} field{'s' if len(faults) != 1 else ''} cannot be used"
    elif isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        kind = Kind(status.value, status.phrase.lower().replace(" ", "-"), status.phrase)
    elif kind is not UNEXPECTED:
        detail = str(error) or None
    return Problem(
        type=f"urn:jianwei:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        request_id=request_id,
        errors=faults,
    )


def faults_of(errors: Sequence[Any]) -> list[Fault]:
    """Pydantic's errors without the values: they would send the complaint back, and into logs on the way."""
    return [
        Fault(field=".".join(str(part) for part in one["loc"] if part != "body"), message=one["msg"]) for one in errors
    ]


def response_of(error: Exception, request_id: str) -> Response:
    """The HTTP response of an error."""
    problem = problem_of(error, request_id)
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        headers.update(error.headers or {})  # Allow, of a 405
    if (retry := kind_of(error).retry_after) is not None:
        headers["Retry-After"] = str(retry)
    if isinstance(error, TooLarge | TooSlow):
        headers["Connection"] = "close"  # else the server goes on waiting for a body that nobody wants
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="jianwei"'
    return Response(orjson.dumps(problem.model_dump()), problem.status, headers, media_type=MEDIA_TYPE)


async def handle(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for everything that is raised on purpose."""
    return response_of(error, request.state.request_id)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these statuses; the schema itself is added in `serving.app`."""
    titles = {500: [UNEXPECTED.title]}
    for kind in KINDS.values():
        titles.setdefault(kind.status, []).append(kind.title)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "; ".join(titles[status]), "content": content} for status in statuses}
