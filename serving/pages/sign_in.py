"""Signing in and out: plain forms, before any framework is loaded."""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from complaints.errors import Overloaded
from serving import access
from serving.access import COOKIE, DEVICE_COOKIE, Person, SignInRefused
from serving.pages.plain import page
from serving.problems import kind_of
from serving.scopes import Forbidden
from serving.service import Service
from serving.settings import is_loopback

ASSETS = Path(__file__).parent / "assets"
HOME, DOOR = "/review/", "/review/sign-in"
# Names whoever opened the form: a form of somebody else's page cannot know it, nor set it.
_FORM_COOKIE = "jianwei_form"
# A form holds a name, a password and a token.
_LARGEST_FORM = 8_192
_HTTPS = "此页面须经 HTTPS 访问，或在服务所在的机器上用 http://127.0.0.1 打开，否则登录不了。请联系管理员。"


async def person(request: Request) -> tuple[Person, str] | None:
    """Who is signed in, and the token by which; None where nobody is."""
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    service: Service = request.scope["service"]
    try:
        found = await service.stored(lambda: access.signed_in(service.store, token, datetime.now(UTC)))
    except SignInRefused:
        return None
    return found, token


async def show(request: Request) -> Response:
    """The form; who is signed in already goes on."""
    if await person(request) is not None:
        return RedirectResponse(_wanted(request), 303)
    return _form(request)


async def enter(request: Request) -> Response:
    """Check name and password; answer with the form again where they do not fit."""
    service: Service = request.scope["service"]
    form = await _sent(request)
    mark = request.cookies.get(_FORM_COOKIE, "")
    if not mark or not hmac.compare_digest(mark.encode(), form.get("form", "").encode()):
        # Where the browser drops our cookies, the form says why.
        return _form(request, "没能登录" if _drops(request) else "页面已过期，请再输入一次", form.get("name", ""))
    name, password = form.get("name", "").strip(), form.get("password", "")
    device = request.cookies.get(DEVICE_COOKIE)
    try:
        entered = await service.checked(
            lambda: access.sign_in(service.store, name, password, datetime.now(UTC), device)
        )
    except SignInRefused as error:
        return _form(request, str(error), name)
    except Overloaded as error:
        kind = kind_of(error)
        refused = _form(request, "同时登录的人太多，这次没有核对密码，请过几秒再试", name, kind.status)
        refused.headers["Retry-After"] = str(kind.retry_after)
        return refused
    response = RedirectResponse(_wanted(request), 303)
    for one in access.cookies(entered, secure=_secure(request)):
        response.set_cookie(**one)  # type: ignore[arg-type]
    response.delete_cookie(_FORM_COOKIE, path="/review")
    return response


async def leave(request: Request) -> Response:
    """Sign out, if the form came from a page of this session."""
    service: Service = request.scope["service"]
    found = await person(request)
    response = RedirectResponse(DOOR, 303)
    if found is not None:
        who, token = found
        try:
            access.check_csrf(who, (await _sent(request)).get("csrf"))
        except Forbidden:
            return RedirectResponse(HOME, 303)
        await service.stored(lambda: access.sign_out(service.store, token, datetime.now(UTC)))
        response.delete_cookie(COOKIE, path="/review")
    return response


def _form(request: Request, fault: str = "", name: str = "", status: int = 401) -> Response:
    mark = request.cookies.get(_FORM_COOKIE) or secrets.token_urlsafe(24)
    wanted = quote(request.query_params.get("next", ""), safe="")
    faults = [fault, _HTTPS if _drops(request) else ""]
    told = "".join(f'<p class="fault" role="alert">{escape(one)}</p>' for one in faults if one)
    here = ("", " autofocus") if name else (" autofocus", "")
    body = (
        f'<h1>登录</h1><p>投诉研判 · 审核台</p><form method="post" action="{DOOR}?next={wanted}">'
        f'<input type="hidden" name="form" value="{escape(mark)}">'
        f'<label for="name">用户名</label><input id="name" name="name" autocomplete="username" required maxlength="80" '
        f'value="{escape(name)}"{here[0]}>'
        f'<label for="password">密码</label><input id="password" name="password" type="password" '
        f'autocomplete="current-password" required maxlength="200"{here[1]}>{told}'
        "<button>登录</button></form>"
    )
    response = Response(page("登录", body), status if fault else 200, media_type="text/html")
    response.set_cookie(
        _FORM_COOKIE, mark, max_age=3600, path="/review", httponly=True, samesite="strict", secure=_secure(request)
    )
    return response


def _wanted(request: Request) -> str:
    """Where to go after signing in: a page of ours, never another address."""
    wanted = request.query_params.get("next", "")
    inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/sign-"))
    return f"/review{wanted}" if inside and not any(c < " " for c in wanted) else HOME


def _secure(request: Request) -> bool:
    """Whether cookies are for HTTPS alone: everywhere but on one's own machine."""
    return request.url.scheme == "https" or not is_loopback(request.url.hostname or "")


def _drops(request: Request) -> bool:
    """Whether the browser drops our cookies, which are for HTTPS alone: it came over plain HTTP, from elsewhere.

    Behind a proxy that does not say how it was reached the browser says it: this header is sent over HTTPS alone.
    """
    return _secure(request) and request.url.scheme != "https" and "sec-fetch-site" not in request.headers


async def _sent(request: Request) -> dict[str, str]:
    """The fields of a form; empty where it is none, or too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


routes = [
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", enter, methods=["POST"]),
    Route("/sign-out", leave, methods=["POST"]),
    Mount("/assets", StaticFiles(directory=ASSETS)),
]
