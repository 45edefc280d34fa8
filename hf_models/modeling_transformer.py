"""What the attention models share: where their tokens stand, what they may see, and how generation continues ids.

B batch   T new tokens   S all tokens, cached ones first   H heads   D model width

SPDX-License-Identifier: Apache-2.0
"""

from typing import Any

import torch
from torch import Tensor
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from .modeling_base import LongreachPreTrainedModel
from .position_encodings import LayerEncodings, PositionEncoding, Positions
from .position_ids import draw_position_ids, resolve_position_ids


class TransformerPreTrainedModel(LongreachPreTrainedModel):
    """Base of the attention models."""

    _no_split_modules = ["TransformerLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, PositionEncoding):
            module.initialise()

    def surroundings(self, encodings: LayerEncodings, states: Tensor, attention_mask, position_ids, past_key_values):
        """What the layers of a forward pass share: the mask, the bias of each layer, the ids of the new tokens.

        Args:
            encodings: the model's encodings.
            states: states of the new tokens `[B, T, D]`.
            attention_mask: what the caller gave.
            position_ids: what the caller gave.
            past_key_values: the cache, or None.

        Raises:
            ValueError: an id lies beyond a table, ids are missing, or the mask leaves tokens out.
        """
        past, keys = 0, states.shape[1]
        if past_key_values is not None:
            past = past_key_values.get_seq_length()
            keys = past_key_values.get_mask_sizes(keys, 0)[0]  # more than there are tokens in a cache of fixed size
        total = past + states.shape[1]
        if attention_mask is not None and attention_mask.dim() == 2 and attention_mask.shape[1] != total:
            raise ValueError(
                f"attention_mask covers {attention_mask.shape[1]} tokens; with cached ones there are {total}."
            )
        ids = resolve_position_ids(self.config, position_ids, attention_mask, states, past, self.training)
        if encodings.has_table:
            self._check_table(ids)
        query_ids = ids[:, -states.shape[1] :]
        positions = Positions(query_ids, torch.nn.functional.pad(ids, (0, keys - ids.shape[1])))
        # Position ids are not passed on: the library would take random ids for packed sequences.
        create_mask = create_causal_mask if self.config.is_causal else create_bidirectional_mask
        mask = create_mask(
            config=self.config, inputs_embeds=states, attention_mask=attention_mask, past_key_values=past_key_values
        )
        return mask, encodings.biases(positions), query_ids

    def _check_table(self, ids):
        size = self.config.max_position_embeddings
        if not torch.compiler.is_compiling() and ids.max() >= size:
            raise ValueError(f"Position {ids.max().item()} is beyond the table: max_position_embeddings is {size}.")


class PositionIdsGeneration(GenerationMixin):
    """Keeps position ids right in `generate()`: the ids of all tokens are passed at every step.

    Consecutive ids continue by one. Random ids are drawn once for the final length, unless `position_ids` for that
    length are given.
    """

    config: Any  # of the model that this is combined with

    def generate(self, inputs=None, generation_config=None, **kwargs):  # ty: ignore[incompatible-method-override]
        """As in transformers, with random position ids drawn up front where the evaluation scheme asks for them."""
        scheme = self.config.eval_position_ids_scheme
        prompt = inputs if inputs is not None else kwargs.get("input_ids", kwargs.get("inputs_embeds"))
        if scheme != "consecutive" and prompt is not None and kwargs.get("position_ids") is None:
            config = generation_config or self.generation_config
            size = self.config.max_position_embeddings
            new = kwargs.get("max_new_tokens", config.max_new_tokens)
            length = kwargs.get("max_length", config.max_length)
            if new is not None:
                length = prompt.shape[1] + new
            elif length is None:
                length = min(prompt.shape[1] + 20, size)  # the library's default
            kwargs["position_ids"] = draw_position_ids(scheme, prompt.shape[0], length, size, prompt.device)
        return super().generate(inputs, generation_config=generation_config, **kwargs)  # ty: ignore[invalid-argument-type]

    @staticmethod
    def create_masks_for_generate(attention_mask, **kwargs):
        """Keeps the mask of tokens `[B, S]` with a cache of fixed size too, since ids and halting are read from it."""
        return attention_mask

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        fixed = None
        if self.config.eval_position_ids_scheme != "consecutive":
            fixed = model_kwargs.pop("position_ids", None)
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        return model_kwargs if fixed is None else {**model_kwargs, "position_ids": fixed}

    def prepare_inputs_for_generation(self, input_ids, *args, position_ids=None, inputs_embeds=None, **kwargs):
        """As in transformers, but with the ids of all tokens so far, cached ones included."""
        model_inputs = super().prepare_inputs_for_generation(  # ty: ignore[invalid-argument-type]
            input_ids, *args, inputs_embeds=inputs_embeds, **kwargs
        )
        if position_ids is None:
            return model_inputs
        total = input_ids.shape[1] + (0 if inputs_embeds is None else inputs_embeds.shape[1])
        if self.config.eval_position_ids_scheme == "consecutive":
            total = position_ids.shape[1]  # continued by one at every step
        if position_ids.shape[1] < total:
            raise ValueError(f"position_ids cover {position_ids.shape[1]} tokens; generation has reached {total}.")
        model_inputs["position_ids"] = position_ids[:, :total]
        return model_inputs
