"""Numbers that an evaluation reports, against hand-made cases and scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sklearn.metrics import f1_score

from complaints.bundle import Bundle
from complaints.errors import InvalidInput
from complaints.predictor import Predictor
from complaints.records import Decision, HeadPrediction, Scored
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from training.baseline import baseline
from training.evaluate import BINS, HeadResult, evaluate, expected_calibration_error, reliability, report
from training.plots import confusion_figure, reliability_figure
from training.sources import Example
from training.train import _rival

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
    return HeadResult(truth, guess, np.array([one.top_k[0].confidence for one in decided]), decided)


# --- calibration error


def test_calibration_error_of_honest_confidence_is_nothing() -> None:
    assert expected_calibration_error(np.ones(30), np.ones(30, dtype=bool)) == 0
    half = np.tile([True, False], 150)
    assert expected_calibration_error(np.full(300, 0.5), half) == pytest.approx(0, abs=0.03)


def test_calibration_error_of_one_who_is_always_wrong_and_sure_is_one() -> None:
    assert expected_calibration_error(np.ones(40), np.zeros(40, dtype=bool)) == 1


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
    assert set(rows) == {"shop.counter", "shop.online", "home.door", "home.phone", "home.inside"}
    assert rows["shop.online"]["auto_precision"] == 1.0
    assert rows["shop.online"]["support"] == 2
    assert rows["home.phone"]["auto_precision"] is None


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


@pytest.mark.parametrize("labels", [{}, {"area": "home"}])
def test_nothing_to_score_is_refused(predictor: Predictor, example: Make, labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="no row carries a label that can be scored"):
        evaluate(predictor, [example("快递", labels)], quiet=True)
    with pytest.raises(InvalidInput):
        evaluate(predictor, [], quiet=True)


def test_the_report_is_plain_and_has_no_nan(predictor: Predictor, example: Make) -> None:
    rows = [example("快递没动静", {"topic": "parcel"}), example("退款", {"topic": "money"})]
    found = report(predictor, evaluate(predictor, rows, quiet=True))
    assert found["heads"]["topic"]["auto_precision"] is None  # an untrained model promises nothing
    assert found["heads"]["topic"]["rows"] == 2
    assert found["bundle"] == predictor.bundle.digest
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert sum(found["heads"]["topic"]["decisions"].values()) == 2


def test_an_undefined_kappa_is_none_without_a_warning(three: Taxonomy, predictor: Predictor) -> None:
    one = result(["calm"] * 3, [answer("calm")] * 3)
    assert report(predictor, {"mood": one})["heads"]["mood"]["quadratic_kappa"] is None


def test_a_champion_with_other_labels_is_not_compared(predictor: Predictor, example: Make, three: Taxonomy) -> None:
    renamed = Taxonomy.parse(three.dump().replace("id: ", "id: new_").replace("old_parcel: parcel", "old: new_parcel"))
    assert renamed.sizes == three.sizes
    assert _rival(predictor, renamed, [example("快递", {"topic": "new_parcel"})]) is None


def test_a_champion_with_the_same_labels_is_compared(predictor: Predictor, example: Make, three: Taxonomy) -> None:
    found = _rival(predictor, three, [example("快递", {"topic": "parcel"})])
    assert found is not None
    assert found["heads"].keys() == {"topic"}
    assert _rival(None, three, [example("快递")]) is None
    assert _rival(predictor, three, []) is None


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
