"""Inference engines side by side, on the packaged model: python -m benchmarks.engines --extra FOLDER, by hand.

FOLDER is the site-packages of a virtual environment with what the project does not depend on (pip install openvino nncf
ctranslate2); engines that are not there are left out. Each engine lives in processes of its own, with one thread and
with one a core; they are asked in turn, round after round. Logits are those that count, the n-grams' say added.
Agreement and macro-F1 are against the same weights in fp32, on the test rows of data/corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.texts import CORPUS, read
from complaints.bundle import Bundle
from complaints.encoder import cut_tokens
from complaints.text import clean
from jianwei.default_model import packaged_bundle

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
# One pass over (B, T) ids and their mask -> (B, sum of K).
Pass = Callable[[Ids, Ids], Logits]

TEXTS = 96
# Tokens of a batch where texts share one, sorted by length.
BUDGET = 1024
# Engine -> the packages that it is made of, for their size on disk.
PACKAGES = {
    "onnxruntime int8, ours": ["onnxruntime"],
    "onnxruntime fp32": ["onnxruntime"],
    "onnxruntime int8, its default": ["onnxruntime"],
    "openvino int8 (nncf)": ["openvino"],
    "openvino, our int8 graph": ["openvino"],
    "ctranslate2 int8": ["ctranslate2", "ctranslate2.libs"],
    "torch int8": ["torch", "transformers"],
    "torch fp32": ["torch", "transformers"],
}


# Making what the engines read.


def prepare(folder: Path) -> None:
    """Write every engine's form of the packaged model; those whose tools are missing are left out."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from benchmarks.pipelines import fp32
    from training.export import trace, write_graph

    bundle = Bundle.open(packaged_bundle())
    base, model = fp32(bundle)
    write_graph(trace(model), folder / "fp32.onnx", [], "fp32")
    plain = onnx.load(folder / "fp32.onnx")
    onnx.save(plain, folder / "plain.onnx")
    quantize_dynamic(
        folder / "plain.onnx",
        folder / "default.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )
    heads = {name: value.detach().numpy() for name, value in model.state_dict().items() if "encoder" not in name}
    np.savez(folder / "heads.npz", **heads)
    owner = [i for i, size in enumerate(bundle.taxonomy.sizes.values()) for _ in range(size)]
    np.save(folder / "owner.npy", np.array(owner))
    for make in (_openvino, _ctranslate2):
        try:
            make(folder, bundle, base)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)


def _openvino(folder: Path, bundle: Bundle, _: Any) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(folder / "fp32.onnx")
    ids = tokens(bundle, read()[-300:])
    rows = [{"input_ids": one[None], "attention_mask": np.ones_like(one[None])} for one in ids]
    made = nncf.quantize(model, nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
    openvino.save_model(made, folder / "nncf.xml")


def _ctranslate2(folder: Path, bundle: Bundle, base: Any) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers import PreTrainedTokenizerFast

    base.encoder.config.position_embedding_type = "absolute"
    base.encoder.save_pretrained(folder / "hf")
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    file = str(bundle.path / "tokenizer.json")
    PreTrainedTokenizerFast(tokenizer_file=file, **special).save_pretrained(folder / "hf")
    TransformersConverter(str(folder / "hf")).convert(str(folder / "ct2"), quantization="int8", force=True)


def tokens(bundle: Bundle, texts: Sequence[str]) -> list[Ids]:
    """Token ids (T,) of each text as it is read."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows = tokenizer.encode_batch([clean(text).text for text in texts])
    return [cut_tokens(np.array(one.ids, dtype=np.int64), bundle.manifest.length)[0] for one in rows]


# Engines: each gives a pass that several threads may call.


def load(name: str, folder: Path, threads: int) -> Pass:
    """The engine of this name."""
    ours = packaged_bundle() / "graph.onnx"
    graphs = {"ours": ours, "our int8 graph": ours, "its default": folder / "default.onnx"}
    kind, _, form = name.partition(", ")
    if kind.startswith("onnxruntime"):
        return _ort(graphs.get(form, folder / "fp32.onnx"))
    if kind.startswith("openvino"):
        return _ov(folder / "nncf.xml" if "nncf" in kind else graphs.get(form, folder / "fp32.onnx"), threads)
    return _ct2(folder, threads) if kind.startswith("ctranslate2") else _torch(int8="int8" in kind)


def _ort(graph: Path) -> Pass:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph, options, ["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )
    return lambda ids, mask: session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]


def _ov(graph: Path, threads: int) -> Pass:
    import threading

    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
    }
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    mine = threading.local()

    def run(ids: Ids, mask: Ids) -> Logits:
        if not hasattr(mine, "request"):
            mine.request = compiled.create_infer_request()
        return mine.request.infer({"input_ids": ids, "attention_mask": mask})["logits"]

    return run


def _ct2(folder: Path, threads: int) -> Pass:
    import ctranslate2

    encoder = ctranslate2.Encoder(
        str(folder / "ct2"), "cpu", compute_type="int8", inter_threads=threads, intra_threads=1
    )
    heads, owner = np.load(folder / "heads.npz"), np.load(folder / "owner.npy")
    looks, looks_bias = heads["looks.weight"].T, heads["looks.bias"]
    says, bias = heads["heads.weight"].T, heads["heads.bias"]

    def run(ids: Ids, mask: Ids) -> Logits:
        rows = [row[:n].tolist() for row, n in zip(ids, mask.sum(axis=1), strict=True)]
        states = np.array(encoder.forward_batch(rows).last_hidden_state)
        weights = np.exp(states @ looks + looks_bias) * mask[..., None]
        weights /= weights.sum(axis=1, keepdims=True)
        return (weights[..., owner] * (states @ says)).sum(axis=1) + bias

    return run


def _torch(*, int8: bool) -> Pass:
    import torch

    from benchmarks.pipelines import dynamic_int8, fp32

    torch.set_num_threads(1)
    _, model = fp32(Bundle.open(packaged_bundle()))
    ready = dynamic_int8(model) if int8 else model

    @torch.inference_mode()
    def run(ids: Ids, mask: Ids) -> Logits:
        return ready(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    return run


# One engine in its own process: answers the questions of its parent, a line each.


def answer(name: str, folder: Path, threads: int) -> None:
    """Load, then do what standard input says: `speed`, `batches`, `test`."""
    start = time.perf_counter()
    run = load(name, folder, threads)
    run(np.full((1, 16), 5, dtype=np.int64), np.ones((1, 16), dtype=np.int64))
    ready = time.perf_counter() - start
    bundle = Bundle.open(packaged_bundle())
    ids = tokens(bundle, read()[:TEXTS])
    pool = ThreadPoolExecutor(threads)
    _each(run, pool, [ids[i : i + 1] for i in range(32)])
    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        asked = line.strip()
        if asked == "test":
            texts, _ = test_rows()
            found = _each(run, pool, [[one] for one in tokens(bundle, texts)])
            np.save(folder / f"{name.replace(' ', '_')}.npy", found)
            print(json.dumps({"peak": _peak()}), flush=True)
        else:
            parts = [[one] for one in ids] if asked == "speed" else list(_batches(ids))
            parts.sort(key=lambda part: -sum(map(len, part)))
            start = time.perf_counter()
            _each(run, pool, parts)
            print(json.dumps({"rate": len(ids) / (time.perf_counter() - start)}), flush=True)


def _each(run: Pass, pool: ThreadPoolExecutor, parts: Sequence[Sequence[Ids]]) -> Logits:
    def one(part: Sequence[Ids]) -> Logits:
        width = max(map(len, part))
        ids = np.array([np.pad(row, (0, width - len(row))) for row in part])
        mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in part], dtype=np.int64)
        return run(ids, mask)

    return np.concatenate(list(pool.map(one, parts)))


def _batches(ids: Sequence[Ids]) -> Iterator[list[Ids]]:
    part: list[Ids] = []
    for row in sorted(ids, key=len):
        if part and (len(part) + 1) * len(row) > BUDGET:
            yield part
            part = []
        part.append(row)
    yield part


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1e3


def test_rows() -> tuple[list[str], list[dict[str, Any]]]:
    """Texts of the corpus's test part, and their rows."""
    rows = [json.loads(line) for path in sorted(CORPUS.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    rows = [row for row in rows if row["split"] == "test"]
    return [row["text"] for row in rows], rows


# The table.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", type=Path, help="site-packages with further engines")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3, metavar=("ENGINE", "FOLDER", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.extra is not None:
        sys.path.append(str(options.extra))  # behind the project's own
    if options.child is not None:
        name, folder, threads = options.child
        answer(name, Path(folder), int(threads))
        return
    with tempfile.TemporaryDirectory() as made:
        with redirect_stdout(sys.stderr):  # nncf draws its progress
            prepare(Path(made))
        print("\n".join(_table(Path(made), options.extra, options.rounds)))


def _table(folder: Path, extra: Path | None, rounds: int) -> list[str]:
    cores = os.cpu_count() or 1
    left = [] if (folder / "nncf.xml").exists() else ["openvino"]
    left += [] if (folder / "ct2").exists() else ["ctranslate2"]
    names = [name for name in PACKAGES if name.split()[0].rstrip(",") not in left]
    engines: dict[tuple[str, int], subprocess.Popen[str]] = {}
    ready: dict[str, float] = {}
    peak: dict[str, float] = {}
    rates: dict[tuple[str, int, str], list[float]] = {}
    with ExitStack() as stack:
        for name in names:
            for threads in (1, cores):
                command = [sys.executable, "-m", "benchmarks.engines", "--child", name, str(folder), str(threads)]
                command += ["--extra", str(extra)] if extra is not None else []
                pipe = subprocess.PIPE
                child = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603
                stack.callback(child.kill)
                engines[name, threads] = child
                ready.setdefault(name, _said(child)["ready"]) if threads == 1 else _said(child)
        for _ in range(rounds):
            for (name, threads), child in engines.items():
                for how in ("speed", "batches") if threads > 1 else ("speed",):
                    rates.setdefault((name, threads, how), []).append(_asked(child, how)["rate"])
        for name in names:
            peak[name] = _asked(engines[name, cores], "test")["peak"]
    lines = [
        f"| engine | texts/s, 1 thread | {cores} threads | {cores} threads, batches | labels as fp32 | "
        "macro-F1 lost, points | MB installed | load s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lost = _lost(folder, names)
    for name in names:
        speeds = [
            f"{statistics.median(rates[name, threads, how]):.0f}"
            for threads, how in ((1, "speed"), (cores, "speed"), (cores, "batches"))
        ]
        lines.append(
            f"| {name} | {' | '.join(speeds)} | {lost[name]} | {_installed(name, extra)} | {ready[name]:.2f} | "
            f"{peak[name]:.0f} |"
        )
    return lines


def _asked(child: subprocess.Popen[str], what: str) -> dict[str, float]:
    assert child.stdin is not None  # noqa: S101
    child.stdin.write(f"{what}\n")
    child.stdin.flush()
    return _said(child)


def _said(child: subprocess.Popen[str]) -> dict[str, float]:
    assert child.stdout is not None  # noqa: S101
    for line in child.stdout:
        if line.startswith("{"):  # an engine may greet
            return json.loads(line)  # type: ignore[no-any-return]
    raise RuntimeError(f"an engine ended with {child.wait()}")


def _lost(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Share of labels that are those of fp32, and points of macro-F1 lost, head by head."""
    from sklearn.metrics import f1_score

    from complaints.ngrams import FILE, NGrams

    bundle = Bundle.open(packaged_bundle())
    texts, rows = test_rows()
    grams = NGrams.open(bundle.path / FILE, bundle.manifest.heads)
    more = grams.blended(grams.logits(tokens(bundle, texts)))
    guessed = {name: grams.by_head(np.load(folder / f"{name.replace(' ', '_')}.npy") + more) for name in names}
    exact = guessed["torch fp32"]
    found = {}
    for name in names:
        same, points = [], []
        for head, one in bundle.taxonomy.heads.items():
            known = [i for i, row in enumerate(rows) if row.get(head) in one.ids]
            truth = [one.ids.index(rows[i][head]) for i in known]
            a, b = (part[head][known].argmax(axis=1) for part in (exact, guessed[name]))
            same.append(float(np.mean(a == b)))
            scores = [f1_score(truth, guess, average="macro", zero_division=0) for guess in (a, b)]
            points.append(f"{head} {100 * (scores[0] - scores[1]):+.2f}")
        found[name] = f"{np.mean(same):.2%} | {', '.join(points)}"
    return found


def _installed(name: str, extra: Path | None) -> str:
    import onnxruntime

    places = [Path(onnxruntime.__file__).parents[1], *([extra] if extra is not None else [])]
    size = 0
    for package in PACKAGES[name]:
        place = next(one / package for one in places if (one / package).exists())
        size += sum(file.stat().st_size for file in place.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return f"{size / 1e6:.0f}"


if __name__ == "__main__":
    main()
