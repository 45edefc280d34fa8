"""What all encoder-decoders share: a backbone of encoder and decoder, its cache, and the head that writes a target.

Encoder and decoder are models of their own, built from configurations of their own. The embedding is the encoder's and
serves both.

B batch   T new target tokens   S source tokens   D model width   V vocabulary

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput

from .layer_decoder import DecoderLayer
from .losses import token_loss
from .modeling_arguments import BothCacheNames, model_arguments, named_cache
from .modeling_base import ModelMixin
from .modeling_heads import Head
from .transformers_internals import can_return_tuple


@dataclass
class Seq2SeqBackboneOutput(BothCacheNames, Seq2SeqModelOutput):
    """Output of encoder and decoder."""


@dataclass
class ConditionalGenerationOutput(BothCacheNames, Seq2SeqLMOutput):
    """Output of the head that predicts a target."""


class Seq2SeqBackbone(ModelMixin):
    """Encoder and decoder; `encoder_class` and `decoder_class` are set by the model file."""

    encoder_class: type[PreTrainedModel]
    decoder_class: type[PreTrainedModel]

    def __init__(self, config):
        super().__init__(config)
        self.encoder: Any = self.encoder_class(config.encoder_config())
        self.decoder: Any = self.decoder_class(config.decoder_config())
        self.decoder.embed_tokens = None
        self.post_init()

    def get_input_embeddings(self):
        """The embedding of source and target."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value):
        """Replaces it."""
        self.encoder.embed_tokens = value

    @property
    def prefix_stable(self) -> bool:
        """Whether more target tokens leave earlier outputs as they are; the source is complete in any case."""
        return self.decoder.prefix_stable

    def why_not_packed(self):
        """Attention to the source knows rows only."""
        return "its target attends to a row of the source"

    def cache_for(self, use_cache: bool | None, past_key_values, packed: bool = False):
        """The cache of a forward pass: the one given, a new one where a cache is wanted, else None.

        Raises:
            ValueError: the cache given has no part for the source, or the model has no cache.
        """
        if past_key_values is not None and not isinstance(past_key_values, EncoderDecoderCache):
            raise ValueError(f"An encoder-decoder needs an EncoderDecoderCache, not {type(past_key_values).__name__}.")
        cache = super().cache_for(use_cache, past_key_values, packed)
        if cache is not None and not any(cache.is_updated.values()):
            # The library's is laid out like the decoder's own; the source is always kept whole, once per layer.
            cache.cross_attention_cache = DynamicCache()
        return cache

    def new_cache(self):
        """An empty cache for the target, and one for the source."""
        return EncoderDecoderCache(DynamicCache(config=self.decoder.config), DynamicCache())

    @model_arguments
    @can_return_tuple
    def forward(  # noqa: PLR0913, transformers names the arguments
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> Seq2SeqBackboneOutput:
        """States of the new target tokens.

        Args:
            input_ids: the source `[B, S]`.
            attention_mask: 1 on real source tokens, 0 on padding `[B, S]`.
            position_ids: ids of the source tokens; recurrent models take none `[B, S]`.
            decoder_input_ids: new target tokens, shifted right by the caller `[B, T]`.
            decoder_attention_mask: 1 on real target tokens, cached tokens included.
            decoder_position_ids: ids of the target tokens, all or the new ones.
            encoder_outputs: what the encoder returned for this source, in place of running it.
            past_key_values: cache of an earlier call with this source.
            inputs_embeds: embedded source `[B, S, D]` in place of `input_ids`.
            decoder_inputs_embeds: embedded target `[B, T, D]` in place of `decoder_input_ids`.
            use_cache: whether to return the cache.
            kwargs: passed to encoder and decoder.

        Returns:
            `last_hidden_state` `[B, T, D]`, `past_key_values`, and what encoder and decoder recorded.

        Raises:
            ValueError: there is no target, or the source's mask is one of pairs.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            raise ValueError("An encoder-decoder needs decoder_input_ids or, in a model with a head, labels.")
        if attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError("The attention_mask of a source says which tokens are real [B, S], not which pairs.")
        self.refuse_packed(position_ids, attention_mask, input_ids, inputs_embeds)
        self.refuse_packed(decoder_position_ids, decoder_attention_mask, decoder_input_ids, decoder_inputs_embeds)
        for name in ("output_hidden_states", "output_attentions"):  # both sides follow this model's configuration
            if kwargs.get(name) is None:
                kwargs[name] = getattr(self.config, name)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                position_ids=position_ids,
                **kwargs,
            )
        elif not hasattr(encoder_outputs, "last_hidden_state"):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        states: Any = encoder_outputs.last_hidden_state
        if decoder_inputs_embeds is None:
            decoder_inputs_embeds = self.get_input_embeddings()(decoder_input_ids)
        cache = self.cache_for(use_cache, past_key_values)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            inputs_embeds=decoder_inputs_embeds,
            attention_mask=decoder_attention_mask,
            position_ids=decoder_position_ids,
            past_key_values=None if cache is None else cache.self_attention_cache,
            use_cache=False,  # a cache that is wanted is given
            **self.seen_by_decoder(states, attention_mask, cache),
            **kwargs,
        )
        return self.join(encoder_outputs, decoder_outputs, cache)

    def seen_by_decoder(self, states: Tensor, attention_mask: Tensor | None, cache) -> dict:
        """What the decoder is told of the source, by name.

        Args:
            states: of the source `[B, S, D]`.
            attention_mask: 1 on real source tokens `[B, S]`, or None.
            cache: the `EncoderDecoderCache`, or None.
        """
        raise NotImplementedError

    def join(self, encoder_outputs, decoder_outputs, cache) -> Seq2SeqBackboneOutput:
        """The outputs of both as one; models with statistics of their own extend it."""
        return Seq2SeqBackboneOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            **named_cache(cache),
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=getattr(decoder_outputs, "cross_attentions", None),
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )


class TransformerSeq2SeqBackbone(Seq2SeqBackbone):
    """A backbone whose decoder's layers attend to the source; their keys and values are made once per source."""

    def decoder_layers(self) -> list[DecoderLayer]:
        """The decoder's layers, one per set of weights."""
        return [module for module in self.decoder.modules() if isinstance(module, DecoderLayer)]

    def seen_by_decoder(self, states, attention_mask, cache):
        """Keys, values and mask of the source for each layer with weights of its own."""
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        layers = enumerate(self.decoder_layers())
        return {"sources": [(*self.offered(layer, index, states, cache), mask) for index, layer in layers]}

    def offered(self, layer: DecoderLayer, index: int, states: Tensor, cache) -> tuple[Tensor, Tensor]:
        """Keys and values of the source `[B, H, S, K]` for a layer, from the cache where it has them."""
        if cache is None:
            return layer.cross_attention.offer(states)
        if not cache.is_updated.get(index):
            cache.is_updated[index] = True
            return cache.cross_attention_cache.update(*layer.cross_attention.offer(states), index)
        kept = cache.cross_attention_cache.layers[index]
        return kept.keys, kept.values


class ConditionalGenerationHead(Head):
    """Predicts the next target token at every target position."""

    _tied_weights_keys = {"lm_head.weight": "model.encoder.embed_tokens.weight"}
    model: Any
    output_class: Any = ConditionalGenerationOutput
    task_loss = staticmethod(token_loss)

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @property
    def prefix_stable(self) -> bool:
        """Whether more target tokens leave earlier outputs as they are."""
        return self.model.prefix_stable

    def why_loss_needs_model(self, inputs):
        """Without the labels, the decoder reads what the batch gives it."""
        if inputs.get("decoder_input_ids") is None and inputs.get("decoder_inputs_embeds") is None:
            return "the decoder reads the labels where a batch has no decoder_input_ids"
        return super().why_loss_needs_model(inputs)

    @model_arguments
    @can_return_tuple
    def forward(  # noqa: PLR0913, transformers names the arguments
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ) -> ConditionalGenerationOutput:
        """Logits of the target tokens and, with labels, their cross-entropy.

        Args:
            labels: the target `[B, T]`; -100 is not scored. Without `decoder_input_ids` it is also what the decoder
                reads, shifted right by one.
            smoothing: share of the uniform distribution in the targets of the loss (label smoothing).
            kwargs: passed to the backbone and to the loss (`num_items_in_batch`).

        The other arguments are those of the backbone.

        Returns:
            `logits` `[B, T, V]`, `loss`, `past_key_values`, and what encoder and decoder recorded.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        decoder_attention_mask = self.target_mask(decoder_attention_mask, labels, past_key_values)
        outputs = self.run(
            labels=labels,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            decoder_position_ids=decoder_position_ids,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state)  # [B, T, V]
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits, labels, self.config.vocab_size, shift_labels=labels, smoothing=smoothing, **kwargs
            )
        recorded = {name: value for name, value in outputs.items() if name in self.output_class.__dataclass_fields__}
        output = self.output_class(loss=loss, logits=logits, **recorded)
        return self.finish(
            output, outputs, attention_mask, labels, decoder_attention_mask, smoothing=smoothing, **kwargs
        )

    def finish(
        self, output, backbone_outputs, attention_mask=None, labels=None, decoder_attention_mask=None, **kwargs
    ):
        """Models with losses of their own extend it."""
        return output

    def target_mask(
        self, decoder_attention_mask: Tensor | None, labels: Tensor | None, past_key_values
    ) -> Tensor | None:
        """The mask of the target's tokens that the decoder is given, cached ones included."""
        return decoder_attention_mask

    @staticmethod
    def create_masks_for_generate(attention_mask, **kwargs):
        """Keeps the mask of the target's tokens, or none, with a cache of fixed size too."""
        return attention_mask

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """What the decoder reads to predict these labels `[B, T]`: the same, one later, after the start token.

        Raises:
            ValueError: no token is known to start with.
        """
        start, padding = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None:
            raise ValueError("Labels are shifted behind a start token: set decoder_start_token_id or bos_token_id.")
        shifted = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=-1)
        return shifted.masked_fill(shifted == -100, start if padding is None else padding)
