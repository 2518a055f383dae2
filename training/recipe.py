"""A recipe: everything that decides what a training run does, as a YAML file in `experiments/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from complaints.documents import read_document
from complaints.errors import RecipeError, UnreadableFile
from complaints.taxonomy import Taxonomy

BASE_MODEL = "packaged"  # BAAI/bge-small-zh-v1.5: no hub is asked

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Data):
    """One file of labelled rows; a row may teach some heads and be silent on the others."""

    file: str = Field(description="Path, relative to the recipe's folder or else to the datasets folder")
    text: str = Field("text", description="Column that holds the complaint")
    title: str | None = Field(None, description="Column that holds a subject line")
    channel: str | None = Field(None, description="Column that says where it came in; measured apart")
    heads: dict[str, str] = Field(min_length=1, description="Head -> column of its labels (id or Chinese name)")
    where: dict[str, str] = Field({}, description="Column -> value that a row must have")
    rename: dict[str, dict[str, str | None]] = Field(
        {}, description="Head -> value in the file -> label, null to ignore"
    )
    split: str | None = Field(None, description="Column that says train, calibration or test; else rows are split")
    parts: dict[str, str | None] = Field(
        {}, description="Value of `split` in the file -> train, calibration or test; null: divide it as the rest"
    )
    show: bool = Field(
        False,
        description="Its training texts may be shown to whoever asks for an explanation: they travel in the bundle",
    )
    repeat: int = Field(
        1, ge=1, description="Times that its training rows are read an epoch, for a small source among large ones"
    )
    optional: bool = Field(False, description="Where its file is not at hand the rest is enough, with a warning")
    group: str | None = Field(
        None, description="Rows of a group keep the precision promise by themselves; by default a file is a group"
    )
    annotations: str | None = Field(
        None,
        description="CSV of sha1 of the text and labels: `heads` names its columns, rows without are left out",
    )


class Split(_Data):
    """How rows without a split of their own are divided; near-duplicates stay together."""

    calibration: float = Field(0.15, gt=0, lt=0.5, description="For early stopping, temperatures and thresholds")
    test: float = Field(0.15, ge=0, lt=0.5, description="Looked at once, at the end")
    near_duplicate: float = Field(0.6, gt=0, le=1, description="Jaccard of character 3-grams from which rows are alike")
    seed: int = 1


class Fit(_Data):
    """How the weights are fitted."""

    epochs: int | None = Field(
        None,
        ge=1,
        description="At most; by default 3, or as many as make 500 steps, up to 40; where rows are few, as suits them "
        "(fit.py)",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Epochs without a better calibration macro-F1 before it stops; by default it goes to the end, "
        "for the last epochs, at the lowest rates, better most",
    )
    max_tokens: int | None = Field(
        None,
        ge=16,
        description="Longer texts are cut to both ends in training; by default nine in ten texts are whole, up to 256 "
        "tokens. Serving reads 512",
    )
    batch_tokens: int = Field(3072, ge=128, description="Padded tokens a batch")
    batch_rows: int = Field(48, ge=1, description="Rows a batch, at most")
    learning_rate: float = Field(
        1.5e-4, gt=0, description="Of the top layer; small encoders bear more than the usual 2e-5"
    )
    layer_decay: float = Field(0.9, gt=0, le=1, description="Each layer below learns this much slower")
    head_learning_rate: float = Field(5e-4, gt=0, description="Heads start from a probe")
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of steps over which the rate rises")
    dropout: float = Field(0.1, ge=0, lt=1)
    augment: float = Field(
        0.4, ge=0, le=1, description="Share of the rows that are said otherwise each epoch: greeting, number, date"
    )
    steady: int = Field(
        1,
        ge=0,
        description="Epochs at the end, after fine-tuning, in which it learns to say of every row said otherwise what "
        "it says of the row itself; needs `augment`",
    )
    adversarial: float = Field(
        0.0,
        ge=0,
        description="Length by which embeddings are moved to where the loss rises, every batch being read once more "
        "so: twice the time, and better where the base has not read the like (experiments/LOG.md)",
    )
    seed: int = 1


class HeadPromise(_Data):
    """What one head promises instead."""

    precision_target: float = Field(gt=0.5, lt=1, description="Share of right answers among its auto")


class Promise(_Data):
    """What the decisions promise."""

    precision_target: float = Field(0.95, gt=0.5, lt=1, description="Share of right answers among auto")
    heads: dict[str, HeadPromise] = Field({}, description="Head -> what it promises instead")
    risk: float = Field(0.1, gt=0, lt=0.5, description="Probability that a threshold breaks the promise by bad luck")
    coverage: float = Field(0.9, gt=0.5, lt=1, description="Share of prediction sets that hold the right label")

    def of(self, head: str) -> Promise:
        """What `head` promises: its own where it has one."""
        own = self.heads.get(head)
        return self if own is None else self.model_copy(update={"precision_target": own.precision_target})


class Mixing(_Data):
    """How people's corrections are mixed with the recipe's own rows; they never become calibration or test rows."""

    newest: float = Field(
        0.2, ge=0, lt=1, description="Share of corrected texts, the newest, that only measure: none is trained on"
    )
    repeat: int = Field(2, ge=1, description="Times that a corrected text is read an epoch")
    replay: float = Field(
        4.0, ge=0, description="Warm start: old rows read for each corrected one, so that nothing is forgotten"
    )


class Gate(_Data):
    """When a candidate may become champion. A fall counts where it is more than its margin and no matter of luck."""

    head_margin: float = Field(0.01, ge=0, lt=1, description="Macro-F1 that a head may lose")
    class_margin: float = Field(0.05, ge=0, lt=1, description="Recall, or F1, that a class may lose")
    fewest: int = Field(20, ge=1, description="Rows of a class below which it is not judged")
    level: float = Field(
        0.05, gt=0, lt=0.5, description="Probability that a candidate as good as the champion is refused by bad luck"
    )
    slower: float = Field(1.2, ge=1, description="Times the champion's milliseconds a text that it may take")
    larger: float = Field(1.2, ge=1, description="Times the champion's bytes that it may have")


class Recipe(_Data):
    """A training run: name of the registered model, taxonomy, sources and settings."""

    name: Name
    taxonomy: str = Field(description="Name of a packaged taxonomy, or a path relative to the recipe's folder")
    sources: tuple[Source, ...] = Field(min_length=1)
    base: str = Field(BASE_MODEL, description="Encoder to start from: `packaged`, a hub name, or a folder")
    split: Split = Split()
    fit: Fit = Fit()
    promise: Promise = Promise()
    corrections: Mixing = Mixing()
    gate: Gate = Gate()

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read and validate a recipe; raises RecipeError with file, line, field and reason."""
        return read_document(cls, path, RecipeError, "see experiments/ for recipes to start from")

    def labels(self, folder: Path) -> Taxonomy:
        """Its taxonomy: a file relative to its `folder`, or else a packaged one.

        Raises RecipeError where `promise` names a head that the taxonomy does not have.
        """
        beside = folder / self.taxonomy
        taxonomy = Taxonomy.load(beside if beside.is_file() else self.taxonomy)
        for head in self.promise.heads:
            if head not in taxonomy.heads:
                raise RecipeError(
                    f"promise.heads.{head}: no head {head!r} in taxonomy {taxonomy.name}: it has "
                    f"{', '.join(taxonomy.heads)}"
                )
        return taxonomy


def find(file: str, folders: list[Path]) -> Path:
    """The first of `folders` that holds `file`; raises UnreadableFile naming every place looked at."""
    for folder in folders:
        if (folder / file).exists():
            return folder / file
    places = ", ".join(str(folder / file) for folder in folders)
    raise UnreadableFile(f"{file} is not there; looked at {places}. Say where with --datasets or JIANWEI_DATASETS")
