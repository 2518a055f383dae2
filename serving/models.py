"""What the service needs of a model registry, beyond following its champion: to list, promote, roll back and challenge.

`training.registry.Registry` fulfils it; `jianwei serve` hands it over, so that serving imports no training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol


class ModelVersion(Protocol):
    """One registered version; its tag `gate` says passed or refused, `gate_reasons` why."""

    @property
    def name(self) -> str:
        """The registered model's name."""

    @property
    def version(self) -> str:
        """Digits, counted from 1."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """champion, challenger, or others that people set."""

    @property
    def created_at(self) -> datetime:
        """When it was registered."""

    @property
    def tags(self) -> Mapping[str, str]:
        """What was written on it: origin, digest, gate, gate_reasons, promoted, rolled_back."""


class Models(Protocol):
    """Versions of models and which of them answers. Every method may raise RegistryError, with a reason for people.

    All ask a registry over a network or a database: call them beside the event loop.
    """

    def versions(self, name: str | None = None) -> Sequence[ModelVersion]:
        """All versions of a model, newest first."""

    def champion(self, name: str) -> str | None:
        """The version that answers; None where there is none."""

    def challenger(self, name: str) -> str | None:
        """The version that runs in shadow; None where there is none."""

    def set_challenger(self, name: str, version: str | None) -> None:
        """Let a version run in shadow; None ends it."""

    def objection(self, name: str, version: str) -> Literal["refused", "unjudged", "outdated"] | None:
        """Why a version may become champion by force alone; None where nothing speaks against it."""

    def promote(self, name: str, version: str, reason: str, *, force: bool = False) -> None:
        """Make a version the champion; one with an objection() is refused, unless `force`."""

    def past(self, name: str) -> Sequence[str]:
        """The champions before this one that are still there, the last of them last: where rollback() leads."""

    def rollback(self, name: str, reason: str, leaving: str | None = None) -> str:
        """Make the champion before this one champion again; returns its version.

        Raises Conflict where `leaving`, the version that is meant to go, is not champion any more.
        """

    def card(self, name: str, version: str) -> str | None:
        """A version's model card (Markdown); None where it has none."""

    def comparison(self, name: str, version: str) -> dict[str, Any] | None:
        """How it compared with the champion of its time; None where it was not compared.

        `gate`: passed, and reasons (text, chinese, what, where, head, label, name, rows, champion, candidate, limit);
        `speed` and `size`, times the champion's; `sets`: test, newest, audit -> head -> rows, accuracy, macro_f1, auto,
        and classes (label, name, rows, recall, f1). A measure is champion, candidate, difference, low, high, luck.
        `left_out`: set -> head -> rows whose label one of the two does not know.
        """


# Opens the registry; its library takes seconds to import, so nothing is asked before somebody looks.
Opened = Callable[[], Models]
