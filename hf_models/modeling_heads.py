"""The heads: causal and masked tokens, sequences, tokens.

A model file combines a head with its own base class:

    class LSTMForCausalLM(CausalLMHead, LSTMPreTrainedModel, LongreachGenerationMixin): backbone_class = LSTMModel

B batch   T positions   D model width   V vocabulary   C classes

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils import ModelOutput

from .losses import next_token_loss, refuse_loss_without_model, sequence_loss, token_loss
from .modeling_arguments import BothCacheNames, model_arguments, named_cache
from .modeling_base import ModelMixin
from .precision import exact_dtype
from .transformers_internals import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, can_return_tuple


@dataclass
class CausalLMOutput(BothCacheNames, CausalLMOutputWithPast):
    """Output of a causal head."""


class Head(ModelMixin):
    """A backbone with something on top; `backbone_class` is set by the model file, `task_loss` by the kind of head."""

    accepts_loss_kwargs = True  # the Trainer gives `num_items_in_batch`
    backbone_class: type[PreTrainedModel]
    task_loss: Callable[..., Tensor]

    def __init__(self, config):
        super().__init__(config)
        self.model = self.backbone_class(config)
        self.loss_function = self.task_loss

    def run(self, labels=None, shift_labels=None, **inputs):
        """The backbone's outputs; models with switches of their own extend it.

        Raises:
            ValueError: the caller computes the loss from the logits, and it would be another than the model's.
        """
        # The Trainer's smoothing and its compute_loss_func keep the labels from the model, but not their number.
        if labels is None and inputs.get("num_items_in_batch") is not None:
            reason = self.why_loss_needs_model(inputs | {"shift_labels": shift_labels})
            if reason is not None:
                refuse_loss_without_model(type(self).__name__, reason)
        return self.model(**inputs)

    def why_loss_needs_model(self, inputs: dict) -> str | None:
        """Why a loss computed from the logits would be wrong; None where it is right."""
        return None

    def finish(self, output, backbone_outputs, attention_mask=None, labels=None, **kwargs):
        """Hands on what the backbone recorded; models with statistics or losses of their own extend it.

        `labels` are those that the loss scores, after any shift.
        """
        output.hidden_states = backbone_outputs.hidden_states
        output.attentions = backbone_outputs.attentions
        return output


class CausalLMHead(Head):
    """Predicts the next token at every position."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    output_class = CausalLMOutput
    task_loss = staticmethod(next_token_loss)

    def __init_subclass__(cls, **kwargs):
        """Lists the class among the library's causal models, by whose names the Trainer decides to shift labels.

        Without it, `label_smoothing_factor` would teach each position its own token. Subclasses of users and those
        that FSDP makes are listed too. The key is the class name, which is never a model type.
        """
        super().__init_subclass__(**kwargs)
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[cls.__name__] = cls.__name__

    def __init__(self, config):
        if not config.is_causal:
            raise ValueError(f"{type(self).__name__} needs a causal model; the configuration is bidirectional.")
        super().__init__(config)
        self.loss_type = "ForCausalLM"  # whatever a subclass is called: the Trainer counts labels after the shift
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def why_loss_needs_model(self, inputs):
        """Also cases in which the Trainer cannot see that the model is causal, and would not shift the labels."""
        if torch.compiler.is_compiling():
            return "torch.compile hides from the Trainer that labels of this model are shifted"
        if inputs.get("past_key_values") is not None:
            return "a prefix of PEFT hides from the Trainer that labels of this model are shifted"
        if inputs.get("shift_labels") is not None:
            return "shift_labels take the place of labels in the model, but not in the Trainer"
        return super().why_loss_needs_model(inputs)

    @model_arguments
    @can_return_tuple
    def forward(  # noqa: PLR0913, transformers names most
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        shift_labels: Tensor | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ) -> CausalLMOutput:
        """Next-token logits and, with labels, their cross-entropy.

        Args:
            input_ids: new tokens `[B, T]`.
            attention_mask: 1 on real tokens, 0 on padding, cached tokens included `[B, S]`.
            position_ids: ids of all tokens `[B, S]` or of the new ones `[B, T]`; recurrent models take none.
            past_key_values: cache of an earlier call.
            inputs_embeds: embedded tokens `[B, T, D]` in place of `input_ids`.
            labels: tokens `[B, T]`, shifted inside; -100 is not scored.
            use_cache: whether to return the cache.
            logits_to_keep: compute logits for the last so many positions only (0: all), or for these indices.
            shift_labels: labels that are shifted already `[B, T]`, which are scored in place of `labels`.
            smoothing: share of the uniform distribution in the targets of the loss (label smoothing).
            kwargs: passed to the backbone and to the loss (`num_items_in_batch`).

        Returns:
            `logits` `[B, T, V]`, `loss` and `past_key_values`.
        """
        outputs = self.run(
            labels=labels,
            shift_labels=shift_labels,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])  # [B, T, V]
        loss, scored = None, None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.vocab_size,
                shift_labels=shift_labels,
                smoothing=smoothing,
                **kwargs,
            )
            scored = labels[..., 1:] if shift_labels is None else shift_labels
        output = self.output_class(loss=loss, logits=logits, **named_cache(outputs.past_key_values))
        return self.finish(output, outputs, attention_mask, scored, smoothing=smoothing, **kwargs)


class UnshiftedHead(Head):
    """A head whose labels stand where its outputs do; it returns no cache.

    Subclasses give `predict` and `compute_loss`.
    """

    output_class: type[ModelOutput]

    @model_arguments
    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ):
        """Logits `[B, T, V]`, of sequences `[B, C]`; with labels `[B, T]`, of sequences `[B]`, the loss too.

        Labels are not shifted, and -100 is not scored. The other arguments are those of the causal head.

        Raises:
            ValueError: a cache is asked for.
        """
        if use_cache:
            raise ValueError(f"{type(self).__name__} returns no KV cache; call it with use_cache=False.")
        outputs = self.run(
            labels=labels,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            **kwargs,
        )
        logits = self.predict(outputs.last_hidden_state, attention_mask)
        loss = None
        if labels is not None:
            loss = self.compute_loss(logits, labels, smoothing=smoothing, **kwargs)
        return self.finish(
            self.output_class(loss=loss, logits=logits), outputs, attention_mask, labels, smoothing=smoothing, **kwargs
        )

    def predict(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Logits of hidden states `[B, T, D]`."""
        raise NotImplementedError

    def compute_loss(self, logits: Tensor, labels: Tensor, **kwargs) -> Tensor:
        """The loss, normalised by `num_items_in_batch` where that is given."""
        raise NotImplementedError


class MaskedLMHead(UnshiftedHead):
    """Predicts the token of every position."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    output_class = MaskedLMOutput
    task_loss = staticmethod(token_loss)

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def predict(self, hidden_states, attention_mask):
        """One token for every position `[B, T, V]`."""
        return self.lm_head(hidden_states)

    def compute_loss(self, logits, labels, **kwargs):
        """Cross-entropy."""
        return self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)


class _ClassificationHead(UnshiftedHead):
    """A linear map to classes, after dropout."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()


class SequenceClassificationHead(_ClassificationHead):
    """One label per sequence, read at the last real token if causal and from the mean of the states if not.

    The attention mask shows where padding is.
    """

    output_class = SequenceClassifierOutputWithPast
    task_loss = staticmethod(sequence_loss)

    def why_not_packed(self):
        """The label is that of a row."""
        return "it has one label for each row"

    def run(self, labels=None, shift_labels=None, **inputs):
        """The backbone's outputs, of one sequence in each row."""
        self.refuse_packed(
            *map(inputs.get, ("position_ids", "attention_mask", "input_ids", "inputs_embeds")),
        )
        return super().run(labels, shift_labels, **inputs)

    def predict(self, hidden_states, attention_mask):
        """One class for every sequence `[B, C]`."""
        return self.score(self.dropout(self.pool(hidden_states, attention_mask)))

    def compute_loss(self, logits, labels, **kwargs):
        """The loss of the configuration's `problem_type`."""
        return self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)

    def pool(self, states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """One state per sequence `[B, D]`."""
        length = states.shape[1]
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        attention_mask = attention_mask[:, -length:]  # without cached tokens
        if self.config.is_causal:
            positions = torch.arange(length, device=states.device)
            last = (positions * attention_mask).argmax(dim=-1).long()
            return states[torch.arange(states.shape[0], device=states.device), last]
        token_mask = attention_mask.to(exact_dtype(states.dtype))
        weights = token_mask / token_mask.sum(dim=-1, keepdim=True).clamp(min=1)
        return torch.einsum("bt,btd->bd", weights.to(states.dtype), states)


class TokenClassificationHead(_ClassificationHead):
    """One label per token."""

    output_class = TokenClassifierOutput
    task_loss = staticmethod(token_loss)

    def predict(self, hidden_states, attention_mask):
        """One class for every position `[B, T, C]`."""
        return self.score(self.dropout(hidden_states))

    def compute_loss(self, logits, labels, **kwargs):
        """Cross-entropy."""
        return self.loss_function(logits, labels, self.config, **kwargs)
