"""The base of all Longreach models: initialisation, token embedding, the rules of caches and packed sequences.

B batch   T positions   D model width

SPDX-License-Identifier: Apache-2.0
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
)

from .modeling_arguments import BothCacheNames
from .packed_sequences import find_sequences


@dataclass
class BackboneOutput(BothCacheNames, BaseModelOutputWithPast):
    """Output of a backbone."""


class TokenEmbedding(nn.Embedding):
    """Embedding drawn from N(0, 1 / D) and scaled by sqrt(D), so that states start at unit scale and tied logits too.

    The factor is called `embed_scale`, as in other models of transformers: PEFT reads it under this name.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4.
    """

    @property
    def embed_scale(self) -> float:
        """The factor on the rows of the table."""
        return math.sqrt(self.embedding_dim)

    def forward(self, input: Tensor) -> Tensor:
        """Embeds tokens `[B, T]` as states `[B, T, D]`."""
        return super().forward(input) * self.embed_scale


class LongreachPreTrainedModel(PreTrainedModel):
    """Base of the base classes: how weights begin, and what a scorer needs to know."""

    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values", "cache"]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            # One scale for every width: outputs begin with the variance of the inputs.
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, TokenEmbedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])

    def sequences(
        self, position_ids: Tensor | None, attention_mask: Tensor | None, inputs: Tensor, past_key_values=None
    ) -> Tensor | None:
        """The index, within its row, of the sequence of each new token `[B, T]`; None where each row holds one.

        Args:
            position_ids: ids of all tokens or of the new ones, as the caller gave them; they start again with each
                sequence.
            attention_mask: 1 on real tokens, 0 on padding, or a mask of pairs, which is left to the caller.
            inputs: the new tokens `[B, T]`, or their states `[B, T, D]`.
            past_key_values: the cache that the caller gave, or None.

        Raises:
            ValueError: rows hold several sequences, and the model would mix them.
        """
        batch, length = inputs.shape[:2]
        one_token = not torch.compiler.is_compiling() and length < 2  # as at every step of generate()
        if position_ids is None or one_token or not self.position_ids_separate():
            return None
        if attention_mask is not None and attention_mask.dim() != 2:
            return None
        mask = None if attention_mask is None else attention_mask[:, -length:]
        sequences = find_sequences(position_ids[..., -length:], mask, batch)
        reason = self.why_not_packed()
        if torch.compiler.is_compiling():  # a graph is the same for all ids
            if reason is not None:
                torch._assert_async((sequences == 0).all(), self.packing_refusal(reason))
            return sequences if reason is None and past_key_values is None else None
        if not sequences.any():
            return None
        if reason is not None:
            raise ValueError(self.packing_refusal(reason))
        return sequences

    def refuse_packed(self, position_ids, attention_mask, input_ids, inputs_embeds) -> None:
        """Raises ValueError where rows hold several sequences, in a model with a reason for `why_not_packed`."""
        inputs = inputs_embeds if input_ids is None else input_ids
        if inputs is not None:
            self.sequences(position_ids, attention_mask, inputs)

    def position_ids_separate(self) -> bool:
        """Whether position ids that start again begin a new sequence."""
        return True

    def why_not_packed(self) -> str | None:
        """Why the model cannot keep several sequences in a row apart; None where it can."""
        return None

    def packing_refusal(self, reason: str) -> str:
        """The sentence that refuses several sequences in a row."""
        return (
            f"position_ids start again within a row, which means several sequences, and {type(self).__name__} cannot "
            f"keep them apart: {reason}. Give each sequence a row of its own."
        )

    def cache_for(self, use_cache: bool | None, past_key_values, packed: bool = False):
        """The cache of a forward pass: the one given, a new one where a cache is wanted, else None.

        Args:
            use_cache: whether a cache is wanted; None: as the configuration says, but not in training.
            past_key_values: the cache that the caller gave, or None.
            packed: whether rows hold several sequences.

        Raises:
            ValueError: a cache is given or asked for, and there can be none.
        """
        if packed and not torch.compiler.is_compiling():
            if past_key_values is not None or use_cache:
                raise ValueError(
                    "position_ids start again within a row, which means several sequences, and these have no KV "
                    "cache: set use_cache=False."
                )
            return None
        asked = past_key_values is not None or use_cache
        # A training step has no use for a cache, unless it asks for one.
        wanted = self.config.use_cache and not self.training if use_cache is None else use_cache
        if not (asked or wanted):
            return None
        if not self.prefix_stable:
            if asked:
                raise ValueError(self.no_cache_reason())
            return None
        if asked and self.training and torch.is_grad_enabled() and self.checkpoints_activations():
            raise ValueError(
                "Activation checkpointing computes layers twice, and each time they would extend the KV cache: set "
                "use_cache=False."
            )
        return self.new_cache() if past_key_values is None else past_key_values

    def checkpoints_activations(self) -> bool:
        """Whether layers are computed a second time in the backward pass."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def new_cache(self):
        """An empty cache."""
        return DynamicCache(config=self.config)

    def no_cache_reason(self) -> str:
        """Why a model that is not prefix-stable has no cache."""
        if not self.config.is_causal:
            return "A bidirectional model has no KV cache; call it with all tokens and use_cache=False."
        return (
            f"{type(self).__name__} has no KV cache with this configuration, since later tokens change the states of "
            "earlier ones; call it with all tokens and use_cache=False."
        )

    @property
    def prefix_stable(self) -> bool:
        """Whether more tokens leave earlier outputs as they are, so that teacher forcing scores exactly."""
        return self.config.is_causal


# The base of what is combined with a model, such as a head: at run time it stands on its own.
if TYPE_CHECKING:
    ModelMixin = LongreachPreTrainedModel
else:
    ModelMixin = object


def register_for_auto_classes(config_class, *model_classes):
    """Makes `save_pretrained` ship the code of these classes, so that it loads where Longreach is not installed."""
    config_class.register_for_auto_class()
    auto_classes = {name.split(".")[1]: auto_class for auto_class, name in config_class().auto_map.items()}
    for model_class in model_classes:
        model_class.register_for_auto_class(auto_classes[model_class.__name__])
