"""What the attention models share: where their tokens stand, what they may see, and how generation continues ids.

B batch   T new tokens   S all tokens, cached ones first   H heads   D model width

SPDX-License-Identifier: Apache-2.0
"""

from typing import Any

import torch
from torch import Tensor

from .attention import Attention
from .attention_context import AttentionContext, added_mask, fit, visible_pairs
from .attention_normalizers import Softmax
from .attention_registry import parse_attention_type
from .modeling_arguments import named_cache
from .modeling_base import LongreachPreTrainedModel
from .modeling_generation import LongreachGenerationMixin
from .packed_sequences import same_sequence
from .position_encoding import PositionEncoding, Positions
from .position_files import check_files, save_files
from .position_ids import GROWING_SCHEMES, RANDOM_SCHEMES, abacus_ids, draw_position_ids, resolve_position_ids
from .position_registry import LayerEncodings, own_files
from .precision import compute_dtype, exact_dtype
from .transformers_internals import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)


# Whether the window slides, and whether the model is causal.
CREATE_MASK = {
    (False, True): create_causal_mask,
    (False, False): create_bidirectional_mask,
    (True, True): create_sliding_window_causal_mask,
    (True, False): create_bidirectional_sliding_window_mask,
}


class TransformerPreTrainedModel(LongreachPreTrainedModel):
    """Base of the attention models."""

    _no_split_modules = ["TransformerLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # What a model that is loaded with another encoding leaves behind is left on purpose.
    _keys_to_ignore_on_load_unexpected = [r"(^|\.)encodings\."]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, (PositionEncoding, Softmax)):
            module.initialise()

    def _sdpa_can_dispatch(self, is_init_check: bool = False) -> bool:
        self._refuse_fused("sdpa")
        return super()._sdpa_can_dispatch(is_init_check)

    def _flex_attn_can_dispatch(self, is_init_check: bool = False) -> bool:
        self._refuse_fused("flex_attention")
        return super()._flex_attn_can_dispatch(is_init_check)

    def _refuse_fused(self, implementation: str):
        """Raises ValueError where something chosen is computed by eager attention alone."""
        for choice in self.config.choices():
            if choice.eager_only:
                raise ValueError(
                    f"{choice.__name__} needs attn_implementation='eager'; {implementation!r} cannot compute it."
                )

    @property
    def prefix_stable(self) -> bool:
        """Whether more tokens leave earlier outputs as they are."""
        parts = (module for module in self.modules() if isinstance(module, (PositionEncoding, Attention)))
        return super().prefix_stable and all(part.prefix_stable for part in parts)

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As in transformers; the files of the user's own position encodings are saved too.

        Raises:
            ValueError: such a file cannot be saved.
        """
        names = own_files(self.config.position_encoding_per_layer())
        check_files(names)
        if names and kwargs.get("push_to_hub"):
            raise ValueError(f"Save first, then push: push_to_hub=True would leave out the file of {names[0]!r}.")
        super().save_pretrained(save_directory, *args, **kwargs)
        if names:
            save_files(names, save_directory)

    def position_ids_separate(self) -> bool:
        """Only ids that grow within a sequence: not those that are counted within runs, or stand for distances."""
        scheme = self.config.position_ids_scheme if self.training else self.config.eval_position_ids_scheme
        return scheme in GROWING_SCHEMES

    def why_not_packed(self):
        """Attention that reads no mask of pairs."""
        for entry in self.config.attention_type_per_layer():
            attention, _ = parse_attention_type(entry)
            if not attention.dense_bias:
                return f"{attention.__name__} reads no mask of pairs"
        return None

    def contexts(
        self,
        encodings: LayerEncodings,
        states: Tensor,
        attention_mask,
        position_ids,
        past_key_values,
        input_ids=None,
        sources: list[tuple] | None = None,
        sequences: Tensor | None = None,
    ) -> list[AttentionContext]:
        """The context of each layer with its own weights; layers of one kind share the tensors.

        Args:
            encodings: the model's encodings.
            states: states of the new tokens `[B, T, D]`.
            attention_mask: what the caller gave.
            position_ids: what the caller gave.
            past_key_values: the cache, or None.
            input_ids: the new tokens, if the caller gave them.
            sources: in a decoder, keys, values and mask of the source for each layer.
            sequences: which sequence of its row each token belongs to `[B, T]`, or None.

        Raises:
            ValueError: an id lies beyond a table, ids are missing, or the mask leaves tokens out.
        """
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        total = past + states.shape[1]
        if attention_mask is not None and attention_mask.dim() == 2 and attention_mask.shape[1] != total:
            raise ValueError(
                f"attention_mask covers {attention_mask.shape[1]} tokens; with cached ones there are {total}."
            )
        ids, randomized_distances = resolve_position_ids(
            self.config, position_ids, attention_mask, states, past, self.training, input_ids
        )
        if encodings.has_table:
            self._check_table(ids)
        types = self.config.layer_types[: self.config.num_distinct_layers()]
        attention_types = self._attention_types(attention_mask)
        contexts: dict[int, AttentionContext] = {}
        eager = self.config._attn_implementation == "eager"
        is_read = any(choice.needs_visible_mask for choice in self.config.choices())  # whatever the implementation
        for layer_type in dict.fromkeys(types):
            layers = [layer for layer, other in enumerate(types) if other == layer_type]
            dense = [layer for layer in layers if attention_types[layer].dense_bias]
            positions = self._positions(
                states, ids, randomized_distances, attention_mask, past, past_key_values, layers[0], sequences
            )
            sliding = layer_type == "sliding_attention"
            mask = None
            if dense and not eager:
                mask = self._library_mask(sliding, states, attention_mask, past_key_values, sequences)
            if is_read or (eager and dense):
                window = self.config.sliding_window if sliding else None
                positions.visible_mask = visible_pairs(positions, states.shape[1], attention_mask, window)
            biases = self._pair_biases(encodings, dense, positions, mask)
            merged = self._merged_masks(biases, mask, positions, compute_dtype(states))
            rotated = encodings.rotated(layers, positions)
            for layer in layers:
                bias, added = biases.get(layer), merged.get(layer)
                is_merged = bias is not None and added is not None
                contexts[layer] = AttentionContext(
                    mask=added if is_merged else mask,
                    bias=None if is_merged else bias,
                    positions=rotated[layer],
                    needs_visible_mask=eager or is_read,
                    added=added,
                    source=sources[layer] if sources else (),
                )
        return [contexts[layer] for layer in range(len(types))]

    def _library_mask(self, sliding, states, attention_mask, past_key_values, sequences):
        # Position ids are not passed on: the library would take ids with gaps for packed sequences.
        return CREATE_MASK[sliding, self.config.is_causal](
            config=self.config,
            inputs_embeds=states,
            attention_mask=attention_mask,
            and_mask_function=None if sequences is None else same_sequence(sequences),
            **named_cache(past_key_values),
        )

    def _positions(
        self, states, ids, randomized_distances, attention_mask, past, past_key_values, layer_idx, sequences
    ) -> Positions:
        keys, offset = states.shape[1], 0
        if past_key_values is not None:  # its layer may hold more than the tokens so far, or the last ones alone
            keys, offset = past_key_values.get_mask_sizes(keys, layer_idx)
        token_mask = None
        if attention_mask is not None and attention_mask.dim() == 2:
            token_mask = fit(attention_mask.bool(), offset, keys)
        return Positions(
            query_ids=ids[:, -states.shape[1] :],
            key_ids=fit(ids, offset, keys),
            num_heads=self.config.num_attention_heads,
            scaling=self.config.head_dim**-0.5,
            first_query=past - offset,
            is_causal=self.config.is_causal,
            token_mask=token_mask,
            randomized_distances=randomized_distances,
            dtype=exact_dtype(states.dtype),
            sequences=sequences,
        )

    def _attention_types(self, attention_mask) -> list[type[Attention]]:
        # Of each layer with weights of its own.
        types = [parse_attention_type(entry)[0] for entry in self.config.attention_type_per_layer()]
        if attention_mask is not None and attention_mask.dim() == 4:
            for attention in types:
                if not attention.dense_bias:
                    raise ValueError(f"{attention.__name__} takes masks of tokens [B, S] alone, not of pairs.")
        return types

    def _pair_biases(self, encodings, layers, positions, mask):
        # FlexAttention computes a scalar bias as it goes, unless the caller's mask is a tensor.
        if self.config._attn_implementation == "flex_attention" and not isinstance(mask, Tensor):
            inlined = [layer for layer in layers if encodings[layer].scalar]
        else:
            inlined = []
        biases = encodings.pair_biases([layer for layer in layers if layer not in inlined], positions)
        return {**biases, **dict.fromkeys(inlined)}

    def _merged_masks(self, biases, mask, positions, dtype) -> dict[int, Tensor]:
        # SDPA adds one tensor to the scores: it is made once for all layers that share it.
        if self.config._attn_implementation != "sdpa":
            return {}
        distinct = {id(bias): bias for bias in biases.values() if bias is not None or self._packs()}
        merged = {key: added_mask(mask, bias, positions, dtype) for key, bias in distinct.items()}
        return {layer: merged[id(bias)] for layer, bias in biases.items() if id(bias) in merged}

    def _packs(self) -> bool:
        # Whether halted positions may leave.
        return False

    def _check_table(self, ids):
        size = self.config.max_position_embeddings
        if not torch.compiler.is_compiling() and ids.max() >= size:
            raise ValueError(f"Position {ids.max().item()} is beyond the table: max_position_embeddings is {size}.")


class PositionIdsGenerationMixin(LongreachGenerationMixin):
    """Keeps position ids right in `generate()`: the ids of all tokens are passed at every step.

    Consecutive ids continue by one, abacus ids are counted anew. Random ids are drawn once for the final length,
    unless `position_ids` for that length are given.
    """

    config: Any  # of the model that this is combined with

    def generate(self, inputs=None, generation_config=None, **kwargs):
        """As in transformers, with random position ids drawn up front where the evaluation scheme asks for them."""
        scheme = self.config.eval_position_ids_scheme
        if scheme == "supplied" and kwargs.get("position_ids") is None:
            raise ValueError("position ids are 'supplied': pass position_ids for all tokens, those to come included.")
        embedded = kwargs.get("inputs_embeds") is not None and kwargs.get("position_ids") is None
        if scheme == "abacus" and embedded:
            raise ValueError("abacus ids are counted from tokens: pass input_ids to generate(), or position_ids too.")
        prompt = inputs if inputs is not None else kwargs.get("input_ids", kwargs.get("inputs_embeds"))
        if scheme in RANDOM_SCHEMES and prompt is not None and kwargs.get("position_ids") is None:
            config = generation_config or self.generation_config
            size = self.config.max_position_embeddings
            new = kwargs.get("max_new_tokens", config.max_new_tokens)
            length = kwargs.get("max_length", config.max_length)
            if new is not None:
                length = prompt.shape[1] + new
            elif length is None:
                length = min(prompt.shape[1] + 20, size)  # the library's default
            kwargs["position_ids"] = draw_position_ids(scheme, prompt.shape[0], length, size, prompt.device)
        return super().generate(inputs, generation_config=generation_config, **kwargs)

    @staticmethod
    def create_masks_for_generate(attention_mask, **kwargs):
        """Keeps the mask of tokens `[B, S]` with a cache of fixed size too, since ids and halting are read from it."""
        return attention_mask

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        fixed = None
        if self.config.eval_position_ids_scheme != "consecutive":
            fixed = model_kwargs.pop("position_ids", None)  # for all tokens, those to come included
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        if fixed is not None:
            return {**model_kwargs, "position_ids": fixed}
        ids, mask = model_kwargs.get("position_ids"), model_kwargs.get("attention_mask")
        if ids is not None and mask is not None and ids.shape[1] == mask.shape[1] > 1:
            # After the last real token, not after padding, whose id means nothing.
            last = ids[:, :-1].masked_fill(mask[:, :-1] == 0, -1).amax(dim=-1, keepdim=True)
            model_kwargs["position_ids"] = torch.cat([ids[:, :-1].expand(len(mask), -1), last + 1], dim=-1)
        return model_kwargs

    def prepare_inputs_for_generation(self, input_ids, *args, position_ids=None, inputs_embeds=None, **kwargs):
        """As in transformers, but with the ids of all tokens so far, cached ones included."""
        model_inputs = super().prepare_inputs_for_generation(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)
        scheme = self.config.eval_position_ids_scheme
        if scheme == "abacus" and inputs_embeds is None:  # what the library has put in their place is consecutive
            position_ids = abacus_ids(input_ids, self.config.abacus_tokens)
        if position_ids is None:
            return model_inputs
        total = input_ids.shape[1] + (0 if inputs_embeds is None else inputs_embeds.shape[1])
        if scheme == "consecutive":
            total = position_ids.shape[1]  # continued by one at every step
        if position_ids.shape[1] < total:
            raise ValueError(f"position_ids cover {position_ids.shape[1]} tokens; generation has reached {total}.")
        model_inputs["position_ids"] = position_ids[:, :total]
        return model_inputs
