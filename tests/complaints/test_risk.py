"""What the policy makes of a complaint; a further bad fact never makes the matter look better."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complaints.policy import BANDS
from complaints.records import Complaint, Context, Customer, HeadPrediction, Observation, Risk
from complaints.risk import DIMENSIONS, LEVELS, Policy, assess
from complaints.text import clean

SEVERITIES = ("normal", "serious", "urgent")
CALM = {"low": 0.96, "medium": 0.03, "high": 0.01}
LOW = {"low": 1.0, "medium": 0.0, "high": 0.0}
CREATED = datetime(2026, 3, 12, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai"))  # a Thursday
# What is not a finding of a rule.
WORKING = ("score", "completeness", "matrix_", "up_")


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
    """Assess a complaint; facts are heads' labels, of the customer, of the context, or of the complaint."""
    heads = {
        name: said(facts.pop(name)) for name in ("category", "department", "sentiment", "propagation") if name in facts
    }
    customer = Customer(**{name: facts.pop(name) for name in ("vip", "verified", "followers") if name in facts})
    context = Context(**{name: facts.pop(name) for name in ("alike_before", "burst", "observations") if name in facts})
    return assess(policy, Complaint(text=text, customer=customer, **facts), text, heads, spread or CALM, context)


def codes(risk: Risk) -> set[str]:
    return {reason.code for reason in risk.reasons if not reason.code.startswith(WORKING)}


def seen(hours: float, **counts: int) -> tuple[Observation, ...]:
    return (Observation(at=CREATED + timedelta(hours=hours), **counts),)


# ---- the three graded examples of the procedure, with the predictions that a reader would give them


@pytest.mark.parametrize("method", ["sum", "fuzzy"])
@pytest.mark.parametrize(
    ("text", "facts", "spread", "level"),
    [
        (
            "某网红博主公开指控产品存在严重安全隐患，已发布视频并开始直播，预计观看超过10万",
            {"category": "quality.safety", "sentiment": "dissatisfied", "propagation": "high"},
            {"low": 0.05, "medium": 0.25, "high": 0.7},
            "high",
        ),
        (
            "某区域约500名用户集中投诉APP登录异常，已确认，修复需3天",
            {"category": "system.login", "sentiment": "dissatisfied", "propagation": "medium"},
            {"low": 0.2, "medium": 0.7, "high": 0.1},
            "medium",
        ),
        (
            "个别用户对客服态度不满，要求小额补偿",
            {"category": "service.rude", "sentiment": "dissatisfied", "propagation": "low"},
            {"low": 0.9, "medium": 0.1, "high": 0.0},
            "low",
        ),
    ],
    ids=["高", "中", "低"],
)
def test_the_graded_examples(
    policy: Policy, method: str, text: str, facts: dict[str, Any], spread: dict[str, float], level: str
) -> None:
    policy = policy.model_copy(update={"scoring": policy.scoring.model_copy(update={"method": method})})
    risk = judge(policy, text, spread, **facts)
    assert risk.level == level
    # Under a model that knows nothing the facts alone carry the graver two.
    assert level == "low" or judge(policy, text, {"low": 1 / 3, "medium": 1 / 3, "high": 1 / 3}).level == level


# ---- keywords


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("再不处理我就曝光你们", "public"),
        ("我要打12315", "regulator"),
        ("已经向消协反映", "regulator"),
        ("只能去法院起诉", "lawsuit"),
        ("小区业主们都气坏了", "group"),
        ("孩子烫伤住院", "injury"),
        ("没有办法,只能曝光", "public"),
        ("不会曝光?我偏要曝光", "public"),
        ("别以为我不会曝光", "public"),
        ("不得不曝光你们", "public"),
        ("不找媒体不行了", "public"),
        ("你们不找我我打12315", "regulator"),
        ("视频我已经发到抖音了", "published"),
        ("照片都上热搜了", "published"),
        ("记者采访过我们了", "media"),
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
        "我没有想过要把你们曝光",
        "没想过找媒体,私下处理好就行",
        "我也不会打12315",
        "拍出来曝光过度",
        "在直播间买的",
        "直播带货买的",
        "车机的多媒体没声音",
        "曝光就不必了",
        "没有人员受伤",
        "幸好没受伤",
        "无人受伤",
        "住院报销要什么材料",
        "要死亡证明才给办",
        "联名款的卡套掉色",
        "多重曝光功能好玩",
        "优惠券过期了",
    ],
)
def test_negated_keywords_and_other_senses_do_not(policy: Policy, text: str) -> None:
    assert codes(judge(policy, text)) == set()


@pytest.mark.parametrize("text", ["再不退款我就发微博", "我要发抖音", "准备发到网上", "不然直播"])
def test_what_is_only_intended_is_not_yet_public(policy: Policy, text: str) -> None:
    assert "published" not in codes(judge(policy, text))
    assert "public" in codes(judge(policy, text))


@pytest.mark.parametrize("text", ["我要直播你们,直播间里全是假货", "手机拍照曝光过度,我要曝光"])
def test_another_sense_nearby_does_not_excuse_a_threat(policy: Policy, text: str) -> None:
    assert "public" in codes(judge(policy, text))


@pytest.mark.parametrize("text", ["订单号20240315001没发货", "多扣了3150元", "密码123456被盗"])
def test_a_number_inside_another_is_no_keyword(policy: Policy, text: str) -> None:
    assert "regulator" not in codes(judge(policy, text))


def test_a_reason_names_its_words_and_where_they_stand(policy: Policy) -> None:
    title, text = "再次投訴", "  <b>充電寶</b> 起火，我要找記者！涉及一百多戶，每戶損失３０００元"
    cleaned = clean(f"{title}\n{text}").text
    risk = assess(policy, Complaint(title=title, text=text), cleaned, {}, CALM)
    found = {r.code: text[r.start : r.end] for r in risk.reasons if r.field == "text"}
    assert found["public"] == "記者"
    assert found["safety"] == "起火"
    assert found["people_100"] == "一百多戶"
    assert found["amount_100k"] == "３０００元"
    assert all(r.detail for r in risk.reasons)
    titled = assess(policy, Complaint(title="找记者", text="坏了"), "找记者 坏了", {}, CALM)
    assert [(r.field, r.start, r.end) for r in titled.reasons if r.code == "public"] == [("title", 1, 3)]


# ---- other conditions


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"category": "quality.safety"}, "safety"),
        ({"category": "privacy.leak"}, "privacy"),
        ({"category": "service.repeat"}, "handling"),
        ({"sentiment": "angry"}, "angry"),
        ({"channel": "weibo"}, "social"),
        ({"public": True}, "published"),
        ({"vip": True}, "vip"),
        ({"verified": True}, "verified"),
        ({"followers": 10_000}, "followers_10k"),
        ({"followers": 100_000}, "followers_100k"),
        ({"alike_before": 2}, "third"),
        ({"burst": 10}, "burst"),
        ({"burst": 50}, "burst_50"),
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
        {"followers": 9_999},
        {"alike_before": 1},
        {"burst": 9},
    ],
)
def test_ordinary_facts_do_not(policy: Policy, facts: dict[str, Any]) -> None:
    assert codes(judge(policy, "快递慢", **facts)) == set()


@pytest.mark.parametrize(
    ("text", "code", "applies"),
    [
        ("一百多户都这样", "people_100", True),
        ("正好100人", "people_100", False),
        ("赔我10万元", "amount_100k", False),
        ("赔我十万零一百元", "amount_100k", True),
        ("被骗一万元", "amount_10k", True),
        ("一百多户,每户交了3000元", "many_and_large", True),
        ("一百多户,交了3000元", "many_and_large", False),
        ("视频有十几万人看了", "reach_100k", True),
        ("我有百万粉丝", "followers_100k", True),
    ],
)
def test_amounts_and_people_apply(policy: Policy, text: str, code: str, applies: bool) -> None:
    assert (code in codes(judge(policy, text))) == applies


def test_a_hospital_is_an_injury_only_with_its_cause(policy: Policy) -> None:
    assert judge(policy, "我爸在住院,快递员把件扔门口").level == "low"
    caused = judge(policy, "吃了你们的熟食全家拉肚子,我爸都住院了")
    assert (caused.level, "injury_suspected" in codes(caused)) == ("high", True)


def test_the_model_alone_can_raise_the_reputation(policy: Policy) -> None:
    told = {"low": 0.05, "medium": 0.15, "high": 0.8}
    risk = judge(policy, "我把经过发出来了,很多人在下面说话", told, propagation="high")
    assert (risk.matrix.reputation, risk.level) == ("high", "high")


def test_a_label_that_the_model_doubts_meets_no_rule(policy: Policy) -> None:
    doubted = assess(policy, Complaint(text="x"), "x", {"category": said("quality.safety", 0.2)}, CALM)
    assert codes(doubted) == set()


def test_a_parent_in_a_rule_stands_for_its_leaves(policy: Policy) -> None:
    rule = policy.rules[0].model_copy(update={"keywords": (), "public": False, "labels": {"category": ("privacy",)}})
    small = policy.model_copy(update={"rules": (rule,)})
    assert codes(judge(small, "x", category="privacy.leak")) == {"published"}
    assert codes(judge(small, "x", category="privacy")) == {"published"}
    assert codes(judge(small, "x", category="process.slow")) == set()


# ---- matrix, score, upgrades


def test_the_matrix_names_its_criteria(policy: Policy) -> None:
    risk = judge(policy, "一百多户,每户交了3000元,全是假货")
    assert risk.matrix.model_dump() == {
        "business": "high",
        "financial": "high",
        "reputation": "medium",
        "compliance": "medium",
    }
    for dimension in DIMENSIONS:
        assert risk.criteria[dimension] == policy.cell(dimension, getattr(risk.matrix, dimension)).criterion


def test_a_rule_in_a_low_cell_lowers_nothing(policy: Policy) -> None:
    row = policy.matrix["business"]
    low = row.low.model_copy(update={"when": {"vip": 1.0}})
    matrix = policy.matrix | {"business": row.model_copy(update={"low": low})}
    risk = judge(policy.model_copy(update={"matrix": matrix}), "x", vip=True)
    assert risk.score is not None
    assert risk.score.parts["business"] == 2.0


def test_nine_and_seven_are_sixteen(policy: Policy) -> None:
    risk = judge(policy, "起火了,视频我已经发到抖音了", {"low": 0.0, "medium": 0.5, "high": 0.5})
    assert risk.score is not None
    assert risk.score.parts["reputation"] == 9
    assert risk.score.value == round(9 + risk.propagation.index, 2)
    assert risk.level == "high"
    [working] = [r.detail for r in risk.reasons if r.code == "score"]
    assert working.startswith("影响 9 + 传播 ")
    assert working.endswith("，高")


@pytest.mark.parametrize(("index", "level"), [(1.0, "low"), (4.9, "low"), (5.0, "medium"), (10.0, "medium")])
def test_bounds_of_the_sum(policy: Policy, index: float, level: str) -> None:
    anchors = policy.propagation.model_copy(update={"anchors": dict.fromkeys(LOW, index)})
    risk = judge(policy.model_copy(update={"propagation": anchors, "rules": (policy.rules[7],)}), "x")
    assert (risk.propagation.index, risk.level) == (index, level)


@pytest.mark.parametrize(
    ("facts", "level", "before"),
    [
        ({}, "low", None),
        ({"vip": True}, "medium", "low"),
        ({"alike_before": 2}, "medium", "low"),
        ({"category": "service.repeat"}, "medium", "low"),
        ({"vip": True, "alike_before": 2, "category": "service.repeat"}, "medium", "low"),  # one step, however many
        ({"text": "孩子被烫伤"}, "high", "medium"),
        ({"text": "孩子喝了一口就哭"}, "medium", "low"),
        ({"text": "给孩子买的书包拉链坏了"}, "low", None),
        ({"text": "有人受伤送医"}, "high", "medium"),
    ],
)
def test_upgrades(policy: Policy, facts: dict[str, Any], level: str, before: str | None) -> None:
    risk = judge(
        policy, facts.get("text", "快递慢"), **{name: value for name, value in facts.items() if name != "text"}
    )
    assert (risk.level, risk.upgraded_from) == (level, before)
    assert any(r.code.startswith("up_") for r in risk.reasons) == (before is not None)


def test_the_checklist_answers_every_question(policy: Policy) -> None:
    found = {one.code: one.suspected for one in judge(policy, "霸王条款,还泄露了我的信息").checklist}
    assert found == {"agreement": True, "standard": False, "privacy": True}


# ---- index and interval


@pytest.mark.parametrize(
    ("spread", "index"),
    [
        (LOW, 2.0),
        ({"low": 0.0, "medium": 0.0, "high": 1.0}, 8.0),
        ({"low": 0.5, "medium": 0.0, "high": 0.5}, 5.0),
        ({"low": 0.2, "medium": 0.3, "high": 0.5}, 5.9),
    ],
)
def test_the_index_is_the_mean_of_the_anchors(policy: Policy, spread: dict[str, float], index: float) -> None:
    propagation = judge(policy, "", spread, propagation="low").propagation
    assert (propagation.index, propagation.label, propagation.observed) == (index, "low", False)


def test_the_interval_is_wider_for_a_torn_model(policy: Policy) -> None:
    sure = judge(policy, "", {"low": 0.0, "medium": 1.0, "high": 0.0}).propagation
    torn = judge(policy, "", {"low": 0.5, "medium": 0.0, "high": 0.5}).propagation
    assert sure.interval == (4.5, 5.5)
    assert torn.interval == (1.2, 8.8)


def test_without_a_propagation_head_the_index_starts_from_one(policy: Policy) -> None:
    risk = assess(policy, Complaint(text="x"), "x", {}, None)
    assert (risk.propagation.label, risk.propagation.index) == (None, 1.0)
    assert (risk.level, len(risk.notes)) == ("low", 1)


def test_rules_add_up_and_the_index_stays_below_ten(policy: Policy) -> None:
    calm = judge(policy, "快递慢", LOW)
    loud = judge(policy, "快递慢,找记者,打12315", LOW)
    assert calm.propagation.index == 2.0
    assert loud.propagation.index == round(10 - 8 * 2.718281828 ** (-2.5 / 8), 1)
    worst = judge(policy, "找记者,打12315,起诉,住院,业主们", channel="weibo", followers=10**7, sentiment="angry")
    assert 7 < worst.propagation.index <= worst.propagation.interval[1] <= 10


def test_what_is_observed_moves_the_index(policy: Policy) -> None:
    def after(*observations: Observation) -> float:
        risk = judge(policy, "快递慢", created_at=CREATED, observations=observations)
        assert risk.propagation.observed == bool(observations)
        return risk.propagation.index

    prior = after()
    assert after(*seen(48, reads=3_000_000, reposts=4000, comments=900)) > prior + 3
    assert after(*seen(1, reads=10)) == pytest.approx(prior, abs=0.5)  # it has just come out
    fierce = {"low": 0.0, "medium": 0.1, "high": 0.9}
    told = judge(policy, "找记者", fierce, created_at=CREATED).propagation
    silent = judge(policy, "找记者", fierce, created_at=CREATED, observations=seen(24 * 14, reads=3)).propagation
    assert silent.index < told.index - 0.5  # two weeks, three readers
    assert silent.interval[0] <= silent.index <= silent.interval[1]
    both = (*seen(1, reads=10**6), *seen(48, reads=10))
    assert after(*both) == after(*seen(48, reads=10**6))  # counts are totals: the largest holds


# ---- severity, deadlines, actions


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
    risk = judge(policy, text, spread, created_at=CREATED, **facts)
    assert (risk.level, risk.severity) == (level, severity)
    minutes, hours = {"low": (30, 24), "medium": (60, 48), "high": (10, 2)}[level]
    assert risk.respond_by == CREATED + timedelta(minutes=minutes)
    assert risk.resolve_by == CREATED + timedelta(hours=hours)


def test_a_complex_case_has_five_working_days_unless_it_is_urgent(policy: Policy) -> None:
    calm = judge(policy, "快递慢", created_at=CREATED, complex=True)
    assert calm.resolve_by == datetime(2026, 3, 19, 18, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
    urgent = judge(policy, "有人受伤送医", created_at=CREATED, complex=True)
    assert urgent.resolve_by == CREATED + timedelta(hours=2)


def test_actions_have_owners_and_deadlines(policy: Policy) -> None:
    risk = judge(policy, "有人受伤送医", created_at=CREATED, department="quality")
    assert [(task.what, task.owner, task.due) for task in risk.tasks] == [
        ("成立专项小组", "值班负责人", CREATED + timedelta(hours=1)),
        ("给出临时补救", "quality", CREATED + timedelta(hours=2)),
        ("准备对外口径与声明", "公关部", CREATED + timedelta(hours=2)),
        ("出具合规与法律意见", "法务合规部", CREATED + timedelta(hours=4)),
    ]
    assert risk.actions[0] == "1 小时内成立专项小组"
    calm = judge(policy, "快递慢", created_at=CREATED)
    assert calm.actions == ("24 小时内按标准话术首次回复", "3 个工作日内办结并回访")
    assert calm.tasks[1].due == datetime(2026, 3, 17, 18, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert calm.tasks[1].owner == "责任部门"


def test_a_year_whose_holidays_are_not_known_is_noted(policy: Policy) -> None:
    assert judge(policy, "快递慢", created_at=CREATED).notes == ()
    [note] = judge(policy, "快递慢", created_at=CREATED.replace(year=2031)).notes
    assert "节假日" in note


def test_deadlines_count_in_the_policy_zone(policy: Policy) -> None:
    naive = judge(policy, "x", created_at=datetime(2026, 3, 15, 10, 0))  # noqa: DTZ001 - as callers send it
    utc = judge(policy, "x", created_at=datetime(2026, 3, 15, 2, 0, tzinfo=UTC))
    india = judge(policy, "x", created_at=datetime(2026, 3, 15, 7, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))))
    assert naive.respond_by is not None
    assert naive.respond_by.isoformat() == "2026-03-15T10:30:00+08:00"
    assert naive.model_dump_json() == utc.model_dump_json() == india.model_dump_json()


def test_no_deadline_without_a_time(policy: Policy) -> None:
    risk = judge(policy, "x")
    assert (risk.respond_by, risk.resolve_by, {task.due for task in risk.tasks}) == (None, None, {None})


def test_a_date_at_the_end_of_time_does_not_raise(policy: Policy) -> None:
    judge(policy, "x", created_at=datetime(9999, 12, 31, 23, 59, tzinfo=UTC))


# ---- more bad facts, never a better look

SENTENCES = [
    "快递慢", "屏幕坏了没人管", "在直播间买的", "曝光过度", "我不会曝光", "没有", "不想", "多媒体没声", "客服很好",
    "我要直播", "群里很多人", "只能起诉", "要求退款", "自媒体课", "花了300块", "我们十几户", "给孩子买的",
]  # fmt: skip
THREATS = [
    "我要曝光你们", "已经发抖音了", "马上打12315", "准备起诉", "要求赔偿", "业主们联名", "孩子受伤住院", "找了电视台",
    "信访见", "一百多户都被骗了", "每人损失两万元", "全款58.6万没了", "充电宝起火了", "已经十万人看了", "吃出蟑螂",
]  # fmt: skip
CATEGORIES = ["quality.defect", "logistics.delay", "price.promotion", "service.repeat", "inquiry.praise"]
Change = Callable[[dict[str, Any], int], None]


def _observed(facts: dict[str, Any], more: int) -> None:
    last = facts["observations"][-1] if facts["observations"] else seen(30, reads=0)[0]
    counts = {name: (getattr(last, name) or 0) + more for name in ("reads", "reposts", "comments")}
    # The last observation saw more; a first one that saw much is bad news too, one that saw little is not.
    if facts["observations"] or more >= 10_000:
        facts["observations"] = (*facts["observations"][:-1], last.model_copy(update=counts))


AGGRAVATE: dict[str, Change] = {
    "vip": lambda facts, _: facts.update(vip=True),
    "verified": lambda facts, _: facts.update(verified=True),
    "public": lambda facts, _: facts.update(public=True),
    "followers": lambda facts, more: facts.update(followers=(facts["followers"] or 0) + more),
    "channel": lambda facts, _: facts.update(channel="weibo"),
    "angry": lambda facts, _: facts.update(sentiment="angry"),
    "history": lambda facts, more: facts.update(alike_before=facts["alike_before"] + more % 5),
    "burst": lambda facts, more: facts.update(burst=facts["burst"] + more % 100),
    "observed": _observed,
}


@pytest.mark.parametrize("method", ["sum", "fuzzy"])
@settings(max_examples=250, deadline=None)
@given(
    sentences=st.lists(st.sampled_from(SENTENCES + THREATS), max_size=5),
    threat=st.sampled_from(THREATS),
    weights=st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    category=st.sampled_from(CATEGORIES),
    facts=st.fixed_dictionaries(
        {
            "vip": st.booleans(),
            "followers": st.none() | st.integers(0, 10**6),
            "channel": st.none() | st.sampled_from(["app", "phone", "social"]),
            "sentiment": st.sampled_from(["positive", "neutral", "dissatisfied", "angry"]),
            "alike_before": st.integers(0, 3),
            "burst": st.integers(0, 60),
            "observations": st.just(()) | st.builds(seen, st.floats(0, 400), reads=st.integers(0, 10**7)),
        }
    ),
    how=st.sampled_from([*AGGRAVATE, "sentence", "sentence before", "category"]),
    more=st.integers(0, 10**7),
)
def test_an_aggravating_fact_never_lowers_anything(  # noqa: PLR0917 - hypothesis names them
    method: str,
    policy: Policy,
    sentences: list[str],
    threat: str,
    weights: list[float],
    category: str,
    facts: dict[str, Any],
    how: str,
    more: int,
) -> None:
    policy = policy.model_copy(update={"scoring": policy.scoring.model_copy(update={"method": method})})
    spread = {label: weight / sum(weights) for label, weight in zip(("low", "medium", "high"), weights, strict=True)}
    worse, worse_sentences, worse_category = dict(facts), list(sentences), category
    if how in AGGRAVATE:
        AGGRAVATE[how](worse, more)
    elif how == "sentence":
        worse_sentences.append(threat)
    elif how == "sentence before":
        worse_sentences.insert(0, threat)
    elif category in ("quality.defect", "logistics.delay", "inquiry.praise"):
        worse_category = "quality.safety"
    before = judge(policy, "。".join(sentences), spread, category=category, created_at=CREATED, **facts)
    after = judge(policy, "。".join(worse_sentences), spread, category=worse_category, created_at=CREATED, **worse)
    assert after.propagation.index >= before.propagation.index
    if not facts["observations"] and not worse["observations"]:
        assert after.propagation.interval[0] >= before.propagation.interval[0]
        assert after.propagation.interval[1] >= before.propagation.interval[1]
    assert LEVELS.index(after.level) >= LEVELS.index(before.level)
    assert SEVERITIES.index(after.severity) >= SEVERITIES.index(before.severity)
    assert cast(datetime, after.respond_by) - CREATED <= timedelta(hours=1)
    for dimension in DIMENSIONS:
        assert LEVELS.index(getattr(after.matrix, dimension)) >= LEVELS.index(getattr(before.matrix, dimension))
    if how != "category":
        assert codes(before) <= codes(after)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.none() | st.integers(0, 10**9), st.booleans(), st.none() | st.text(max_size=10))
def test_any_complaint_is_assessed(
    policy: Policy, text: str, followers: int | None, vip: bool, channel: str | None
) -> None:
    risk = assess(
        policy,
        Complaint(text=text, channel=channel, customer=Customer(vip=vip, followers=followers)),
        clean(text).text,
        {},
        CALM,
    )
    low, high = risk.propagation.interval
    assert 1 <= low <= risk.propagation.index <= high <= 10
    for reason in risk.reasons:
        assert reason.field is None or 0 <= cast(int, reason.start) < cast(int, reason.end) <= len(text)


def test_bands_of_points_do_not_overlap() -> None:
    assert BANDS["low"][1] < BANDS["medium"][0] <= BANDS["medium"][1] < BANDS["high"][0]
