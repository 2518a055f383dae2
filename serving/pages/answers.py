"""The questions of a case, and what was picked: the model's in the taxonomy's order, then the level of risk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

from nicegui import ui

from complaints.records import Level
from serving.pages import case_parts as parts
from serving.pages.choices import MOST, RISK, open_heads
from serving.pages.shell import guarded
from serving.pages.view import CaseView

LEVELS: tuple[Level, ...] = get_args(Level)


class Answers:
    """The panel beside the text: one question is open, its choices under the keys 1 to 9."""

    def __init__(self, view: CaseView, opened: Callable[[str], None], more: Callable[[], None]) -> None:
        """Draw it here; `opened` is told which question is open, `more` is called for labels beyond the nine."""
        self._view, self._opened, self._more = view, opened, more
        self.picked: dict[str, str] = {}
        self.level: Level | None = None
        # A case that was answered under another taxonomy may have none of this one's questions: its risk is left.
        self.here = (open_heads(view.heads) or [RISK])[0]
        self._questions = [*view.heads, *([RISK] if view.judged is not None else [])]
        self._panel = ui.element("div").classes("card answers order-2")
        self._draw()

    def press(self, number: int) -> None:
        """Choose what lies under a key; nothing lies under some."""
        if self.here == RISK:
            if number <= len(LEVELS):
                self.judge(LEVELS[number - 1])
            return
        rows = parts.rows(self._view, self.here, self.picked.get(self.here))
        if number <= len(rows):
            self.pick(rows[number - 1].label)

    def pick(self, label: str) -> None:
        """Choose a label for the open question, and go on to the next one that waits."""
        self.picked[self.here] = label
        self._go_on()

    def judge(self, level: Level) -> None:
        """Confirm or overrule the suggested level, and go on to a question that waits."""
        self.level = level
        self._go_on()

    def open(self, question: str) -> None:
        """Look at a question, if the case has it."""
        if question in self._questions:
            self.here = question
            self._draw()

    def move(self, step: int) -> None:
        """Look at the question so many further on."""
        if self._questions:
            at = self._questions.index(self.here)
            self.open(self._questions[(at + step) % len(self._questions)])

    def _go_on(self) -> None:
        waiting = [name for name in open_heads(self._view.heads) if name not in self.picked]
        if waiting:
            at = self._questions.index(self.here)
            after = [name for name in waiting if self._questions.index(name) > at]
            self.here = (after or waiting)[0]
        self._draw()

    def _draw(self) -> None:
        self._opened(self.here)
        self._panel.clear()
        with self._panel:
            for name in self._questions:
                here = name == self.here
                with ui.element("div").classes(f"answer{' here' if here else ''}") as block:
                    if name == RISK:
                        ui.html(parts.level_top(self._view, self.level), sanitize=False)
                    else:
                        ui.html(parts.answer_top(self._view, name, self.picked.get(name)), sanitize=False)
                    if not here:
                        block.on("click", guarded(lambda name=name: self.open(name)))
                    elif name == RISK:
                        self._draw_levels()
                    else:
                        self._draw_choices(name)

    def _draw_levels(self) -> None:
        for key, level in enumerate(LEVELS, 1):
            row = ui.html(parts.level_row(key, level, self._view.risk.level), sanitize=False)
            row.classes(f"choice level-choice{' on' if level == (self.level or self._view.level) else ''}")
            row.on("click", guarded(lambda level=level: self.judge(level)))
        ui.html(parts.tasks(self._view.risk, datetime.now(UTC)), sanitize=False)

    def _draw_choices(self, name: str) -> None:
        said = self._view.heads[name]
        ui.html(parts.why(said), sanitize=False)
        chosen = self.picked.get(name, said.label)
        for key, one in enumerate(parts.rows(self._view, name, self.picked.get(name)), 1):
            row = ui.html(
                parts.choice_row(key, one, said.threshold if one.label == said.label else None), sanitize=False
            )
            row.classes(f"choice{' on' if one.label == chosen else ''}{' in' if one.likely else ''}")
            row.on("click", guarded(lambda label=one.label: self.pick(label)))
        if len(self._view.taxonomy.heads[name].names) > MOST:
            more = ui.html("<kbd>0</kbd><span>其他标签…</span>", sanitize=False).classes("choice more")
            more.on("click", guarded(self._more))
