"""May a candidate become champion? Every reason against it names what fell, from where to where, and on how many rows.

What counts as a fall: the measure is lower by more than its margin, and that is no matter of luck. Luck is judged by
paired resampling (`compare.py`), at the gate's level for all heads and classes of a set of rows together (Holm 1979):
with sixty classes looked at, one in twenty would otherwise fall by chance. The reverse side: a fall on so few rows
that it could be chance passes, so the newest corrections and the audit share must grow before they refuse anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import binom

from complaints.predictor import Predictor
from training.compare import Change, HeadChange, compare, plain, size_of, speed_ratio
from training.recipe import Gate
from training.sources import Example

# Rows drawn without regard to what the model said of them: on these alone its promise of precision can be checked, and
# a class be judged by its recall.
UNBIASED = ("test", "audit")
TITLES = {"test": "固定测试集", "newest": "最新更正", "audit": "抽检样本"}
MEASURES = {"macro_f1": "宏平均 F1", "recall": "召回率", "f1": "F1", "auto": "自动判定的准确率"}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason against a candidate; `limit` is the least (of sizes and times the most) that would have passed."""

    what: Literal["macro_f1", "recall", "f1", "auto", "speed", "size"]
    before: float | None
    after: float
    limit: float
    rows: int = 0
    where: str = ""
    head: str = ""
    label: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.what in ("speed", "size"):
            said = (
                "takes {:.2f} times the champion's time a text" if self.what == "speed" else "is {:.2f} times as large"
            )
            return f"{said.format(self.after)}; {self.limit:.2f} is allowed"
        what = "auto precision" if self.what == "auto" else self.what.replace("_", "-").replace("f1", "F1")
        of = f"{self.head} {self.label} ({self.name})" if self.label else self.head
        if self.what == "auto":
            return f"{of}: {what} {self.after:.3f} of {self.rows} rows ({self.where}); {self.limit:.3f} is promised"
        return (
            f"{of}: {what} fell from {self.before:.3f} to {self.after:.3f} on {self.rows} rows ({self.where}); "
            f"{self.limit:.3f} would have passed"
        )

    def chinese(self) -> str:
        """The same for analysts."""
        if self.what == "speed":
            return f"每条耗时是现任模型的 {self.after:.2f} 倍，上限 {self.limit:.2f} 倍"
        if self.what == "size":
            return f"文件大小是现任模型的 {self.after:.2f} 倍，上限 {self.limit:.2f} 倍"
        of = f"{self.head} 的“{self.name}”（{self.label}）" if self.label else self.head
        on = f"{TITLES.get(self.where, self.where)} {self.rows} 条"
        if self.what == "auto":
            return f"{of}：{MEASURES['auto']} {self.after:.3f}，承诺 {self.limit:.3f}（{on}）"
        fell = f"{MEASURES[self.what]}从 {self.before:.3f} 降到 {self.after:.3f}"
        return f"{of}：{fell}（{on}），不低于 {self.limit:.3f} 才能通过"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate passed, and every reason why not."""

    reasons: tuple[Reason, ...]

    @property
    def passed(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons

    def plain(self) -> dict[str, Any]:
        """As data for JSON."""
        return {
            "passed": self.passed,
            "reasons": [
                {
                    "text": str(one),
                    "chinese": one.chinese(),
                    "what": one.what,
                    "where": one.where,
                    "head": one.head,
                    "label": one.label,
                    "name": one.name,
                    "rows": one.rows,
                    "champion": one.before,
                    "candidate": one.after,
                    "limit": one.limit,
                }
                for one in self.reasons
            ],
        }


def weigh(
    candidate: Predictor,
    champion: Predictor,
    sets: Mapping[str, Sequence[Example]],
    gate: Gate,
    measured: Mapping[str, dict[str, HeadChange]] | None = None,
) -> tuple[Verdict, dict[str, Any]]:
    """Measure both on every set of rows (test, newest, audit) and judge; the verdict, and all numbers for JSON.

    `measured` holds the changes of sets that were measured before.
    """
    known = measured or {}
    changes = {where: known.get(where) or compare(candidate, champion, rows) for where, rows in sets.items() if rows}
    timed = next((rows for rows in sets.values() if rows), [])
    speed = speed_ratio(candidate, champion, timed) if timed else 1.0
    size = size_of(candidate) / size_of(champion)
    verdict = judge(changes, speed, size, gate)
    found = {
        "champion": champion.bundle.digest,
        "candidate": candidate.bundle.digest,
        "gate": verdict.plain(),
        "settings": gate.model_dump(),
        "speed": round(speed, 3),
        "size": round(size, 3),
        "sets": plain(changes),
    }
    return verdict, found


def judge(sets: Mapping[str, Mapping[str, HeadChange]], speed: float, size: float, gate: Gate) -> Verdict:
    """Judge a candidate by its changes on each set of rows, and by how its time a text and its bytes compare."""
    reasons: list[Reason] = []
    for where, heads in sets.items():
        reasons += _falls(where, heads, gate)
        if where in UNBIASED:
            reasons += _broken_promises(where, heads, gate)
    if speed > gate.slower:
        reasons.append(Reason("speed", None, speed, gate.slower))
    if size > gate.larger:
        reasons.append(Reason("size", None, size, gate.larger))
    return Verdict(tuple(reasons))


def _falls(where: str, heads: Mapping[str, HeadChange], gate: Gate) -> list[Reason]:
    """What fell by more than its margin, by no luck."""
    looked: list[tuple[Change, Reason]] = []
    for name, head in heads.items():
        macro = head.macro_f1
        if head.rows >= gate.fewest:
            limit = macro.before - gate.head_margin
            looked.append((macro, Reason("macro_f1", macro.before, macro.after, limit, head.rows, where, name)))
        for one in head.classes:
            if one.rows < gate.fewest:
                continue
            # What the champion said decided which rows the newest are. A model that gives everything one label never
            # misses it, and whatever learns better misses some: there a class is judged by F1, which counts both sides.
            measures = (("recall", one.recall), ("f1", one.f1)) if where in UNBIASED else (("f1", one.f1),)
            for what, change in measures:
                limit = change.before - gate.class_margin
                reason = Reason(
                    what,  # type: ignore[arg-type]
                    change.before,
                    change.after,
                    limit,
                    one.rows,
                    where,
                    name,
                    one.label,
                    one.name,
                )
                looked.append((change, reason))
    real = _holm([change.luck for change, _ in looked], gate.level)
    return [reason for (_, reason), sure in zip(looked, real, strict=True) if sure and reason.after < reason.limit]


def _holm(chances: Sequence[float], level: float) -> list[bool]:
    """Which of several findings stand, so that with probability 1 - level none of them is chance (Holm 1979)."""
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    stand = [False] * len(chances)
    for rank, i in enumerate(order):
        if chances[i] > level / (len(chances) - rank):
            break
        stand[i] = True
    return stand


def _broken_promises(where: str, heads: Mapping[str, HeadChange], gate: Gate) -> list[Reason]:
    """Heads whose auto answers are right less often than promised, by an exact binomial test."""
    found = []
    for name, head in heads.items():
        auto, right = head.auto
        if auto and binom.cdf(right, auto, head.target) < gate.level / len(heads):
            before = head.auto_before[1] / head.auto_before[0] if head.auto_before[0] else None
            found.append(Reason("auto", before, right / auto, head.target, auto, where, name))
    return found
