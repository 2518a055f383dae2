"""Pages that need no framework: what is shown before anybody is known."""

from __future__ import annotations

from html import escape

_FRAME = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · 见微</title><link rel="icon" href="/review/assets/mark.svg"><link rel="stylesheet" href="/review/assets/review.css">
</head><body class="plain"><main class="plain-card"><div class="brand"><img src="/review/assets/mark.svg" alt="" width="28" height="28">
<span>见微</span></div>{body}</main></body></html>
"""  # noqa: E501


def page(title: str, body: str) -> str:
    """A small page in the look of the others; `body` is HTML."""
    return _FRAME.format(title=escape(title), body=body)
