"""Answers that must move: who does right, who goes the wrong way, and who does not move at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from complaints.records import Complaint
from complaints.taxonomy import Taxonomy
from training.directions import Added, directions, material

ADDED = material().added


class Puppet:
    """Answers each text with labels that a function of it gives."""

    def __init__(self, taxonomy: Taxonomy, answer: Callable[[str], dict[str, str]]) -> None:
        self.taxonomy = taxonomy
        self.answer = answer
        self.asked = 0

    def predict(self, complaints: Sequence[Complaint], top_k: int) -> list[Any]:
        self.asked += len(complaints)
        labels = [self.answer(one.text) for one in complaints]
        return [
            SimpleNamespace(
                heads={name: SimpleNamespace(top_k=[SimpleNamespace(label=label)]) for name, label in one.items()}
            )
            for one in labels
        ]


@pytest.fixture(scope="module")
def consumer() -> Taxonomy:
    return Taxonomy.load("consumer")


STILL = {"category": "other.other", "department": "pr", "sentiment": "dissatisfied", "propagation": "medium"}


def test_the_material_is_of_the_taxonomy_and_of_no_training_text(consumer: Taxonomy) -> None:
    for one in ADDED:
        assert set(one.order) == set(consumer.heads[one.head].ids), one.name
        assert one.order in (consumer.heads[one.head].ids, consumer.heads[one.head].ids[::-1]), one.name
    for fact in material().facts:
        assert set(fact.labels) == {"category", "department"}
        assert all(label in consumer.heads[head].names for head, label in fact.labels.items())
    assert len(material().complaints) == 12
    for turn in material().turns:
        assert turn.label in consumer.heads[turn.head].names
        texts = [text for pair in turn.pairs for text in pair]
        assert len(set(texts)) == len(texts) > 200


def test_who_does_not_move_goes_no_wrong_way_but_stays_with_the_old_fact(consumer: Taxonomy) -> None:
    found = directions(Puppet(consumer, lambda text: STILL))  # type: ignore[arg-type]
    assert {one.name for one in ADDED} < set(found)
    for one in ADDED:
        pairs = len(one.words) * len(material().goods) * len(material().complaints)
        moved = None if one.stays else 0.0
        assert found[one.name] == {"head": one.head, "pairs": pairs, "kept": 1.0, "moved": moved}
    assert found["another fact, department"]["moved"] == 0.0
    stays = directions(Puppet(consumer, lambda text: STILL | {"department": "quality"}))  # type: ignore[arg-type]
    facts = len(material().facts)
    assert stays["another fact, department"]["kept"] == round(1 - 1 / facts, 4)
    assert stays["another fact, department"]["moved"] == 0.0  # not even where it happens to be true


@pytest.mark.parametrize("change", ADDED, ids=lambda change: change.name)
def test_who_moves_is_seen_to_go_right_or_wrong(consumer: Taxonomy, change: Added) -> None:
    def towards(place: int) -> dict[str, Any]:
        def answer(text: str) -> dict[str, str]:
            moved = text.endswith(change.words)
            return STILL | {change.head: change.order[place] if moved else change.order[1]}

        return directions(Puppet(consumer, answer))[change.name]  # type: ignore[arg-type]

    right, wrong = towards(-1), towards(0)
    if change.stays:
        assert [(one["kept"], one["moved"]) for one in (right, wrong, towards(1))] == [
            (0.0, None),
            (0.0, None),
            (1.0, None),
        ]
        return
    assert (right["kept"], right["moved"]) == (1.0, 1.0)
    assert (wrong["kept"], wrong["moved"]) == (0.0, 0.0)


def test_what_is_at_its_end_cannot_move(consumer: Taxonomy) -> None:
    found = directions(Puppet(consumer, lambda text: STILL | {"sentiment": "angry"}))  # type: ignore[arg-type]
    assert (found["customer swears"]["kept"], found["customer swears"]["moved"]) == (1.0, None)
    assert found["settled, with thanks"]["moved"] == 0.0


def test_who_reads_the_fact_moves_with_it(consumer: Taxonomy) -> None:
    def answer(text: str) -> dict[str, str]:
        fact = next((one for one in material().facts if any(said in text for said in one.said)), None)
        if fact is None:
            return STILL
        leaf = next(one for one in consumer.heads["category"].ids if one.startswith(fact.labels["category"] + "."))
        return STILL | {"department": fact.labels["department"], "category": leaf}

    found = directions(Puppet(consumer, answer))  # type: ignore[arg-type]
    for head in ("category", "department"):
        assert (found[f"another fact, {head}"]["kept"], found[f"another fact, {head}"]["moved"]) == (1.0, 1.0)


def test_a_turn_is_for_who_sees_the_danger_in_the_second_text_alone(consumer: Taxonomy) -> None:
    (turn,) = material().turns
    firsts, seconds = ({pair[i] for pair in turn.pairs} for i in (0, 1))

    def told(dangers: set[str]) -> dict[str, Any]:
        def answer(text: str) -> dict[str, str]:
            return STILL | {"category": "quality.safety" if text in dangers else "quality.defect"}

        return directions(Puppet(consumer, answer))[turn.name]  # type: ignore[arg-type]

    pairs = {"head": "category", "pairs": len(turn.pairs)}
    assert told(seconds) == pairs | {"kept": 1.0, "moved": 1.0}
    assert told(set()) == pairs | {"kept": 1.0, "moved": 0.0}
    assert told(firsts | seconds) == pairs | {"kept": 0.0, "moved": None}
    assert told(seconds | {turn.pairs[0][0]})["moved"] == 1.0  # what was called a danger before can no more move


def test_of_another_taxonomy_nothing_is_asked(three: Taxonomy) -> None:
    puppet = Puppet(three, lambda text: {})
    assert directions(puppet) == {}  # type: ignore[arg-type]
    assert puppet.asked == 0
