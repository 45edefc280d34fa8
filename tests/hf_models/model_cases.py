"""Small models of every kind, and small batches, for the tests of the model package.

A case is a name and a configuration; a head is the suffix of a class name. Weights are drawn around their initial
values with noise on top, so that biases and tables that begin at zero take part in every comparison.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

import hf_models
from hf_models import (
    LSTMConfig,
    PositionTransformerConfig,
    RNNConfig,
    StackRNNConfig,
    TapeRNNConfig,
    UniversalTransformerConfig,
)


VOCABULARY = 17
PAD, BOS, EOS = 0, 1, 2
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "num_labels": 3,
}
ATTENTION: dict[str, Any] = {
    **COMMON,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
PONDERING: dict[str, Any] = {
    **ATTENTION,
    "halting": "act",
    "halting_bias": -0.5,
    "halting_threshold": 0.9,
    "num_steps": 4,
}
ENCODINGS = ("none", "learned", "sinusoidal", "rope", "alibi", "t5", "fire")
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}  # what the order of float32 sums may change
HEADS = ("Model", "ForCausalLM", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")


def _transformers() -> dict:
    cases = {}
    for encoding in ENCODINGS:
        options = {**ATTENTION, "position_encoding": encoding}
        cases[f"transformer-{encoding}"] = (PositionTransformerConfig, options)
        cases[f"transformer-{encoding}-post"] = (PositionTransformerConfig, {**options, "norm_position": "post"})
        cases[f"transformer-{encoding}-bidirectional"] = (PositionTransformerConfig, {**options, "is_causal": False})
    mixed = {**ATTENTION, "num_hidden_layers": 3, "position_encoding": ["rope", {"name": "alibi"}, "rope"]}
    cases["transformer-mixed"] = (PositionTransformerConfig, mixed)
    return cases


DEEP: dict[str, Any] = {**COMMON, "num_hidden_layers": 2}
LEARNED: dict[str, Any] = {**DEEP, "initial_state": "learned"}
RECURRENT: dict[str, tuple] = {
    "lstm": (LSTMConfig, COMMON),
    "lstm-2": (LSTMConfig, DEEP),
    "lstm-bidirectional": (LSTMConfig, {**DEEP, "bidirectional": True}),
    "lstm-learned": (LSTMConfig, LEARNED),
    "rnn": (RNNConfig, COMMON),
    "rnn-tanh": (RNNConfig, {**LEARNED, "hidden_act": "tanh"}),
    "rnn-bidirectional": (RNNConfig, {**LEARNED, "bidirectional": True}),
    "stack_rnn": (StackRNNConfig, COMMON),
    "stack_rnn-fixed": (
        StackRNNConfig,
        {**LEARNED, "hidden_act": "tanh", "num_stacks": 2, "stack_cell_size": 3, "stack_size": 4},
    ),
    "tape_rnn": (TapeRNNConfig, COMMON),
    "tape_rnn-jumps": (
        TapeRNNConfig,
        {**LEARNED, "num_tapes": 2, "memory_cell_size": 3, "memory_size": 5, "jump_length": 2, "writer_sizes": [6]},
    ),
}
CASES: dict[str, tuple] = {
    **RECURRENT,
    **_transformers(),
    "universal": (UniversalTransformerConfig, {**ATTENTION, "num_steps": 3}),
    "universal-group": (
        UniversalTransformerConfig,
        {**ATTENTION, "num_shared_layers": 2, "num_steps": 2, "position_encoding": ["sinusoidal", "t5"]},
    ),
    "universal-act": (UniversalTransformerConfig, PONDERING),
    "universal-act-post": (
        UniversalTransformerConfig,
        {**PONDERING, "norm_position": "post", "num_shared_layers": 2, "position_encoding": "alibi"},
    ),
    "universal-act-bidirectional": (UniversalTransformerConfig, {**PONDERING, "is_causal": False}),
    "universal-around": (
        UniversalTransformerConfig,
        {
            **PONDERING,
            "num_prelude_layers": 1,
            "num_coda_layers": 1,
            "position_encoding": "t5",
            "step_encoding": "learned",
            "input_injection": "concat",
            "initial_state": "zero",
        },
    ),
    "universal-ponder_net": (UniversalTransformerConfig, {**PONDERING, "halting": "ponder_net"}),
}
CAUSAL = tuple(name for name in CASES if "bidirectional" not in name)
ATTENTION_CASES = tuple(name for name in CASES if name not in RECURRENT)
CAUSAL_ATTENTION = tuple(name for name in CAUSAL if name not in RECURRENT)
# One of each kind, where a matter does not depend on the encoding.
REPRESENTATIVES = ("lstm-2", "transformer-fire", "transformer-rope-bidirectional", "universal-act")


def heads_of(case: str) -> tuple[str, ...]:
    """The heads that a case allows."""
    return HEADS if case in CAUSAL else tuple(head for head in HEADS if head != "ForCausalLM")


def pairs(cases=tuple(CASES)) -> list[tuple[str, str]]:
    """Every allowed (case, head)."""
    return [(case, head) for case in cases for head in heads_of(case)]


def spread() -> list[tuple[str, str]]:
    """Every case with one head, and the representatives with all that have a loss."""
    chosen = [(case, "ForMaskedLM") for case in CASES]
    chosen += [(case, head) for case in REPRESENTATIVES for head in heads_of(case)]
    return [pair for pair in dict.fromkeys(chosen) if pair[1] != "Model"]


def config_of(case: str, **overrides):
    """A new configuration of a case."""
    config_class, options = CASES[case]
    return config_class(**{**options, **overrides})


def class_of(config, head: str) -> type[PreTrainedModel]:
    """The model class of a configuration's family with this head."""
    return getattr(hf_models, type(config).__name__.removesuffix("Config") + head)


def build(case: str, head: str = "ForCausalLM", noise: float = 0.2, seed: int = 0, **overrides):
    """A model in evaluation mode, the same at every call."""
    config = config_of(case, **overrides)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = class_of(config, head)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
    return model.eval()


def tokens(batch: int = 3, length: int = 7, seed: int = 0) -> Tensor:
    """Random tokens `[batch, length]`, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)


def ragged(lengths=(4, 7, 2), seed: int = 0) -> list[Tensor]:
    """Random sequences of these lengths."""
    return [tokens(1, length, seed + row)[0] for row, length in enumerate(lengths)]


def pad(sequences: list[Tensor], side: str, value: int = PAD) -> tuple[Tensor, Tensor]:
    """A padded batch and its attention mask `[batch, longest]`."""
    longest = max(len(sequence) for sequence in sequences)
    batch = torch.full((len(sequences), longest), value)
    mask = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        columns = slice(longest - len(sequence), None) if side == "left" else slice(0, len(sequence))
        batch[row, columns], mask[row, columns] = sequence, 1
    return batch, mask


def labels_for(head: str, batch: int = 3, length: int = 7, seed: int = 5) -> Tensor:
    """Labels of a head, with different numbers of scored positions per row."""
    generator = torch.Generator().manual_seed(seed)
    if head == "ForSequenceClassification":
        return torch.randint(3, (batch,), generator=generator)
    classes = 3 if head == "ForTokenClassification" else VOCABULARY
    labels = torch.randint(classes, (batch, length), generator=generator)
    for row in range(batch):
        labels[row, : row % length] = -100
    return labels


def main_output(output) -> Tensor:
    """The logits, or a backbone's states."""
    return output.logits if "logits" in output else output.last_hidden_state


def gradients(model) -> dict[str, Tensor]:
    """A copy of every parameter's gradient; zeros where there is none."""
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor], **tolerance):
    """Two dicts of tensors hold the same keys and values."""
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )


def checkpoint_activations(model: PreTrainedModel, **options):
    """Turns activation checkpointing on, under the name that this release of transformers has for it."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(options or None)
    else:
        model.gradient_checkpointing_enable(options or None)
