"""The encoder-decoder Universal Transformer: layers shared over depth on both sides, with adaptive computation.

Dehghani et al. 2019, https://arxiv.org/abs/1807.03819; halting: Graves 2016, https://arxiv.org/abs/1603.08983.

B batch   T new target tokens   S source tokens   D model width   V vocabulary

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_outputs import Seq2SeqLMOutput, Seq2SeqModelOutput

from .attention import Attention
from .configuration_universal_transformer_seq2seq import UniversalTransformerSeq2SeqConfig
from .halting_act import mean_ponder_cost
from .halting_ponder_net import expected_loss
from .layer_decoder import CrossAttention, DecoderLayer
from .modeling_arguments import BothCacheNames
from .modeling_base import register_for_auto_classes
from .modeling_generation import LongreachGenerationMixin
from .modeling_seq2seq import ConditionalGenerationHead, TransformerSeq2SeqBackbone
from .modeling_transformer import TransformerPreTrainedModel
from .modeling_universal_transformer import PONDERS, UniversalTransformerModel, real_tokens


@dataclass
class UniversalTransformerSeq2SeqModelOutput(BothCacheNames, Seq2SeqModelOutput):
    """States, with the halting statistics of both sides; None without halting.

    Args:
        ponder_steps: number of steps each new target token took, 0 on padding `[B, T]`.
        remainders: weight of its halting step `[B, T]`.
        ponder_cost: what pondering costs each position, unweighted `[B, T]`.
        halting_probabilities: of the target at each step `[B, T]` each; from PonderNet in training.
        step_states: of the target after each step `[B, T, D]` each; where asked for, and from PonderNet in training.
        encoder_ponder_steps: the same of the source `[B, S]`.
        encoder_remainders: the same of the source `[B, S]`.
        encoder_ponder_cost: the same of the source `[B, S]`.
        encoder_step_states: of the source after each step `[B, S, D]` each; where asked for.
    """

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    ponder_cost: Tensor | None = None
    halting_probabilities: tuple | None = None
    step_states: tuple | None = None
    encoder_ponder_steps: Tensor | None = None
    encoder_remainders: Tensor | None = None
    encoder_ponder_cost: Tensor | None = None
    encoder_step_states: tuple | None = None


@dataclass
class UniversalTransformerSeq2SeqLMOutput(BothCacheNames, Seq2SeqLMOutput):
    """Logits, with the steps and remainders above, `ponder_loss`: the unweighted mean ponder cost of the source and of
    the target, added, with labels or in training; and the states of each step where they are given above, with logits
    `[B, T, V]` on the target.
    """

    ponder_steps: Tensor | None = None
    remainders: Tensor | None = None
    encoder_ponder_steps: Tensor | None = None
    encoder_remainders: Tensor | None = None
    ponder_loss: Tensor | None = None
    step_states: tuple | None = None
    step_logits: tuple | None = None
    encoder_step_states: tuple | None = None


class UniversalTransformerDecoder(UniversalTransformerModel):
    """The causal Universal Transformer, whose layers also attend to a source."""

    layer_class = DecoderLayer
    _can_record_outputs = {
        "hidden_states": DecoderLayer,
        "attentions": Attention,
        "cross_attentions": CrossAttention,
    }


class UniversalTransformerSeq2SeqPreTrainedModel(TransformerPreTrainedModel):
    """Base class: the configuration, and what is not split over devices."""

    config: UniversalTransformerSeq2SeqConfig
    config_class = UniversalTransformerSeq2SeqConfig
    _no_split_modules = ["TransformerLayer", "DecoderLayer"]


class UniversalTransformerSeq2SeqModel(TransformerSeq2SeqBackbone, UniversalTransformerSeq2SeqPreTrainedModel):
    """Encoder and decoder."""

    encoder_class = UniversalTransformerModel
    decoder_class = UniversalTransformerDecoder

    def join(self, encoder_outputs, decoder_outputs, cache):
        """The outputs of both, with their halting."""
        joined = UniversalTransformerSeq2SeqModelOutput(**super().join(encoder_outputs, decoder_outputs, cache))
        joined.halting_probabilities = decoder_outputs.halting_probabilities
        for name in ("ponder_steps", "remainders", "ponder_cost", "step_states"):
            setattr(joined, name, getattr(decoder_outputs, name))
            setattr(joined, f"encoder_{name}", getattr(encoder_outputs, name, None))
        return joined


class UniversalTransformerForConditionalGeneration(
    ConditionalGenerationHead, UniversalTransformerSeq2SeqPreTrainedModel, LongreachGenerationMixin
):
    """The encoder-decoder Universal Transformer with a head that predicts the target; `generate()` works."""

    backbone_class = UniversalTransformerSeq2SeqModel
    output_class = UniversalTransformerSeq2SeqLMOutput

    def run(self, labels=None, shift_labels=None, **inputs):
        """The backbone, which looks at predictions where an exit asks for it."""
        if self.config.exit_criterion == "stable_argmax":
            inputs["readout"] = self.lm_head
        return super().run(labels, shift_labels, **inputs)

    def why_loss_needs_model(self, inputs):
        """The ponder cost is weighed by the labels; PonderNet scores every step."""
        halting = (self.config.halting, self.config.encoder_halting or "none")
        return PONDERS if halting != ("none", "none") else super().why_loss_needs_model(inputs)

    def target_mask(self, decoder_attention_mask, labels, past_key_values):
        """Positions after the last scored one do not ponder; the others cannot see them."""
        if decoder_attention_mask is not None or labels is None or self.config.halting == "none":
            return decoder_attention_mask
        mask = (labels != -100).long().flip(-1).cummax(-1)[0].flip(-1)
        cached = 0 if past_key_values is None else past_key_values.get_seq_length()
        return torch.nn.functional.pad(mask, (cached, 0), value=1)

    def finish(
        self, output, backbone_outputs, attention_mask=None, labels=None, decoder_attention_mask=None, **kwargs
    ):
        """Adds the logits of each step where its states are there, and the ponder cost of both sides to the loss."""
        items = kwargs.get("num_items_in_batch")
        if backbone_outputs.step_states is not None:
            output.step_logits = tuple(self.lm_head(states) for states in backbone_outputs.step_states)
        if labels is not None and backbone_outputs.halting_probabilities is not None:
            scored = output.step_logits, backbone_outputs.halting_probabilities
            output.loss = expected_loss(*scored, labels, items, kwargs.get("smoothing", 0.0))
        if labels is None and not self.training:
            return output
        output.ponder_loss = self.ponder_loss(backbone_outputs, attention_mask, decoder_attention_mask, labels, items)
        if output.loss is not None and output.ponder_loss is not None:
            output.loss = output.loss + self.config.ponder_loss_weight * output.ponder_loss
        return output

    def ponder_loss(self, outputs, attention_mask, decoder_attention_mask, labels, items) -> Tensor | None:
        """The mean ponder cost of the source plus that of the target; None where neither has one."""
        sides = ((outputs.encoder_ponder_cost, attention_mask), (outputs.ponder_cost, decoder_attention_mask))
        means = [
            mean_ponder_cost(cost, real_tokens(mask, cost), labels, items) for cost, mask in sides if cost is not None
        ]
        return torch.stack(means).sum() if means else None


register_for_auto_classes(
    UniversalTransformerSeq2SeqConfig,
    UniversalTransformerSeq2SeqModel,
    UniversalTransformerForConditionalGeneration,
)
