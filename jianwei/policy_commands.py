"""`jianwei policy …`: check a policy, replay stored predictions under it, compare a pilot, weigh by experts."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from complaints.errors import InvalidInput

if TYPE_CHECKING:
    from complaints.policy import Policy
    from serving.store.queries import Store

app = typer.Typer(help="Risk policies: check, replay, compare a pilot, expert weights.", no_args_is_help=True)

From = Annotated[str, typer.Option("--from", help="First day, 2026-03-01, or a time; in the policy's zone")]
To = Annotated[str, typer.Option("--to", help="Last day, included; or a time until which")]
Json = Annotated[bool, typer.Option("--json", help="Everything as JSON on standard output")]


@app.command()
def check(
    policy: Annotated[str, typer.Argument(help="Policy file, or packaged name")] = "default",
    taxonomy: Annotated[str, typer.Option(help="Taxonomy whose labels it should name")] = "consumer",
) -> None:
    """Read a policy and say what is wrong with it, or what is in it."""
    from complaints.policy import LEVELS, Policy
    from complaints.taxonomy import Taxonomy

    found = Policy.load(policy)
    typer.echo(f"{found.name} {found.version}: {len(found.rules)} rules, scoring by {found.scoring.method}")
    for level in LEVELS:
        one = found.severities[level]
        typer.echo(
            f"  {level:<7} {one.name}: respond {one.respond}, resolve {one.resolve}, complex {one.complex or '-'}"
        )
    for fault in found.unfit(Taxonomy.load(taxonomy)):
        typer.echo(f"  never applies: {fault}")


@app.command()
def replay(
    policy: Annotated[str, typer.Option("--policy", help="The policy to try")],
    start: From,
    end: To,
    as_json: Json = False,
) -> None:
    """Run stored predictions again under another policy, and report what would change.

    jianwei policy replay --policy new.yaml --from 2026-03-01 --to 2026-03-31

    Reads the store of JIANWEI_HOME or JIANWEI_DATABASE_URL; nothing is written.
    """
    from complaints.policy import Policy
    from serving.replay import replay as run

    found = Policy.load(policy)
    store = _store()
    try:
        told = run(store, found, *_between(found, start, end)).told()
    finally:
        store.close()
    if as_json:
        _print_json(told)
        return
    typer.echo(f"{told['complaints']} complaints under {told['policy']}: {told['changed']} change level")
    for one in told["levels"]:
        typer.echo(f"  {one['before']:<7} -> {one['after']:<7} {one['complaints']:>8}")
    typer.echo("by department (before -> after): high, medium, low")
    for name, counts in told["workload"].items():
        shown = ", ".join(
            f"{counts.get(f'before_{level}', 0)} -> {counts.get(f'after_{level}', 0)}"
            for level in ("high", "medium", "low")
        )
        typer.echo(f"  {name:<20} {shown}")
    due = told["deadlines"]
    typer.echo(
        f"deadlines: {due['earlier']} earlier, {due['later']} later, {due['mean_change_hours']:+g} hours on average\n"
        f"bursts: {told['alerts']['before']} told, {told['alerts']['after']} under this policy"
    )
    names = {
        "overruled_now_right": "overruled before, right now",
        "overruled_still_wrong": "overruled before, still wrong",
        "confirmed_kept": "confirmed before, the same now",
        "confirmed_lost": "confirmed before, wrong now",
    }
    for code, name in names.items():
        typer.echo(f"  {name:<32} {told['verdicts'].get(code, 0):>6}")


@app.command()
def compare(start: From, end: To, as_json: Json = False) -> None:
    """A pilot beside the policy in force: complaints, levels, deadlines, and how often people overruled them."""
    from complaints.policy import Policy
    from serving.replay import compare as run
    from serving.settings import load_settings

    store = _store()
    try:
        arms = run(store, *_between(Policy.load(load_settings().policy), start, end))
    finally:
        store.close()
    if as_json:
        _print_json(arms)
        return
    for one in arms:
        low, high = one["overruled_interval"]
        levels = ", ".join(f"{level} {count}" for level, count in one["levels"].items())
        typer.echo(
            f"{one['arm']:<8} {one['policy_version']}: {one['complaints']} complaints, {one['business_lines']} lines; "
            f"{levels}; {one['mean_hours_to_resolve']} h to resolve; overruled {one['overruled']} of {one['verdicts']} "
            f"({low:.1%} to {high:.1%})"
        )


@app.command()
def experts(
    file: Annotated[Path, typer.Argument(help="CSV of round, expert, factor, score")],
    policy: Annotated[str, typer.Option(help="Policy whose fuzzy evaluation they would weigh")] = "default",
) -> None:
    """Weights from expert rounds (Delphi), how far they agree, and how much the weights matter."""
    from complaints.experts import flips, read_rounds, shifted
    from complaints.policy import Policy

    rounds, found = read_rounds(file), Policy.load(policy)
    for one in rounds:
        weights = ", ".join(f"{name}: {weight:.4f}" for name, weight in one.weights.items())
        most = max(one.variation.values())
        typer.echo(
            f"round {one.number}: {one.experts} experts, Kendall's W {one.agreement:.3f} (p {one.p:.4f}), "
            f"largest coefficient of variation {most:.2f}\n  weights: {{{weights}}}"
        )
    last = rounds[-1].weights
    typer.echo(f"levels that these weights change against the policy's: {flips(found, last):.2%}")
    for factor in last:
        less, more = (flips(found, shifted(found.scoring.fuzzy.weights, factor, by)) for by in (-0.2, 0.2))
        typer.echo(f"  {factor:<12} a fifth less: {less:.2%}, a fifth more: {more:.2%}")


def _store() -> Store:
    from serving.settings import load_settings
    from serving.store.queries import Store

    settings = load_settings()
    if settings.database_url is None and not (settings.home / "jianwei.db").exists():
        raise InvalidInput(f"there is no store under {settings.home}: set JIANWEI_HOME or JIANWEI_DATABASE_URL")
    return Store(settings.database)


def _between(policy: Policy, start: str, end: str) -> tuple[datetime, datetime]:
    """Options as moments in the policy's zone; a bare day of --to is included whole. Raises InvalidInput."""
    moments = []
    for option, value in (("--from", start), ("--to", end)):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInput(f"{option} {value!r} is no date: write it like 2026-03-01 or 2026-03-01T08:00") from None
        if option == "--to" and len(value) <= len("2026-03-01"):
            moment += timedelta(days=1)
        local = policy.calendar.local(moment)
        if local is None:
            raise InvalidInput(f"{option} {value!r} is outside the calendar")
        moments.append(local)
    if moments[0] >= moments[1]:
        raise InvalidInput("--from must be before --to")
    return moments[0], moments[1]


def _print_json(told: Any) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() + "\n")
