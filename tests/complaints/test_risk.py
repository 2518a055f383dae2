"""The policy file and what it makes of a complaint; a further bad fact never makes the matter look better."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.errors import PolicyError
from complaints.records import Complaint, Customer, HeadPrediction, Risk
from complaints.risk import DIMENSIONS, LEVELS, PACKAGED, Policy, assess
from complaints.taxonomy import Taxonomy

DEFAULT = (PACKAGED / "default.yaml").read_text(encoding="utf-8")
SEVERITIES = ("normal", "serious", "urgent")
CALM = {"low": 0.96, "medium": 0.03, "high": 0.01}


def said(label: str, confidence: float = 0.9) -> HeadPrediction:
    return HeadPrediction(
        decision="auto",
        label=label,
        name=label,
        confidence=confidence,
        threshold=0.5,
        prediction_set=(label,),
        top_k=(),
    )


def judge(policy: Policy, text: str = "", spread: dict[str, float] | None = None, **facts: Any) -> Risk:
    """Assess a complaint; facts named like heads are predictions, the others belong to the complaint."""
    heads = {name: said(facts.pop(name)) for name in ("category", "sentiment", "propagation") if name in facts}
    customer = Customer(vip=facts.pop("vip", False), followers=facts.pop("followers", None))
    return assess(policy, Complaint(text=text, customer=customer, **facts), text, heads, spread or CALM)


def codes(risk: Risk) -> set[str]:
    return {reason.code for reason in risk.reasons}


# ---- the policy file


def test_packaged_policy_fits_the_packaged_taxonomy(policy: Policy) -> None:
    taxonomy = Taxonomy.load("consumer")
    assert set(policy.propagation.anchors) == set(taxonomy.heads[policy.propagation.head].ids)
    for rule in policy.rules:
        for head, labels in rule.labels.items():
            assert set(labels) <= set(taxonomy.heads[head].names), rule.code
    assert len({rule.code for rule in policy.rules}) == len(policy.rules)


def test_a_policy_is_read_from_a_file(tmp_path: Path, policy: Policy) -> None:
    (tmp_path / "p.yaml").write_text(DEFAULT, encoding="utf-8")
    assert Policy.load(tmp_path / "p.yaml") == policy


@pytest.mark.parametrize(
    ("old", "new", "where", "why"),
    [
        ("timezone: Asia/Shanghai", "timezone: Mars/Olympus", "document", "'Mars/Olympus' is not known; write it like"),
        ("timezone: Asia/Shanghai", "timezone: ../../etc", "document", "is not known"),
        ("version: 1.0.0", "version: 1.0", "version", "valid string"),
        ("high: 8.0}", "high: 11}", "propagation.anchors.high", "less than or equal to 10"),
        (
            "high: {index: 7.0, dimension: high}",
            "high: {index: 7.0, dimension: worst}",
            "levels.high.dimension",
            "'high'",
        ),
        ("  high: {index: 7.0, dimension: high}\n", "", "document", "levels lacks high"),
        ("respond_minutes: 30", "respond_minutes: 0", "severities.low.respond_minutes", "greater than 0"),
        ("  low: [按标准话术 24 小时内首次回复, 3 个工作日内办结]\n", "", "document", "actions lacks low"),
        ('keywords: ["12315", ', "keywords: [12315, ", "rules.1.keywords.0", "valid string"),
        ("keywords: [起诉,", "keywords: ['',", "rules.2.keywords.0", "at least 1 character"),
        ("    vip: true\n", "", "rules.12", "rule 'vip' never applies: give it keywords"),
        ("    index: 1.5", "    index: -1.5", "rules.0.index", "greater than or equal to 0"),
        ("followers: 10000\n", "followers: 0\n", "rules.13.followers", "greater than 0"),
        ("    vip: true", "    vip: true\n    colour: red", "rules.12.colour", "Extra inputs"),
        ("negations: [", "negations: [no, ", "negations.0", "valid string"),
    ],
)
def test_a_broken_policy_is_refused_with_line_field_and_reason(
    tmp_path: Path, old: str, new: str, where: str, why: str
) -> None:
    assert DEFAULT.count(old) == 1, old
    path = tmp_path / "p.yaml"
    path.write_text(DEFAULT.replace(old, new), encoding="utf-8")
    with pytest.raises(PolicyError) as refused:
        Policy.load(path)
    line = str(refused.value).splitlines()[0]
    file, number, field, reason = line.split(":", 3)
    assert file == str(path)
    assert field.strip() == where
    assert why in reason
    if where not in {"document", "rules.12"}:
        written = path.read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert where.rsplit(".", 1)[-1] in written or "[" in written


def test_a_missing_policy_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"copy the packaged default\.yaml and change it"):
        Policy.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("zone", ["Asia", "A" * 300])
def test_a_time_zone_that_is_a_folder_is_refused(tmp_path: Path, zone: str) -> None:
    (tmp_path / "p.yaml").write_text(DEFAULT.replace("Asia/Shanghai", zone), encoding="utf-8")
    with pytest.raises(PolicyError, match="timezone"):
        Policy.load(tmp_path / "p.yaml")


def test_a_code_used_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(DEFAULT.replace("code: lawsuit", "code: group"), encoding="utf-8")
    with pytest.raises(PolicyError, match="group"):
        Policy.load(tmp_path / "p.yaml")


# ---- keywords


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("再不处理我就曝光你们", "public"),
        ("我要打12315", "regulator"),
        ("已经向消协反映", "regulator"),
        ("只能去法院起诉", "lawsuit"),
        ("必须全额退款", "refund_demand"),
        ("小区业主们都气坏了", "group"),
        ("孩子烫伤住院", "injury"),
        ("没有办法,只能曝光", "public"),
        ("不会曝光?我偏要曝光", "public"),
    ],
)
def test_keywords_apply(policy: Policy, text: str, code: str) -> None:
    assert code in codes(judge(policy, text))


@pytest.mark.parametrize(
    "text",
    [
        "快递很慢",
        "我不会曝光的",
        "没有起诉",
        "不想再投诉也不想去曝光",
        "并非要曝光",
        "拍出来曝光过度",
        "在直播间买的",
        "直播带货买的",
        "车机的多媒体没声音",
    ],
)
def test_negated_keywords_and_other_senses_do_not(policy: Policy, text: str) -> None:
    assert codes(judge(policy, text)) == set()


def test_the_reason_names_the_keyword(policy: Policy) -> None:
    assert [(r.code, r.detail) for r in judge(policy, "我要找记者").reasons] == [("public", "已公开或扬言公开：记者")]


@pytest.mark.parametrize("text", ["我要直播你们,直播间里全是假货", "手机拍照曝光过度,我要曝光"])
def test_another_sense_nearby_does_not_excuse_a_threat(policy: Policy, text: str) -> None:
    assert "public" in codes(judge(policy, text))


@pytest.mark.parametrize("text", ["订单号20240315001没发货", "多扣了3150元", "密码123456被盗"])
def test_a_number_inside_another_is_no_keyword(policy: Policy, text: str) -> None:
    assert "regulator" not in codes(judge(policy, text))


# ---- other conditions


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"category": "quality.safety"}, "safety"),
        ({"category": "privacy.leak"}, "privacy"),
        ({"category": "service.repeat"}, "repeat"),
        ({"sentiment": "angry"}, "angry"),
        ({"channel": "weibo"}, "social"),
        ({"vip": True}, "vip"),
        ({"followers": 10_000}, "followers_10k"),
        ({"followers": 100_000}, "followers_100k"),
    ],
)
def test_facts_apply(policy: Policy, facts: dict[str, Any], code: str) -> None:
    assert code in codes(judge(policy, "快递慢", **facts))


@pytest.mark.parametrize(
    "facts",
    [
        {"category": "quality.defect"},
        {"sentiment": "dissatisfied"},
        {"channel": "app"},
        {"vip": False},
        {"followers": 0},
        {"followers": 9_999},
    ],
)
def test_ordinary_facts_do_not(policy: Policy, facts: dict[str, Any]) -> None:
    assert codes(judge(policy, "快递慢", **facts)) == set()


def test_a_parent_in_a_rule_stands_for_its_leaves(policy: Policy) -> None:
    rule = policy.rules[0].model_copy(update={"keywords": (), "labels": {"category": ("privacy",)}})
    small = policy.model_copy(update={"rules": (rule,)})
    assert codes(judge(small, "x", category="privacy.leak")) == {"public"}
    assert codes(judge(small, "x", category="privacy")) == {"public"}
    assert codes(judge(small, "x", category="process.slow")) == set()


# ---- index and interval


@pytest.mark.parametrize(
    ("spread", "index"),
    [
        ({"low": 1.0, "medium": 0.0, "high": 0.0}, 2.0),
        ({"low": 0.0, "medium": 0.0, "high": 1.0}, 8.0),
        ({"low": 0.5, "medium": 0.0, "high": 0.5}, 5.0),
        ({"low": 0.2, "medium": 0.3, "high": 0.5}, 5.9),
    ],
)
def test_the_index_is_the_mean_of_the_anchors(policy: Policy, spread: dict[str, float], index: float) -> None:
    propagation = judge(policy, "", spread, propagation="low").propagation
    assert (propagation.index, propagation.label) == (index, "low")


def test_the_interval_is_wider_for_a_torn_model(policy: Policy) -> None:
    sure = judge(policy, "", {"low": 0.0, "medium": 1.0, "high": 0.0}).propagation
    torn = judge(policy, "", {"low": 0.5, "medium": 0.0, "high": 0.5}).propagation
    assert sure.interval == (4.5, 5.5)
    assert torn.interval == (1.2, 8.8)


def test_without_a_propagation_head_the_index_starts_from_one(policy: Policy) -> None:
    risk = assess(policy, Complaint(text="x"), "x", {}, None)
    assert (risk.propagation.label, risk.propagation.index) == (None, 1.0)
    assert risk.level == "low"


def test_rules_add_up_and_the_index_ends_at_ten(policy: Policy) -> None:
    calm = judge(policy, "快递慢", {"low": 1.0, "medium": 0.0, "high": 0.0})
    loud = judge(policy, "快递慢,找记者,打12315", {"low": 1.0, "medium": 0.0, "high": 0.0})
    assert loud.propagation.index == calm.propagation.index + 2.5
    worst = judge(policy, "找记者,打12315,起诉,住院,业主们", channel="weibo", followers=10**7, sentiment="angry")
    assert worst.propagation.index == 10.0
    assert worst.propagation.interval[1] == 10.0


# ---- level, severity, deadlines


@pytest.mark.parametrize(
    ("text", "facts", "spread", "level", "severity"),
    [
        # 一般: one person's ordinary trouble, told calmly
        ("快递晚到了一天,帮我查一下", {"category": "logistics.delay", "sentiment": "neutral"}, CALM, "low", "normal"),
        # 严重: money asked back from a firm accused of false advertising, angrily
        (
            "宣传能降噪,收到根本没有,要求退款赔偿损失",
            {"category": "contract.false_ad", "sentiment": "angry"},
            {"low": 0.5, "medium": 0.45, "high": 0.05},
            "medium",
            "serious",
        ),
        # 紧急: injury, and already on its way to the public
        (
            "充电宝爆炸把孩子烫伤住院,我已经找记者曝光并打了12315",
            {"category": "quality.safety", "sentiment": "angry", "channel": "weibo"},
            {"low": 0.05, "medium": 0.25, "high": 0.7},
            "high",
            "urgent",
        ),
    ],
    ids=["一般", "严重", "紧急"],
)
def test_the_three_grades(
    policy: Policy, text: str, facts: dict[str, Any], spread: dict[str, float], level: str, severity: str
) -> None:
    created = datetime(2026, 3, 15, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
    risk = judge(policy, text, spread, created_at=created, **facts)
    grade = policy.severities[risk.level]
    assert (risk.level, risk.severity) == (level, severity)
    assert risk.actions == policy.actions[risk.level]
    assert risk.respond_by == created + timedelta(minutes=grade.respond_minutes)
    assert risk.resolve_by == created + timedelta(hours=grade.resolve_hours)


def test_urgent_is_due_before_everything_else(policy: Policy) -> None:
    assert policy.severities["high"].respond_minutes == min(s.respond_minutes for s in policy.severities.values())
    assert policy.severities["high"].resolve_hours == min(s.resolve_hours for s in policy.severities.values())


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("grade", ["low", "medium", "high"])
def test_any_dimension_lifts_the_level(policy: Policy, dimension: str, grade: str) -> None:
    vip = next(rule for rule in policy.rules if rule.vip)
    rule = vip.model_copy(update=dict.fromkeys(DIMENSIONS, "low") | {dimension: grade})
    risk = judge(policy.model_copy(update={"rules": (rule,)}), "x", vip=True)
    assert risk.level == grade
    assert getattr(risk.matrix, dimension) == grade


@pytest.mark.parametrize(("index", "level"), [(3.9, "low"), (4.0, "medium"), (6.9, "medium"), (7.0, "high")])
def test_the_index_lifts_the_level(policy: Policy, index: float, level: str) -> None:
    rule = policy.rules[-1].model_copy(update={"vip": True, "index": index - 2, **dict.fromkeys(DIMENSIONS, "low")})
    risk = judge(policy.model_copy(update={"rules": (rule,)}), "x", {"low": 1.0, "medium": 0.0, "high": 0.0}, vip=True)
    assert (risk.propagation.index, risk.level) == (index, level)


def test_deadlines_count_in_the_policy_zone(policy: Policy) -> None:
    naive = judge(policy, "x", created_at=datetime(2026, 3, 15, 10, 0))  # noqa: DTZ001 - as callers send it
    utc = judge(policy, "x", created_at=datetime(2026, 3, 15, 2, 0, tzinfo=UTC))
    india = judge(policy, "x", created_at=datetime(2026, 3, 15, 7, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))))
    assert naive.respond_by is not None
    assert naive.respond_by.isoformat() == "2026-03-15T10:30:00+08:00"
    assert naive.model_dump_json() == utc.model_dump_json() == india.model_dump_json()


def test_no_deadline_without_a_time(policy: Policy) -> None:
    risk = judge(policy, "x")
    assert (risk.respond_by, risk.resolve_by) == (None, None)


def test_a_date_at_the_end_of_time_does_not_raise(policy: Policy) -> None:
    judge(policy, "x", created_at=datetime(9999, 12, 31, 23, 59, tzinfo=UTC))


# ---- more bad facts, never a better look

SENTENCES = [
    "快递慢", "屏幕坏了没人管", "在直播间买的", "曝光过度", "我不会曝光", "没有", "不想", "多媒体没声", "客服很好",
    "我要直播", "群里很多人", "只能起诉", "要求退款", "自媒体课",
]  # fmt: skip
THREATS = [
    "我要曝光你们", "已经发抖音了", "马上打12315", "准备起诉", "要求赔偿", "业主们联名", "孩子受伤住院", "找了电视台",
    "信访见",
]  # fmt: skip
AGGRAVATE = ["vip", "followers", "channel", "sentence", "sentence before", "angry", "category"]


@settings(max_examples=200, deadline=None)
@given(
    sentences=st.lists(st.sampled_from(SENTENCES + THREATS), max_size=5),
    threat=st.sampled_from(THREATS),
    weights=st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    category=st.sampled_from(
        ["quality.defect", "logistics.delay", "price.promotion", "service.repeat", "inquiry.praise"]
    ),
    facts=st.fixed_dictionaries(
        {
            "vip": st.booleans(),
            "followers": st.none() | st.integers(0, 10**6),
            "channel": st.none() | st.sampled_from(["app", "phone", "social"]),
            "sentiment": st.sampled_from(["positive", "neutral", "dissatisfied", "angry"]),
        }
    ),
    how=st.sampled_from(AGGRAVATE),
    more=st.integers(0, 10**7),
)
def test_an_aggravating_fact_never_lowers_anything(
    policy: Policy,
    sentences: list[str],
    threat: str,
    weights: list[float],
    category: str,
    facts: dict[str, Any],
    how: str,
    more: int,
) -> None:
    spread = {label: weight / sum(weights) for label, weight in zip(("low", "medium", "high"), weights, strict=True)}
    worse, worse_sentences, worse_category = dict(facts), list(sentences), category
    if how == "vip":
        worse["vip"] = True
    elif how == "followers":
        worse["followers"] = (facts["followers"] or 0) + more
    elif how == "channel":
        worse["channel"] = "weibo"
    elif how == "sentence":
        worse_sentences.append(threat)
    elif how == "sentence before":
        worse_sentences.insert(0, threat)
    elif how == "angry":
        worse["sentiment"] = "angry"
    elif category in ("quality.defect", "logistics.delay", "inquiry.praise"):
        worse_category = "quality.safety"
    before = judge(policy, "。".join(sentences), spread, category=category, **facts)
    after = judge(policy, "。".join(worse_sentences), spread, category=worse_category, **worse)
    assert after.propagation.index >= before.propagation.index
    assert after.propagation.interval[0] >= before.propagation.interval[0]
    assert after.propagation.interval[1] >= before.propagation.interval[1]
    assert LEVELS.index(after.level) >= LEVELS.index(before.level)
    assert SEVERITIES.index(after.severity) >= SEVERITIES.index(before.severity)
    for dimension in DIMENSIONS:
        assert LEVELS.index(getattr(after.matrix, dimension)) >= LEVELS.index(getattr(before.matrix, dimension))
    if how not in ("category",):
        assert codes(before) <= codes(after)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.none() | st.integers(0, 10**9), st.booleans(), st.none() | st.text(max_size=10))
def test_any_complaint_is_assessed(
    policy: Policy, text: str, followers: int | None, vip: bool, channel: str | None
) -> None:
    risk = judge(policy, text, followers=followers, vip=vip, channel=channel)
    low, high = risk.propagation.interval
    assert 1 <= low <= risk.propagation.index <= high <= 10


def test_the_default_policy_is_only_data() -> None:
    """It can be read, changed and written again by any YAML tool."""
    data = yaml.safe_load(DEFAULT)
    again = Policy.model_validate(yaml.safe_load(yaml.safe_dump(data, allow_unicode=True)))
    assert again == Policy.load()
