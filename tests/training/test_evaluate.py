"""Numbers that an evaluation reports, against hand-made cases and scikit-learn."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from complaints.bundle import Bundle
from complaints.errors import InvalidInput
from complaints.predictor import Predictor
from complaints.records import Complaint, Decision, HeadPrediction, Scored
from complaints.risk import Policy
from complaints.taxonomy import Head, Label, Taxonomy
from training.baseline import baseline
from training.compare import same_labels
from training.evaluate import (
    BINS,
    FEWEST_IN_SLICE,
    HeadResult,
    answers,
    area_under_risk_coverage,
    calibration_error_of_luck,
    evaluate,
    expected_calibration_error,
    of_leaves,
    reliability,
    report,
    risk_coverage,
    slices,
)
from training.plots import confusion_figure, reliability_figure
from training.sources import Example

Make = Callable[..., Example]


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Iterator[Predictor]:
    made = Predictor(bundle, Policy.load())
    yield made
    made.close()


def answer(label: str, decision: Decision = "auto", confidence: float = 0.9, leaf: str | None = None) -> HeadPrediction:
    return HeadPrediction(
        decision=decision,
        label=label,
        name=label,
        confidence=confidence,
        threshold=None,
        prediction_set=(leaf or label,),
        top_k=(Scored(label=leaf or label, confidence=confidence),),
    )


def result(truth: list[str], decided: list[HeadPrediction]) -> HeadResult:
    guess = [one.top_k[0].label for one in decided]
    confidence = np.array([one.top_k[0].confidence for one in decided])
    return HeadResult(truth, guess, confidence, decided, tuple(range(len(truth))))


# --- calibration error


def test_calibration_error_of_honest_confidence_is_nothing() -> None:
    assert expected_calibration_error(np.ones(30), np.ones(30, dtype=bool)) == 0
    half = np.tile([True, False], 150)
    assert expected_calibration_error(np.full(300, 0.5), half) == pytest.approx(0, abs=0.03)


def test_calibration_error_of_one_who_is_always_wrong_and_sure_is_one() -> None:
    assert expected_calibration_error(np.ones(40), np.zeros(40, dtype=bool)) == 1


def test_luck_alone_shows_an_error_that_more_rows_take_away() -> None:
    draw = np.random.default_rng(4)
    confidence = draw.uniform(0.4, 1.0, 900)
    found = calibration_error_of_luck(confidence)
    true = [expected_calibration_error(confidence, draw.random(900) < confidence) for _ in range(50)]
    assert found == pytest.approx(np.mean(true), abs=0.006)
    assert calibration_error_of_luck(np.tile(confidence, 20)) < found / 3
    assert calibration_error_of_luck(np.zeros(0)) == 0
    assert calibration_error_of_luck(np.ones(50)) == 0


def test_calibration_error_by_hand() -> None:
    # 15 bins of one row each: the mean distance of every confidence from its 0 or 1.
    confidence = np.linspace(0.3, 0.98, 15)
    right = np.arange(15) % 2 == 0
    assert expected_calibration_error(confidence, right) == pytest.approx(np.abs(confidence - right).mean())
    order = np.random.default_rng(0).permutation(15)
    assert expected_calibration_error(confidence[order], right[order]) == pytest.approx(
        np.abs(confidence - right).mean()
    )


def test_bins_have_equal_mass_and_rise() -> None:
    rng = np.random.default_rng(1)
    found = reliability(rng.random(100), rng.random(100) < 0.5)
    assert len(found) == BINS
    assert sum(rows for rows, _, _ in found) == 100
    assert {rows for rows, _, _ in found} == {6, 7}
    assert [c for _, c, _ in found] == sorted(c for _, c, _ in found)
    assert reliability(np.array([0.7]), np.array([True])) == [(1, 0.7, 1.0)]


def test_calibration_error_of_no_rows_is_nothing() -> None:
    assert expected_calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)) == []


# --- risk and coverage


def test_risk_and_coverage_by_hand() -> None:
    confidence, right = np.array([0.7, 0.9, 0.8, 0.6]), np.array([True, True, False, False])
    coverage, risk = risk_coverage(confidence, right)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert area_under_risk_coverage(confidence, right) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_aurc_is_nothing_at_best_and_the_error_rate_by_chance() -> None:
    confidence = np.linspace(0, 1, 2000)
    assert area_under_risk_coverage(confidence, np.ones(2000, dtype=bool)) == 0
    assert area_under_risk_coverage(confidence, np.zeros(2000, dtype=bool)) == 1
    right = np.random.default_rng(0).random(2000) < 0.7
    assert area_under_risk_coverage(np.random.default_rng(1).random(2000), right) == pytest.approx(0.3, abs=0.05)
    assert area_under_risk_coverage(right.astype(float), right) < 0.1
    assert area_under_risk_coverage(-right.astype(float), right) > 0.5
    assert area_under_risk_coverage(np.zeros(0), np.zeros(0, dtype=bool)) == 0


# --- intervals


def test_intervals_are_those_of_the_binomial(three: Taxonomy) -> None:
    truth = ["goods", "parcel"] * 200
    guess = [t if i % 5 else "money" for i, t in enumerate(truth)]
    one = result(truth, [answer(g) for g in guess])
    low, high = one.intervals(three.heads["topic"])["accuracy"]
    half = 1.96 * (0.8 * 0.2 / 400) ** 0.5
    assert (low, high) == (pytest.approx(0.8 - half, abs=0.015), pytest.approx(0.8 + half, abs=0.015))
    assert one.intervals(three.heads["topic"]) == one.intervals(three.heads["topic"])
    assert one.intervals(three.heads["topic"], seed=2) != one.intervals(three.heads["topic"])


@pytest.mark.parametrize("name", ["topic", "area", "mood"])
def test_intervals_hold_what_is_measured(three: Taxonomy, name: str) -> None:
    head, rng = three.heads[name], np.random.default_rng(3)
    truth = [head.ids[i] for i in rng.integers(head.size, size=300)]
    guess = [t if rng.random() < 0.6 else head.ids[rng.integers(head.size)] for t in truth]
    one = result(truth, [answer(g) for g in guess])
    found, measured = one.intervals(head), one.metrics(head)
    wanted = {"topic": set(), "area": {"parent_macro_f1"}, "mood": {"quadratic_kappa"}}[name]
    assert found.keys() == {"accuracy", "macro_f1"} | wanted
    for measure, (low, high) in found.items():
        assert low < measured[measure] < high, measure
        assert high - low < 0.25


def test_intervals_hold_the_truth_about_as_often_as_they_say(three: Taxonomy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluate.RESAMPLES", 200)
    rng, held = np.random.default_rng(4), 0
    for _ in range(60):
        guess = ["goods" if good else "parcel" for good in rng.random(150) < 0.7]
        low, high = result(["goods"] * 150, [answer(g) for g in guess]).intervals(three.heads["topic"])["accuracy"]
        held += low <= 0.7 <= high
    assert held >= 0.85 * 60


@pytest.mark.parametrize("name", ["topic", "area", "mood"])
def test_intervals_are_quantiles_of_what_resampled_rows_measure(
    three: Taxonomy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluate.RESAMPLES", 40)
    head, rng = three.heads[name], np.random.default_rng(5)
    truth = np.array(head.ids)[rng.integers(head.size, size=80)]
    guess = np.where(rng.random(80) < 0.5, truth, np.array(head.ids)[rng.integers(head.size, size=80)])
    found = result(list(truth), [answer(str(g)) for g in guess]).intervals(head, seed=7)
    draw = np.random.default_rng(7)
    measured: dict[str, list[float]] = {}
    for _ in range(40):
        drawn = draw.integers(80, size=80)
        t, g = list(truth[drawn]), list(guess[drawn])
        values = {"accuracy": np.mean(truth[drawn] == guess[drawn])}
        values["macro_f1"] = f1_score(t, g, labels=sorted(set(t)), average="macro")
        if name == "area":
            above = [[head.parent(label) for label in part] for part in (t, g)]
            values["parent_macro_f1"] = f1_score(*above, labels=sorted(set(above[0])), average="macro")
        if name == "mood":
            places = [[head.ids.index(label) for label in part] for part in (t, g)]
            values["quadratic_kappa"] = cohen_kappa_score(*places, labels=range(head.size), weights="quadratic")
        for key, value in values.items():
            measured.setdefault(key, []).append(value)
    wanted = {key: np.quantile(values, (0.025, 0.975)) for key, values in measured.items()}
    assert found.keys() == wanted.keys()
    for key, ends in found.items():
        assert ends == pytest.approx(wanted[key], abs=6e-5), key  # four decimals


def test_intervals_of_a_thousand_labels_take_little_memory() -> None:
    labels = tuple(Label(id=f"l{i}", name=f"名{i}") for i in range(1000))
    head = Head(name="头", kind="ordinal", labels=labels)
    one = HeadResult(list(head.ids) * 2, list(head.ids[1:] + head.ids[:1]) * 2, np.ones(2000), [])
    tracemalloc.start()
    try:
        one.intervals(head)
        assert tracemalloc.get_traced_memory()[1] < 8e6  # one table of 1,000 × 1,000 counts
    finally:
        tracemalloc.stop()


def test_near_duplicates_count_once_in_intervals(three: Taxonomy) -> None:
    truth = ["goods", "parcel", "money"] * 20
    guess = [t if i % 4 else "goods" for i, t in enumerate(truth)]
    once = result(truth, [answer(g) for g in guess])
    copies = result(truth * 5, [answer(g) for g in guess * 5])
    together = replace(copies, groups=tuple(range(60)) * 5)
    head = three.heads["topic"]
    assert together.intervals(head) == once.intervals(head)
    low, high = copies.intervals(head)["accuracy"]
    wider = together.intervals(head)["accuracy"]
    assert wider[1] - wider[0] > 1.8 * (high - low)  # √5 times as wide


# --- parts of the rows


def test_among_keeps_the_rows_wanted_in_their_order(three: Taxonomy) -> None:
    one = HeadResult(
        ["goods", "money", "goods"],
        ["goods", "goods", "parcel"],
        np.array([0.9, 0.8, 0.7]),
        [answer("goods"), answer("goods", confidence=0.8), answer("parcel", confidence=0.7)],
        (4, 7, 9),  # places among all examples: others are silent on this head
        (4, 5, 5),
    )
    part = one.among({9, 4, 5})
    assert (part.truth, part.guess, part.rows) == (["goods", "goods"], ["goods", "parcel"], (4, 9))
    assert part.groups == (4, 5)
    assert replace(one, groups=()).among({9, 4}).groups == ()
    assert part.confidence.tolist() == [0.9, 0.7]
    assert [d.label for d in part.decided] == ["goods", "parcel"]
    assert part.metrics(three.heads["topic"])["accuracy"] == 0.5
    assert one.among(set()).truth == []


def test_slices_by_source_length_and_channel(predictor: Predictor) -> None:
    def rows(count: int, source: str, channel: str | None, words: int, labels: dict[str, str]) -> list[Example]:
        return [Example(Complaint(text="快" * words, channel=channel), labels, source)] * count

    examples = [
        *rows(FEWEST_IN_SLICE, "a", "app", 29, {"topic": "goods"}),
        *rows(FEWEST_IN_SLICE, "b", "phone", 30, {"topic": "money"}),
        *rows(FEWEST_IN_SLICE - 1, "c", None, 300, {"topic": "goods"}),
        *rows(FEWEST_IN_SLICE, "b", None, 299, {"mood": "calm"}),
    ]
    results = {
        "topic": result(["goods"] * 59, [answer("goods")] * 40 + [answer("money")] * 19),
        "mood": HeadResult(["calm"] * 20, ["calm"] * 20, np.ones(20), [answer("calm")] * 20, tuple(range(59, 79))),
    }
    found = slices(predictor, results, examples)
    assert {part: set(heads) for part, heads in found.items()} == {
        "source: b": {"topic", "mood"},
        "source: a": {"topic"},
        "characters: 0-30": {"topic"},
        "characters: 30-100": {"topic"},
        "characters: 100-300": {"mood"},
        "channel: app": {"topic"},
        "channel: phone": {"topic"},
    }
    assert found["source: a"]["topic"]["accuracy"] == 1.0
    assert found["source: b"]["topic"]["rows"] == 20
    assert found["source: b"]["mood"]["quadratic_kappa"] is None


def test_one_source_alone_is_no_slice(predictor: Predictor, example: Make) -> None:
    examples = [example("快递")] * 30
    assert slices(predictor, {"topic": result(["goods"] * 30, [answer("goods")] * 30)}, examples) == {}


# --- metrics


def test_macro_f1_is_that_of_sklearn_over_labels_that_occur(three: Taxonomy) -> None:
    rng = np.random.default_rng(2)
    truth = [("goods", "parcel")[i] for i in rng.integers(2, size=60)]  # money is never true
    guess = [("goods", "parcel", "money")[i] for i in rng.integers(3, size=60)]
    found = result(truth, [answer(label) for label in guess]).metrics(three.heads["topic"])
    alone = [f1_score([t == x for t in truth], [g == x for g in guess]) for x in ("goods", "parcel")]
    assert found["macro_f1"] == pytest.approx(np.mean(alone))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, guess, labels=["goods", "parcel"], average="macro"))
    assert found["accuracy"] == pytest.approx(np.mean([t == g for t, g in zip(truth, guess, strict=True)]))
    assert found["rows"] == 60


def test_a_parent_counts_as_right_for_its_leaves_alone(three: Taxonomy) -> None:
    decided = [
        answer("home", leaf="home.door"),  # truth home.phone: parent right, leaf wrong
        answer("home", leaf="home.door"),  # truth shop.online: wrong
        answer("shop.online"),  # right
        answer("shop", "suggest", leaf="shop.counter"),  # not auto: counts in no auto figure
    ]
    one = result(["home.phone", "shop.online", "shop.online", "home.inside"], decided)
    found = one.metrics(three.heads["area"])
    assert found["auto_coverage"] == 0.75
    assert found["auto_precision"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 0.25  # leaves
    assert found["parent_accuracy"] == 0.5
    assert found["set_coverage"] == 0.25
    assert found["set_size"] == 1
    rows = {row["label"]: row for row in one.classes(three.heads["area"])}
    leaves = {"shop.counter", "shop.online", "home.door", "home.phone", "home.inside"}
    assert set(rows) == leaves | {"home", "shop"}
    assert rows["shop.online"]["auto_precision"] == 1.0
    assert rows["shop.online"]["support"] == 2
    assert rows["home.phone"]["auto_precision"] is None
    assert rows["shop.online"]["set_coverage"] == 0.5  # of its two rows
    assert rows["home.door"]["set_coverage"] is None  # never true
    assert rows["home.phone"]["set_coverage"] == 0.0


def test_parents_that_were_answered_are_in_the_table_of_classes(three: Taxonomy) -> None:
    sure = answer("home", leaf="home.door").model_copy(update={"threshold": 0.8})
    one = result(["home.phone", "shop.online", "home.door"], [sure, sure, answer("home.door")])
    rows = {row["label"]: row for row in one.classes(three.heads["area"])}
    assert "shop" not in rows  # no answer
    assert list(rows)[-1] == "home"
    home = rows["home"]
    assert (home["auto"], home["auto_precision"], home["threshold"], home["support"]) == (2, 0.5, 0.8, 2)
    assert [home[of_leaves] for of_leaves in ("precision", "recall", "f1", "set_coverage")] == [None] * 4
    assert sum(row["auto"] for row in rows.values()) == 3  # every automatic answer is in one row


def test_a_dot_in_a_flat_label_is_no_hierarchy() -> None:
    taxonomy = Taxonomy.parse(
        "name: t\ntitle: t\nversion: '1'\nheads:\n  h:\n    name: h\n    kind: flat\n"
        "    labels: [{id: '1', name: 一}, {id: '1.1', name: 一一}]\n"
    )
    assert result(["1.1"], [answer("1")]).metrics(taxonomy.heads["h"])["auto_precision"] == 0


def test_ordinal_heads_have_a_kappa(three: Taxonomy) -> None:
    head = three.heads["mood"]
    truth = ["calm", "upset", "angry", "furious"] * 5
    assert result(truth, [answer(t) for t in truth]).metrics(head)["quadratic_kappa"] == 1
    near = ["upset", "angry", "furious", "angry"] * 5
    far = ["furious", "calm", "calm", "calm"] * 5
    kappas = [result(truth, [answer(g) for g in guess]).metrics(head)["quadratic_kappa"] for guess in (near, far)]
    assert kappas[0] > 0.4
    assert kappas[1] < 0


def test_confusions_and_pictures(three: Taxonomy) -> None:
    truth = ["goods"] * 3 + ["money"] * 2
    one = result(truth, [answer(g) for g in ["parcel", "parcel", "goods", "goods", "money"]])
    assert one.confusions() == [
        {"truth": "goods", "guess": "parcel", "rows": 2},
        {"truth": "money", "guess": "goods", "rows": 1},
    ]
    labels, counts = one.confusion(three.heads["topic"])
    assert labels == ["goods", "parcel", "money"]
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 1]]
    assert len(confusion_figure("topic", three.heads["topic"], one).axes) == 1
    assert len(reliability_figure("主题", one).axes) == 1


# --- through the predictor


def test_evaluate_scores_leaves_of_the_heads_that_rows_name(
    predictor: Predictor, example: Make, three: Taxonomy
) -> None:
    rows = [
        example("快递没动静", {"topic": "parcel", "area": "home"}),
        example("屏幕坏了", {"topic": "goods", "area": "shop.online"}),
        example("退款", {"mood": "angry"}),
    ]
    found = evaluate(predictor, rows * 30, quiet=True)
    assert {head: len(one.truth) for head, one in found.items()} == {"topic": 60, "area": 30, "mood": 30}
    served = [one.heads["topic"] for one in predictor.predict([r.complaint for r in rows[:2]], top_k=1)]
    assert found["topic"].guess[:2] == [one.label for one in served]
    assert found["topic"].confidence[:2].tolist() == [one.confidence for one in served]
    assert found["topic"].truth[:2] == ["parcel", "goods"]
    assert found["topic"].rows[:4] == (0, 1, 3, 4)
    assert found["mood"].rows[:2] == (2, 5)


def test_evaluate_tells_which_rows_are_near_duplicates(predictor: Predictor, example: Make) -> None:
    texts = ["快递三天没动静，客服也不回", "屏幕坏了，要求退货", "快递三天没动静，客服也不回！", "退款让我再等等"]
    rows = [example(text, {"topic": "parcel"} if i else {"mood": "calm"}) for i, text in enumerate(texts)]
    topic, mood = (evaluate(predictor, rows, quiet=True)[head].groups for head in ("topic", "mood"))
    assert len({*topic, *mood}) == 3
    assert mood[0] == topic[1]  # of its copy that is silent on this head


@pytest.mark.parametrize("labels", [{}, {"area": "home"}])
def test_nothing_to_score_is_refused(predictor: Predictor, example: Make, labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="no row carries a label that can be scored"):
        evaluate(predictor, [example("快递", labels)], quiet=True)
    with pytest.raises(InvalidInput):
        evaluate(predictor, [], quiet=True)


def test_a_row_known_by_a_parent_is_answered_and_not_scored(predictor: Predictor, example: Make) -> None:
    rows = [example("快递", {"area": "shop"}), example("客服", {"area": "shop.online"})]
    found = answers(predictor, rows, quiet=True)
    assert found["area"].truth == ["shop", "shop.online"]
    scored = of_leaves(predictor, found)["area"]
    assert (scored.truth, scored.rows) == (["shop.online"], (1,))
    assert evaluate(predictor, rows, quiet=True)["area"].truth == ["shop.online"]


def test_the_report_is_plain_and_has_no_nan(predictor: Predictor, example: Make) -> None:
    rows = [example("快递没动静", {"topic": "parcel"}), example("退款", {"topic": "money"})]
    found = report(predictor, evaluate(predictor, rows, quiet=True), rows)
    assert found["heads"]["topic"]["auto_precision"] is None  # an untrained model promises nothing
    assert found["heads"]["topic"]["rows"] == 2
    assert found["bundle"] == predictor.bundle.digest
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert sum(found["heads"]["topic"]["decisions"].values()) == 2


def test_an_undefined_kappa_is_none_without_a_warning(three: Taxonomy, predictor: Predictor) -> None:
    one = result(["calm"] * 3, [answer("calm")] * 3)
    rows = [Example(Complaint(text="快递"), {"mood": "calm"}, "s")] * 3
    found = report(predictor, {"mood": one}, rows)["heads"]["mood"]
    assert found["quadratic_kappa"] is None
    assert found["intervals"] == {"accuracy": [1.0, 1.0], "macro_f1": [1.0, 1.0]}


def test_a_champion_with_other_labels_is_not_compared(predictor: Predictor, three: Taxonomy) -> None:
    renamed = Taxonomy.parse(three.dump().replace("id: ", "id: new_").replace("old_parcel: parcel", "old: new_parcel"))
    assert renamed.sizes == three.sizes
    assert same_labels(predictor, predictor)
    assert not same_labels(predictor, cast("Predictor", SimpleNamespace(taxonomy=renamed)))


# --- the model to beat


def test_the_svm_learns_and_is_counted_alike(
    three: Taxonomy, labelled_rows: list[dict[str, str]], example: Make
) -> None:
    names = {"质量": "goods", "物流": "parcel", "退款": "money"}
    moods = {"平静": "calm", "愤怒": "angry"}
    rows = [example(r["内容"], {"topic": names[r["主题"]], "mood": moods[r["情绪"]]}) for r in labelled_rows]
    found = baseline(three, rows[:120], rows[120:])
    assert found["topic"]["macro_f1"] > 0.8
    assert found.keys() == {"topic", "mood"}
    assert found["mood"]["quadratic_kappa"] <= 1
    assert "quadratic_kappa" not in found["topic"]
    assert baseline(three, rows[:1], rows[120:]) == {}  # one label teaches nothing


def test_standard_output_is_left_to_the_caller(
    predictor: Predictor, example: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(predictor, [example("快递三天没动静")])
    assert capsys.readouterr().out == ""
