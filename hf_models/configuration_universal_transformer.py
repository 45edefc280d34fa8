"""Configuration of the Universal Transformer.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .attention_registry import parse_attention_type
from .configuration_transformer import TransformerConfig
from .transformers_internals import RopeParameters


@strict
class UniversalTransformerConfig(TransformerConfig):
    """Configuration of a transformer whose layers are shared over depth.

    Dehghani et al. 2019, https://arxiv.org/abs/1807.03819; halting: Graves 2016, https://arxiv.org/abs/1603.08983.

    Args:
        num_prelude_layers: layers of their own before the first step.
        num_shared_layers: layers in the group that every step applies.
        num_coda_layers: layers of their own after the last step.
        num_steps: how often the group is applied; with halting, at most. May be changed after loading.
        position_encoding: "coordinate" (position and step, added before every step, as in the paper) or any encoding
            of `position_encodings.POSITION_ENCODINGS`; a list has one entry per layer with weights of its own:
            prelude, group, coda.
        step_encoding: what says the step: "none", "sinusoidal" or "learned", added to the states before every step.
            A learned one has a vector for each of the steps it was built with and refuses more.
        input_injection: what the group sees of its input at every step: "none" (its last output alone), "add" (the
            sum of both) or "concat" (a linear map of both; Geiping et al. 2025, https://arxiv.org/abs/2502.05171).
        initial_state: what the first step begins with: "input", "zero", or "random", drawn in training from the normal
            distribution and zero in evaluation. Other than "input" needs an `input_injection`.
        random_steps: number of steps of a forward pass in training: "none" (always `num_steps`), "uniform" (from 1 to
            `num_steps`) or "poisson" (log-normal Poisson around `num_steps`, at least 1, as in Geiping et al. 2025).
        backprop_steps: gradients reach the last so many steps only, or all (None).
        halting: "none" for a fixed number of steps; "act" for adaptive computation time at every position; "published"
            for the variant of the Universal Transformer's code; "ponder_net" (Banino et al. 2021,
            https://arxiv.org/abs/2107.05407).
        halting_threshold: a position halts once its halting probabilities sum to this; 1 - epsilon in the paper.
        halting_bias: initial bias of the halting unit.
        halting_prior: PonderNet's prior: the geometric distribution that halts with this probability at each step.
        ponder_loss_weight: weight of the ponder cost in the loss of every head.
        exit_criterion: where evaluation leaves the loop of a model with a fixed number of steps: "none",
            "latent_difference" or "stable_argmax" (of the head's predictions).
        exit_threshold: relative change of the state, or number of steps with the same prediction.
        exit_scope: whether each "position" leaves by itself or a whole "sequence" at once.
        cache_steps: how many of the last steps have a place in the cache: all (None), which is exact; with fewer, a
            step reads the last one that shares its place (1: always the last step).
    """

    model_type = "universal_transformer"

    num_prelude_layers: int = 0
    num_shared_layers: int = 1
    num_coda_layers: int = 0
    num_steps: int = 4
    position_encoding: str | dict | list = "coordinate"
    rope_parameters: RopeParameters | dict | None = None
    step_encoding: Literal["none", "sinusoidal", "learned"] = "none"
    input_injection: Literal["none", "add", "concat"] = "none"
    initial_state: Literal["input", "zero", "random"] = "input"
    random_steps: Literal["none", "uniform", "poisson"] = "none"
    backprop_steps: int | None = None
    halting: Literal["none", "act", "published", "ponder_net"] = "none"
    halting_threshold: float = 0.99
    halting_bias: int | float = 1.0
    halting_prior: float = 0.2
    ponder_loss_weight: int | float = 0.01
    exit_criterion: Literal["none", "latent_difference", "stable_argmax"] = "none"
    exit_threshold: int | float = 0.03
    exit_scope: Literal["position", "sequence"] = "position"
    cache_steps: int | None = None

    zero_allowed = ("num_prelude_layers", "num_coda_layers")

    @property
    def num_hidden_layers(self) -> int:
        """Depth as cached: one slot for each layer of each step that has a place of its own."""
        return self.num_prelude_layers + self.num_shared_layers * self.num_cached_steps() + self.num_coda_layers

    @property
    def layer_types(self) -> list[str]:
        """One cache layer per slot: prelude, the group at each cached step, coda."""
        types = [parse_attention_type(entry)[0].cache_layer_type for entry in self.attention_type_per_layer()]
        first, last = self.num_prelude_layers, self.num_prelude_layers + self.num_shared_layers
        return types[:first] + types[first:last] * self.num_cached_steps() + types[last:]

    @classmethod
    def _derived_names(cls) -> list[str]:
        return [*super()._derived_names(), "num_hidden_layers"]

    def num_distinct_layers(self) -> int:
        """Number of layers with weights of their own."""
        return self.num_prelude_layers + self.num_shared_layers + self.num_coda_layers

    def num_cached_steps(self) -> int:
        """Number of steps with a place of their own in the cache."""
        return self.num_steps if self.cache_steps is None else min(self.cache_steps, self.num_steps)

    def validate_halting(self):
        """Probabilities lie where a position can halt, and not before the first step."""
        if not 0 < self.halting_threshold <= 1:
            raise ValueError(f"halting_threshold must lie in (0, 1], not {self.halting_threshold}.")
        if not 0 < self.halting_prior < 1:
            raise ValueError(f"halting_prior must lie between 0 and 1, not {self.halting_prior}.")
        if self.ponder_loss_weight < 0:
            raise ValueError(f"ponder_loss_weight must not be negative, not {self.ponder_loss_weight}.")
        if self.exit_criterion != "none" and self.halting != "none":
            raise ValueError(
                f"exit_criterion needs halting='none'; {self.halting!r} decides by itself where to leave."
            )
        if self.halting == "ponder_net" and self.num_coda_layers:
            raise ValueError("halting='ponder_net' scores the states of every step; it takes no coda layers.")

    def validate_recurrence(self):
        """What is left out of the loop must enter it in another way; counts are positive."""
        if self.initial_state != "input" and self.input_injection == "none":
            raise ValueError(
                f"initial_state {self.initial_state!r} needs an input_injection: the input is lost without."
            )
        if self.random_steps == "poisson" and self.step_encoding == "learned":
            raise ValueError(
                "random_steps='poisson' draws more steps than num_steps at times, and a learned step_encoding has no "
                "vectors for them: use random_steps='uniform' or step_encoding='sinusoidal'."
            )
        for name in ("backprop_steps", "cache_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
