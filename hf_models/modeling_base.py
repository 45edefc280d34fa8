"""What all Longreach models share: initialisation, token embedding, and the heads.

A model file combines a head with its own base class:

    class LSTMForCausalLM(CausalLMHead, LSTMPreTrainedModel, GenerationMixin): backbone_class = LSTMModel

B batch   T positions   D model width   V vocabulary   C classes

SPDX-License-Identifier: Apache-2.0
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils.generic import can_return_tuple

from .losses import next_token_loss, refuse_loss_without_model, sequence_loss, token_loss
from .precision import exact_dtype


class TokenEmbedding(nn.Embedding):
    """Embedding drawn from N(0, 1 / D) and scaled by sqrt(D), so that states start at unit scale and tied logits too.

    The factor is called `embed_scale`, as in other models of transformers: PEFT reads it under this name.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4.
    """

    @property
    def embed_scale(self) -> float:
        """The factor on the rows of the table."""
        return math.sqrt(self.embedding_dim)

    def forward(self, input: Tensor) -> Tensor:
        """Embeds tokens `[B, T]` as states `[B, T, D]`."""
        return super().forward(input) * self.embed_scale


class LongreachPreTrainedModel(PreTrainedModel):
    """Base of the base classes: how weights begin, and what a scorer needs to know."""

    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            # One scale for every width: outputs begin with the variance of the inputs.
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, TokenEmbedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])

    def cache_for(self, use_cache: bool | None, past_key_values):
        """The cache of a forward pass: the one given, a new one where a cache is wanted, else None.

        Raises:
            ValueError: a bidirectional model is given a cache.
        """
        if past_key_values is not None and not self.config.is_causal:
            raise ValueError("A bidirectional model has no cache; call it with all tokens.")
        # A training step has no use for a cache, unless it asks for one.
        wanted = self.config.use_cache and not self.training if use_cache is None else use_cache
        if past_key_values is not None or not wanted or not self.config.is_causal:
            return past_key_values
        return DynamicCache(config=self.config)

    @property
    def prefix_stable(self) -> bool:
        """Whether more tokens leave earlier outputs as they are, so that teacher forcing scores exactly."""
        return self.config.is_causal


# What a head is combined with; at run time it stands on its own.
if TYPE_CHECKING:
    _Combined = LongreachPreTrainedModel
else:
    _Combined = object


class Head(_Combined):
    """A backbone with something on top; `backbone_class` is set by the model file, `task_loss` by the kind of head."""

    accepts_loss_kwargs = True  # the Trainer gives `num_items_in_batch`
    backbone_class: type[PreTrainedModel]
    task_loss: Callable[..., Tensor]

    def __init__(self, config):
        super().__init__(config)
        self.model = self.backbone_class(config)
        self.loss_function = self.task_loss

    def run(self, labels=None, **inputs):
        """The backbone's outputs; models with switches of their own extend it.

        Raises:
            ValueError: the caller computes the loss from the logits, and it would be another than the model's.
        """
        # The Trainer's smoothing and its compute_loss_func keep the labels from the model, but not their number.
        if labels is None and inputs.get("num_items_in_batch") is not None:
            reason = self.why_loss_needs_model(inputs)
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
    output_class = CausalLMOutputWithPast
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
        """Where the Trainer cannot see that the model is causal, it would not shift the labels."""
        if torch.compiler.is_compiling():
            return "torch.compile hides from the Trainer that labels of this model are shifted"
        if inputs.get("past_key_values") is not None:
            return "a prefix of PEFT hides from the Trainer that labels of this model are shifted"
        if inputs.get("shift_labels") is not None:
            return "shift_labels take the place of labels in the model, but not in the Trainer"
        return super().why_loss_needs_model(inputs)

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
        smoothing: float = 0.0,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Next-token logits and, with labels, their cross-entropy.

        Args:
            input_ids: new tokens `[B, T]`.
            attention_mask: 1 on real tokens, 0 on padding, cached tokens included `[B, S]`.
            position_ids: ids of all tokens `[B, S]` or of the new ones `[B, T]`; recurrent models take none.
            past_key_values: cache of an earlier call.
            inputs_embeds: embedded tokens `[B, T, D]` in place of `input_ids`.
            labels: tokens `[B, T]`, shifted inside; -100 is not scored. `shift_labels` are taken as they are.
            use_cache: whether to return the cache.
            logits_to_keep: compute logits for the last so many positions only (0: all), or for these indices.
            smoothing: share of the uniform distribution in the targets of the loss (label smoothing).
            kwargs: passed to the backbone and to the loss (`num_items_in_batch`, `shift_labels`).

        Returns:
            `logits` `[B, T, V]`, `loss` and `past_key_values`.
        """
        outputs = self.run(
            labels=labels,
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
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, smoothing=smoothing, **kwargs
            )
            shifted = kwargs.get("shift_labels")
            scored = labels[..., 1:] if shifted is None else shifted
        output = self.output_class(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
        return self.finish(output, outputs, attention_mask, scored, smoothing=smoothing, **kwargs)


class MaskedLMHead(Head):
    """Predicts the token of every position."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    output_class = MaskedLMOutput
    task_loss = staticmethod(token_loss)

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ) -> MaskedLMOutput:
        """Logits `[B, T, V]` and, with labels `[B, T]` (-100 is not scored), their cross-entropy, without a shift.

        The other arguments are those of the causal head.
        """
        outputs = self.run(
            labels=labels,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state)  # [B, T, V]
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, smoothing=smoothing, **kwargs
            )
        return self.finish(
            self.output_class(loss=loss, logits=logits), outputs, attention_mask, labels, smoothing=smoothing, **kwargs
        )


class _ClassificationHead(Head):
    """A linear map to classes, after dropout."""

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()


class SequenceClassificationHead(_ClassificationHead):
    """One label per sequence, read at the last real token if causal and from the mean of the states if not."""

    output_class = SequenceClassifierOutputWithPast
    task_loss = staticmethod(sequence_loss)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ) -> SequenceClassifierOutputWithPast:
        """Logits `[B, C]` and, with labels `[B]`, the loss of the configuration's `problem_type`.

        Padding must be said in the attention mask; the other arguments are those of the causal head.
        """
        outputs = self.run(
            labels=labels,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            **kwargs,
        )
        pooled = self.pool(outputs.last_hidden_state, attention_mask)
        logits = self.score(self.dropout(pooled))  # [B, C]
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits, config=self.config, smoothing=smoothing, **kwargs
            )
        return self.finish(
            self.output_class(loss=loss, logits=logits), outputs, attention_mask, labels, smoothing=smoothing, **kwargs
        )

    def pool(self, states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """One state per sequence `[B, D]`."""
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        if self.config.is_causal:
            positions = torch.arange(states.shape[1], device=states.device)
            last = (positions * attention_mask).argmax(dim=-1).long()
            return states[torch.arange(states.shape[0], device=states.device), last]
        real = attention_mask.to(exact_dtype(states.dtype))
        weights = real / real.sum(dim=-1, keepdim=True).clamp(min=1)
        return torch.einsum("bt,btd->bd", weights.to(states.dtype), states)


class TokenClassificationHead(_ClassificationHead):
    """One label per token."""

    output_class = TokenClassifierOutput
    task_loss = staticmethod(token_loss)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        smoothing: float = 0.0,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Logits `[B, T, C]` and, with labels `[B, T]` (-100 is not scored), their cross-entropy.

        The other arguments are those of the causal head.
        """
        outputs = self.run(
            labels=labels,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            **kwargs,
        )
        logits = self.score(self.dropout(outputs.last_hidden_state))  # [B, T, C]
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config, smoothing=smoothing, **kwargs)
        return self.finish(
            self.output_class(loss=loss, logits=logits), outputs, attention_mask, labels, smoothing=smoothing, **kwargs
        )


def register_for_auto_classes(config_class, *model_classes):
    """Makes `save_pretrained` ship the code of these classes, so that it loads where Longreach is not installed."""
    config_class.register_for_auto_class()
    auto_classes = {name.split(".")[1]: auto_class for auto_class, name in config_class().auto_map.items()}
    for model_class in model_classes:
        model_class.register_for_auto_class(auto_classes[model_class.__name__])
