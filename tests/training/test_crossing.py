"""Where rows are few, every one of them is answered for by a model that has not seen it, nor the like of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from complaints.bundle import Length
from complaints.taxonomy import Taxonomy
from training import crossing
from training.batches import Encoded, encode
from training.crossing import FOLDS, Crossed, cross
from training.model import Base, TriageModel
from training.ngrams import learn_ngrams
from training.recipe import Fit, Recipe, Source
from training.sources import Example

Make = Callable[..., Example]
NAMES = {"质量": "goods", "物流": "parcel", "退款": "money"}
LENGTHS = (Length(max_tokens=64, tail=16), Length(max_tokens=64, tail=16))

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def examples(example: Make, labelled_rows: list[dict[str, str]]) -> list[Example]:
    return [example(row["内容"], {"topic": NAMES[row["主题"]]}) for row in labelled_rows[:48]]


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(name="few", taxonomy="three", sources=(Source(file="x.csv", heads={"topic": "topic"}),), fit=Fit())


def test_a_row_is_answered_for_by_a_model_that_has_not_seen_it_or_its_like(
    fresh: tuple[Base, TriageModel],
    three: Taxonomy,
    recipe: Recipe,
    examples: list[Example],
    example: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, model = fresh
    twins = [example(f"{one.complaint.text}啊", one.labels) for one in examples[:10]]
    fitted: list[list[tuple[int, ...]]] = []
    ways: list[float] = []
    answered: list[list[tuple[int, ...]]] = []
    real = crossing.predict_logits

    def fit_few(
        _model: object, _base: object, _taxonomy: object, rows: list[Encoded], _fit: object, a_label: float
    ) -> None:
        fitted.append([tuple(row.ids) for row in rows])
        ways.append(a_label)

    def predict(model: TriageModel, rows: list[Encoded], *rest: object) -> object:
        answered.append([tuple(row.ids) for row in rows])
        return real(model, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(crossing, "fit_few", fit_few)
    monkeypatch.setattr(crossing, "predict_logits", predict)
    found = cross(model, base, three, recipe, [*examples, *twins], LENGTHS)
    assert found is not None
    assert len(fitted) == len(answered) == FOLDS
    assert ways == [pytest.approx((len(examples) + len(twins)) / 3)] * FOLDS  # that of all rows, three topics
    first, second = ([tuple(r.ids) for r in encode(part, base, three, LENGTHS[0])] for part in (examples, twins))
    assert sorted(ids for part in answered for ids in part) == sorted([*first, *second])
    alike = dict(zip(first, second, strict=False))
    for seen, asked in zip(fitted, answered, strict=True):
        assert not set(seen) & set(asked)
        assert not {alike[one] for one in seen if one in alike} & set(asked)


def test_what_is_said_is_worth_something_and_in_the_order_of_the_rows(
    fresh: tuple[Base, TriageModel],
    three: Taxonomy,
    recipe: Recipe,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.contrast.RATE", 1e-3)
    base, model = fresh
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = cross(model, base, three, recipe, examples, LENGTHS)
    assert found is not None
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    truth = np.array([three.heads["topic"].ids.index(one.labels["topic"]) for one in examples])
    ngrams = learn_ngrams(examples, base, three, LENGTHS[0], recipe.fit)
    joint = found.logits(replace(ngrams, blend=np.array([2.0, 0.0, 0.0], dtype=np.float32)))
    assert np.allclose(joint["topic"], found.encoder["topic"] + 2 * found.ngrams["topic"])
    assert np.allclose(joint["mood"], found.encoder["mood"])
    for said in (found.encoder["topic"], found.ngrams["topic"], joint["topic"]):
        assert (said.argmax(axis=1) == truth).mean() > 0.6
    # The model of all rows knows its own texts better than those who had not read them did.
    own = ngrams.read([row.ids for row in encode(examples, base, three, LENGTHS[1])])[1]
    assert (own <= found.unseen).all()
    assert own.mean() < found.unseen.mean() < 1
    some = found.without(examples[:7])
    assert some.examples == examples[7:]
    assert np.array_equal(some.encoder["topic"], found.encoder["topic"][7:])


def test_what_is_promised_counts_near_duplicates_once(example: Make) -> None:
    texts = [
        "快递三天没动静，客服不回我",
        "屏幕碎了没人管，也不给换",
        "快递三天没动静，客服不回我！",
        "退款拖了很久不到账",
    ]
    said = np.arange(12, dtype=np.float32).reshape(4, 3)
    unseen = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    found = Crossed([example(text) for text in texts], {"topic": said}, {"topic": said + 1}, unseen).apart(0.6)
    assert [one.complaint.text for one in found.examples] == [texts[0], texts[1], texts[3]]
    assert np.array_equal(found.encoder["topic"], said[[0, 1, 3]])
    assert np.array_equal(found.ngrams["topic"], said[[0, 1, 3]] + 1)
    assert np.array_equal(found.unseen, unseen[[0, 1, 3]])


def test_too_few_rows_for_folds_are_not_divided(
    fresh: tuple[Base, TriageModel], three: Taxonomy, recipe: Recipe, examples: list[Example]
) -> None:
    base, model = fresh
    one_of_each = list({one.labels["topic"]: one for one in examples}.values())
    assert cross(model, base, three, recipe, one_of_each, LENGTHS) is None


def test_how_many_fits_there_are_is_said_before_them(
    fresh: tuple[Base, TriageModel],
    three: Taxonomy,
    recipe: Recipe,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[list[str]] = []
    monkeypatch.setattr(crossing, "fit_few", lambda *_: said.append(list(caplog.messages)))
    with caplog.at_level(logging.INFO):
        cross(*fresh[::-1], three, recipe, examples, LENGTHS)
    assert [len(lines) for lines in said] == [2, 3, 4, 5]
    assert said[0][0].startswith("5 fits of up to 48 rows: 4 models that answer for rows that they have not seen")
    assert said[0][1].startswith("fit 1 of 5: 36 rows")
