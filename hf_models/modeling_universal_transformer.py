"""The Universal Transformer: layers shared over depth, with a fixed number of steps or adaptive computation.

Dehghani et al. 2019, https://arxiv.org/abs/1807.03819; halting: Graves 2016, https://arxiv.org/abs/1603.08983.

B batch   T new tokens   S all tokens, cached ones first   D model width

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils.output_capturing import capture_outputs

from .adaptive_computation import Halting, HaltingUnit, ponder_loss
from .attention import Attention
from .configuration_universal_transformer import UniversalTransformerConfig
from .modeling_base import (
    CausalLMHead,
    Head,
    MaskedLMHead,
    SequenceClassificationHead,
    TokenClassificationHead,
    TokenEmbedding,
    register_for_auto_classes,
)
from .modeling_transformer import PositionIdsGeneration, Surroundings, TransformerPreTrainedModel
from .position_encodings import LayerEncodings
from .transformer_layer import TransformerLayer


@dataclass
class UniversalTransformerModelOutput(BaseModelOutputWithPast):
    """States, with the halting statistics of adaptive computation.

    Args:
        ponder_steps: number of steps each new token took, 0 on padding `[B, T]`; None without halting.
        remainders: weight of its halting step `[B, T]`; None without halting.
    """

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None


@dataclass
class UniversalTransformerCausalLMOutput(CausalLMOutputWithPast):
    """Causal output, with the statistics above and `ponder_loss`, the unweighted mean ponder cost."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None


@dataclass
class UniversalTransformerMaskedLMOutput(MaskedLMOutput):
    """Masked output, with the same."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None


@dataclass
class UniversalTransformerSequenceClassifierOutput(SequenceClassifierOutputWithPast):
    """Sequence classification output, with the same."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None


@dataclass
class UniversalTransformerTokenClassifierOutput(TokenClassifierOutput):
    """Token classification output, with the same."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None


class UniversalTransformerPreTrainedModel(TransformerPreTrainedModel):
    """Base class: configuration, what outputs can be recorded, and how the halting unit begins."""

    config: UniversalTransformerConfig
    config_class = UniversalTransformerConfig
    _can_record_outputs = {"hidden_states": TransformerLayer, "attentions": Attention}

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, HaltingUnit):
            module.initialise()


class UniversalTransformerModel(UniversalTransformerPreTrainedModel):
    """Embeddings, the shared layers applied step by step, and the last norm of the pre-norm form."""

    def __init__(self, config: UniversalTransformerConfig):
        super().__init__(config)
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.encodings = LayerEncodings(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(TransformerLayer(config, index) for index in range(config.num_shared_layers))
        self.halting = HaltingUnit(config) if config.halting == "act" else None
        pre_norm = config.norm_position == "pre"
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps) if pre_norm else nn.Identity()
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
    ) -> UniversalTransformerModelOutput:
        """States of the new tokens after `config.num_steps` steps, or their mixture where positions halt.

        Args:
            input_ids: new tokens `[B, T]`.
            attention_mask: 1 on real tokens, 0 on padding, cached tokens included `[B, S]`.
            position_ids: ids of all tokens `[B, S]` or of the new ones `[B, T]`; by default from the scheme.
            past_key_values: cache of an earlier call.
            inputs_embeds: embedded tokens `[B, T, D]` in place of `input_ids`.
            use_cache: whether to return the cache; a bidirectional model has none.
            kwargs: passed to the attention function.

        Returns:
            `last_hidden_state` `[B, T, D]`, `past_key_values`, `ponder_steps` and `remainders` `[B, T]`.
        """
        states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past_key_values = self.cache_for(use_cache, past_key_values)
        surroundings = self.surroundings(
            self.encodings, states, attention_mask, position_ids, past_key_values, input_ids
        )
        given = {"surroundings": surroundings, "past_key_values": past_key_values, **kwargs}
        states = self.dropout(states)
        halting = None
        if self.halting is None:
            for step in range(self.config.num_steps):
                states = self.step(states, step, **given)
        else:
            real = real_tokens(attention_mask, states)
            halting = self.ponder(self.halting, states, real, may_exit=past_key_values is None, **given)
            states = halting.output
        return UniversalTransformerModelOutput(
            last_hidden_state=self.norm(states),
            past_key_values=past_key_values,
            ponder_steps=None if halting is None else halting.steps,
            remainders=None if halting is None else halting.remainders,
        )

    def step(self, states: Tensor, step: int, surroundings: list[Surroundings], past_key_values, **kwargs) -> Tensor:
        """Applies the shared layers once `[B, T, D]`; step and layer together choose the cache slot."""
        for index, (layer, around) in enumerate(zip(self.layers, surroundings, strict=True)):
            encoding = self.encodings[index]
            if self.encodings.enters(index):
                states = encoding.embed(states, around.at.query_ids, step)
            states = layer(
                states,
                around.mask,
                around.bias,
                around.at,
                encoding,
                past_key_values=past_key_values,
                slot=step * len(self.layers) + index,
                **kwargs,
            )
        return states

    def ponder(self, unit: HaltingUnit, states: Tensor, real: Tensor | None, may_exit: bool, **given) -> Halting:
        """Steps until every position has halted.

        Without a cache and outside of training the loop ends with the last running position. With a cache it goes on,
        since later tokens will look for keys and values at every step.
        """
        halting = Halting.start(states, real)
        may_exit = may_exit and not self.training and not torch.compiler.is_compiling()
        for step in range(self.config.num_steps):
            if may_exit and not halting.running.any():
                break
            probability = unit(states)
            after = self.step(states, step, **given)
            last = step == self.config.num_steps - 1
            halting, states = halting.advance(states, after, probability, self.config.halting_threshold, last)
        return halting


def real_tokens(attention_mask: Tensor | None, states: Tensor) -> Tensor | None:
    """Which of the new tokens are no padding `[B, T]`; None where the mask does not say."""
    if attention_mask is None or attention_mask.dim() != 2:
        return None
    return attention_mask[:, -states.shape[1] :]


class PonderingHead(Head):
    """Adds the ponder cost to a head's loss, and the halting statistics to its outputs."""

    backbone_class = UniversalTransformerModel

    def finish(self, output, backbone_outputs, attention_mask=None, labels=None, **kwargs):
        """Extends the head's output where positions halt."""
        output = super().finish(output, backbone_outputs)
        steps, remainders = backbone_outputs.ponder_steps, backbone_outputs.remainders
        if steps is None:
            return output
        real = real_tokens(attention_mask, steps)
        output.ponder_steps, output.remainders = steps, remainders
        output.ponder_loss = ponder_loss(steps, remainders, real, labels, kwargs.get("num_items_in_batch"))
        if output.loss is not None:
            output.loss = output.loss + self.config.ponder_loss_weight * output.ponder_loss
        return output


class UniversalTransformerForCausalLM(
    PonderingHead, PositionIdsGeneration, CausalLMHead, UniversalTransformerPreTrainedModel, GenerationMixin
):
    """The Universal Transformer with a next-token head; `generate()` works."""

    output_class = UniversalTransformerCausalLMOutput


class UniversalTransformerForMaskedLM(PonderingHead, MaskedLMHead, UniversalTransformerPreTrainedModel):
    """The Universal Transformer with a token head that is read without a shift."""

    output_class = UniversalTransformerMaskedLMOutput


class UniversalTransformerForSequenceClassification(
    PonderingHead, SequenceClassificationHead, UniversalTransformerPreTrainedModel
):
    """The Universal Transformer with one label per sequence."""

    output_class = UniversalTransformerSequenceClassifierOutput


class UniversalTransformerForTokenClassification(
    PonderingHead, TokenClassificationHead, UniversalTransformerPreTrainedModel
):
    """The Universal Transformer with one label per token."""

    output_class = UniversalTransformerTokenClassifierOutput


register_for_auto_classes(
    UniversalTransformerConfig,
    UniversalTransformerModel,
    UniversalTransformerForCausalLM,
    UniversalTransformerForMaskedLM,
    UniversalTransformerForSequenceClassification,
    UniversalTransformerForTokenClassification,
)
