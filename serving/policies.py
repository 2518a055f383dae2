"""Which policy assesses a complaint: the one in force, or for some business lines the one on trial.

Policy files are watched. A changed file that is valid comes into force within seconds; one that is not is logged and
told (`/v1/policy`), and the policy before it stays in force.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

import structlog

from complaints.errors import JianweiError, PolicyError
from complaints.policy import Policy
from serving.settings import Settings
from serving.store.queries import Store

Arm = Literal["control", "pilot"]

# Seconds for which a changed file must stay as it is before it is read.
SETTLE = 0.1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ruling:
    """A policy as answers name it: `identity` is its version, with a mark where another file used the version first."""

    policy: Policy
    identity: str
    arm: Arm
    since: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a changed policy file did not come into force."""

    reason: str
    at: datetime


class Policies:
    """The policies of one service; a request keeps the one it was given, so its answer names what assessed it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Raises PolicyError where a policy to begin with is not valid."""
        self._store = store
        self._poll = settings.poll
        self._share, self._lines = settings.pilot_share, frozenset(settings.pilot_lines)
        self._sources: dict[Arm, str] = {"control": settings.policy}
        if settings.pilot_policy is not None:
            self._sources["pilot"] = settings.pilot_policy
        self._texts: dict[Arm, str] = {}
        self._rulings: dict[Arm, Ruling] = {}
        self.refusals: dict[Arm, Refusal] = {}
        self._stopped = threading.Event()
        for arm, source in self._sources.items():
            policy = Policy.load(source)
            self._texts[arm] = policy.text
            self._rulings[arm] = self._ruling(policy, arm)
        self._thread = threading.Thread(target=self._watch, name="policies", daemon=True)

    def start(self) -> None:
        """Begin to watch the files."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    @property
    def control(self) -> Ruling:
        """The policy in force; it also rules what all complaints have in common: history and bursts."""
        return self._rulings["control"]

    @property
    def pilot(self) -> Ruling | None:
        """The policy on trial, if there is one."""
        return self._rulings.get("pilot")

    def choose(self, business_line: str | None) -> Ruling:
        """The policy for a complaint: the pilot's for its named lines and for a share of all others.

        A line's arm depends on its name and the pilot policy's alone, so it is the same on every replica and day.
        Complaints without a business line are never on trial.
        """
        pilot = self.pilot
        if pilot is None or business_line is None:
            return self.control
        if business_line in self._lines or _draw(pilot.policy.name, business_line) < self._share:
            return pilot
        return self.control

    def look(self) -> None:
        """Read the files once, and bring into force what changed and is valid."""
        for arm, source in self._sources.items():
            path = Path(source)
            if not path.exists() and path.suffix == "":
                continue  # packaged: it changes with the installation alone
            try:
                text = path.read_text(encoding="utf-8")
                if text == self._texts[arm] or self._being_written(path, text):
                    continue
                self._texts[arm] = text
                before, after = self._rulings[arm], self._ruling(Policy.parse(text, source), arm)
            except (OSError, UnicodeDecodeError) as error:
                self._refuse(arm, f"cannot read {source} ({error})")
                self._texts[arm] = ""  # when it can be read again it is read as if it were new
            except JianweiError as error:
                self._refuse(arm, str(error))
                if not isinstance(error, PolicyError):
                    self._texts[arm] = ""  # the store failed, not the file: try again
            else:
                self._rulings[arm] = after
                self.refusals.pop(arm, None)
                log.info("policy_changed", arm=arm, before=before.identity, after=after.identity)

    def _being_written(self, path: Path, text: str) -> bool:
        """Whether a file still changes: half a policy is not one that a person would answer for."""
        self._stopped.wait(SETTLE)
        return path.read_text(encoding="utf-8") != text

    def _ruling(self, policy: Policy, arm: Arm) -> Ruling:
        now = datetime.now(UTC)
        return Ruling(policy, self._store.register(policy, now), arm, now)

    def _refuse(self, arm: Arm, reason: str) -> None:
        known = self.refusals.get(arm)
        if known is None or known.reason != reason:
            self.refusals[arm] = Refusal(reason, datetime.now(UTC))
            log.error("policy_refused", arm=arm, kept=self._rulings[arm].identity, reason=reason)

    def _watch(self) -> None:
        while not self._stopped.wait(self._poll):
            try:
                self.look()
            except Exception as error:  # a watcher that dies leaves the service on an old policy unseen
                log.error("policy_watch_failed", reason=type(error).__name__)


def _draw(salt: str, business_line: str) -> float:
    """A number from 0 to 1 that a line keeps for one pilot."""
    digest = sha256(f"{salt}\0{business_line}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
