"""A transformer, causal or bidirectional, with a configurable position encoding.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; the encodings name their papers in position_registry.py.

B batch   T new tokens   S all tokens, cached ones first   D model width

SPDX-License-Identifier: Apache-2.0
"""

from torch import Tensor, nn

from .attention import Attention
from .configuration_position_transformer import PositionTransformerConfig
from .layer_transformer import TransformerLayer
from .modeling_arguments import model_arguments, named_cache
from .modeling_base import BackboneOutput, TokenEmbedding, register_for_auto_classes
from .modeling_heads import CausalLMHead, MaskedLMHead, SequenceClassificationHead, TokenClassificationHead
from .modeling_transformer import PositionIdsGenerationMixin, TransformerPreTrainedModel
from .position_registry import LayerEncodings
from .transformers_internals import capture_outputs


class PositionTransformerPreTrainedModel(TransformerPreTrainedModel):
    """Base class: configuration and what outputs can be recorded."""

    config: PositionTransformerConfig
    config_class = PositionTransformerConfig
    _can_record_outputs = {"hidden_states": TransformerLayer, "attentions": Attention}


class PositionTransformerModel(PositionTransformerPreTrainedModel):
    """Embeddings, layers, and the last norm of the pre-norm form."""

    layer_class = TransformerLayer

    def __init__(self, config: PositionTransformerConfig):
        super().__init__(config)
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.encodings = LayerEncodings(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(self.layer_class(config, index) for index in range(config.num_hidden_layers))
        pre_norm = config.norm_position == "pre"
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps) if pre_norm else nn.Identity()
        self.post_init()

    @model_arguments
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        sources: list[tuple] | None = None,
        **kwargs,
    ) -> BackboneOutput:
        """States of the new tokens.

        Args:
            input_ids: new tokens `[B, T]`.
            attention_mask: 1 on real tokens, 0 on padding, cached tokens included `[B, S]`.
            position_ids: ids of all tokens `[B, S]` or of the new ones `[B, T]`; by default from the scheme.
            past_key_values: cache of an earlier call.
            inputs_embeds: embedded tokens `[B, T, D]` in place of `input_ids`.
            use_cache: whether to return the cache; a bidirectional model has none.
            sources: in a decoder, what each layer is told of the source.
            kwargs: passed to the attention function.

        Returns:
            `last_hidden_state` `[B, T, D]` and `past_key_values`.
        """
        states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        sequences = self.sequences(position_ids, attention_mask, states, past_key_values)
        past_key_values = self.cache_for(use_cache, past_key_values, packed=sequences is not None)
        contexts = self.contexts(
            self.encodings, states, attention_mask, position_ids, past_key_values, input_ids, sources, sequences
        )
        states = self.dropout(states)
        for layer_idx, (layer, context) in enumerate(zip(self.layers, contexts, strict=True)):
            encoding = self.encodings[layer_idx]
            if self.encodings.enters(layer_idx):
                states = encoding.embed(states, context.positions.query_ids)
            states = layer(
                *context.of(states, encoding), past_key_values=past_key_values, layer_idx=layer_idx, **kwargs
            )
        return BackboneOutput(last_hidden_state=self.norm(states), **named_cache(past_key_values))


class PositionTransformerForCausalLM(PositionIdsGenerationMixin, CausalLMHead, PositionTransformerPreTrainedModel):
    """The causal transformer with a next-token head; `generate()` works."""

    backbone_class = PositionTransformerModel


class PositionTransformerForMaskedLM(MaskedLMHead, PositionTransformerPreTrainedModel):
    """The transformer with a token head that is read without a shift."""

    backbone_class = PositionTransformerModel


class PositionTransformerForSequenceClassification(SequenceClassificationHead, PositionTransformerPreTrainedModel):
    """The transformer with one label per sequence."""

    backbone_class = PositionTransformerModel


class PositionTransformerForTokenClassification(TokenClassificationHead, PositionTransformerPreTrainedModel):
    """The transformer with one label per token."""

    backbone_class = PositionTransformerModel


register_for_auto_classes(
    PositionTransformerConfig,
    PositionTransformerModel,
    PositionTransformerForCausalLM,
    PositionTransformerForMaskedLM,
    PositionTransformerForSequenceClassification,
    PositionTransformerForTokenClassification,
)
