"""What the recurrent models share: their state as a cache, layers that wait on padding, and the backbone.

B batch   T new tokens   S all tokens, cached ones first   D model width   U units of a direction

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import initialization as init

from .modeling_arguments import model_arguments, named_cache
from .modeling_base import BackboneOutput, LongreachPreTrainedModel, ModelMixin, TokenEmbedding
from .packed_sequences import Unpacking
from .transformers_internals import (
    STATIC_LAYER_TYPE_MAPPING,
    DynamicLayer,
    GradientCheckpointingLayer,
    capture_outputs,
)


class RecurrentStateLayer(DynamicLayer):
    """Cache layer of a recurrent state: some tensors whose first dimension is the batch.

    The hidden state `[B, D]` is in `keys`. An LSTM's cell state `[B, D]`, a stack or a tape is in `values`, which is
    `[B, 0]` for a state without a second part; any more parts are in `others`.
    """

    _layer_type = "recurrent_state"  # registers the class with transformers' caches
    is_croppable = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.cumulative_length = 0
        self.others: list[Tensor] = []
        self.parts = 0

    def store(self, state: tuple[Tensor, ...], length: int):
        """Takes the state after `length` more tokens."""
        self.parts = len(state)
        self.keys, self.values, *self.others = state if len(state) > 1 else (state[0], state[0][:, :0])
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True
        self.cumulative_length += length

    def state(self) -> tuple[Tensor, ...]:
        """What was stored last."""
        parts = (self.keys, self.values, *self.others)[: self.parts]
        return tuple(part for part in parts if part is not None)

    def get_seq_length(self) -> int:
        """Number of tokens read so far."""
        return self.cumulative_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the tokens that a mask covers."""
        return self.cumulative_length + query_length, 0

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Puts the rows in the order of the beams."""
        super().reorder_cache(beam_idx)
        self.others = [part.index_select(0, beam_idx.to(part.device)) for part in self.others]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row."""
        super().batch_repeat_interleave(repeats)
        self.others = [part.repeat_interleave(repeats, dim=0) for part in self.others]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows."""
        super().batch_select_indices(indices)
        self.others = [part[indices] for part in self.others]

    def update(self, *args, **kwargs):
        """A state is replaced, not extended."""
        raise NotImplementedError("A recurrent state is stored with `store`.")

    def crop(self, tokens_to_remove: int) -> None:
        """A recurrent state cannot go back."""
        if tokens_to_remove:
            raise ValueError("The cache of a recurrent model holds its last state alone and cannot be cropped.")


# A state has the same size at every length, so that a cache of fixed size holds it too.
STATIC_LAYER_TYPE_MAPPING["recurrent_state"] = RecurrentStateLayer  # ty: ignore[invalid-assignment]


class RecurrentLayer(GradientCheckpointingLayer):
    """A layer that reads its tokens in order and skips padding wherever it stands.

    Attributes:
        vectors: how many vectors of width D the state begins with: 1 for a hidden state, 2 with an LSTM's cell state.
        initial_state: these vectors where they are learned `[vectors, D]`, else None.
    """

    vectors = 1

    def __init__(self, config):
        super().__init__()
        self.width = config.hidden_size
        learned = config.initial_state == "learned"
        self.initial_state = nn.Parameter(torch.empty(self.vectors, self.width)) if learned else None

    def forward(
        self,
        states: Tensor,
        token_mask: Tensor | None,
        past_key_values=None,
        layer_idx: int = 0,
        unpacking: Unpacking | None = None,
        **given,
    ) -> Tensor:
        """Maps states `[B, T, D]` to states `[B, T, D]`.

        Args:
            states: states of the new tokens.
            token_mask: which of them are no padding `[B, T]`, or None where all are real.
            past_key_values: cache that gives the state to begin with and takes the last one, or None.
            layer_idx: the cache layer to use.
            unpacking: takes the sequences of a row apart, where rows hold several.
            given: what `first_state` needs to know.

        Raises:
            ValueError: the cache holds keys and values.
        """
        if unpacking is not None:
            return self.read_packed(states, token_mask, unpacking, **given)
        cache = None if past_key_values is None else cache_layer(past_key_values, layer_idx)
        begun = cache is not None and cache.is_initialized
        begin = cache.state() if begun else self.first_state(states, **given)
        output, end = self.run(states, token_mask, begin)
        if cache is not None:
            cache.store(end, states.shape[1])
        return output

    def read_packed(self, states: Tensor, token_mask: Tensor | None, unpacking: Unpacking, **given) -> Tensor:
        """Reads each sequence of a row from a first state of its own `[B, T, D]`."""
        token_mask = torch.ones_like(states[..., 0], dtype=torch.bool) if token_mask is None else token_mask
        rows = unpacking.unpack(states)
        output, _ = self.run(rows, unpacking.unpack(token_mask), self.first_state(rows, **given))
        return unpacking.pack(output)

    def first_state(self, states: Tensor) -> tuple[Tensor, ...]:
        """The state before the first token: of each part `[B, …]`."""
        shape = (self.vectors, states.shape[0], self.width)
        if self.initial_state is None:
            return states.new_zeros(shape).unbind()
        return self.initial_state[:, None].to(states.dtype).expand(shape).unbind()

    def run(self, states: Tensor, token_mask: Tensor | None, begin: tuple[Tensor, ...]):
        """Reads states `[B, T, D]` from a state on; gives states `[B, T, D]` and the last state."""
        raise NotImplementedError


def cache_layer(past_key_values, layer_idx: int) -> RecurrentStateLayer:
    """The layer of a cache that holds a state; a cache that was made without a configuration gets it now.

    Raises:
        ValueError: the cache holds keys and values.
    """
    if layer_idx == len(past_key_values.layers):
        past_key_values.layers.append(RecurrentStateLayer())
    layer = past_key_values.layers[layer_idx]
    if not isinstance(layer, RecurrentStateLayer):
        raise ValueError(
            f"A recurrent model caches its state, and {type(layer).__name__} holds keys and values. If they come from "
            "prefix tuning, take prompt tuning."
        )
    return layer


class PackedLayer(RecurrentLayer):
    """A layer of torch's own recurrent modules: padding is packed away.

    Attributes:
        directions: 2 if it reads both ways, each with U = D / 2 units, else 1.
    """

    def __init__(self, config):
        super().__init__(config)
        self.directions = 2 if config.bidirectional else 1

    def options(self) -> dict:
        """Arguments of torch's module."""
        return {
            "input_size": self.width,
            "hidden_size": self.width // self.directions,
            "batch_first": True,
            "bidirectional": self.directions == 2,
        }

    def read(self, inputs: Tensor | PackedSequence, begin: tuple[Tensor, ...]):
        """Calls torch's module, whose states are `[directions, B, U]`; gives its output and the last state."""
        raise NotImplementedError

    def run(self, states, token_mask, begin):
        """Reads real tokens alone."""
        if torch.compiler.is_exporting():
            return self._read_in_graph(states, token_mask, begin)
        if token_mask is None:
            return self._read(states, begin)
        order, lengths = (~token_mask).long().argsort(dim=-1, stable=True), token_mask.sum(-1)  # real tokens first
        # A row without real tokens is read for one token, since packing allows no empty rows, and then set back.
        packed = pack_padded_sequence(
            reorder(states, order), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        output, end = self._read(packed, begin)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=states.shape[1])
        read = (lengths > 0)[:, None]
        end = tuple(torch.where(read, new, old) for new, old in zip(end, begin, strict=True))
        return reorder(output, order.argsort(-1)), end

    def _read_in_graph(self, states, token_mask, begin):
        # Each direction in a loop of its own, of which the half that belongs to the other direction is dropped.
        output, end = self._loop(states, token_mask, begin)
        if self.directions == 1:
            return output, end
        backward, last = self._loop(states.flip(1), None if token_mask is None else token_mask.flip(1), begin)
        joined = [
            torch.cat([one.chunk(2, dim=-1)[0], other.chunk(2, dim=-1)[1]], dim=-1)
            for one, other in zip((output, *end), (backward.flip(1), *last), strict=True)
        ]
        return joined[0], tuple(joined[1:])

    def _loop(self, states, token_mask, begin):
        # A loop in the graph, since torch unrolls its own modules over the tokens of the example, and packing needs
        # the lengths as numbers. On padding the state is kept.
        length = states.shape[1]

        def goes_on(index, *_):
            return index[0] < length

        def read_next(index, outputs, *state):
            output, end = self._read(states.index_select(1, index), state)
            if token_mask is not None:
                keep = token_mask.index_select(1, index)  # [B, 1]
                output = output * keep[..., None]
                end = tuple(torch.where(keep, new, old) for new, old in zip(end, state, strict=True))
            return index + 1, outputs.index_copy(1, index, output), *end

        first = torch.zeros(1, dtype=torch.long, device=states.device)
        self._read(states.index_select(1, first), begin)  # torch's module looks up its weights, which a loop may not
        begin = [part.clone(memory_format=torch.contiguous_format) for part in begin]  # laid out as what follows it
        _, output, *end = torch.while_loop(goes_on, read_next, (first, torch.zeros_like(states), *begin))
        return output, tuple(end)

    def _read(self, inputs, begin):
        output, end = self.read(inputs, tuple(self._by_direction(part) for part in begin))
        return output, tuple(part.transpose(0, 1).flatten(1) for part in end)  # [B, D] each

    def _by_direction(self, part):
        return part.unflatten(1, (self.directions, -1)).transpose(0, 1).contiguous()  # [directions, B, U]


class RecurrentWeights(nn.Linear):
    """The map from one hidden state to the next; it begins orthogonal, so that it neither grows nor shrinks states."""


class RecurrentPreTrainedModel(LongreachPreTrainedModel):
    """Base of the base classes: what outputs can be recorded, and how recurrent weights begin."""

    _can_record_outputs = {"hidden_states": RecurrentLayer}
    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, RecurrentLayer) and module.initial_state is not None:
            init.zeros_(module.initial_state)
        elif isinstance(module, RecurrentWeights):
            init.orthogonal_(module.weight)
        elif isinstance(module, nn.RNNBase):
            self._init_gates(module)

    def _init_gates(self, module: nn.RNNBase):
        """Orthogonal recurrent and Xavier input weights, gate by gate; zero biases, an LSTM's forget gate of 1."""
        for name, parameter in module.named_parameters():
            if getattr(parameter, "_is_hf_initialized", False):
                continue  # loaded from a checkpoint, which the views below would not say
            gates = parameter.unflatten(0, (-1, module.hidden_size))  # an LSTM's: input, forget, cell, output
            if name.startswith("bias"):
                init.zeros_(parameter)
                if name.startswith("bias_ih") and module.mode == "LSTM":
                    init.ones_(gates[1])
                continue
            for gate in gates:
                if name.startswith("weight_hh"):
                    init.orthogonal_(gate)
                else:
                    init.xavier_uniform_(gate)


class RecurrentBackbone(ModelMixin):
    """Embeddings and recurrent layers; `layer_class` is set by the model file."""

    layer_class: type[RecurrentLayer]

    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = TokenEmbedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(self.layer_class(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.dropout)
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
        **kwargs,
    ) -> BackboneOutput:
        """States of the new tokens.

        Args:
            input_ids: new tokens `[B, T]`.
            attention_mask: 1 on real tokens, 0 on padding, cached tokens included; padding may be anywhere `[B, S]`.
            position_ids: where they start again, so does the state; else not used: the order is in the recurrence.
            past_key_values: cache of an earlier call.
            inputs_embeds: embedded tokens `[B, T, D]` in place of `input_ids`.
            use_cache: whether to return the cache; a bidirectional model has none.
            kwargs: not used.

        Returns:
            `last_hidden_state` `[B, T, D]` and `past_key_values`.
        """
        states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        sequences = None if torch.compiler.is_exporting() else self.sequences(position_ids, attention_mask, states)
        past_key_values = self.cache_for(use_cache, past_key_values, packed=sequences is not None)
        token_mask = real_tokens(attention_mask, states.shape[1])
        given = self.given_to_layers(input_ids, token_mask, past_key_values)
        if sequences is not None:
            given["unpacking"] = Unpacking(sequences)
        for layer_idx, layer in enumerate(self.layers):
            states = states if layer_idx == 0 else self.dropout(states)
            states = layer(states, token_mask, past_key_values=past_key_values, layer_idx=layer_idx, **given)
        return BackboneOutput(last_hidden_state=states, **named_cache(past_key_values))

    def given_to_layers(self, input_ids: Tensor | None, token_mask: Tensor | None, past_key_values) -> dict:
        """What the layers' first state depends on."""
        return {}


def real_tokens(attention_mask: Tensor | None, length: int) -> Tensor | None:
    """True on the real ones of the last `length` tokens `[B, length]`; None where all are known to be real."""
    if attention_mask is None:
        return None
    token_mask = attention_mask[:, -length:].bool()
    return None if not torch.compiler.is_exporting() and token_mask.all() else token_mask


def reorder(states: Tensor, order: Tensor) -> Tensor:
    """Puts the positions of each row in the given order `[B, T, D]`."""
    return states.gather(1, order[..., None].expand_as(states))
