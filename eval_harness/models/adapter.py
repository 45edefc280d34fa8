"""Capabilities of models: one interface for ours and for the model types of transformers."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import hf_models
from eval_harness.errors import HarnessError
from eval_harness.models import library_types
from eval_harness.models.compute import training_flops
from eval_harness.models.probing import Probe, attends_ahead, calls_embedding, probe_model
from eval_harness.tokenization.problem import Problem


LONGREACH_TYPES = frozenset(config_class.model_type for config_class in hf_models.MODEL_CLASSES)


class ModelAdapter(ABC):
    """The capabilities of a model, by its configuration.

    Args:
        config: the model's configuration.

    Attributes:
        tokenizer_class: the class that loads the tokenizer saved with a model.
        computes_loss: whether the model itself computes the loss of labels that are aligned with its logits. If not,
            the labels are kept from it.
        uses_all_parameters: whether every parameter has a gradient at every step.
    """

    tokenizer_class: ClassVar[Any]
    computes_loss: ClassVar[bool]
    uses_all_parameters: ClassVar[bool]

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    @property
    @abstractmethod
    def is_causal(self) -> bool:
        """Whether logits at a token depend on no later token, as far as the configuration shows."""

    @abstractmethod
    def auto_class(self, head: str) -> Any:
        """The Auto class of a head: "token", "sequence_to_sequence" or "classification"."""

    @abstractmethod
    def takes_shift_labels(self, head: str) -> bool:
        """Whether the loss of a head takes labels that are aligned with its logits as `shift_labels`."""

    @abstractmethod
    def check_training(self, model: Any, name: str, problem: Problem, train_length: int, noise: bool) -> None:
        """Refuses a model that cannot be trained on a problem, before its first step.

        Args:
            model: the model.
            name: its name, for messages.
            problem: the problem.
            train_length: the greatest training length.
            noise: whether noise is added to the input embedding.

        Raises:
            HarnessError: the model cannot be trained so.
        """

    @abstractmethod
    def probe(self, model: Any, sizes: dict[str, int], decodes: bool) -> Probe:
        """Finds how a model can be decoded.

        Args:
            model: the model, in evaluation.
            sizes: the length of the longest sequences that it will read, by the argument that carries them.
            decodes: whether it will generate tokens after the last of these.

        Raises:
            HarnessError: the model cannot read so many tokens.
        """

    def build(self, head: str) -> PreTrainedModel:
        """A model with new weights."""
        return self.auto_class(head).from_config(self.config)


class LongreachAdapter(ModelAdapter):
    """Our models, which declare their capabilities."""

    tokenizer_class = AutoTokenizer
    computes_loss = True
    uses_all_parameters = True

    @property
    def is_causal(self) -> bool:
        """A field of the configuration."""
        return getattr(self.config, "is_causal", False)

    def auto_class(self, head: str) -> Any:
        """A bidirectional model with a token head has the unshifted loss of masked language models."""
        auto_classes = {
            "token": AutoModelForCausalLM if getattr(self.config, "is_causal", True) else AutoModelForMaskedLM,
            "sequence_to_sequence": AutoModelForSeq2SeqLM,
            "classification": AutoModelForSequenceClassification,
        }
        return auto_classes[head]

    def takes_shift_labels(self, head: str) -> bool:
        """Only causal token heads shift."""
        return head == "token" and self.is_causal

    def check_training(self, model: Any, name: str, problem: Problem, train_length: int, noise: bool) -> None:
        """Nothing is tried: our configurations refuse such choices themselves."""

    def probe(self, model: Any, sizes: dict[str, int], decodes: bool) -> Probe:
        """The declared capabilities."""
        return declared(model)


class LibraryAdapter(ModelAdapter):
    """The model types of transformers, which are probed where the configuration does not show a capability."""

    tokenizer_class = PreTrainedTokenizerFast  # some types have their own class, which would add tokens
    computes_loss = False
    uses_all_parameters = False  # experts that no token takes, poolers that no head reads

    @property
    def is_causal(self) -> bool:
        """By the mappings of transformers; a type may still read ahead, which `check_training` finds."""
        return library_types.is_causal(self.config)

    def auto_class(self, head: str) -> Any:
        """By the mappings of transformers."""
        return library_types.auto_class(self.config, head)

    def takes_shift_labels(self, head: str) -> bool:
        """None does: the loss is computed outside."""
        return False

    def build(self, head: str) -> PreTrainedModel:
        """Adapts the model to labels that are counted outside."""
        return library_types.align_labels(super().build(head))

    def check_training(self, model: Any, name: str, problem: Problem, train_length: int, noise: bool) -> None:
        """Runs the model on its longest training sequence."""
        sizes = problem.token_lengths(train_length)
        probe_model(model.eval(), sizes, decodes=False)
        if noise and not calls_embedding(model, sizes):
            raise HarnessError(f"neftune_noise_alpha is refused: {name} does not call its input embedding.")
        try:
            training_flops(model, [(sizes, 1)])
        except Exception as error:  # of every kind, from every type, and better now than after the training
            raise library_types.refusal(name, error) from error
        if problem.needs_causal and attends_ahead(model, sizes["input_ids"]):
            raise HarnessError(
                f"The {problem.format.name} format needs a causal model, and {name} reads tokens after the one it "
                "answers at."
            )

    def probe(self, model: Any, sizes: dict[str, int], decodes: bool) -> Probe:
        """Runs the model on one random sequence."""
        return probe_model(model, sizes, decodes)


def adapter_of(config: PreTrainedConfig) -> ModelAdapter:
    """The adapter of a configuration."""
    return LongreachAdapter(config) if config.model_type in LONGREACH_TYPES else LibraryAdapter(config)


def build_model(config: PreTrainedConfig, head: str = "token") -> PreTrainedModel:
    """A model with new weights and a head."""
    return adapter_of(config).build(head)


def head_of(model: PreTrainedModel) -> str:
    """The head of a model: "token", "sequence_to_sequence" or "classification"."""
    if model.config.is_encoder_decoder:
        return "sequence_to_sequence"
    return "classification" if type(model).__name__.endswith("ForSequenceClassification") else "token"


def declared(model: Any) -> Probe:
    """The capabilities that a model declares; library models declare none."""
    stable = getattr(model, "prefix_stable", False)
    return Probe(prefix_stable=stable, cached=stable)
