"""One attention layer; it knows no position encoding by name.

B batch   T new tokens   Tq query positions   Tk key positions   H heads   K head width   D model width
E key features

SPDX-License-Identifier: Apache-2.0
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .attention_normalizers import Softmax, parse_normalizer
from .halting_packing import Running
from .position_encoding import PositionEncoding, Positions
from .precision import at_least_float32
from .registry import check_arguments
from .transformers_internals import ALL_ATTENTION_FUNCTIONS, StaticLayer, compile_friendly_flex_attention


class Attention(nn.Module):
    """Multi-head self-attention to all keys that a query sees.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.
    """

    num_key_value_groups = 1  # read by transformers' attention functions: every head has its own keys
    eager_only = False
    needs_visible_mask = False
    dense_bias = True  # reads the pair bias and the mask of all pairs
    prefix_stable = True  # more tokens leave the outputs of earlier ones as they are, under a causal mask
    cache_layer_type = "full_attention"
    projections = 3  # of the states: query, key and value

    def __init__(self, config, normalizer: str | dict = "softmax"):
        super().__init__()
        self.config = config
        self.is_causal = config.is_causal
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        self.qkv_proj = nn.Linear(config.hidden_size, self.projections * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        normalizer_class, arguments = parse_normalizer(normalizer)
        self.normalizer: Any = normalizer_class(config, **arguments)

    @classmethod
    def check(cls, config, **arguments):
        """Raises ValueError where the attention does not fit the configuration or has no such argument."""
        check_arguments(cls, arguments, given_by_model=("self", "config", "normalizer"))

    @classmethod
    def check_combination(cls, encoding: type[PositionEncoding], normalizer: type[Softmax]):
        """Raises ValueError where the attention cannot work with the encoding or the normalizer."""

    def forward(  # noqa: PLR0913, a step of a recurrent model has more to say
        self,
        states: Tensor,
        mask,
        bias: Tensor | None,
        positions: Positions,
        encoding: PositionEncoding,
        past_key_values=None,
        layer_idx: int = 0,
        running: Running | None = None,
        kept_key: Tensor | None = None,
        kept_value: Tensor | None = None,
        write_cache: bool = True,
        **kwargs,
    ) -> tuple:
        """Attends from the new tokens to all.

        Args:
            states: `[B, T, D]`.
            mask: as transformers' mask functions make it for a fused implementation; eager attention reads
                `positions.visible_mask`.
            bias: the encoding's pair bias `[B, H, T, Tk]`, or None.
            positions: where the tokens stand.
            encoding: acts through its hooks.
            past_key_values: cache that takes the new keys and values, or None.
            layer_idx: the cache layer to use.
            running: which positions are computed, where some have halted.
            kept_key: what `forward` returned as keys in the step before `[B, H, T, K]`, or None.
            kept_value: the same of the values.
            write_cache: whether the cache takes the new keys and values, or shows those it has.
            kwargs: passed to the attention function.

        Returns:
            Outputs `[B, T, D]`, and the weights `[B, H, T, Tk]` where the implementation gives them; with `running`,
            also the keys and values of the new tokens.
        """
        query, key, value = self.offer(states, positions.rotation, encoding)
        if running is not None:
            key, value = running.keep(key, value, kept_key, kept_value)
        offered = () if running is None else (key, value)
        if past_key_values is not None:
            key, value = update_cache(past_key_values, key, value, layer_idx, write_cache, encoding.key_features_width)
        mixed, weights = self.mix(query, key, value, states, mask, bias, positions, encoding, **kwargs)
        return self.o_proj(mixed), weights, *offered

    def offer(
        self, states: Tensor, rotation: Tensor | None, encoding: PositionEncoding
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated query, rotated key with the encoding's key features, and value of new tokens `[B, H, T, …]`."""
        query, key, value = self.project(states)
        query, key = encoding.rotate(query, key, rotation)
        key_features = encoding.key_features(states)  # [B, H, T, E]
        if key_features is not None:
            key = torch.cat([key, key_features.to(key.dtype)], dim=-1)
        return query, key, value

    def mix(
        self, query, key, value, states, mask, bias, positions, encoding, **kwargs
    ) -> tuple[Tensor, Tensor | None]:
        """What queries take from all keys `[B, Tq, D]`, and the weights where the implementation gives them.

        The arguments are those of `forward`, but `states` are those of the queries.
        """
        if encoding.key_features_width:
            key, key_features = key.split(
                [key.shape[-1] - encoding.key_features_width, encoding.key_features_width], dim=-1
            )
            positions = positions.with_key_features(key_features)
        added = encoding.bias(query, key, positions)
        if added is not None:
            bias = added if bias is None else bias + added
        temperature = self.normalizer.temperature(states, positions)
        if temperature is not None:
            query = query * temperature.to(query.dtype)
        output, weights = self.attend(query, key, value, mask, bias, positions, encoding, **kwargs)
        return output.flatten(2), weights

    def project(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of the new tokens, each `[B, H, T, K]`."""
        query, key, value = self.qkv_proj(states).unflatten(-1, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def attend(self, query, key, value, mask, bias, positions, encoding, **kwargs) -> tuple[Tensor, Tensor | None]:
        """Outputs `[B, Tq, H, K]` and, from eager attention, weights `[B, H, Tq, Tk]`."""
        implementation = self.config._attn_implementation
        if implementation == "eager":
            return self.attend_eagerly(query, key, value, bias, positions, encoding)
        if implementation == "flex_attention" and encoding.scalar and not isinstance(mask, Tensor):
            return flex_attention(query, key, value, mask, self.scaling, positions, encoding, **kwargs), None
        if bias is not None:
            bias = bias.to(query.dtype)
            if implementation == "flex_attention":  # which indexes the batch dimension, so it must have its real size
                bias = bias.expand(query.shape[0], -1, -1, -1)
        return ALL_ATTENTION_FUNCTIONS[implementation](
            self,
            query,
            key,
            value,
            mask,
            scaling=self.scaling,
            dropout=self.config.attention_dropout if self.training else 0.0,
            is_causal=self.is_causal,
            position_bias=bias,
            **kwargs,
        )

    def attend_eagerly(self, query, key, value, bias, positions, encoding) -> tuple[Tensor, Tensor]:
        """Attention as the formula says it: weights(scores) v, with what the encoding adds to either.

        Args:
            query: `[B, H, Tq, K]`.
            key: `[B, H, Tk, K]`.
            value: `[B, H, Tk, K]`.
            bias: `[B, H, Tq, Tk]`, or None.
            positions: where the tokens stand; `visible_mask` must be set.
            encoding: makes the scores.
        """
        scores = at_least_float32(encoding.scores(query, key, bias, positions))
        weights = self.normalizer.weights(scores, positions.visible_mask).to(value.dtype)
        weights = nn.functional.dropout(weights, self.config.attention_dropout, self.training)
        output = torch.einsum("bhqs,bhsk->bhqk", weights, value)
        added = encoding.values(weights, positions)
        if added is not None:
            output = output + added.to(output.dtype)
        return output.transpose(1, 2), weights


def update_cache(
    past_key_values, key: Tensor, value: Tensor, layer_idx: int, write_cache: bool, key_features_width: int = 0
) -> tuple[Tensor, Tensor]:
    """Keys and values of all tokens, cached ones first; the cache takes the new ones if they stay."""
    if layer_idx < len(past_key_values.layers) and past_key_values.layers[layer_idx].is_initialized:
        add_key_features(past_key_values.layers[layer_idx], key.shape[-1], key_features_width)
    if write_cache:
        return past_key_values.update(key, value, layer_idx)
    return shown(past_key_values.layers[layer_idx], key, value)


def shown(layer, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a cache layer with new ones after them, which the layer does not keep."""
    with_new = copy.copy(layer)
    if isinstance(layer, StaticLayer):  # which writes into its tensors; others make new ones
        for name, held in vars(layer).items():
            if isinstance(held, Tensor):
                setattr(with_new, name, held.clone())
    return with_new.update(key, value)


def add_key_features(layer, width: int, key_features_width: int):
    """Appends key features of zero to cached keys that have none: to a learned prefix, whose keys are not of tokens.

    Raises:
        ValueError: a key, without its key features, has another width than a head.
    """
    cached = layer.keys.shape[-1]
    if cached == width:
        return
    if cached + key_features_width != width:
        raise ValueError(
            f"The KV cache holds keys of width {cached}; with this position encoding they have {width}. If they come "
            "from prefix tuning, take prompt tuning or another encoding."
        )
    layer.keys = nn.functional.pad(layer.keys, (0, key_features_width))


class SlidingAttention(Attention):
    """Attention to the nearest keys alone: the last `sliding_window`, oneself included, or as many on each side.

    Beltagy et al. 2020, https://arxiv.org/abs/2004.05150.
    """

    cache_layer_type = "sliding_attention"

    @classmethod
    def check(cls, config, **arguments):
        """The window's width is the model's."""
        super().check(config, **arguments)
        if config.sliding_window is None or config.sliding_window < 2:
            raise ValueError(f"Sliding attention needs a sliding_window of at least 2, not {config.sliding_window}.")


def flex_attention(
    query, key, value, mask, scaling, positions: Positions, encoding: PositionEncoding, **kwargs
) -> Tensor:
    """FlexAttention that computes the pair bias as it goes, so that none is held in memory `[B, Tq, H, K]`.

    The arguments are those of `Attention.attend`; `mask` is a block mask or None.
    """
    pairs, bias = positions.pairs(), encoding.scalar_bias(query.device)
    query_ids = positions.query_ids.expand(query.shape[0], -1)
    key_ids = positions.key_ids.expand(query.shape[0], -1)

    def add_bias(score, row, head, query_index, key_index):
        pair = type(pairs)(
            row,
            head,
            query_ids[row, query_index],
            key_ids[row, key_index],
            positions.randomized_distances,
            positions.dtype,
        )
        return score + bias(pair)

    output: Any = compile_friendly_flex_attention(
        query,
        key,
        value,
        score_mod=add_bias,
        block_mask=mask,
        scale=scaling,
        kernel_options=kwargs.get("kernel_options"),
        training=kwargs.get("training", False),
    )
    return output.transpose(1, 2)
