"""`jianwei risk …` and `jianwei policy …`, from the outside in."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from complaints.bursts import Arrival
from complaints.concentration import lexical, pack
from complaints.policy import PACKAGED, Policy
from complaints.records import Complaint, Context, HeadPrediction
from complaints.risk import assess
from jianwei.cli import main
from serving.assessing import Inputs
from serving.replay import wilson
from serving.store.contexts import Draft
from serving.store.queries import Outcome, Store, Stored, new_id
from serving.store.risks import Verdict

DEFAULT = (PACKAGED / "default.yaml").read_text(encoding="utf-8")
START = datetime(2026, 3, 2, 2, tzinfo=UTC)
DAY = ("--from", "2026-03-02", "--to", "2026-03-02")


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["jianwei", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.setenv("JIANWEI_HOME", str(tmp_path))
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


def test_explain_prints_the_working(command: Any) -> None:
    code, out, err = command("risk", "explain", "充电宝起火烧伤了手,我已经发了抖音", "--vip")
    assert (code, err) == (0, "")
    for words in (
        "等级 高",
        "紧急",
        "烧伤 [5:7]",
        "发了抖音 [13:17]",
        "风险矩阵",
        "成立专项小组",
        "影响 9 + 传播",
        "策略 default",
    ):
        assert words in out


def test_explain_reads_a_file_and_tells_json(command: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("内容\n快递慢\n充电宝起火烧伤了手\n", encoding="gb18030")
    code, out, _ = command("risk", "explain", tmp_path / "t.csv", "--text", "内容", "--json")
    assert code == 0
    assert [json.loads(line)["level"] for line in out.splitlines()] == ["low", "high"]
    code, _, err = command("risk", "explain", tmp_path / "t.csv")
    assert code == 2
    assert "'text'" in err


def test_a_broken_policy_is_told_in_plain_words(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(DEFAULT.replace("respond: 30m", "respond: soon"), encoding="utf-8")
    for arguments in (["policy", "check", path], ["risk", "explain", "坏了", "--policy", path]):
        code, _, err = command(*arguments)
        assert code == 2
        assert f"{path}:" in err
        assert "severities.low.respond: write a term as a number and a unit" in err
        assert "Traceback" not in err


def test_check_and_experts(command: Any, tmp_path: Path) -> None:
    code, out, _ = command("policy", "check")
    assert code == 0
    assert "respond 30m, resolve 24h, complex 5wd" in out
    code, out, _ = command("policy", "experts", str(PACKAGED / "experts.csv"))
    assert code == 0
    assert "Kendall's W 0.875" in out
    assert "a fifth more" in out
    assert command("policy", "experts", tmp_path / "none.csv")[0] == 2


def head(label: str) -> HeadPrediction:
    return HeadPrediction(
        decision="auto", label=label, name=label, confidence=0.9, threshold=0.5, prediction_set=(label,), top_k=()
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ninety complaints: thirty of them a burst, six with verdicts, some on trial."""
    store, policy = Store(f"sqlite:///{tmp_path / 'jianwei.db'}"), Policy.load()
    heads = {"category": head("quality.defect"), "department": head("quality")}
    inputs = Inputs(heads=heads, spreads={"propagation": {"low": 0.9, "medium": 0.1, "high": 0.0}})
    for i in range(90):
        said = "空调不制冷" if i < 60 else f"赔我{i}00元" if i % 2 else "我要找记者"
        at = START + timedelta(minutes=2 * i)
        complaint = Complaint(text=said, created_at=at, customer={"id": f"C{i}"})  # type: ignore[arg-type]

        def settle(_: int, context: Context, i: int = i, complaint: Complaint = complaint) -> Outcome:
            at, spread = complaint.created_at or START, inputs.spreads["propagation"]
            risk = assess(policy, complaint, complaint.text, heads, spread, context)
            request = complaint.model_dump_json()
            stored = Stored(new_id(at), at, f"T{i}", request, "{}", "m", "1", "d", "1", "2.0.0", "r", heads)
            return Outcome(stored, risk, "quality", "2.0.0", "pilot" if i % 3 == 0 else "control")

        arrival = Arrival(at, "quality", "", "lexical", pack(lexical(said)))
        draft = Draft(arrival, f"T{i}", f"C{i}", "quality.defect", f"line {i % 3}", inputs.model_dump_json())
        store.save_assessed([draft], settle, lambda rows: rows[0].id, policy=policy, salt="s")
    rows = list(store.between(START, START + timedelta(days=1)))
    for i, one in enumerate(rows[:3] + rows[-3:]):
        level = "medium" if i < 3 else one.level
        store.judge(one.prediction_id, Verdict(one.level, level, "2.0.0", "王芳", None, START))  # type: ignore[arg-type]
    return store


def test_replay(command: Any, store: Store, tmp_path: Path) -> None:
    same = json.loads(command("policy", "replay", "--policy", "default", *DAY, "--json")[1])
    assert (same["complaints"], same["changed"], same["alerts"]) == (90, 0, {"before": 1, "after": 1})
    assert same["deadlines"] == {"earlier": 0, "later": 0, "mean_change_hours": 0.0}
    path = tmp_path / "new.yaml"
    stricter = DEFAULT.replace("sum: {medium: 7,", "sum: {medium: 4,").replace("count: 50", "count: 1000")
    path.write_text(stricter.replace("2.0.0", "2.1.0"), encoding="utf-8")
    found = json.loads(command("policy", "replay", "--policy", path, *DAY, "--json")[1])
    assert found["policy"] == "default 2.1.0"
    moved = {(one["before"], one["after"]): one["complaints"] for one in found["levels"]}
    assert moved["low", "medium"] > 40
    assert found["changed"] == sum(count for (before, after), count in moved.items() if before != after)
    assert found["alerts"] == {"before": 1, "after": 0}
    assert found["verdicts"]["overruled_now_right"] == 3
    assert found["workload"]["quality"]["after_medium"] > found["workload"]["quality"]["before_medium"]
    assert found["deadlines"]["later"] >= moved["low", "medium"]  # 48 hours instead of 24
    assert found["examples"][0]["before"] != found["examples"][0]["after"]
    code, out, _ = command("policy", "replay", "--policy", path, *DAY)
    assert code == 0
    assert "overruled before, right now" in out


def test_a_pilot_is_compared(command: Any, store: Store) -> None:
    arms = json.loads(command("policy", "compare", *DAY, "--json")[1])
    assert {one["arm"]: one["complaints"] for one in arms} == {"control": 60, "pilot": 30}
    assert sum(one["overruled"] for one in arms) == 3
    assert sum(one["verdicts"] for one in arms) == 6
    assert "control" in command("policy", "compare", *DAY)[1]


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [("gestern", "2026-03-02", "is no date"), ("2026-03-03", "2026-03-01", "--from must be before --to")],
)
def test_impossible_days_are_refused(command: Any, store: Store, start: str, end: str, why: str) -> None:
    code, _, err = command("policy", "replay", "--policy", "default", "--from", start, "--to", end)
    assert code == 2
    assert why in err


def test_without_a_store_there_is_nothing_to_replay(command: Any) -> None:
    code, _, err = command("policy", "replay", "--policy", "default", "--from", "2026-03-01", "--to", "2026-03-02")
    assert code == 2
    assert "there is no store under" in err


def test_wilson() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(5, 50)
    assert (low, high) == (pytest.approx(0.0435, abs=1e-3), pytest.approx(0.2136, abs=1e-3))
