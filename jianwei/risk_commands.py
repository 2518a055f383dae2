"""`jianwei risk explain`: the working of one risk as a table."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from complaints.errors import InvalidInput
from jianwei.work_commands import BundleAt, Model, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from complaints.policy import Policy
    from complaints.records import Complaint, Prediction

app = typer.Typer(help="Risk: explain how a level was reached.", no_args_is_help=True)

SEVERITIES = {"normal": "一般", "serious": "严重", "urgent": "紧急"}
LEVEL_NAMES = {"low": "低", "medium": "中", "high": "高"}
MOMENT = "%Y-%m-%d %H:%M"


@app.callback()
def risk() -> None:
    """Keep `explain` a subcommand of its own."""


@app.command()
def explain(
    source: Annotated[str, typer.Argument(help="A complaint, or a file of them (CSV, JSONL, .xlsx, Parquet)")],
    policy: Annotated[str | None, typer.Option(help="Policy file or packaged name (default: JIANWEI_POLICY)")] = None,
    channel: Annotated[str | None, typer.Option(help="Where it came in: app, weibo …")] = None,
    vip: Annotated[bool, typer.Option(help="An important customer")] = False,
    followers: Annotated[int | None, typer.Option(help="Followers of the customer")] = None,
    before: Annotated[int, typer.Option(min=0, help="Earlier complaints of the customer on the subject")] = 0,
    text: Annotated[str, typer.Option(help="Of a file: column of the complaint")] = "text",
    rows: Annotated[int, typer.Option(min=1, help="Of a file: so many of its first complaints")] = 10,
    model: Model = None,
    bundle: BundleAt = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one a line")] = False,
) -> None:
    """Print the working of a risk: reasons with their words and weights, matrix, score, upgrades, deadlines.

    jianwei risk explain "充电宝起火烧伤了手，我已经发了抖音" --channel app
    """
    prepare()
    from rich.console import Console

    from complaints.bundle import Bundle
    from complaints.policy import Policy
    from complaints.predictor import Predictor
    from complaints.records import Context
    from jianwei.default_model import bundle_for
    from serving.settings import load_settings

    settings = load_settings()
    found = Policy.load(policy or settings.policy)
    predictor = Predictor(Bundle.open(bundle_for(settings, model, bundle)), found)
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = {"channel": channel, "customer": {"vip": vip, "followers": followers}}
    for complaint in islice(_complaints(source, text, facts), rows):
        [reading] = predictor.read([complaint])
        assessed = predictor.assess(reading, Context(alike_before=before))
        told = predictor.answer(reading, list(predictor.taxonomy.heads), risk=assessed)
        if as_json:
            sys.stdout.write(told.risk.model_dump_json() + "\n")
        else:
            show(console, found, complaint, told)


def _complaints(source: str, text: str, facts: dict[str, Any]) -> Iterator[Complaint]:
    from datetime import UTC, datetime

    from complaints.files import SUFFIXES, BadRow, DataFile
    from complaints.records import Complaint

    now = datetime.now(UTC)
    if len(source) >= 1000 or Path(source).suffix.lower() not in SUFFIXES:
        yield Complaint(text=source, created_at=now, **facts)
        return
    data = DataFile(Path(source))
    data.require([text])
    for row in data:
        if isinstance(row, BadRow):
            raise InvalidInput(f"{source}: row {row.number}: {row.reason}")
        yield Complaint(text=row.values.get(text) or "", created_at=now, **facts)


def show(console: Console, policy: Policy, complaint: Complaint, told: Prediction) -> None:
    """The working of one risk as tables, for people."""
    from rich.table import Table
    from rich.text import Text

    from complaints.policy import DIMENSIONS

    risk, spread = told.risk, told.risk.propagation
    console.print(Text(complaint.text if len(complaint.text) <= 200 else complaint.text[:199] + "…"))
    heads = "  ".join(f"{head}: {one.name} {one.confidence:.2f}" for head, one in told.heads.items())
    low, high = spread.interval
    before = "" if risk.upgraded_from is None else f"（评分为{LEVEL_NAMES[risk.upgraded_from]}，经升级）"
    console.print(
        Text(
            f"等级 {LEVEL_NAMES[risk.level]}{before}  {SEVERITIES[risk.severity]}  "
            f"传播指数 {spread.index:g}（{low:g}–{high:g}）  策略 {policy.name} {policy.version}\n{heads}"
        )
    )
    table = Table("代码", "理由", "原文", "推动", "分值", title="理由")
    for reason in risk.reasons:
        words = ""
        if reason.field is not None:
            source = complaint.title if reason.field == "title" else complaint.text
            words = f"{(source or '')[reason.start : reason.end]} [{reason.start}:{reason.end}]"
        numbers = (f"{value:g}" if value else "" for value in (reason.weight, reason.points))
        table.add_row(reason.code, Text(reason.detail), Text(words), *numbers)
    console.print(table)
    matrix = Table("维度", "档", "分值", "标准", title="风险矩阵")
    for dimension in DIMENSIONS:
        level = getattr(risk.matrix, dimension)
        points = risk.score.parts[dimension] if risk.score else 0
        name = policy.matrix[dimension].name
        matrix.add_row(name, LEVEL_NAMES[level], f"{points:g}", Text(risk.criteria[dimension]))
    console.print(matrix)
    tasks = Table("时限", "做什么", "谁", title="处置")
    for what, owner, due in (
        ("首次响应", "客服", risk.respond_by),
        ("办结", "责任部门", risk.resolve_by),
        *((one.what, one.owner, one.due) for one in risk.tasks),
    ):
        tasks.add_row(due.strftime(MOMENT) if due else "-", what, owner)
    console.print(tasks)
    for item in risk.checklist:
        console.print(Text(f"合规 {'可疑' if item.suspected else '未见'}：{item.question}  {item.detail or ''}"))
    for note in risk.notes:
        console.print(Text(f"注意：{note}"))
