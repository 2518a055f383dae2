"""The loop as a story: a model meets topics it was never shown, analysts answer, it learns: make story

    start model ─> complaints of unseen topics arrive ─> 100 reviews a day, by the queue's order or at random
        ^                                                            │ people's words (an oracle's, all four heads)
        └── promoted if the gate lets it <── retrained each week <── mixed by training/corrections.py

The default model has read texts of all topics that the project has labels for, so it cannot play the one that has
not: the start model is made here in the same way from some sources, and the stream comes from others. With the real
texts at hand (--datasets) it knows shopping reviews and meets financial and citizens' complaints; without them it
knows the written complaints of retail and durables and meets those of finance, telecom, travel and public services.

Three complaints arrive for each that is reviewed, and with the last of the 3,000 the story ends: both orders have then
spent 1,000 labels, and who looks on sees a queue that is never worked off, as everywhere. (Told until nothing waits,
both orders have read the same texts, and can differ only on the way.) So the aim, random order's final quality with at
most half of the labels, is asked of the first week of two: what is reviewed before any model knows the new topics.
It is reached where those come among known ones, as they do in life (`--among 2` lets two complaints of known topics
arrive beside each); where all that arrives is new there is nothing to find, and both orders are level
(experiments/LOG.md).

Everything between text and label is the product's: what a correction is and which become training rows, probe, n-grams
and what they count, calibration, decisions, risk, the queue's order, comparison and gate. Only the encoder is not bent:
weekly fine-tuning for two orders would take hours, so its vectors are computed once and the heads are learned on them,
as every training run begins. Each telling draws anew what is stream and what is test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from complaints.concentration import fingerprint
from complaints.decision import Calibration, decide, probabilities
from complaints.encoder import Encoded, Logits
from complaints.predictor import Reading, assess_reading, whole
from complaints.priority import Waiting, expected_cost, queue_order, strangeness
from complaints.records import Complaint, Context, Correction, HeadPrediction
from complaints.risk import Policy
from complaints.taxonomy import Taxonomy
from complaints.text import clean
from jianwei.default_model import packaged_base
from training.batches import Encoded as Tokens
from training.batches import both_ends, encode
from training.blend import weigh_beside
from training.calibrate import calibrate_head
from training.compare import compare
from training.corrections import mix, settle
from training.fidelity import macro_f1
from training.fit import predict_logits
from training.gate import judge
from training.model import Base, TriageModel, load_base, targets
from training.ngrams import fit_ngrams
from training.probe import pooled_states, probe
from training.recipe import Recipe
from training.sources import Example, leaves, read_sources
from training.splits import Parts, near_duplicate_groups

HERE = Path(__file__).parent
REAL = {"known": ("shopping_reviews",), "unseen": ("finance_complaints", "citizen_messages", "citizen_message_likes")}
WRITTEN = {"known": ("retail", "durables"), "unseen": ("finance", "telecom", "travel", "public")}
STREAM, KNOWN = 3_000, 1_500
# Many, for macro-F1 hangs on labels of which one row in a hundred has one.
TEST = 3_000
TOKENS = 128
ARRIVALS, REVIEWS, DAYS_A_WEEK = 300, 100, 5
# As the store does it (serving/store/review_order.py): the dearest cases are spread, and so many reviewed ones count.
SPREAD_OVER, RECENT = 300, 50
START = datetime(2026, 6, 1, 1, tzinfo=UTC)
Rows = npt.NDArray[np.int64]


class Stored(nn.Module):
    """An encoder that was run before: token i stands for text i, whose state is known."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.register_buffer("states", states, persistent=False)

    def set_attn_implementation(self, _: str) -> None:
        """Nothing: it attends to nothing."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:  # noqa: ARG002
        """(B, T) numbers of texts -> their states."""
        return SimpleNamespace(last_hidden_state=self.states[input_ids])


@dataclass
class World:
    """All texts with their labels, and what the untrained encoder makes of them; parts are numbers of texts.

    Of the `stream`, `unseen` are of topics that the start model was not shown.
    """

    taxonomy: Taxonomy
    recipe: Recipe
    examples: list[Example]
    tokens: list[Tokens]
    states: Tensor
    stream: list[int]
    unseen: frozenset[int]
    test: list[int]
    known: Parts

    def __post_init__(self) -> None:
        self.place = {whole(one.complaint): i for i, one in enumerate(self.examples)}
        self.cleaned = [clean(whole(one.complaint)) for one in self.examples]
        self.vectors = nn.functional.normalize(self.states, dim=1).numpy()
        self.prints = [fingerprint(c.text, v) for c, v in zip(self.cleaned, self.vectors, strict=True)]
        self.ids = [one.ids for one in self.tokens]
        self.policy = Policy.load()


def read_world(datasets: Path, seed: int, among: int = 0) -> tuple[str, World]:
    """The recipe that the texts are taken from, and the texts, drawn by `seed`.

    The stream has `among` texts of known topics for each of unseen ones, if there are as many.
    """
    taxonomy = Taxonomy.load("consumer")
    real = all((datasets / f"{name}.parquet").exists() for names in REAL.values() for name in names)
    recipe, names = ("consumer-real", REAL) if real else ("consumer-written", WRITTEN)
    chosen = Recipe.load(HERE / f"{recipe}.yaml")
    wanted = {*names["known"], *names["unseen"]}
    sources = tuple(one for one in chosen.sources if Path(one.file).stem in wanted)
    chosen = chosen.model_copy(update={"sources": sources})
    found = read_sources(chosen, taxonomy, [HERE, datasets]).examples
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    draw.shuffle(found)
    new = [one for one in found if one.source in names["unseen"]]
    rows = [one for one in found if one.source in names["known"] and one.split != "train"]
    spare = [one for one in found if one.source in names["known"] and one.split == "train"]
    rows += spare[:KNOWN]
    rows += [replace(one, split="stream") for one in spare[KNOWN:][: 6 * among * STREAM // 5]]
    if real:  # few of the annotated rows are test rows, and none of these has trained the start model
        new = [
            replace(one, split="test" if i < TEST else "train") for i, one in enumerate(new[: 6 * (TEST + STREAM) // 5])
        ]
    rows += new
    groups = near_duplicate_groups([whole(one.complaint) for one in rows], chosen.split.near_duplicate)
    rows = list(dict(zip(groups, rows, strict=True)).values())  # one of each group
    own = {
        part: [one for one in rows if one.split == part and one.source in names["known"]]
        for part in ("train", "calibration", "test")
    }
    parts = Parts(own["train"], own["calibration"][:KNOWN], own["test"][:KNOWN], 0, 0)
    new = [one for one in rows if one.source in names["unseen"]]
    test = [one for one in new if one.split == "test"][:TEST]
    unseen = [one for one in new if one.split != "test"][:STREAM]
    stream = [*unseen, *[one for one in rows if one.split == "stream"][: among * len(unseen)]]
    examples = [*parts.train, *parts.calibration, *parts.test, *stream, *test]
    first = len(examples) - len(test) - len(stream)
    places = list(range(first, first + len(stream)))
    tested = list(range(first + len(stream), len(examples)))
    base = load_base("packaged", packaged_base())
    tokens = encode(examples, base, taxonomy, both_ends(TOKENS))
    states = _states(examples, tokens, base, taxonomy, chosen)
    strange = frozenset(places[: len(unseen)])
    return recipe, World(taxonomy, chosen, examples, tokens, states, places, strange, tested, parts)


def _states(
    examples: Sequence[Example], tokens: Sequence[Tokens], base: Base, taxonomy: Taxonomy, recipe: Recipe
) -> Tensor:
    """(N, H) states of the encoder that comes with the package, untrained; kept between runs."""
    name = hashlib.sha256("\n".join(whole(one.complaint) for one in examples).encode()).hexdigest()[:16]
    kept = Path("var") / "story" / f"{name}.npy"
    if kept.exists():
        return torch.from_numpy(np.load(kept))
    model = TriageModel(base.encoder, base.hidden, taxonomy, 0.0)
    states = pooled_states(model, tokens, recipe.fit, base.pad)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, states)
    return torch.from_numpy(states)


class Reader:
    """A model of the story, with what `compare` and the queue ask of a predictor."""

    def __init__(self, world: World, train: Sequence[Example]) -> None:
        self.world, self.taxonomy, fit = world, world.taxonomy, world.recipe.fit
        torch.manual_seed(fit.seed)
        model = TriageModel(Stored(world.states), world.states.shape[1], self.taxonomy, 0.0)
        rows = [_row(world, one) for one in train for _ in range(one.repeat)]
        probe(model, self.taxonomy, rows, fit, 0)
        every = [_row(world, one) for one in world.examples]
        ngrams = fit_ngrams(
            self.taxonomy,
            [world.ids[row.ids[0]] for row in rows],
            np.stack([row.admissible.numpy() for row in rows]),
        )
        said, self.unseen = ngrams.read(world.ids)
        alone = ngrams.by_head(predict_logits(model, every, fit, 0).numpy())
        places = [world.place[whole(one.complaint)] for one in world.known.calibration]
        shown = [world.examples[i] for i in places]
        weighed = weigh_beside(self.taxonomy, _at(alone, places), ngrams, _at(said, places), shown)
        added = weighed.by_head(weighed.blended(said))
        self.logits = {name: values + added[name] for name, values in alone.items()}
        heads = {}
        for name, head in self.taxonomy.heads.items():
            known, truth = leaves(shown, name, head)
            heads[name] = calibrate_head(head, self.logits[name][places][known], truth, world.recipe.promise.of(name))
        self.calibration = Calibration(heads=heads, unseen=float(np.median(self.unseen[places])))

    def decided(self, places: Sequence[int]) -> list[dict[str, HeadPrediction]]:
        """What would be done with texts."""
        rows = list(places)
        encoded = Encoded(
            {name: values[rows] for name, values in self.logits.items()},
            self.world.vectors[rows],
            np.zeros(len(rows), dtype=np.bool_),
        )
        return decide(self.taxonomy, self.calibration, encoded, [self.world.cleaned[i] for i in rows], top_k=1)

    def predict(self, complaints: Sequence[Complaint], *, top_k: int = 1) -> list[SimpleNamespace]:  # noqa: ARG002
        """As Predictor.predict, without risk."""
        return [SimpleNamespace(heads=one) for one in self.decided([self.world.place[whole(c)] for c in complaints])]

    def costs(self, places: Sequence[int]) -> dict[int, float]:
        """What is to be expected of acting on each unseen, by its decisions and its level of risk."""
        found, policy = {}, self.world.policy
        head = policy.propagation.head
        for place, heads in zip(places, self.decided(places), strict=True):
            spread = probabilities(self.logits[head][place : place + 1], self.calibration.heads[head])[0]
            spreads = {head: dict(zip(self.taxonomy.heads[head].ids, map(float, spread), strict=True))}
            one = self.world.examples[place].complaint
            reading = Reading(
                one,
                self.world.cleaned[place],
                heads,
                spreads,
                self.world.vectors[place],
                None,
                0,  # type: ignore[arg-type]
            )
            strange = strangeness(self.unseen[place], self.calibration.unseen)
            found[place] = expected_cost(heads, assess_reading(policy, reading, Context()).level, strange)
        return found

    def macro_f1(self, places: Sequence[int]) -> dict[str, float]:
        """Head -> macro-F1 on texts, over the labels that enough of them have."""
        rows, found = np.asarray(places), {}
        for name, head in self.taxonomy.heads.items():
            known, truth = leaves([self.world.examples[i] for i in places], name, head)
            found[name] = macro_f1(truth, self.logits[name][rows[known]])
        return found


def _at(logits: Mapping[str, Logits], places: Sequence[int]) -> dict[str, Logits]:
    """Head -> its logits of some texts."""
    return {name: values[places] for name, values in logits.items()}


def _row(world: World, example: Example) -> SimpleNamespace:
    """A row as training/batches.py makes them, of one token: the text's number."""
    labels = targets(world.taxonomy, example.labels)
    return SimpleNamespace(ids=[world.place[whole(example.complaint)]], admissible=labels)


def choose(
    order: str, reader: Reader, waiting: list[int], costs: dict[int, float], before: list[int], draw: random.Random
) -> list[int]:
    """The reviews of one day."""
    if order == "random":
        return draw.sample(waiting, min(REVIEWS, len(waiting)))
    world = reader.world
    dear = sorted(waiting, key=lambda i: -costs[i])[:SPREAD_OVER]
    cases = [Waiting(str(i), costs[i], world.prints[i]) for i in dear]
    return [int(one) for one in queue_order(cases, REVIEWS, [world.prints[i] for i in before[-RECENT:]])]


def told(world: World, place: int, heads: dict[str, HeadPrediction], number: int, at: datetime) -> list[Correction]:
    """The oracle's words on one case, accepted heads included."""
    example = world.examples[place]
    return [
        Correction(
            id=f"cor_{number:06d}_{head}", prediction_id=f"pred_{place}", text=example.complaint.text,
            title=example.complaint.title, head=head, label=example.labels[head], predicted=one.label,
            decision=one.decision, confidence=one.confidence, kind="explicit", actor="oracle", given_at=at,
            model_name="story", model_version="0", taxonomy_version=world.taxonomy.version,
        )
        for head, one in heads.items()
    ]  # fmt: skip


def tell(world: World, order: str, seed: int, start: Reader) -> list[dict[str, object]]:
    """One telling: a point a week, with the labels spent so far and the macro-F1 on unseen topics."""
    draw, champion = random.Random(seed), start  # noqa: S311
    stream = draw.sample(world.stream, len(world.stream))
    words: list[Correction] = []
    reviewed: list[int] = []
    points: list[dict[str, object]] = [_point(order, seed, 0, start, world, promoted=True, reasons=[])]
    costs: dict[int, float] = {}
    day, arrivals = 0, ARRIVALS * len(stream) // len(world.unseen)
    while day * arrivals < len(stream):
        arrived = stream[: arrivals * (day + 1)]
        done = set(reviewed)
        waiting = [i for i in arrived if i not in done]
        if order != "random":
            costs |= champion.costs([i for i in waiting if i not in costs])
        today = choose(order, champion, waiting, costs, reviewed, draw)
        for place, heads in zip(today, champion.decided(today), strict=True):
            words += told(world, place, heads, len(words), START + timedelta(days=day, seconds=len(words)))
        reviewed += today
        day += 1
        if day % DAYS_A_WEEK and day * arrivals < len(stream):
            continue
        settled, counts = settle(words, world.taxonomy, "story")
        mixed = mix(settled, counts, world.known, world.recipe.corrections, world.recipe.split.near_duplicate)
        candidate = Reader(world, mixed.parts.train)
        sets = {"test": world.known.test, "newest": mixed.newest}
        changes = {where: compare(candidate, champion, rows) for where, rows in sets.items()}  # type: ignore[arg-type]
        verdict = judge(changes, 1.0, 1.0, world.recipe.gate)
        if verdict.passed:
            champion, costs = candidate, {}
        reasons = [str(one) for one in verdict.reasons]
        point = _point(order, seed, len(reviewed), champion, world, promoted=verdict.passed, reasons=reasons)
        points.append(point | {"of_unseen_topics": len(world.unseen.intersection(reviewed))})
    return points


def _point(
    order: str, seed: int, labels: int, reader: Reader, world: World, *, promoted: bool, reasons: list[str]
) -> dict[str, object]:
    point = {"order": order, "seed": seed, "labels": labels, "promoted": promoted, "reasons": reasons}
    point |= {"macro_f1": reader.macro_f1(world.test)}
    old = [world.place[whole(one.complaint)] for one in world.known.test]
    point |= {"known_macro_f1": reader.macro_f1(old) if old else {}}
    sys.stderr.write(f"{json.dumps(point, ensure_ascii=False)}\n")
    return point


def mean_curve(points: Sequence[dict[str, object]], order: str, head: str | None) -> dict[int, float]:
    """Labels spent -> macro-F1, the mean of seeds; of one head, or of all."""
    curve: dict[int, list[float]] = {}
    for one in points:
        if one["order"] == order:
            curve.setdefault(int(one["labels"]), []).append(_score(one, head))  # type: ignore[call-overload]
    return {labels: float(np.mean(values)) for labels, values in sorted(curve.items())}


def _score(point: dict[str, object], head: str | None) -> float:
    scores: dict[str, float] = point["macro_f1"]  # type: ignore[assignment]
    return scores[head] if head is not None else float(np.mean(list(scores.values())))


def leads(points: Sequence[dict[str, object]], head: str | None) -> dict[int, list[float]]:
    """Labels spent -> by how much the queue's order is ahead of random order in each telling."""
    scores = {(one["order"], one["seed"], one["labels"]): _score(one, head) for one in points}
    found: dict[int, list[float]] = {}
    for (order, seed, labels), score in scores.items():
        if order == "queue" and ("random", seed, labels) in scores:
            found.setdefault(labels, []).append(score - scores["random", seed, labels])  # type: ignore[arg-type]
    return found


def summary(points: Sequence[dict[str, object]], heads: Sequence[str]) -> str:
    """The curves, with how many labels the queue reaches what random order ends with, and how tellings differ."""
    lines = []
    for head in (None, *heads):
        ahead = leads(points, head)
        queue, chance = (mean_curve(points, order, head) for order in ("queue", "random"))
        spent, final = list(chance)[-1], list(chance.values())[-1]
        needed = next((labels for labels, score in queue.items() if score >= final), None)
        share = f"{needed} labels, {needed / spent:.0%} of {spent}" if needed is not None else "never"
        lines.append(
            f"{head or 'mean of heads'}: random ends at {final:.4f}; the queue's order reaches it with {share}"
        )
        lines += [
            f"  {labels:>5}  queue {queue.get(labels, float('nan')):.4f}  random {chance[labels]:.4f}  "
            f"ahead by {min(ahead[labels]):+.4f} to {max(ahead[labels]):+.4f}"
            for labels in chance
        ]
    return "\n".join(lines)


def draw_curves(points: Sequence[dict[str, object]]) -> Figure:
    """Macro-F1 on unseen topics against labels spent."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for order, colour in (("queue", "tab:blue"), ("random", "tab:gray")):
        curve = mean_curve(points, order, None)
        axes.plot(list(curve), list(curve.values()), marker="o", color=colour, label=f"{order} order")
    final = list(mean_curve(points, "random", None).values())[-1]
    axes.axhline(final, color="tab:gray", linestyle=":", label="random order's end")
    axes.set(xlabel="reviews", ylabel="macro-F1 on unseen topics, mean of heads")
    axes.legend()
    return figure


def main() -> None:
    """Tell the story with both orders, and write points and picture to the folder given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--datasets",
        type=Path,
        default=Path(os.environ.get("JIANWEI_DATASETS", "../shared/datasets")),
        help="folder of the real texts",
    )
    parser.add_argument("--seeds", type=int, default=1, help="tellings of each order")
    parser.add_argument("--among", type=int, default=0, help="complaints of known topics beside each of unseen ones")
    parser.add_argument("-o", "--output", type=Path, default=Path("var/story"), help="folder for points and picture")
    options = parser.parse_args()
    began = time.perf_counter()
    points: list[dict[str, object]] = []
    for seed in range(1, options.seeds + 1):
        told_with, world = read_world(options.datasets, seed, options.among)
        start = Reader(world, world.known.train)
        for order in ("queue", "random"):
            points += tell(world, order, seed, start)
    options.output.mkdir(parents=True, exist_ok=True)
    found = {"recipe": told_with, "seeds": options.seeds, "among": options.among}
    found |= {"seconds": round(time.perf_counter() - began)}
    (options.output / "story.json").write_text(
        json.dumps(found | {"points": points}, ensure_ascii=False, indent=1), encoding="utf-8"
    )
    draw_curves(points).savefig(options.output / "story.png", dpi=120)
    sys.stdout.write(
        f"{told_with}: {len(world.unseen)} complaints of unseen topics among {len(world.stream)}, "
        f"{len(world.test)} test rows, "
        f"{options.seeds} seed(s), {found['seconds']} s\n"
    )
    sys.stdout.write(summary(points, list(world.taxonomy.heads)) + "\n")


if __name__ == "__main__":
    main()
