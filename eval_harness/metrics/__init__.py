"""Metrics as modules of the `evaluate` library: a folder each, which also loads without Longreach."""

from pathlib import Path

import evaluate


def load_length_generalization() -> evaluate.EvaluationModule:
    """Loads the length-generalization metric from this package, offline."""
    return evaluate.load(str(Path(__file__).parent / "length_generalization"))
