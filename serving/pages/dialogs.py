"""What is asked on top of a page, answered by keyboard: a label that is not among the nine, a note, a reason."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from html import escape

from nicegui import ui

from serving.pages.shell import QUICK, button, guarded

# Labels listed at once; more letters narrow them.
LISTED = 9


class LabelDialog:
    """All labels of one question, narrowed by typing; Enter takes the one that is marked."""

    def __init__(self, picked: Callable[[str], None]) -> None:
        self._picked = picked
        self._names: Mapping[str, str] = {}
        self._found: list[str] = []
        self._at = 0
        with ui.dialog().props(QUICK) as self._dialog, ui.element("div").classes("card").style("width:400px"):
            self._title = ui.html("", sanitize=False)
            self._field = ui.input(placeholder="输入几个字，↑ ↓ 选择，回车确定").props("outlined dense autofocus")
            self._field.style("width:100%").on_value_change(guarded(self._narrow))
            self._field.on("keydown.down.prevent", guarded(lambda: self._mark(1)))
            self._field.on("keydown.up.prevent", guarded(lambda: self._mark(-1)))
            self._field.on("keydown.enter.prevent", guarded(self._take))
            self._list = ui.element("div").style("margin-top:8px")

    @property
    def open(self) -> bool:
        """Whether it is asked now."""
        return bool(self._dialog.value)

    def ask(self, question: str, names: Mapping[str, str]) -> None:
        """Ask for one of these labels."""
        self._names = names
        self._title.set_content(f"<h2>{escape(question)}：选择标签</h2>")
        self._field.value = ""
        self._narrow()
        self._dialog.open()

    def _narrow(self) -> None:
        typed = (self._field.value or "").strip().lower()
        self._found = [label for label, name in self._names.items() if typed in name.lower() or typed in label]
        self._at = 0
        self._draw()

    def _mark(self, step: int) -> None:
        if self._found:
            self._at = (self._at + step) % min(len(self._found), LISTED)
            self._draw()

    def _draw(self) -> None:
        self._list.clear()
        with self._list:
            for at, label in enumerate(self._found[:LISTED]):
                row = ui.html(f'<span class="name">{escape(self._names[label])}</span>', sanitize=False)
                row.classes(f"choice pick{' on' if at == self._at else ''}")
                row.on("click", guarded(lambda label=label: self._close(label)))
            left = len(self._found) - LISTED
            said = f"还有 {left} 个，再输入几个字" if left > 0 else "" if self._found else "没有这样的标签"
            ui.html(said, sanitize=False).classes("muted small")

    def _take(self) -> None:
        if self._found:
            self._close(self._found[self._at])

    def _close(self, label: str) -> None:
        self._dialog.close()
        self._picked(label)


class TextDialog:
    """A line or two in a person's own words; Enter keeps them, Esc does not."""

    def __init__(self, written: Callable[[str], Awaitable[None] | None]) -> None:
        self._written = written
        self._needed = False
        with ui.dialog().props(QUICK) as self._dialog, ui.element("div").classes("card").style("width:480px"):
            self._title = ui.html("", sanitize=False)
            self._field = ui.textarea().props("outlined autofocus maxlength=2000 rows=3").style("width:100%")
            self._field.on("keydown.enter.exact.prevent", guarded(self._keep))
            with ui.element("div").classes("dialog-foot"):
                ui.html("Shift + 回车换行，Esc 放弃", sanitize=False).classes("muted small grow")
                button("保存", "Enter", "btn main", self._keep)

    @property
    def open(self) -> bool:
        """Whether it is asked now."""
        return bool(self._dialog.value)

    def ask(self, html: str, before: str = "", *, needed: bool = False) -> None:
        """Ask, with what stands there already; `html` says for what, `needed` that it must not stay empty."""
        self._needed = needed
        self._title.set_content(html)
        self._field.value = before
        self._field.props(remove="error")
        self._dialog.open()

    async def _keep(self) -> None:
        words = (self._field.value or "").strip()
        if self._needed and not words:
            self._field.props('error error-message="请写明理由"')
            return
        self._dialog.close()
        result = self._written(words)
        if result is not None:
            await result
