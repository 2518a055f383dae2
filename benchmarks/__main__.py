"""All of it in one run, as Markdown: make bench, or python -m benchmarks [--texts FILE]. About ten minutes on 2 cores.

Every row reads the same texts; the file for `jianwei predict` holds them over and over, each with a number of its own,
so that none is answered from memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks import bulk, pipelines, roof
from benchmarks.machine import described
from benchmarks.online import online
from benchmarks.rows import Measure, Others, in_turn, table, timed
from benchmarks.texts import distinct, read
from complaints.bundle import Bundle
from complaints.encoder import Encoder
from complaints.text import clean
from jianwei.default_model import packaged_bundle

# Texts that every row reads; the plain pipeline takes ten seconds for them.
TEXTS = 192
# Rows of the file for `jianwei predict`: its start, 1.5 s, is counted.
FILE = 4_096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=Path, help="CSV, JSONL, Excel or Parquet of your own, instead of the corpus")
    parser.add_argument("--column", default="text", help="of that file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--curve", type=int, nargs="*", default=bulk.ROWS, help="rows of the files of the cost curve")
    options = parser.parse_args()
    every = read(options.texts, options.column)
    texts, bundle, others = every[:TEXTS], Bundle.open(packaged_bundle()), Others()
    say(*described(bundle))
    say(f"{len(texts)} texts of {options.texts or 'data/corpus'}, {options.rounds} rounds; median [least–greatest].")
    rates(bundle, texts, options.rounds)
    say("There is no cascade: at most 2 % of the encoder's work could be saved (experiments/cascade.py).")
    say("### Online", "", *online(every, rounds=options.rounds, total=1000))
    say("### Files of distinct rows", "", *bulk.curve(every, options.curve))
    say(f"Other processes took {others.share():.0%} of the machine meanwhile.")


def rates(bundle: Bundle, texts: list[str], rounds: int) -> None:
    """Texts a second of everything that reads many, and the share of the roof."""
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    cleaned = [clean(text).text for text in texts]
    base, model = pipelines.fp32(bundle)
    plain = pipelines.batches(base, model)
    int8 = pipelines.batches(base, pipelines.dynamic_int8(model))
    svm = pipelines.svm(list(bundle.taxonomy.heads))
    one, all_cores = Encoder(bundle), Encoder(bundle, threads=cores)
    with tempfile.TemporaryDirectory() as folder:
        rows: dict[str, Measure] = {
            "plain transformers, fp32, arrival order, batches of 16, all cores": timed(plain, cleaned),
            "the same, sorted by length": timed(pipelines.by_length(plain), cleaned),
            "torch dynamic int8, sorted by length": timed(pipelines.by_length(int8), cleaned),
            "our engine, 1 thread": timed(one.encode, cleaned),
            f"our engine, {cores} threads": timed(all_cores.encode, cleaned, times=2),
            "`jianwei predict`, file to file, start and risk included": bulk.whole_file(
                distinct(texts, FILE), Path(folder)
            ),
            "TF-IDF of characters + linear SVM, 1 core": timed(svm, cleaned, times=5),
        }
        for run in (plain, int8, one.encode, all_cores.encode, svm):
            run(cleaned[:32])
        taken = in_turn(rows, rounds)
    say(*table(taken))
    best, each = roof.peak(), roof.operations(bundle, cleaned)
    say(
        f"Roof in int8: {best / 1e9:.0f} GFLOP/s a core, {each / 1e9:.2f} GFLOP a text: {best / each:.0f} texts/s a "
        "core. Of it are reached: "
        + ", ".join(
            f"{name.partition(',')[0]} {statistics.median(t.texts / t.cpu for t in found) * each / best:.0%}"
            for name, found in taken.items()
            if name.startswith(("our engine, 1", "`jianwei"))
        )
        + " (of CPU seconds)."
    )


def say(*lines: str) -> None:
    """A paragraph or table, at once."""
    print("\n".join(lines), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
