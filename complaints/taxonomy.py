"""Heads and labels: stable ids, names that people read, and who may own what.

A taxonomy is data (YAML). Label ids are stable; a head's labels keep the order of the file, and that
order is the order of the model's outputs. Three kinds of head:

- `flat`: labels stand side by side;
- `hierarchical`: parents with leaves; the model answers with leaves, written `parent.leaf`;
- `ordinal`: labels ordered from the first to the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from complaints.documents import parse_document, read_document
from complaints.errors import InvalidInput, TaxonomyError, UnknownLabel

Id = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]

PACKAGED = resources.files("complaints") / "taxonomies"
_WHOLE = re.compile(r"(-?\d+)\.0+")


def whole_number(value: str) -> str:
    """A label `1.0` as `1`: so pandas writes a column of numbers that has gaps. Any other label as it is."""
    found = _WHOLE.fullmatch(value)
    return found[1] if found else value


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Label(_Data):
    """One label: `id` is stable and travels; `name` is what people read."""

    id: Id
    name: Id
    leaves: tuple[Label, ...] = ()


class Head(_Data):
    """One question that the model answers; `labels` in the order of the file."""

    name: Id
    kind: Literal["flat", "hierarchical", "ordinal"]
    labels: tuple[Label, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for label in self.labels:
            if self.kind == "hierarchical" and not label.leaves:
                raise ValueError(f"label {label.id!r} of a hierarchical head has no leaves: give it at least one")
            if self.kind != "hierarchical" and label.leaves:
                raise ValueError(f"label {label.id!r} has leaves: set kind: hierarchical")
            if self.kind == "hierarchical" and "." in label.id:
                raise ValueError(f"parent id {label.id!r} contains '.', which separates parent and leaf")
        every = [*self.parents, *self.ids]
        twice = sorted({label for label in every if every.count(label) > 1})
        if twice:
            raise ValueError(f"label ids occur twice: {', '.join(twice)}")
        if len(self.ids) < 2:
            raise ValueError("a head needs at least two labels to tell apart")
        return self

    @cached_property
    def names(self) -> dict[str, str]:
        """Label id (leaf or parent) -> name for people; a leaf reads `parent/leaf`."""
        if self.kind != "hierarchical":
            return {label.id: label.name for label in self.labels}
        names = {label.id: label.name for label in self.labels}
        for parent in self.labels:
            for leaf in parent.leaves:
                names[f"{parent.id}.{leaf.id}"] = f"{parent.name}/{leaf.name}"
        return names

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The K labels that the model answers with, in the order of its outputs."""
        if self.kind != "hierarchical":
            return tuple(label.id for label in self.labels)
        return tuple(f"{parent.id}.{leaf.id}" for parent in self.labels for leaf in parent.leaves)

    @cached_property
    def parents(self) -> tuple[str, ...]:
        """Ids of the parents of a hierarchical head; empty for the other kinds."""
        return tuple(label.id for label in self.labels) if self.kind == "hierarchical" else ()

    def called(self, name: str) -> str | None:
        """The label of that name; None where there is none. Raises InvalidInput where several are called so."""
        found = [label for label, known in self.names.items() if known == name]
        if len(found) > 1:
            raise InvalidInput(
                f"{name!r} is the name of {' and '.join(map(repr, found))} in head {self.name!r}: give each a name of "
                "its own in the taxonomy, or write ids in the file"
            )
        return found[0] if found else None

    @property
    def size(self) -> int:
        """K, the number of the model's outputs for this head."""
        return len(self.ids)

    def parent(self, label: str) -> str | None:
        """The parent of a leaf; None where the head has no parents."""
        return label.split(".", 1)[0] if self.parents else None

    def members(self, label: str) -> tuple[int, ...]:
        """Output indices that a label stands for: one for a leaf, all its leaves' for a parent.

        Raises UnknownLabel, naming the nearest labels there are.
        """
        found = self._members.get(label)
        if found is None:
            known = ", ".join(self.ids[:20]) + (" …" if self.size > 20 else "")
            raise UnknownLabel(f"{label!r} is not a label of head {self.name!r}; it has: {known}")
        return found

    @cached_property
    def _members(self) -> dict[str, tuple[int, ...]]:
        members: dict[str, tuple[int, ...]] = {label: (index,) for index, label in enumerate(self.ids)}
        for parent in self.parents:
            members[parent] = tuple(i for i, leaf in enumerate(self.ids) if leaf.split(".", 1)[0] == parent)
        return members


class Responsibility(_Data):
    """Which labels of `head` may go with which label of `given` (leaf first, else its parent)."""

    given: Id
    head: Id
    allowed: dict[Id, tuple[Id, ...]]


class Taxonomy(_Data):
    """A set of heads under one name and version, with the responsibility table if there is one."""

    name: Id
    title: Id
    version: Id
    heads: dict[Id, Head] = Field(min_length=1)
    responsibility: Responsibility | None = None
    former: dict[Id, dict[Id, Id | None]] = Field(
        default={}, description="head -> label id of an earlier version -> its id now, or null where it was dropped"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, mapping in self.former.items():
            if name not in self.heads:
                raise ValueError(f"former: {name!r} is not a head")
            head = self.heads[name]
            for old, new in mapping.items():
                if old in head.names:
                    raise ValueError(f"former.{name}: {old!r} is still a label; ids are never reused")
                if new is not None and new not in head.names:
                    raise ValueError(f"former.{name}.{old}: {new!r} is not a label of this version")
        if self.responsibility is not None:
            self._check_responsibility(self.responsibility)
        return self

    def _check_responsibility(self, table: Responsibility) -> None:
        for role, name in (("given", table.given), ("head", table.head)):
            if name not in self.heads:
                raise ValueError(f"responsibility.{role}: {name!r} is not a head")
        given, head = self.heads[table.given], self.heads[table.head]
        for label, owners in table.allowed.items():
            if label not in given.names:
                raise ValueError(f"responsibility.allowed: {label!r} is not a label of head {table.given!r}")
            for owner in owners:
                if owner not in head.names:
                    raise ValueError(f"responsibility.allowed.{label}: {owner!r} is not a label of head {table.head!r}")
        missing = [i for i in given.ids if i not in table.allowed and given.parent(i) not in table.allowed]
        if missing:
            raise ValueError(f"responsibility.allowed has no entry for {', '.join(missing[:5])}")

    @property
    def sizes(self) -> dict[str, int]:
        """Head -> K, the shape a model must have."""
        return {name: head.size for name, head in self.heads.items()}

    def resolve(self, head: str, label: str) -> str | None:
        """Today's id of a label that may come from an earlier version; None where it was dropped.

        Raises UnknownLabel for a label that no version knows.
        """
        former = self.former.get(head, {})
        if label in former:
            return former[label]
        self.heads[head].members(label)
        return label

    def allowed(self, labels: Mapping[str, str]) -> bool:
        """Whether labels a head fit the responsibility table; True where there is no table or no pair."""
        table = self.responsibility
        if table is None or table.given not in labels or table.head not in labels:
            return True
        given = labels[table.given]
        owners = table.allowed.get(given) or table.allowed.get(self.heads[table.given].parent(given) or "")
        return owners is None or labels[table.head] in owners

    def dump(self) -> str:
        """The taxonomy as YAML that `Taxonomy.load` reads back equal."""
        data = self.model_dump(exclude_defaults=True)
        return yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120)

    @classmethod
    def load(cls, source: str | Path) -> Taxonomy:
        """Read a taxonomy from a YAML file, or by the name of one that comes with the package.

        Raises TaxonomyError naming the file, the place in it and the remedy.
        """
        path = Path(source)
        packaged = PACKAGED / f"{source}.yaml"
        if not path.exists() and path.suffix == "" and packaged.is_file():
            return cls.parse(packaged.read_text(encoding="utf-8"), f"{source} (packaged)")
        return read_document(cls, path, TaxonomyError, "write one with `jianwei taxonomy draft`")

    @classmethod
    def parse(cls, text: str, origin: str = "taxonomy") -> Taxonomy:
        """Read a taxonomy from YAML text; `origin` is named in errors. Raises TaxonomyError."""
        return parse_document(cls, text, origin, TaxonomyError)
