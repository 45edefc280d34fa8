"""What the configurations of the attention models share.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .attention_normalizers import parse_normalizer
from .attention_registry import parse_attention_type
from .configuration_base import LongreachConfig
from .position_composed import single_encodings
from .position_registry import parse_position_encoding
from .registry import per_layer


PositionIdsScheme = Literal["consecutive", "random_offset", "randomized", "randomized_distances", "abacus", "supplied"]


@strict
class TransformerConfig(LongreachConfig):
    """Fields of a model made of attention and feed-forward layers.

    What is chosen by name (`position_encoding`, `attention_types`, `attention_normalizer`) is a name (`"alibi"`), a
    dict of a name and arguments (`{"name": "alibi", "form": "directional"}`), or a list of these, one per layer with
    weights of its own.

    Args:
        num_attention_heads: number of heads, `H` in the shapes; divides `hidden_size`.
        intermediate_size: width of the feed-forward layer; four times `hidden_size` by default.
        hidden_act: activation of the feed-forward layer, by its name in transformers.
        norm_position: layer norm before each sub-layer ("pre", one more at the end) or after its sum ("post").
        is_causal: whether a position attends to itself and its past alone. Only the causal head refuses false.
        position_encoding: names of `position_encodings.POSITION_ENCODINGS`; "rope+fox" is both at once.
        attention_types: names of `attention_types.ATTENTION_TYPES`.
        attention_normalizer: names of `attention_normalizers.NORMALIZERS`: what turns scores into weights.
        sliding_window: how many positions a layer of type "sliding" sees, itself included; if not causal, how many on
            each side.
        position_ids_scheme: which integers tokens carry in training: "consecutive"; "random_offset" (consecutive from
            a random start); "randomized" (a sorted random subset; Ruoss et al. 2023, https://arxiv.org/abs/2305.16843);
            "randomized_distances" (the same paper's: a sorted random subset says what each distance counts as);
            "abacus" (the index within a run of `abacus_tokens`, from 1, and 0 elsewhere; McLeish et al. 2024,
            https://arxiv.org/abs/2405.17399); "supplied" (always given by the caller, as in position coupling; Cho et
            al. 2024, https://arxiv.org/abs/2405.20671).
        eval_position_ids_scheme: the same in evaluation. What is random is drawn by the model in training only.
        max_position_embeddings: position ids lie in [0, max_position_embeddings): the size of learned tables and the
            range that random ids are drawn from. Encodings without a table take any length when ids are consecutive.
        abacus_tokens: tokens whose runs "abacus" counts: the digits.
        abacus_offset: in training, "abacus" shifts the ids of a sequence's runs by a random number below this.
        hidden_dropout: dropout on embeddings and on what each sub-layer adds.
        attention_dropout: dropout on attention weights.
        layer_norm_eps: epsilon of the layer norms.
    """

    num_attention_heads: int = 2
    intermediate_size: int | None = None
    hidden_act: str = "gelu"
    norm_position: Literal["pre", "post"] = "pre"
    is_causal: bool = True
    position_encoding: str | dict | list = "rope"
    attention_types: str | dict | list = "full"
    attention_normalizer: str | dict | list = "softmax"
    sliding_window: int | None = None
    position_ids_scheme: PositionIdsScheme = "consecutive"
    eval_position_ids_scheme: PositionIdsScheme = "consecutive"
    max_position_embeddings: int = 2048
    abacus_tokens: list | None = None
    abacus_offset: int = 100
    hidden_dropout: int | float = 0.0
    attention_dropout: int | float = 0.0
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs):
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        super().__post_init__(**kwargs)

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def layer_types(self) -> list[str]:
        """One cache layer per slot of keys and values."""
        types = [parse_attention_type(entry)[0].cache_layer_type for entry in self.attention_type_per_layer()]
        return types * (self.num_hidden_layers // max(len(types), 1))

    @classmethod
    def _derived_names(cls) -> list[str]:
        return ["head_dim", "layer_types"]

    def validate_architecture(self):
        """Heads divide the width; what is chosen by name exists, fits together and has the arguments given."""
        self.validate_sizes()  # validators run in the order of their names, and this one divides by a size
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        if "abacus" in (self.position_ids_scheme, self.eval_position_ids_scheme) and not self.abacus_tokens:
            raise ValueError("The position ids scheme 'abacus' needs abacus_tokens: the ids of the digits.")
        for layer in self._parsed_choices():
            for choice, arguments in layer:
                choice.check(self, **arguments)
            encoding, normalizer, attention = layer
            for part in single_encodings(*encoding):
                attention[0].check_combination(part, normalizer[0])

    def choices(self) -> list[type]:
        """Every class that is chosen by name."""
        chosen = [parsed for layer in self._parsed_choices() for parsed in layer]
        return [choice for pair in chosen for choice in (pair[0], *(part for part, _ in pair[1].get("parts", ())))]

    def _parsed_choices(self) -> list[tuple]:
        """Encoding, normalizer and attention of each layer with weights of its own, each a class and its arguments."""
        return [
            (parse_position_encoding(encoding), parse_normalizer(normalizer), parse_attention_type(attention))
            for encoding, normalizer, attention in zip(
                self.position_encoding_per_layer(),
                self.attention_normalizer_per_layer(),
                self.attention_type_per_layer(),
                strict=True,
            )
        ]

    def validate_layer_type(self):
        """Nothing to check: the cache layers are derived, and may be of a kind that the library does not know."""

    def bounds_positions(self, scheme: str) -> bool:
        """Whether position ids of a scheme must stay below `max_position_embeddings`."""
        return scheme.startswith("random") or any(getattr(choice, "has_table", False) for choice in self.choices())

    def position_encoding_per_layer(self) -> list[str | dict]:
        """The entry of each layer with weights of its own."""
        return per_layer(self.position_encoding, self.num_distinct_layers(), "position_encoding")

    def attention_type_per_layer(self) -> list[str | dict]:
        """The entry of each layer with weights of its own."""
        return per_layer(self.attention_types, self.num_distinct_layers(), "attention_types")

    def attention_normalizer_per_layer(self) -> list[str | dict]:
        """The entry of each layer with weights of its own."""
        return per_layer(self.attention_normalizer, self.num_distinct_layers(), "attention_normalizer")

    def num_distinct_layers(self) -> int:
        """Number of layers with weights of their own."""
        return self.num_hidden_layers
