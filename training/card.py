"""The model card, written from the numbers, so that card and numbers cannot part."""

from __future__ import annotations

from typing import Any

from complaints.bundle import Manifest
from complaints.taxonomy import Taxonomy

BASE_NOTICE = """This model is fine-tuned from an encoder by others:

{base}

BAAI/bge-small-zh-v1.5 (https://huggingface.co/BAAI/bge-small-zh-v1.5) is published under the MIT licence,
Copyright (c) 2022 staoxiao:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
NO_TEST = (
    "There was no test part. What follows is of the calibration rows, on which temperatures and thresholds were "
    "chosen: it flatters the model."
)
NOT_AUDITED = "Scope, evidence and robustness were not measured after a warm start: `jianwei evaluate --report` does."


def notice(base: str) -> str:
    """The licence notice that travels with a bundle made from `base`."""
    return BASE_NOTICE.format(base=base)


def _run(manifest: Manifest) -> str:
    return f"by MLflow run `{manifest.run_id}`" if manifest.run_id else "outside MLflow"


def _made_from(manifest: Manifest, counts: dict[str, int]) -> tuple[str, str]:
    """How the model came of its base, and of how many rows; few of them are all learned from (crossing.py)."""
    base, test = manifest.base_model, counts["test"]
    folds = manifest.metrics.get("calibration/folds")
    if folds is None:
        rows = f"train {counts['train']}, calibration {counts['calibration']}, test {test}"
        return f"Fine-tuned from {base}", f"{rows}; near-duplicates never stand in two parts."
    rows = f"learned from {counts['train'] + counts['calibration']}, test {test}"
    return f"Made from {base} in the way of few rows", (
        f"{rows}; near-duplicates never stand in two parts. They are so few that none was set apart for calibration: "
        f"how sure to be is from what {folds:.0f} models said of the rows that they had not seen."
    )


def card(
    manifest: Manifest,
    taxonomy: Taxonomy,
    counts: dict[str, int],
    sources: dict[str, int],
    found: dict[str, Any],
    anchors: dict[str, dict[str, float]],
) -> str:
    """Markdown: what it is, what it was made from, and how good it is on what.

    `found` is evaluate.report() with audit() and calibrate.unsure(); `anchors` the SVM's metrics on all test rows.
    """
    made, rows = _made_from(manifest, counts)
    lines = [
        f"# {manifest.name}",
        "",
        f"Reads Chinese text and answers {', '.join(f'{n} ({h.size} labels)' for n, h in taxonomy.heads.items())}; "
        f"taxonomy {taxonomy.name} {taxonomy.version}. {made}; int8 graph for CPUs.",
        "",
        f"Made {manifest.created_at:%Y-%m-%d} {_run(manifest)}, code {manifest.code_version}. "
        f"Texts over {manifest.length.max_tokens} tokens are read from both ends, and the answer says so.",
        "",
        f"Rows: {rows} Sources: {', '.join(f'{name} {count}' for name, count in sources.items())}.",
    ]
    if silent := found.get("unsure"):
        lines += ["", *silent]
    measured = "Test" if counts["test"] else "Calibration"
    if not counts["test"]:
        lines += ["", NO_TEST]
    for part, heads in ({"all": found["heads"]} | found["slices"]).items():
        lines += ["", f"## {measured}: {part}", ""]
        lines += [
            "| head | rows | accuracy | macro-F1 | kappa | ECE (of luck) | auto: share | auto: right | SVM macro-F1 |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for name, numbers in heads.items():
            anchor = anchors.get(name, {}).get("macro_f1") if part == "all" else None
            between = numbers.get("intervals", {})
            cells = [
                _cell(numbers["accuracy"], between.get("accuracy")),
                _cell(numbers["macro_f1"], between.get("macro_f1")),
                _cell(numbers.get("quadratic_kappa"), between.get("quadratic_kappa")),
                f"{numbers['ece']:.3f} ({numbers['ece_of_luck']:.3f})",
                *(_cell(numbers[key]) for key in ("auto_coverage", "auto_precision")),
                _cell(anchor),
            ]
            lines.append(f"| {name} | {numbers['rows']} | " + " | ".join(cells) + " |")
            if "parent_macro_f1" in numbers:
                pair = [
                    _cell(numbers["parent_accuracy"]),
                    _cell(numbers["parent_macro_f1"], between.get("parent_macro_f1")),
                ]
                auto = _auto_of(numbers.get("classes", []), taxonomy.heads[name].parents, numbers["rows"])
                lines.append(f"| {name}, parents | {numbers['rows']} | {' | '.join(pair)} | | | {auto} | |")
    lines += ["", *(_beyond(found) if "evidence" in found else [NOT_AUDITED])]
    lines += [
        "",
        "Brackets hold 95 % bootstrap intervals, near-duplicates drawn together; of texts from other sources they say",
        "nothing. `auto` is what the model may decide alone under its precision promise, a line of parents what of it",
        "they answer; kappa is quadratic, for ordered heads;",
        "ECE is the expected calibration error, beside it what luck alone would show on so many rows if every",
        "confidence were exactly true;",
        "the SVM is character TF-IDF with a linear SVM, fitted on the same rows.",
        "",
        "The model suggests; people answer for what is done with its answers. Out of place: texts that are not Chinese",
        "or no complaints, or from a trade unlike its sources, where its confidence has not been measured.",
        "",
    ]
    return "\n".join(lines)


def _auto_of(classes: list[dict[str, Any]], parents: tuple[str, ...], rows: int) -> str:
    """The two cells of `auto` that parents answered; empty where they answered none, and in parts, without classes."""
    sure = [(row["auto"], row["auto_precision"]) for row in classes if row["label"] in parents and row["auto"]]
    count = sum(auto for auto, _ in sure)
    return f"{count / rows:.3f} | {sum(n * right for n, right in sure) / count:.3f}" if count else "|"


def _beyond(found: dict[str, Any]) -> list[str]:
    """What audit() found: scope, evidence, robustness, directions."""
    lines = ["## Beyond right and wrong", ""]
    if scope := found.get("scope"):
        lines += [
            f"Out of scope: AUROC {scope['auroc']:.3f} between test texts and foreign ones (poems, code, news, "
            f"advertisements, other languages …) that it has not seen; {scope['foreign_caught']:.1%} of the foreign "
            f"ones go to review, {1 - scope['own_kept']:.1%} of its own.",
            "",
        ]
    lines += [
        "Evidence: fall of the answer's probability when the strongest tenth of the characters is deleted (a random "
        "tenth), and when it alone is kept (a random tenth kept):",
        "",
        "| head | deleted | random | kept | random |",
        "|---|---|---|---|---|",
    ]
    for name, falls in found["evidence"].items():
        order = ("comprehensiveness", "random_comprehensiveness", "sufficiency", "random_sufficiency")
        lines.append(f"| {name} | " + " | ".join(_cell(falls[key]) for key in order) + " |")
    lines += ["", "Share of answers that stay the same when something changes that does not matter:", ""]
    lines += [f"| change | texts | {' | '.join(found['heads'])} |", "|---|---|" + "---|" * len(found["heads"])]
    for change, shares in found["robustness"].items():
        lines.append(
            f"| {change} | {shares['texts']} | " + " | ".join(_cell(shares[head]) for head in found["heads"]) + " |"
        )
    if directions := found["directions"]:
        said = "Share of pairs of sentences of which the answer goes where it must when something changes that matters:"
        lines += [
            "",
            said,
            "",
            "| change | head | pairs | not the wrong way | moves, where it can |",
            "|---|---|---|---|---|",
        ]
        for change, one in directions.items():
            cells = (one["head"], str(one["pairs"]), _cell(one["kept"]), _cell(one["moved"]))
            lines.append(f"| {change} | {' | '.join(cells)} |")
    return lines


def _cell(value: float | None, between: tuple[float, float] | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + (f" [{between[0]:.3f}, {between[1]:.3f}]" if between else "")
