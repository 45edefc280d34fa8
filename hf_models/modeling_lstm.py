"""LSTM baseline whose recurrent state is its cache.

Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; a forget-gate bias of 1: Jozefowicz et al.
2015, https://proceedings.mlr.press/v37/jozefowicz15.html.

B batch   T new tokens   S all tokens, cached ones first   D model width   U units of a direction

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import initialization as init
from transformers.cache_utils import DynamicLayer
from transformers.generation import GenerationMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.output_capturing import capture_outputs

from .configuration_lstm import LSTMConfig
from .modeling_base import (
    CausalLMHead,
    LongreachPreTrainedModel,
    MaskedLMHead,
    SequenceClassificationHead,
    TokenClassificationHead,
    TokenEmbedding,
    register_for_auto_classes,
)


class LSTMStateLayer(DynamicLayer):
    """Cache layer of a recurrent state: the hidden state in `keys`, the cell state in `values`, `[B, U]` each."""

    _layer_type = "lstm_state"  # registers the class with transformers' caches
    is_croppable = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.cumulative_length = 0

    def store(self, hidden: Tensor, cell: Tensor, length: int):
        """Takes the state after `length` more tokens."""
        self.keys, self.values = hidden, cell
        self.dtype, self.device = hidden.dtype, hidden.device
        self.is_initialized = True
        self.cumulative_length += length

    def get_seq_length(self) -> int:
        """Number of tokens read so far."""
        return self.cumulative_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the tokens that a mask covers."""
        return self.cumulative_length + query_length, 0

    def update(self, *args, **kwargs):
        """A state is replaced, not extended."""
        raise NotImplementedError("A recurrent state is stored with `store`.")

    def crop(self, tokens_to_remove: int) -> None:
        """A recurrent state cannot go back."""
        if tokens_to_remove:
            raise ValueError("The cache of an LSTM holds its last state alone and cannot be cropped.")


class LSTMLayer(GradientCheckpointingLayer):
    """One LSTM layer that skips padding wherever it stands."""

    def __init__(self, config: LSTMConfig):
        super().__init__()
        units = config.hidden_size // 2 if config.bidirectional else config.hidden_size
        self.lstm = nn.LSTM(config.hidden_size, units, batch_first=True, bidirectional=config.bidirectional)

    def forward(self, states: Tensor, real: Tensor | None, past_key_values=None, slot: int = 0) -> Tensor:
        """Maps states `[B, T, D]` to states `[B, T, D]`.

        Args:
            states: states of the new tokens.
            real: which of them are no padding `[B, T]`, or None where all are real.
            past_key_values: cache that gives the state to begin with and takes the last one, or None.
            slot: the cache layer to use.
        """
        cache = None if past_key_values is None else past_key_values.layers[slot]
        begin = None
        if cache is not None and cache.is_initialized:
            begin = (cache.keys[None].contiguous(), cache.values[None].contiguous())  # [1, B, U]
        if real is None:
            output, end = self.lstm(states, begin)
        else:
            output, end = self._run_packed(states, real, begin)
        if cache is not None:
            cache.store(end[0][0], end[1][0], states.shape[1])
        return output

    def _run_packed(self, states, real, begin):
        order, lengths = (~real).long().argsort(dim=-1, stable=True), real.sum(-1)  # real tokens first
        # A row without real tokens is read for one token, since packing allows no empty rows, and then set back.
        packed = pack_padded_sequence(
            reorder(states, order), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        output, end = self.lstm(packed, begin)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=states.shape[1])
        begin = tuple(torch.zeros_like(state) for state in end) if begin is None else begin
        read = (lengths > 0)[None, :, None]
        end = tuple(torch.where(read, new, old) for new, old in zip(end, begin, strict=True))
        return reorder(output, order.argsort(-1)), end


class LSTMPreTrainedModel(LongreachPreTrainedModel):
    """Base class: configuration, what outputs can be recorded, and how recurrent weights begin."""

    config: LSTMConfig
    config_class = LSTMConfig
    _no_split_modules = ["LSTMLayer"]
    _can_record_outputs = {"hidden_states": LSTMLayer}
    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if not isinstance(module, nn.LSTM):
            return
        for name, parameter in module.named_parameters():
            if getattr(parameter, "_is_hf_initialized", False):
                continue  # loaded from a checkpoint, which the views below would not say
            gates = parameter.view(4, module.hidden_size, -1)  # input, forget, cell, output
            if name.startswith("bias"):
                init.zeros_(parameter)
                if name.startswith("bias_ih"):
                    init.ones_(gates[1])
                continue
            for gate in gates:
                if name.startswith("weight_hh"):
                    init.orthogonal_(gate)
                else:
                    init.xavier_uniform_(gate)


class LSTMModel(LSTMPreTrainedModel):
    """Embeddings and LSTM layers."""

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(LSTMLayer(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """States of the new tokens.

        Args:
            input_ids: new tokens `[B, T]`.
            attention_mask: 1 on real tokens, 0 on padding, cached tokens included; padding may be anywhere `[B, S]`.
            position_ids: not used: the order is in the recurrence.
            past_key_values: cache of an earlier call.
            inputs_embeds: embedded tokens `[B, T, D]` in place of `input_ids`.
            use_cache: whether to return the cache; a bidirectional model has none.
            kwargs: not used.

        Returns:
            `last_hidden_state` `[B, T, D]` and `past_key_values`.
        """
        states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past_key_values = self.cache_for(use_cache, past_key_values)
        real = real_tokens(attention_mask, states.shape[1])
        for slot, layer in enumerate(self.layers):
            states = states if slot == 0 else self.dropout(states)
            states = layer(states, real, past_key_values=past_key_values, slot=slot)
        return BaseModelOutputWithPast(last_hidden_state=states, past_key_values=past_key_values)


def real_tokens(attention_mask: Tensor | None, length: int) -> Tensor | None:
    """Which of the last `length` tokens are no padding `[B, length]`; None where all are real."""
    if attention_mask is None:
        return None
    real = attention_mask[:, -length:].bool()
    return None if real.all() else real


def reorder(states: Tensor, order: Tensor) -> Tensor:
    """Puts the positions of each row in the given order `[B, T, D]`."""
    return states.gather(1, order[..., None].expand_as(states))


class LSTMForCausalLM(CausalLMHead, LSTMPreTrainedModel, GenerationMixin):
    """The LSTM with a next-token head; `generate()` carries its state."""

    backbone_class = LSTMModel


class LSTMForMaskedLM(MaskedLMHead, LSTMPreTrainedModel):
    """The LSTM with a token head that is read without a shift."""

    backbone_class = LSTMModel


class LSTMForSequenceClassification(SequenceClassificationHead, LSTMPreTrainedModel):
    """The LSTM with one label per sequence."""

    backbone_class = LSTMModel


class LSTMForTokenClassification(TokenClassificationHead, LSTMPreTrainedModel):
    """The LSTM with one label per token."""

    backbone_class = LSTMModel


register_for_auto_classes(
    LSTMConfig,
    LSTMModel,
    LSTMForCausalLM,
    LSTMForMaskedLM,
    LSTMForSequenceClassification,
    LSTMForTokenClassification,
)
