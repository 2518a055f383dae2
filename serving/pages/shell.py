"""The frame around every page: who is signed in, where one can go, and what is said when something fails."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

import structlog
from nicegui import ui
from starlette.requests import Request

from complaints.errors import Conflict, InvalidInput, JianweiError, NotFound, NotReady, Overloaded, RegistryError
from serving.access import DEVICE_COOKIE, LONGEST_PASSWORD, SHORTEST_PASSWORD, Right, SignInRefused
from serving.pages.desk import Desk
from serving.pages.sign_in import DOOR
from serving.pages.words import ROLES
from serving.scopes import Forbidden
from serving.store.database import StoreError
from serving.store.review_queue import Leased, Stale
from serving.store.risks import AlreadyDecided

# Where one can go, what it is called, and the right that it needs.
PLACES: tuple[tuple[str, str, Right], ...] = (
    ("/review/", "队列", "review"),
    ("/review/quality", "质量", "quality"),
    ("/review/models", "模型", "quality"),
    ("/review/people", "人员", "users"),
    ("/review/log", "日志", "log"),
)

# Seconds a page may take until something is shown; a machine that is busy with a file of complaints is slow.
PATIENCE = 20.0

# A dialog is there before the next key: what is typed at once must not be lost to a movement.
QUICK = "transition-duration=0"

_HEAD = '<link rel="stylesheet" href="/review/assets/review.css"><script src="/review/assets/review.js" defer></script>'
# What a person is told, by the nearest class of the error; what is not here is said in general words, and logged.
_SAYS: dict[type[Exception], str] = {
    NotFound: "找不到这一项，可能已被移走。",
    Overloaded: "服务正忙，请稍等几秒再试。",
    NotReady: "模型还没有装载好，请稍后再试。",
    Forbidden: "您的角色不能做这一步。",
    Leased: "别人正在审核这个案件。",
    Stale: "这个案件的情况已经变了，这一步做不了。请回到队列。",
    AlreadyDecided: "别人已经审核过这个案件。",
    StoreError: "数据库没有响应，这一步没有保存。请稍后再试。",
    RegistryError: "模型库没有响应，或拒绝了这一步。",
    Conflict: "这一步与别人刚做的冲突，请刷新后再看。",
    InvalidInput: "填写的内容不能用，请检查后再试。",
}
# What more an error tells, such as who has the case: its message, and the same in Chinese.
_TELLS: tuple[tuple[str, str], ...] = (
    (r"(.+) is reviewing this case", "{}正在审核这个案件。"),
    (r"(.+) has reviewed this case already", "{}已经审核过这个案件。"),
    (r"this case does not wait for a review of yours", "这个案件不在等您审核：已经审完，或初审就是您做的。"),
    (r"another model answered this case", "这个案件由另一个模型答复，那个模型现行时才能审核。"),
    (r"another person has reviewed this case a second time: .+", "别人已经复审过这个案件，您的决定不能再撤销。"),
    (r"another person has reviewed this case since it was skipped", "您跳过之后，别人已经审核了这个案件。"),
    (r"there is a user (.+) already", "已有用户 {}，停用的也算。"),
    (r"there is no user (.+)", "没有用户 {}。"),
    (r"a password has (\d+) to (\d+) characters; .+", "密码要 {} 到 {} 个字，请换一个。"),
    (r"the password or the session was changed meanwhile", "密码或登录刚刚变了，请刷新页面后再试。"),
    (r"a name has 1 to (\d+) .+", "用户名为 1 到 {} 个字：文字、数字和 . _ - @。"),
    (r".+ version (.+) did not pass its gate: (.+)\. To promote it .+", "版本 {} 没有通过关口：{}。"),
    (
        r".+ version (.+) was not measured against the champion, which is version (.+) now\. .+",
        "版本 {} 没有与现行版本 {} 比较过。",
    ),
    (
        r".+ version (.+) was measured against another champion, which is version (.+) now\. .+",
        "版本 {} 只与从前的现行版本比较过，现行版本已是 {}。",
    ),
    (
        r".+ version (.+) is not champion any more, version (.+) is: nothing moved",
        "{} 已不是现行版本，现在是 {}：没有改动。",
    ),
    (r".+ has no earlier champion to go back to; .+", "没有更早的现行版本可以回退。"),
    (r".+ version (.+) is the champion: .+", "版本 {} 就是现行版本，不能作自己的影子。"),
)
_CHINESE, _ENGLISH = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z]+(?: [A-Za-z]+){2}")
# Behind a message in Chinese the same in English, for callers of the API.
_GLOSS = re.compile(r" \([ -~]+\)$")

log = structlog.get_logger()


def place(path: str) -> ui.page:
    """A page under /review, as NiceGUI's own decorator."""
    return ui.page(path, response_timeout=PATIENCE)


def frame(request: Request, here: str, title: str) -> Desk:
    """Draw the bar at the top of a page; returns what the page works with."""
    scope = request.scope
    desk = Desk(scope["service"], scope["person"], scope["token"], request.cookies.get(DEVICE_COOKIE))
    ui.page_title(f"{title} · 见微")
    ui.add_head_html(_HEAD)
    ui.colors(primary="#1d5f66", negative="#a92c25", positive="#37694b", warning="#8a5a06", dark="#1d2b2e")
    ask = PasswordDialog(desk).ask
    bar = ui.html(_bar(desk, here), sanitize=False)
    bar.on("click", guarded(ask), js_handler="(e) => { if (e.target.closest('.ask-password')) emit() }")
    return desk


def _bar(desk: Desk, here: str) -> str:
    person = desk.person
    links = "".join(
        f'<a href="{path}"{" class=here" if path == here else ""}>{name}</a>'
        for path, name, right in PLACES
        if desk.may(right)
    )
    return (
        '<header class="bar"><a class="brand" href="/review/">'
        '<img src="/review/assets/mark.svg" alt="" width="22" height="22"><span>见微</span></a>'
        f"<nav>{links}</nav>"
        f'<div class="who"><span>{escape(person.name)}</span><span class="tag role">{ROLES[person.role]}</span>'
        '<button type="button" class="ask-password">修改密码</button>'
        f'<form method="post" action="/review/sign-out"><input type="hidden" name="csrf" value="{person.csrf}">'
        '<button type="submit">退出</button></form></div></header>'
    )


class PasswordDialog:
    """A person's own password: the present one, and a new one twice."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with ui.dialog().props(QUICK) as self._dialog, ui.element("div").classes("card").style("width:380px"):
            ui.html("<h2>修改密码</h2>", sanitize=False)
            self._present = self._field("当前密码", "current-password").props("autofocus")
            self._new = self._field(f"新密码，{SHORTEST_PASSWORD} 个字以上", "new-password")
            self._again = self._field("再输入一次新密码", "new-password")
            with ui.element("div").classes("dialog-foot"):
                ui.html("您在其他浏览器的登录会失效。Esc 放弃", sanitize=False).classes("muted small grow")
                button("保存", "Enter", "btn main", self._keep)

    def ask(self) -> None:
        """Ask, with nothing typed yet."""
        for field in (self._present, self._new, self._again):
            field.value = ""
        self._dialog.open()

    def _field(self, name: str, kind: str) -> ui.input:
        field = ui.input(placeholder=name, password=True).style("width:100%; margin-top:8px")
        field.props(f'outlined dense maxlength={LONGEST_PASSWORD} autocomplete="{kind}" aria-label="{name}"')
        return field.on("keydown.enter", guarded(self._keep))

    async def _keep(self) -> None:
        present, new = self._present.value or "", self._new.value or ""
        if new != (self._again.value or ""):
            say("两次输入的新密码不一样，请重新输入", "bad")
            return
        await self._desk.change_password(present, new)
        self._dialog.close()
        say("密码已修改，您的其他登录已失效", "good")


def button(name: str, key: str, look: str, deed: Callable[..., Awaitable[Any] | Any]) -> ui.html:
    """Something to press, with the key that does the same; it never takes the focus, so that keys keep working."""
    shown = ui.html(f"{name}{f' <kbd>{key}</kbd>' if key else ''}", sanitize=False).classes(look)
    return shown.props('role="button"').on("click", guarded(deed))


def say(text: str, kind: str = "info") -> None:
    """A short message at the bottom of the page; kind is info, good or bad."""
    colours = {"info": "dark", "good": "positive", "bad": "negative"}
    ui.notify(text, color=colours[kind], position="bottom", timeout=6000 if kind == "bad" else 2500, classes="says")


def guarded(handler: Callable[..., Awaitable[Any] | Any]) -> Callable[..., Awaitable[None]]:
    """A handler whose errors are told to the person, and whose page stays usable."""

    async def run(*args: Any) -> None:
        try:
            result = handler(*args)
            if inspect.isawaitable(result):
                await result
        except SignInRefused:
            ui.run_javascript(f"location.href = '{DOOR}'")  # navigate.to would put the mount before it
        except Exception as error:
            say(words_of(error), "bad")

    # NiceGUI looks at the signature to know whether a handler wants the event.
    run.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
    return run


def words_of(error: Exception) -> str:
    """What to tell a person of an error, in Chinese; one that nobody foresaw is logged, without its text."""
    if isinstance(error, JianweiError):
        for message, chinese in _TELLS:
            if (found := re.fullmatch(message, str(error), re.DOTALL)) is not None:
                return chinese.format(*found.groups())
        words = _GLOSS.sub("", str(error))
        if _CHINESE.search(words) and not _ENGLISH.search(words):  # a Chinese name makes no Chinese sentence
            return words
    for cls in type(error).__mro__:
        if cls in _SAYS:
            return _SAYS[cls]
    where = inspect.trace()[-1]
    log.error("page_failed", error=type(error).__name__, where=f"{where.filename}:{where.lineno}")
    return "出了意外，这一步没有完成。请刷新页面；若再出现，请告知管理员。"
