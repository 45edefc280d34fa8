"""The Universal Transformer: layers shared over depth, with a fixed number of steps or adaptive computation.

Dehghani et al. 2019, https://arxiv.org/abs/1807.03819; halting: Graves 2016, https://arxiv.org/abs/1603.08983.

B batch   T new tokens   S all tokens, cached ones first   D model width

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)

from .attention import Attention
from .configuration_universal_transformer import UniversalTransformerConfig
from .halting_act import HaltingUnit, mean_ponder_cost
from .halting_ponder_net import expected_loss
from .layer_looped import LoopedLayers
from .layer_transformer import TransformerLayer
from .modeling_arguments import BothCacheNames, model_arguments, named_cache
from .modeling_base import TokenEmbedding, register_for_auto_classes
from .modeling_heads import CausalLMHead, Head, MaskedLMHead, SequenceClassificationHead, TokenClassificationHead
from .modeling_transformer import PositionIdsGenerationMixin, TransformerPreTrainedModel
from .position_registry import LayerEncodings
from .transformers_internals import capture_outputs


PONDERS = "the loss contains what pondering costs"


@dataclass
class UniversalTransformerModelOutput(BothCacheNames, BaseModelOutputWithPast):
    """States, with the halting statistics of adaptive computation.

    Args:
        ponder_steps: number of steps each new token took, 0 on padding `[B, T]`; None where all take the same number.
        remainders: weight of its halting step `[B, T]`; None where the output is no mixture of states.
        ponder_cost: what pondering costs each position, unweighted `[B, T]`; None without halting, and in the
            evaluation of PonderNet, whose cost is that of all steps.
        halting_probabilities: of each step `[B, T]` each; from PonderNet in training.
        step_states: states after each step, normed `[B, T, D]` each; where asked for, and from PonderNet in training.
    """

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_cost: Tensor | None = None
    halting_probabilities: tuple | None = None
    step_states: tuple | None = None


@dataclass
class UniversalTransformerCausalLMOutput(BothCacheNames, CausalLMOutputWithPast):
    """Causal output, with the statistics above, `ponder_loss`, the unweighted mean ponder cost, with labels or in
    training, and the states of each step where they are given above, with their logits `[B, T, V]`.
    """

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None
    step_states: tuple | None = None
    step_logits: tuple | None = None


@dataclass
class UniversalTransformerMaskedLMOutput(MaskedLMOutput):
    """Masked output, with the same."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None
    step_states: tuple | None = None
    step_logits: tuple | None = None


@dataclass
class UniversalTransformerSequenceClassifierOutput(SequenceClassifierOutputWithPast):
    """Sequence classification output, with the same."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None
    step_states: tuple | None = None
    step_logits: tuple | None = None


@dataclass
class UniversalTransformerTokenClassifierOutput(TokenClassifierOutput):
    """Token classification output, with the same."""

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_loss: Tensor | None = None
    step_states: tuple | None = None
    step_logits: tuple | None = None


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

    @property
    def prefix_stable(self) -> bool:
        """Not where a sequence leaves as a whole: its last token may keep the others."""
        config = self.config
        waits = config.exit_criterion != "none" and config.exit_scope == "sequence"
        return super().prefix_stable and not waits

    def why_not_packed(self):
        """Sequences that leave together."""
        config = self.config
        if config.exit_criterion != "none" and config.exit_scope == "sequence":
            return "exit_scope 'sequence' takes a row for one sequence"
        return super().why_not_packed()

    def _packs(self) -> bool:
        leaves = self.config.exit_criterion != "none" and not self.training
        return (self.config.halting != "none" or leaves) and not torch.compiler.is_compiling()


class UniversalTransformerModel(UniversalTransformerPreTrainedModel):
    """Embeddings, the recurrent stack, and the last norm of the pre-norm form."""

    layer_class = TransformerLayer

    def __init__(self, config: UniversalTransformerConfig):
        super().__init__(config)
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.encodings = LayerEncodings(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.stack = LoopedLayers(config, self.layer_class)
        pre_norm = config.norm_position == "pre"
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps) if pre_norm else nn.Identity()
        self.post_init()

    @model_arguments
    @capture_outputs
    def forward(  # noqa: PLR0913, transformers names most
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_steps: bool = False,
        readout=None,
        sources: list[tuple] | None = None,
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
            output_steps: whether to return the states after each step.
            readout: maps states to logits; the heads pass it for exits that look at predictions.
            sources: in a decoder, what each layer with weights of its own is told of the source.
            kwargs: passed to the attention function.

        Returns:
            `last_hidden_state` `[B, T, D]`, `past_key_values`, `ponder_steps` and `remainders` `[B, T]`, and
            `step_states` where asked for or scored.
        """
        states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        sequences = self.sequences(position_ids, attention_mask, states, past_key_values)
        past_key_values = self.cache_for(use_cache, past_key_values, packed=sequences is not None)
        contexts = self.contexts(
            self.encodings, states, attention_mask, position_ids, past_key_values, input_ids, sources, sequences
        )
        if self.config.exit_criterion == "stable_argmax" and readout is None and not self.training:
            raise ValueError("exit_criterion 'stable_argmax' looks at predictions: call a model with a head.")
        rule = self.stack.halting
        scores_steps = rule is not None and rule.keeps_all
        recurred = self.stack(
            self.dropout(states),
            contexts,
            self.encodings,
            token_mask=real_tokens(attention_mask, states),
            past_key_values=past_key_values,
            readout=None if readout is None else lambda states: readout(self.norm(states)),
            keep_steps=output_steps or scores_steps,
            recorded=self._records(kwargs),
            **kwargs,
        )
        halting = recurred.halting
        return UniversalTransformerModelOutput(
            last_hidden_state=self.norm(recurred.states),
            **named_cache(past_key_values),
            ponder_steps=None if halting is None else halting.steps,
            remainders=halting.remainders if rule is not None and rule.mixes else None,
            ponder_cost=None if rule is None else rule.cost(halting),
            halting_probabilities=None if halting is None else halting.probabilities or None,
            step_states=tuple(self.norm(states) for states in recurred.step_states) or None,
        )

    def _records(self, given: dict) -> bool:
        # Whether transformers records what layers give in this forward pass.
        names = [f"output_{name}" for name in ("hidden_states", "attentions")]
        return any(given.get(name, getattr(self.config, name, False)) for name in names)


def real_tokens(attention_mask: Tensor | None, states: Tensor) -> Tensor | None:
    """Which of the new tokens are no padding `[B, T]`; None where the mask does not say."""
    if attention_mask is None or attention_mask.dim() != 2:
        return None
    return attention_mask[:, -states.shape[1] :]


class PonderingHead(Head):
    """Adds the ponder cost to a head's loss, and what happened step by step to its outputs."""

    backbone_class = UniversalTransformerModel
    if TYPE_CHECKING:  # what some of the heads have
        lm_head: nn.Linear
        score: nn.Linear
        dropout: nn.Dropout
        pool: Any

    def run(self, labels=None, shift_labels=None, **inputs):
        """The backbone, which looks at predictions where an exit asks for it."""
        if self.config.exit_criterion == "stable_argmax":
            inputs["readout"] = self.readout
        return super().run(labels, shift_labels, **inputs)

    def why_loss_needs_model(self, inputs):
        """The ponder cost is weighed by the labels; PonderNet scores every step."""
        return PONDERS if self.config.halting != "none" else super().why_loss_needs_model(inputs)

    def readout(self, states: Tensor) -> Tensor:
        """Logits of states `[..., D]`."""
        return self.lm_head(states) if hasattr(self, "lm_head") else self.score(self.dropout(states))

    def finish(self, output, backbone_outputs, attention_mask=None, labels=None, **kwargs):
        """Extends the head's output where positions halt, or states of each step are there."""
        output = super().finish(output, backbone_outputs)
        if backbone_outputs.step_states is not None:
            output.step_states = backbone_outputs.step_states
            output.step_logits = tuple(self.readout(states) for states in backbone_outputs.step_states)
        output.ponder_steps, output.remainders = backbone_outputs.ponder_steps, backbone_outputs.remainders
        # Outputs in evaluation have an entry for each sequence, since pipelines split them; this is one for the batch.
        if backbone_outputs.ponder_cost is None or (labels is None and not self.training):
            return output
        items = kwargs.get("num_items_in_batch")
        token_mask = real_tokens(attention_mask, backbone_outputs.ponder_cost)
        output.ponder_loss = mean_ponder_cost(backbone_outputs.ponder_cost, token_mask, labels, items)
        if output.loss is not None:
            if labels is not None and self.config.halting == "ponder_net" and self.training:
                scored = self.each_step(output, backbone_outputs, attention_mask, labels)
                output.loss = expected_loss(*scored, labels, items, kwargs.get("smoothing", 0.0))
            output.loss = output.loss + self.config.ponder_loss_weight * output.ponder_loss
        return output

    def each_step(self, output, backbone_outputs, attention_mask, labels: Tensor) -> tuple[list, list]:
        """What the labels score after each step, and the probability of halting there.

        Args:
            output: of the head, with the logits of every step.
            backbone_outputs: those of the backbone.
            attention_mask: what the caller gave.
            labels: `[B, T]` or, one position short, those of the next tokens; `[B]` for sequences.

        Returns:
            Logits `[B, T, V]` and probabilities `[B, T]` of each step; of sequences `[B, C]` and `[B]`.
        """
        chances = backbone_outputs.halting_probabilities
        if labels.dim() > 1:
            scored = labels.shape[1]
            return [step[:, :scored] for step in output.step_logits], [chance[:, :scored] for chance in chances]
        pooled = [self.pool(states, attention_mask) for states in backbone_outputs.step_states]
        chances = [self.pool(chance[..., None], attention_mask)[..., 0] for chance in chances]
        return [self.readout(states) for states in pooled], chances


class UniversalTransformerForCausalLM(
    PonderingHead, PositionIdsGenerationMixin, CausalLMHead, UniversalTransformerPreTrainedModel
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
