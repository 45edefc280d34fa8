"""Models with new weights, and what a model is: the head that it answers with, and whether it is causal."""

from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from eval_harness.models import library_types as foreign


def build_model(config, head: str = "token") -> PreTrainedModel:
    """A model with new weights that answers with a head."""
    model = auto_class_of(config, head).from_config(config)
    return foreign.align_labels(model) if foreign.is_foreign(config) else model


def auto_class_of(config, head: str) -> Any:
    """The Auto class of a head; one that answers with tokens does it causally or, when bidirectional, unshifted."""
    if foreign.is_foreign(config):
        return foreign.auto_class(config, head)
    auto_classes = {
        "token": AutoModelForCausalLM if getattr(config, "is_causal", True) else AutoModelForMaskedLM,
        "sequence_to_sequence": AutoModelForSeq2SeqLM,
        "classification": AutoModelForSequenceClassification,
    }
    return auto_classes[head]


def head_of(model: PreTrainedModel) -> str:
    """What a model answers with, as a format says: "token", "sequence_to_sequence" or "classification"."""
    if model.config.is_encoder_decoder:
        return "sequence_to_sequence"
    return "classification" if type(model).__name__.endswith("ForSequenceClassification") else "token"


def is_causal(config) -> bool:
    """Whether a model that answers at the tokens it reads sees none behind them."""
    return foreign.is_causal(config) if foreign.is_foreign(config) else getattr(config, "is_causal", False)
