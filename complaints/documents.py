"""YAML documents that people write: read, validated, and refused with file, line, field and reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from complaints.errors import JianweiError

Document = TypeVar("Document", bound=BaseModel)

# What to do about a fault, by pydantic's name of it; the others say it themselves.
_REMEDIES = {
    "missing": "add it",
    "extra_forbidden": "there is no such field here: remove it or correct its name",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "tuple_type": "write a list: [a, b]",
    "dict_type": "write fields below it, or {field: value}",
    "model_type": "write fields below it, or {field: value}",
    "model_attributes_type": "write fields below it, or {field: value}",
    "string_too_short": "write at least one character",
    "string_too_long": "shorten it",
    "time_parsing": "write a time in quotes: '09:00'",
    "date_parsing": "write a date: 2026-10-01",
    "date_from_datetime_parsing": "write a date: 2026-10-01",
    "string_pattern_mismatch": "keep to the pattern; lower-case letters and digits, a letter first, always fit",
}


class Misplaced(ValueError):
    """A fault that a validator found deeper than where it stands: `place` leads there from it."""

    def __init__(self, place: tuple[int | str, ...], message: str) -> None:
        super().__init__(message)
        self.place = place


def read_document(
    model: type[Document],
    path: Path,
    error: type[JianweiError],
    remedy: str,
    parse: Callable[[str, str], Document] | None = None,
) -> Document:
    """Read the YAML file at `path` as `model`; a missing or unreadable file raises `error` with `remedy`.

    `parse` reads its text, given text and origin; `parse_document` where it is not given.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{path} does not exist: {remedy}") from None
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"cannot read {path} ({cause}): save it as UTF-8 text") from cause
    return parse_document(model, text, str(path), error) if parse is None else parse(text, str(path))


def parse_document(model: type[Document], text: str, origin: str, error: type[JianweiError]) -> Document:
    """Validate YAML text as `model`; raises `error` with one line a fault: origin:line: field: what is wrong."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as cause:  # ValueError: an impossible date
        raise error(f"{origin} is not valid YAML: {cause}") from cause
    if twice := _twice(node):
        raise error("\n".join(f"{origin}:{line}: {key}: written twice" for key, line in twice))
    if not isinstance(data, dict):
        raise error(f"{origin} must be a YAML mapping of {', '.join(model.model_fields)}")
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        faults = [_describe(origin, node, fault) for fault in cause.errors()]
        raise error("\n".join(faults)) from cause


def _describe(origin: str, node: yaml.Node | None, fault: Any) -> str:
    """One fault as origin:line: field: what is wrong (what to do)."""
    place, found = fault["loc"], fault.get("ctx", {}).get("error")
    if isinstance(found, Misplaced):
        place = (*place, *found.place)
    remedy = _REMEDIES.get(fault["type"])
    if fault["type"] == "string_type" and not isinstance(fault["input"], (dict, list, type(None))):
        remedy = "put it in quotes"
    where = ".".join(map(str, place)) or "document"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{origin}:{_line(node, place)}: {where}: {message}" + (f" ({remedy})" if remedy else "")


def _twice(node: yaml.Node | None) -> list[tuple[str, int]]:
    """Keys that a mapping holds more than once, which YAML would silently drop, with their lines."""
    found: list[tuple[str, int]] = []
    waiting: list[yaml.Node | None] = [node]
    known: set[int] = set()  # an alias may point back to a node that holds it
    while waiting:
        part = waiting.pop()
        if id(part) in known:
            continue
        known.add(id(part))
        if isinstance(part, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in part.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        found.append((key.value, key.start_mark.line + 1))
                    seen.add(key.value)
                waiting.append(value)
        elif isinstance(part, yaml.SequenceNode):
            waiting.extend(part.value)
    return found


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line on which the deepest part of `location` that exists is written, counted from 1."""
    line = 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
