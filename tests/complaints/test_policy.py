"""The policy file: read, checked as a whole, and refused with line, field and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from complaints.errors import PolicyError
from complaints.experts import read_rounds
from complaints.policy import LEVELS, PACKAGED, Policy
from complaints.taxonomy import Taxonomy

DEFAULT = (PACKAGED / "default.yaml").read_text(encoding="utf-8")
MANY_PRIVATE = [rule.code for rule in Policy.load().rules].index("many_private")


def test_the_packaged_policy_fits_the_packaged_taxonomy(policy: Policy) -> None:
    assert policy.unfit(Taxonomy.load("consumer")) == []


def test_terms_are_those_of_the_procedure(policy: Policy) -> None:
    terms = {level: (one.severity, one.respond, one.resolve, one.complex) for level, one in policy.severities.items()}
    assert terms == {
        "low": ("normal", "30m", "24h", "5wd"),
        "medium": ("serious", "1h", "48h", "5wd"),
        "high": ("urgent", "10m", "2h", None),
    }


def test_every_cell_has_its_criterion(policy: Policy) -> None:
    assert all(policy.cell(dimension, level).criterion for dimension in policy.matrix for level in LEVELS)


def test_every_rule_does_something(policy: Policy) -> None:
    """It moves the index, meets a cell, an upgrade or the checklist, or is part of a rule that does."""
    used = {code for _, codes in policy._references() for code in codes}
    used |= {code for rule in policy.rules for code in (*rule.all, *rule.any)}
    assert [rule.code for rule in policy.rules if rule.code not in used and not rule.index] == []


def test_the_weights_are_the_experts(policy: Policy) -> None:
    last = read_rounds(Path(str(PACKAGED / "experts.csv")))[-1]
    assert policy.scoring.fuzzy.weights == pytest.approx(last.weights, abs=1e-4)


def test_a_policy_is_read_from_a_file(tmp_path: Path, policy: Policy) -> None:
    (tmp_path / "p.yaml").write_text(DEFAULT, encoding="utf-8")
    read = Policy.load(tmp_path / "p.yaml")
    assert (read, read.digest, read.text) == (policy, policy.digest, DEFAULT)
    (tmp_path / "p.yaml").write_text(DEFAULT + "# 注\n", encoding="utf-8")
    assert Policy.load(tmp_path / "p.yaml").digest != policy.digest


@pytest.mark.parametrize(
    ("old", "new", "where", "why"),
    [
        ("timezone: Asia/Shanghai", "timezone: Mars/Olympus", "calendar", "'Mars/Olympus' is not known; write it like"),
        ("timezone: Asia/Shanghai", "timezone: ../../etc", "calendar", "is not known"),
        ("timezone: Asia/Shanghai", "timezone: Asia", "calendar", "is not known"),
        ('closes: "18:00"', "closes: 18:00", "calendar.closes", "write a time in quotes"),
        ("holidays: []", "holidays: [国庆]", "calendar.holidays.0", "write a date: 2026-10-01"),
        ("version: 2.1.0", "version: 2.0", "version", "(put it in quotes)"),
        ("version: 2.1.0\n", "", "version", "Field required (add it)"),
        ("high: 8.0}", "high: 11}", "propagation.anchors.high", "less than or equal to 10"),
        ("sum: {medium: 7, high: 14}", "sum: {medium: 14, high: 7}", "scoring.sum", "medium 14 must be below high 7"),
        ("sum: {medium: 7, high: 14}", "sum: {medium: 7, high: .nan}", "scoring.sum.high", "finite number"),
        ("  method: sum\n", "  method: average\n", "scoring.method", "'sum' or 'fuzzy'"),
        ("respond: 30m", "respond: 30 minutes", "severities.low.respond", "30m minutes, 24h hours"),
        ("respond: 30m", "respond: 0m", "severities.low.respond", "a number and a unit"),
        ("severity: urgent", "severity: serious", "severities", "two levels have the same severity"),
        ('["12315", "12345"', '[12315, "12345"', "rules.3.keywords.0", "(put it in quotes)"),
        ("keywords: [起诉,", "keywords: ['',", "rules.4.keywords.0", "at least 1 character"),
        ("    vip: true\n", "", "rules.7", "rule 'vip' never applies: give it keywords"),
        ("    vip: true", "    vip: true\n    colour: red", "rules.7.colour", "remove it or correct its name"),
        ("    vip: true", "    vip: maybe", "rules.7.vip", "write true or false"),
        ("index: 1.5\n  - code: regulator", "index: -1.5\n  - code: regulator", "rules.2.index", "greater than or"),
        ("followers: 10000\n", "followers: 0\n", "rules.9.followers", "greater than 0"),
        ("code: lawsuit", "code: media", "rules.4.code", "'media' is used twice"),
        ("code: lawsuit", "code: Law Suit", "rules.4.code", "lower-case letters"),
        ("all: [privacy, people_100]", "all: [secret, people_100]", f"rules.{MANY_PRIVATE}.all",
         "'secret' is not the code of an earlier rule"),
        ("many_and_large: 8, injury: 8, injury_", "many_and_large: 8, wound: 8, injury_", "matrix.business.high.when",
         "'wound' is not the code of a rule"),
        ("when: {open_and_moving: 9,", "when: {open_and_moving: 5,", "matrix.reputation.high.when.open_and_moving",
         "5 points: a high cell has 7 to 10"),
        ("peaks: [2, 5, 8]", "peaks: [5, 2, 8]", "scoring.fuzzy.peaks", "must rise"),
        ("weights: {business: 0.2074, ", "weights: {", "scoring.fuzzy.weights", "must weigh business"),
        ("when: [vip], step: true", "when: [vip]", "upgrades.5", "give it either step: true or least"),
        ("when: [vip], step: true", "when: [vips], step: true", "upgrades.5.when", "'vips' is not the code of"),
        ("when: [privacy, harassment, many_private]", "when: [secrets]", "checklist.2.when", "not the code of a rule"),
        ("negations: [", "negations: [no, ", "language.negations.0", "valid string"),
        ("  count: 50", "  count: 1", "burst.count", "greater than 1"),
    ],
)  # fmt: skip
def test_a_broken_policy_is_refused_with_line_field_and_remedy(
    tmp_path: Path, old: str, new: str, where: str, why: str
) -> None:
    assert DEFAULT.count(old) == 1, old
    path = tmp_path / "p.yaml"
    path.write_text(DEFAULT.replace(old, new), encoding="utf-8")
    with pytest.raises(PolicyError) as refused:
        Policy.load(path)
    file, number, field, reason = str(refused.value).splitlines()[0].split(":", 3)
    assert file == str(path)
    assert (field.strip(), why in reason) == (where, True), reason
    if "required" in why:
        return
    written = path.read_text(encoding="utf-8").splitlines()
    place = where.split(".")
    name = next(part for part in reversed(place) if not part.isdigit())
    near = "".join(written[int(number) - 1 : int(number) + 1])
    assert name in near or place[-1].isdigit() or new.strip().splitlines()[0] in near, (number, near)


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(DEFAULT.replace("respond: 30m", "respond: 1x").replace("name: default\n", ""), encoding="utf-8")
    with pytest.raises(PolicyError) as refused:
        Policy.load(path)
    assert len(str(refused.value).splitlines()) == 2


def test_a_missing_policy_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"copy the packaged default\.yaml and change it"):
        Policy.load(tmp_path / "none.yaml")


def test_what_a_taxonomy_lacks_is_told() -> None:
    other = Taxonomy.load("consumer")
    heads = {name: head for name, head in other.heads.items() if name != "sentiment"}
    lacking = other.model_copy(update={"heads": heads, "responsibility": None})
    assert Policy.load().unfit(lacking) == ["rules.angry: taxonomy consumer has no head 'sentiment'"]


def test_the_default_policy_is_only_data() -> None:
    """It can be read, changed and written again by any YAML tool."""
    again = Policy.model_validate(yaml.safe_load(yaml.safe_dump(yaml.safe_load(DEFAULT), allow_unicode=True)))
    assert again.model_dump() == Policy.load().model_dump()
