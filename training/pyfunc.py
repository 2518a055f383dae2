"""The bundle as an MLflow pyfunc model, for `mlflow models serve`, `mlflow models predict` and `spark_udf`.

Logged as code: MLflow runs this file when it loads the model. One row in, one row out; three columns a head.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from complaints.bundle import Bundle
from complaints.predictor import Predictor
from complaints.records import LONGEST_TITLE, Complaint
from complaints.risk import Policy


class TriageModel(PythonModel):  # type: ignore[misc]
    """A DataFrame with `text` (and `title`) -> a DataFrame of labels, confidences, decisions and risk level."""

    def load_context(self, context: Any) -> None:
        """Open the bundle among the model's artifacts."""
        self.predictor = Predictor(Bundle.open(context.artifacts["bundle"]), Policy.load())

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """For each head: `HEAD`, `HEAD_confidence`, `HEAD_decision`; and `risk_level`, `propagation_index`."""
        titles = model_input["title"] if "title" in model_input else [None] * len(model_input)
        complaints = [
            Complaint(text=_said(text), title=_said(title)[:LONGEST_TITLE] or None)
            for text, title in zip(model_input["text"], titles, strict=True)
        ]
        rows = []
        for one in self.predictor.predict(complaints, top_k=1):
            row: dict[str, Any] = {}
            for name, head in one.heads.items():
                row |= {name: head.label, f"{name}_confidence": head.confidence, f"{name}_decision": head.decision}
            rows.append(row | {"risk_level": one.risk.level, "propagation_index": one.risk.propagation.index})
        return pd.DataFrame(rows)


def _said(cell: object) -> str:
    """A cell's text; an empty cell of a table is NaN or None."""
    return cell if isinstance(cell, str) else ""


mlflow.models.set_model(TriageModel())
