"""A transformer layer, pre-norm or post-norm: the position transformer stacks it, the Universal one repeats it.

B batch   T positions   Tk key positions   H heads   K head width   D model width
P fresh positions: those that took the step before   A of them running   R packed rows   n most running in a row

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .attention import update_cache
from .attention_registry import parse_attention_type
from .halting_packing import PackedContext, Packing, Running
from .layer_feed_forward import FeedForward
from .position_encoding import PositionEncoding, Positions
from .transformers_internals import GradientCheckpointingLayer


class TransformerLayer(GradientCheckpointingLayer):
    """Attention and feed-forward, each with a residual connection.

    Norm before the sub-layer: Xiong et al. 2020, https://arxiv.org/abs/2002.04745; after the sum: Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762.

    Args:
        config: the model's configuration.
        index: which of the layers with weights of their own this is; the attention type and the normalizer of that
            layer are built.
    """

    def __init__(self, config, index: int = 0):
        super().__init__()
        self.pre_norm = config.norm_position == "pre"
        attention, arguments = parse_attention_type(config.attention_type_per_layer()[index])
        self.attention: Any = attention(config, config.attention_normalizer_per_layer()[index], **arguments)
        self.attention_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(  # noqa: PLR0913, a step of a recurrent model has more to say
        self,
        states: Tensor,
        mask,
        bias: Tensor | None,
        positions: Positions,
        encoding: PositionEncoding,
        kept_key: Tensor | None = None,
        kept_value: Tensor | None = None,
        running: Running | None = None,
        look: Callable[[Tensor], Tensor] | None = None,
        **kwargs,
    ):
        """Maps states `[B, T, D]` to states `[B, T, D]`; the arguments are those of `Attention`.

        With `running`, positions that have halted keep their states, and what the layer offers others in the next step
        is returned too: `(states, key, value)`. `look` is a sub-layer between the two, residual and norm included.

        Tensors that need a gradient are positional, since re-entrant checkpointing sees no others.
        """
        entering = self.attention_norm(states) if self.pre_norm else states
        if running is None:
            attended, _ = self.attention(entering, mask, bias, positions, encoding, **kwargs)
            return self.finish(states, attended, look)
        kept = {"running": running, "kept_key": kept_key, "kept_value": kept_value}
        attended, _, key, value = self.attention(entering, mask, bias, positions, encoding, **kept, **kwargs)
        return running.freeze(self.finish(states, attended, look), states), key, value

    @property
    def packable(self) -> bool:
        """Whether halted positions can be left out of the computation."""
        return self.attention.dense_bias

    def finish(self, states: Tensor, attended: Tensor, look=None) -> Tensor:
        """The layer's output, given its input and what attention makes of it `[..., D]`."""
        states = states + self.dropout(attended)
        states = states if self.pre_norm else self.attention_norm(states)
        states = states if look is None else look(states)
        if self.pre_norm:
            return states + self.dropout(self.feed_forward(self.feed_forward_norm(states)))
        return self.feed_forward_norm(states + self.dropout(self.feed_forward(states)))

    def forward_packed(  # noqa: PLR0913, as `forward`
        self,
        states: Tensor,
        packed: PackedContext,
        encoding: PositionEncoding,
        packing: Packing,
        kept_key: Tensor | None = None,
        kept_value: Tensor | None = None,
        past_key_values=None,
        layer_idx: int = 0,
        write_cache: bool = True,
        look: Callable[[Tensor], Tensor] | None = None,
        **kwargs,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward` with `running`, of the states of the fresh positions alone `[P, D]`.

        Returned are the states of the running ones `[A, D]`.
        """
        entering = self.attention_norm(states) if self.pre_norm else states
        query, key, value = self.attention.offer(packing.lay_out(entering), packed.rotation, encoding)
        key, value = packing.keep(key, kept_key), packing.keep(value, kept_value)  # [B, H, T, …]
        offered = key, value
        if past_key_values is not None:
            key, value = update_cache(past_key_values, key, value, layer_idx, write_cache, encoding.key_features_width)
        if not len(packing.chosen):
            return states[:0], *offered
        query = packing.running(query.transpose(1, 2).flatten(0, 1))  # [A, H, K]
        mixed, _ = self.attention.mix(
            packing.pack(query).transpose(1, 2),  # [R, H, n, K]
            packing.offered_in_rows(key),
            packing.offered_in_rows(value),
            packing.pack(packing.running(entering)) if self.attention.normalizer.reads_states else None,
            packed.mask,
            packed.bias,
            packed.positions,
            encoding,
            **kwargs,
        )  # [R, n, D]
        finished = self.finish(packing.running(states), self.attention.o_proj(packing.unpack(mixed)), look)
        return finished, *offered
