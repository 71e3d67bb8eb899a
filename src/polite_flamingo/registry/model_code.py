"""What MLflow runs to load a registered model: "models from code", so that no version holds a pickle.

A version keeps a copy of this file. It names what it needs of the package and nothing else; the package itself is that
of the environment that loads it.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from polite_flamingo.registry.answering import Answering, load_answering
from polite_flamingo.registry.kinds import kind_of
from polite_flamingo.registry.parts import located


class RegisteredModel(PythonModel):
    """A rewriter or an assistant behind MLflow's `predict`."""

    def load_context(self, context: Any) -> None:
        """Load the weights, copied beside this file or referred to by their content."""
        config = context.model_config
        base, adapter = (located(name, context.artifacts, config["parts"]) for name in ("base", "adapter"))
        self.answering: Answering = load_answering(kind_of(config["kind"]), base, adapter, config)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row of ``text`` and ``finish_reason`` per row of the input."""
        answers = self.answering.answer(model_input.to_dict("records"), **(params or {}))
        return pd.DataFrame(
            {"text": [answer.text for answer in answers], "finish_reason": [answer.finish_reason for answer in answers]}
        )


mlflow.models.set_model(RegisteredModel())
