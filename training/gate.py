"""May a candidate become champion? Every reason against it names what fell, from where to where, and on how many rows.

Whatever the champion answers, the candidate must answer too: a head or label less breaks what callers rely on. On
one head at least, rows enough to judge must have been compared. Nor may it keep its promise by deciding next to nothing
alone any more.

What counts as a fall: the measure is lower by more than its margin, and that is no matter of luck. Luck is judged by
paired resampling (`compare.py`), for all heads of a set of rows together and for all classes of a head together (Holm
1979): with sixty classes looked at, one in twenty would otherwise fall by chance. The reverse side: a small fall on so
few rows that it could be chance passes, so the newest corrections and the audit share must grow before they refuse it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import binom

from complaints.errors import UnknownLabel
from complaints.predictor import Predictor
from complaints.taxonomy import Taxonomy
from training.compare import Change, HeadChange, comparable, compare, plain, size_of, speed_ratio
from training.recipe import Gate
from training.sources import NAMED, Example

log = logging.getLogger(__name__)

# Rows drawn without regard to what the model said of them: on these alone its promise of precision can be checked, and
# a class be judged by its recall.
UNBIASED = ("test", "audit")
TITLES = {"test": "固定测试集", "newest": "最新更正", "audit": "抽检样本"}
# Share of the gate's level for the heads of a set, and for the classes of each head: equal candidates on the packaged
# model's test rows were then refused 2 to 8 times in 100 (simulated, models that differ on 9 to 25 % of the rows); with
# the whole level for each it were 6 to 16.
FAMILY = 0.5
# A class that falls so many margins is refused whatever luck says, which on twenty rows excuses a third of them. What
# is below LEAST, five rows of twenty, happens to equals: 0.20 would have refused up to 21 of the 100, 0.25 up to 4.
PLAIN, LEAST = 5, 0.25
# A head that decided at least this share of the test alone, and now less than so much of that, keeps its promise by
# leaving nearly all of it to people. Below one row in five nobody counts on it; and a model that is just learning new
# topics decides less of the old ones for a while: one in twenty, and half, kept it from ever learning them
# (experiments/LOG.md).
RELIED_ON, KEPT = 0.2, 0.2
MEASURES = {
    "macro_f1": "宏平均 F1",
    "recall": "召回率",
    "f1": "F1",
    "auto": "自动判定的准确率",
    "auto_share": "自动判定的占比",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason against a candidate; `limit` is the least (of sizes and times the most) that would have passed.

    `contract` counts answers that callers rely on (1 there, 0 gone), `compared` rows.
    """

    what: Literal["contract", "compared", "macro_f1", "recall", "f1", "auto", "auto_share", "speed", "size"]
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
        if self.what == "compared" and not self.rows:
            return "no row of test, newest or audit could be compared with the champion: give the recipe a test part"
        if self.what == "compared":
            return (
                f"too few rows to judge: {self.rows}, {self.limit:.0f} are needed; give the recipe more test rows, "
                "lower `fewest` under its `gate`, or promote with --force and a --reason"
            )
        english = {"macro_f1": "macro-F1", "f1": "F1", "auto": "auto precision", "auto_share": "share of auto answers"}
        what = english.get(self.what, self.what)
        of = f"{self.head} {self.label} ({self.name})" if self.label else self.head
        if self.what == "contract":
            remedy = "; say under `former` in the taxonomy what became of it" if self.label else ""
            return f"{of}: the champion answers it and the candidate does not{remedy}"
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
        if self.what == "compared":
            return (
                f"数据太少，无法评判：只有 {self.rows} 条，至少要 {self.limit:.0f} 条；请增加测试数据，或在配方的 gate "
                "里调低 fewest，或写明理由，不顾关口推广"
                if self.rows
                else "没有一条测试、更正或抽检的数据能与现任模型比较：请在配方里留出测试集"
            )
        of = f"{self.head} 的“{self.name}”（{self.label}）" if self.label else self.head
        if self.what == "contract":
            remedy = "；请在标签体系的 former 里写明它的去向" if self.label else ""
            return f"{of}：现任模型会答，候选模型不再答{remedy}"
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
    lost = contract(candidate.taxonomy, champion.taxonomy)
    verdict = Verdict((*lost, *judge(changes, speed, size, gate).reasons))
    found = {
        "champion": champion.bundle.digest,
        "candidate": candidate.bundle.digest,
        "gate": verdict.plain(),
        "settings": gate.model_dump(),
        "speed": round(speed, 3),
        "size": round(size, 3),
        "sets": plain(changes),
        "left_out": _left_out(candidate.taxonomy, champion.taxonomy, sets),
    }
    return verdict, found


def _left_out(
    candidate: Taxonomy, champion: Taxonomy, sets: Mapping[str, Sequence[Example]]
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for where, rows in sets.items():
        for head, labels in comparable(candidate, champion, rows)[1].items():
            found.setdefault(where, {})[head] = labels.total()
            shown = ", ".join(f"{label!r} ({times})" for label, times in labels.most_common(NAMED))
            said = "%s, head %s: %d rows are not compared, for one of the two does not know their labels: %s"
            log.warning(said, where, head, labels.total(), shown)
    return found


def contract(candidate: Taxonomy, champion: Taxonomy) -> list[Reason]:
    """Heads, leaves and parents that the champion answers with and the candidate neither has nor maps by `former`."""
    found = []
    for name, head in champion.heads.items():
        if name not in candidate.heads:
            found.append(Reason("contract", 1.0, 0.0, 1.0, head=name))
            continue
        for label in head.names:
            try:
                candidate.resolve(name, label)
            except UnknownLabel:
                found.append(Reason("contract", 1.0, 0.0, 1.0, head=name, label=label, name=head.names[label]))
    return found


def judge(sets: Mapping[str, Mapping[str, HeadChange]], speed: float, size: float, gate: Gate) -> Verdict:
    """Judge a candidate by its changes on each set of rows, and by how its time a text and its bytes compare."""
    most = max((head.rows for heads in sets.values() for head in heads.values()), default=0)
    reasons = [] if most >= gate.fewest else [Reason("compared", None, most, gate.fewest, most)]
    for where, heads in sets.items():
        reasons += _falls(where, heads, gate)
        if where in UNBIASED:
            reasons += _broken_promises(where, heads, gate)
        if where == "test":
            reasons += _left_to_people(where, heads, gate)
    if speed > gate.slower:
        reasons.append(Reason("speed", None, speed, gate.slower))
    if size > gate.larger:
        reasons.append(Reason("size", None, size, gate.larger))
    return Verdict(tuple(reasons))


def _falls(where: str, heads: Mapping[str, HeadChange], gate: Gate) -> list[Reason]:
    """What fell by more than its margin by no luck, or so far that luck is no excuse."""
    whole, found = [], []
    for name, head in heads.items():
        macro = head.macro_f1
        if head.rows >= gate.fewest:
            limit = macro.before - gate.head_margin
            whole.append((macro, Reason("macro_f1", macro.before, macro.after, limit, head.rows, where, name)))
        looked = list(_classes(where, name, head, gate))
        real = _by_no_luck(looked, gate)
        plain = max(PLAIN * gate.class_margin, LEAST) - 1e-9
        found += [reason for change, reason in looked if reason in real or change.difference <= -plain]
    return [*_by_no_luck(whole, gate), *found]


def _classes(where: str, name: str, head: HeadChange, gate: Gate) -> Iterator[tuple[Change, Reason]]:
    for one in head.classes:
        if one.rows < gate.fewest:
            continue
        # What the champion said decided which rows the newest are. A model that gives everything one label never
        # misses it, and whatever learns better misses some: there a class is judged by F1, which counts both sides.
        measures = (("recall", one.recall), ("f1", one.f1)) if where in UNBIASED else (("f1", one.f1),)
        for what, change in measures:
            limit = change.before - gate.class_margin
            yield (
                change,
                Reason(
                    what,  # type: ignore[arg-type]
                    change.before,
                    change.after,
                    limit,
                    one.rows,
                    where,
                    name,
                    one.label,
                    one.name,
                ),
            )


def _by_no_luck(looked: Sequence[tuple[Change, Reason]], gate: Gate) -> list[Reason]:
    """Of the findings of one family, those past their limit that stand."""
    real = _holm([change.luck for change, _ in looked], FAMILY * gate.level)
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


def _left_to_people(where: str, heads: Mapping[str, HeadChange], gate: Gate) -> list[Reason]:
    """Heads that decide far less alone than the champion, and by no luck: a sign test of all that either decided."""
    found = []
    for name, head in heads.items():
        before, after = head.auto_before[0], head.auto[0]
        fell = before >= RELIED_ON * head.rows and after < KEPT * before
        if fell and binom.cdf(after, before + after, 0.5) < gate.level / len(heads):
            share = before / head.rows
            found.append(Reason("auto_share", share, after / head.rows, KEPT * share, head.rows, where, name))
    return found
