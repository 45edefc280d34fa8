"""The sequence-to-sequence LSTM baseline: a bidirectional encoder, and a decoder with attention.

The decoder's layers begin from the source's last states, read both ways, as in Bahdanau et al. 2015,
https://arxiv.org/abs/1409.0473; its top states attend to the source with the score "general" of Luong et al. 2015,
https://arxiv.org/abs/1508.04025. What attention finds is not fed back, so that a whole target is read at once.

B batch   T new target tokens   S source tokens   D model width

SPDX-License-Identifier: Apache-2.0
"""

from typing import Any

import torch
from torch import Tensor, nn

from .configuration_lstm_seq2seq import LSTMSeq2SeqConfig
from .modeling_arguments import model_arguments
from .modeling_base import BackboneOutput, register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_lstm import LSTMLayer, LSTMModel, LSTMPreTrainedModel
from .modeling_recurrent import RecurrentPreTrainedModel, real_tokens
from .modeling_seq2seq import ConditionalGenerationHead, Seq2SeqBackbone
from .precision import at_least_float32
from .transformers_internals import capture_outputs


class DecoderLSTMLayer(LSTMLayer):
    """An LSTM layer whose first hidden state is made of a summary of the source."""

    def __init__(self, config):
        super().__init__(config)
        self.bridge = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor, token_mask, summary: Tensor, past_key_values=None, layer_idx: int = 0):  # ty: ignore[incompatible-method-override]
        """As in `RecurrentLayer`; summary `[B, D]`."""
        return super().forward(states, token_mask, past_key_values, layer_idx, summary=summary)

    def first_state(self, states, summary):  # ty: ignore[incompatible-method-override]
        """What the configuration asks for, with the source in the hidden state."""
        hidden, cell = super().first_state(states)
        return hidden + torch.tanh(self.bridge(summary)), cell


class GeneralAttention(nn.Module):
    """Attention whose score is a product with a linear map between, and the layer that takes in what it finds.

    Luong et al. 2015, https://arxiv.org/abs/1508.04025.
    """

    def __init__(self, config):
        super().__init__()
        self.map = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.combine = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)

    def forward(self, states: Tensor, source: Tensor, token_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """States that know the source `[B, T, D]`, and the weights `[B, T, S]`.

        Args:
            states: of the target `[B, T, D]`.
            source: states of the source `[B, S, D]`.
            token_mask: which of them are no padding `[B, S]`, or None where all are.
        """
        scores = at_least_float32(torch.einsum("btd,bsd->bts", self.map(states), source))
        if token_mask is not None:
            scores = scores.masked_fill(~token_mask[:, None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1).to(source.dtype)
        found = torch.einsum("bts,bsd->btd", weights, source)
        return torch.tanh(self.combine(torch.cat([found, states], dim=-1))), weights


class LSTMDecoder(LSTMPreTrainedModel):
    """LSTM layers over an embedded target, and attention to the source above them."""

    _can_record_outputs = {"hidden_states": DecoderLSTMLayer, "cross_attentions": GeneralAttention}

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(DecoderLSTMLayer(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.attention = GeneralAttention(config)
        self.post_init()

    @model_arguments
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        inputs_embeds: Any = None,
        use_cache: bool | None = None,
        source: Any = None,
        source_mask: Tensor | None = None,
        **kwargs,
    ) -> BackboneOutput:
        """States of the new target tokens.

        Args:
            input_ids: not used: the target is embedded.
            attention_mask: 1 on real target tokens, cached tokens included, or None.
            position_ids: not used: the order is in the recurrence.
            past_key_values: the decoder's own cache, or None.
            inputs_embeds: embedded target `[B, T, D]`.
            use_cache: not used: a cache that is wanted is given.
            source: states of the source `[B, S, D]`.
            source_mask: 1 on real source tokens `[B, S]`, or None.
            kwargs: not used.

        Returns:
            `last_hidden_state` `[B, T, D]`.
        """
        states, token_mask = inputs_embeds, real_tokens(attention_mask, inputs_embeds.shape[1])
        source_real = real_tokens(source_mask, source.shape[1])
        summary = summarise(source, source_real)
        for layer_idx, layer in enumerate(self.layers):
            states = states if layer_idx == 0 else self.dropout(states)
            states = layer(states, token_mask, summary, past_key_values=past_key_values, layer_idx=layer_idx)
        states, _ = self.attention(self.dropout(states), source, source_real)
        return BackboneOutput(last_hidden_state=states)


def summarise(source: Tensor, token_mask: Tensor | None) -> Tensor:
    """Where the two directions of the encoder end: at the last real token and at the first `[B, D]`."""
    if token_mask is None:
        token_mask = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device)
    first = token_mask.long().argmax(-1)
    last = token_mask.shape[1] - 1 - token_mask.flip(-1).long().argmax(-1)
    rows = torch.arange(source.shape[0], device=source.device)
    forward, _ = source[rows, last].chunk(2, dim=-1)
    _, backward = source[rows, first].chunk(2, dim=-1)
    return torch.cat([forward, backward], dim=-1)


class LSTMSeq2SeqPreTrainedModel(RecurrentPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: LSTMSeq2SeqConfig
    config_class = LSTMSeq2SeqConfig
    _no_split_modules = ["LSTMLayer", "DecoderLSTMLayer"]


class LSTMSeq2SeqModel(Seq2SeqBackbone, LSTMSeq2SeqPreTrainedModel):
    """Encoder and decoder."""

    encoder_class = LSTMModel
    decoder_class = LSTMDecoder

    def seen_by_decoder(self, states, attention_mask, cache):
        """The source's states, whatever is cached."""
        return {"source": states, "source_mask": attention_mask}


class LSTMForConditionalGeneration(ConditionalGenerationHead, LSTMSeq2SeqPreTrainedModel, LongreachGenerationMixin):
    """The sequence-to-sequence LSTM with a head that predicts the target; `generate()` carries its state."""

    backbone_class = LSTMSeq2SeqModel


register_for_auto_classes(LSTMSeq2SeqConfig, LSTMSeq2SeqModel, LSTMForConditionalGeneration)
