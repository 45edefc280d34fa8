"""What the configurations of the attention models share.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Literal

from huggingface_hub.dataclasses import strict

from .configuration_base import LongreachConfig
from .position_encodings import parse_position_encoding


@strict
class TransformerConfig(LongreachConfig):
    """Fields of a model made of attention and feed-forward layers.

    Args:
        num_attention_heads: number of heads, `H` in the shapes; divides `hidden_size`.
        intermediate_size: width of the feed-forward layer; four times `hidden_size` by default.
        hidden_act: activation of the feed-forward layer, by its name in transformers.
        norm_position: layer norm before each sub-layer ("pre", one more at the end) or after its sum ("post").
        is_causal: whether a position attends to itself and its past alone. Only the causal head refuses false.
        position_ids_scheme: which integers tokens carry in training: "consecutive", "random_offset" (consecutive
            from a random start) or "randomized" (a sorted random subset; Ruoss et al. 2023,
            https://arxiv.org/abs/2305.16843).
        eval_position_ids_scheme: the same in evaluation. What is random is drawn by the model in training only.
        max_position_embeddings: position ids lie in [0, max_position_embeddings): the size of learned tables and the
            range that random ids are drawn from. Encodings without a table take any length when ids are consecutive.
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
    position_ids_scheme: Literal["consecutive", "random_offset", "randomized"] = "consecutive"
    eval_position_ids_scheme: Literal["consecutive", "random_offset", "randomized"] = "consecutive"
    max_position_embeddings: int = 2048
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
        return ["full_attention"] * self.num_hidden_layers

    @classmethod
    def _derived_names(cls) -> list[str]:
        return ["head_dim", "layer_types"]

    def validate_architecture(self):
        """Heads divide the width; the position encodings exist, fit the heads and have the arguments given."""
        self.validate_sizes()  # validators run in the order of their names, and this one divides by a size
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        for entry in self.position_encoding_per_layer():
            encoding, arguments = parse_position_encoding(entry)
            encoding.check(self, **arguments)

    def bounds_positions(self, scheme: str) -> bool:
        """Whether position ids of a scheme must stay below `max_position_embeddings`."""
        encodings = [parse_position_encoding(entry)[0] for entry in self.position_encoding_per_layer()]
        return scheme != "consecutive" or any(encoding.has_table for encoding in encodings)

    def position_encoding_per_layer(self) -> list[str | dict]:
        """The entry of each layer with weights of its own."""
        count = self.num_distinct_layers()
        if not isinstance(self.position_encoding, list):
            return [self.position_encoding] * count
        if len(self.position_encoding) != count:
            raise ValueError(f"position_encoding lists {len(self.position_encoding)} layers; the model has {count}.")
        return self.position_encoding

    def num_distinct_layers(self) -> int:
        """Number of layers with weights of their own."""
        return self.num_hidden_layers
