"""The propagation index against what happened: python experiments/propagation.py --datasets FOLDER

- `weibo_spread`: posts with their author's followers, and reposts, comments and likes. All were collected because they
  spread, and reposts are capped, so the index cannot be checked here; what can be learned is what followers and
  verification add, and how the counts go together.
- `citizen_message_likes`: messages to a town hall and their likes, a proxy for how far a matter moves people. The index
  of the text alone is compared with likes, and each rule's posts with the others.
- the corpus's own test rows: whether the interval holds the index that the labeller's word stands for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pyarrow import parquet
from scipy.stats import mannwhitneyu, spearmanr
from sklearn.metrics import roc_auc_score

from complaints.bundle import Bundle
from complaints.policy import Policy
from complaints.predictor import Predictor, assess_reading
from complaints.records import Complaint, Context, Risk
from jianwei.default_model import packaged_bundle

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
CHUNK = 256
# A rule that fewer rows meet says nothing here.
LEAST = 20


def risks(predictor: Predictor, complaints: Iterable[Complaint]) -> list[Risk]:
    """The risk of each complaint, by its text and context alone."""
    found, waiting = [], list(complaints)
    for at in range(0, len(waiting), CHUNK):
        for reading in predictor.read(waiting[at : at + CHUNK]):
            found.append(assess_reading(predictor.policy, reading, Context()))
    return found


def say(line: str) -> None:
    """One line of the report."""
    sys.stdout.write(line + "\n")


def with_index(found: list[Risk], outcome: np.ndarray) -> float:
    """Spearman's correlation of the index with an outcome."""
    return float(spearmanr([risk.propagation.index for risk in found], outcome).statistic)


def rules(found: list[Risk], outcome: np.ndarray, policy: Policy, unit: str) -> None:
    """A line a rule: how the rows that meet it compare with the others."""
    for rule in policy.rules:
        met = np.array([any(reason.code == rule.code for reason in risk.reasons) for risk in found])
        if LEAST <= met.sum() <= len(met) - LEAST:
            better = mannwhitneyu(outcome[met], outcome[~met])
            share = better.statistic / (met.sum() * (~met).sum())
            say(
                f"  {rule.code:<26} index {rule.index:<4g} rows {met.sum():>5}  mean {unit} {outcome[met].mean():8.2f}"
                f" against {outcome[~met].mean():8.2f}  P(more) {share:.3f}  p {better.pvalue:.2g}"
            )


def weibo(predictor: Predictor, path: Path, limit: int | None) -> None:
    """Followers, verification and counts of posts that spread."""
    rows = parquet.read_table(path).to_pylist()
    known = [row for row in rows if row["followers"] is not None and not np.isnan(row["followers"])]
    say(f"weibo_spread: {len(rows)} posts, {len(known)} with followers")
    likes, reposts, comments = (
        np.array([row[name] or 0 for row in known], dtype=float) for name in ("likes", "reposts", "comments")
    )
    followers = np.log10(1 + np.array([row["followers"] for row in known]))
    verified = np.array([str(row["verified"]) == "True" for row in known], dtype=float)
    for name, values in (("reposts", reposts), ("comments", comments), ("likes", likes)):
        on_followers, on_verified = (spearmanr(x, values).statistic for x in (followers, verified))
        say(f"  Spearman of {name}: with followers {on_followers:.3f}, with verified {on_verified:.3f}")
    say(
        f"  Spearman between counts: reposts and comments {spearmanr(reposts, comments).statistic:.3f}, "
        f"comments and likes {spearmanr(comments, likes).statistic:.3f}"
    )
    design = np.column_stack([np.ones(len(known)), followers, verified])
    weights, *_ = np.linalg.lstsq(design, np.log10(1 + comments), rcond=None)
    scale = 9 / np.log10(1 + predictor.policy.propagation.observing.full)
    say(
        f"  ten times the followers add {weights[1] * scale:.2f} points of the observed index by comments, "
        f"verification {weights[2] * scale:.2f}; the policy: "
        + ", ".join(f"{one.index:g} from {one.followers:,}" for one in predictor.policy.rules if one.followers)
        + "".join(f", {one.index:g} where verified" for one in predictor.policy.rules if one.verified)
    )
    some = known[:limit]
    plain = risks(predictor, [Complaint(text=row["text"] or "") for row in some])
    spread = np.log10(1 + comments + reposts)[: len(some)]
    say(f"  Spearman of the index of the text with reposts + comments: {with_index(plain, spread):.3f}")
    told = [
        Complaint(
            text=row["text"] or "",
            channel="weibo",
            customer={"followers": int(row["followers"]), "verified": str(row["verified"]) == "True"},  # type: ignore[arg-type]
        )
        for row in some
    ]
    say(f"  … of text, channel, followers and verification: {with_index(risks(predictor, told), spread):.3f}")
    rules(plain, (comments + reposts)[: len(some)], predictor.policy, "reposts + comments")


def citizen(predictor: Predictor, path: Path, limit: int | None) -> None:
    """Likes of messages to a town hall."""
    rows = sorted(parquet.read_table(path).to_pylist(), key=lambda row: row["time"])[:limit]
    likes = np.array([row["likes"] for row in rows], dtype=float)
    found = risks(predictor, [Complaint(title=row["title"][:1000], text=row["text"]) for row in rows])
    index = np.array([risk.propagation.index for risk in found])
    length = np.array([len(row["text"]) for row in rows])
    say(f"citizen_message_likes: {len(rows)} messages, {np.mean(likes >= 3):.1%} with three likes or more")
    say(f"  AUC of the index for three likes or more {roc_auc_score(likes >= 3, index):.3f}")
    say(f"  AUC of the text's length alone {roc_auc_score(likes >= 3, length):.3f}")
    say(f"  Spearman of the index with likes {with_index(found, likes):.3f}")
    for low, high in ((1, 3), (3, 5), (5, 7), (7, 10.1)):
        inside = (index >= low) & (index < high)
        if inside.any():
            mean = likes[inside].mean()
            say(f"  index {low:g} to {min(high, 10):g}: {inside.sum():>5} messages, mean likes {mean:.2f}")
    rules(found, likes, predictor.policy, "likes")


def corpus(predictor: Predictor) -> None:
    """Whether the interval holds what the labeller's word stands for, on written test rows; and level beside label."""
    rows = [json.loads(line) for path in sorted(CORPUS.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    rows = [row for row in rows if row["split"] == "test"]
    readings = predictor.read([Complaint(text=row["text"]) for row in rows])
    bare = predictor.policy.model_copy(update={"rules": ()})
    head, anchors = bare.propagation.head, bare.propagation.anchors
    for name, policy in (("model alone", bare), ("model and rules", predictor.policy)):
        cells = policy
        if not policy.rules:  # cells and upgrades name rules
            empty = {d: r.model_copy(update={"medium": r.medium.model_copy(update={"when": {}}),
                                             "high": r.high.model_copy(update={"when": {}})})
                     for d, r in policy.matrix.items()}  # fmt: skip
            cells = policy.model_copy(update={"matrix": empty, "upgrades": (), "checklist": ()})
        found = [assess_reading(cells, reading, Context()).propagation for reading in readings]
        wanted = np.array([anchors[row[head]] for row in rows])
        inside = np.mean([one.interval[0] <= x <= one.interval[1] for one, x in zip(found, wanted, strict=True)])
        index = np.array([one.index for one in found])
        say(
            f"corpus, {len(rows)} written test rows, {name}: the 80 % interval holds the labeller's anchor in "
            f"{inside:.1%}; Spearman {spearmanr(index, wanted).statistic:.3f}; mean index "
            + ", ".join(f"{label} {index[wanted == anchor].mean():.2f}" for label, anchor in anchors.items())
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=Path(os.environ.get("JIANWEI_DATASETS", "../shared/datasets")))
    parser.add_argument("--policy", default="default")
    parser.add_argument("--bundle", type=Path, default=packaged_bundle())
    parser.add_argument("--limit", type=int, default=None, help="so many rows of each file")
    given = parser.parse_args()
    predictor = Predictor(Bundle.open(given.bundle), Policy.load(given.policy))
    corpus(predictor)
    weibo(predictor, given.datasets / "weibo_spread.parquet", given.limit)
    citizen(predictor, given.datasets / "citizen_message_likes.parquet", given.limit)


if __name__ == "__main__":
    main()
