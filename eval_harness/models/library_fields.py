"""How the configurations of transformers' own model types call the sizes that a budget sets.

The same size has many names: a width is `hidden_size`, `d_model` or `n_embd`. A few rules by name cover almost all
types; the rest is a table of exceptions, each with its reason.
"""

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from typing import Any

from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model.

    Attributes:
        width: of the states.
        heads: of attention, or of what a type has in its place.
        feed_forward: width inside a feed-forward block, of each expert where there are several.
        layers: of each stack; None where the type needs its own number.
        positions: the longest sequence that must fit, in tokens.
        vocabulary: number of tokens.
    """

    width: int
    heads: int
    feed_forward: int
    layers: int | None
    positions: int
    vocabulary: int

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.width // self.heads


# The fields of each role; the first that a configuration has is the one that users see.
WIDTH = (
    *("hidden_size", "d_model", "n_embd", "emb_dim", "dim"),
    # Widths that may differ from it, and factorise an embedding or widen a part; here they do not.
    *("embedding_size", "input_embedding_size", "output_embedding_size", "word_embed_proj_dim", "embedding_dim"),
    *("lru_width", "attention_hidden_size", "intra_bottleneck_size", "entity_emb_size"),
)
HEADS = (
    *("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "encoder_attention_heads"),
    *("decoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"),
    *("num_key_value_heads", "num_kv_heads", "linear_num_heads", "linear_num_key_heads", "linear_num_value_heads"),
)
LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "num_encoder_layers"),
    *("decoder_layers", "num_decoder_layers"),
)
FEED_FORWARD = (
    *(
        "intermediate_size",
        "n_inner",
        "d_ff",
        "d_inner",
        "ffn_dim",
        "hidden_dim",
        "dff",
        "dim_ff",
        "feed_forward_size",
    ),
    *("encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size"),
    *("moe_intermediate_size", "shared_expert_intermediate_size", "intermediate_size_mlp"),
)
POSITIONS = (
    *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length", "max_target_positions"),
    *("max_encoder_position_embeddings", "max_decoder_position_embeddings"),
)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
HEAD_WIDTH = (
    *("head_dim", "d_kv", "d_head", "dim_head", "attention_head_size", "attention_head_dim", "kv_channels"),
    *("global_head_dim", "rotary_dim", "v_head_dim"),
    *("linear_head_dim", "linear_key_head_dim", "linear_value_head_dim"),
)
RULES: tuple[tuple[tuple[str, ...], Callable[[Sizes], Any]], ...] = (
    (WIDTH, lambda size: size.width),
    (HEADS, lambda size: size.heads),
    (LAYERS, lambda size: size.layers),
    (FEED_FORWARD, lambda size: size.feed_forward),
    (POSITIONS, lambda size: size.positions),
    (
        HEAD_WIDTH,
        lambda size: size.head,
    ),
    # Latent attention: the part of a head that turns with the position and the part that does not, and the ranks.
    (("qk_rope_head_dim", "qk_nope_head_dim"), lambda size: size.head // 2),
    (("q_lora_rank", "kv_lora_rank"), lambda size: size.width // 2),
    # Two of four experts: a mixture of the usual size would leave each of them a few units.
    (EXPERTS, lambda size: 4),
    (("num_experts_per_tok", "moe_topk", "moe_k"), lambda size: 2),
    (("n_group", "topk_group"), lambda size: 1),
    # State-space parts of hybrids: twice the width, one group, a small state and chunks as short as the sequences.
    (("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), lambda size: size.heads),
    (("mamba_d_head", "mamba_headdim", "mamba_head_dim"), lambda size: 2 * size.head),
    (("mamba_d_ssm",), lambda size: 2 * size.width),
    (("mamba_n_groups", "mamba_ngroups"), lambda size: 1),
    (("mamba_d_state",), lambda size: 16),
    (("mamba_chunk_size",), lambda size: 32),
    (
        ("vocab_size", "src_vocab_size", "tgt_vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input"),
        lambda size: size.vocabulary,
    ),
)

DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
EXCEPTIONS: dict[str, Callable[[Sizes], dict[str, Any]]] = {
    # By default it has no attention layer, and its cache cannot do without one.
    "bamba": lambda size: {"attn_layer_indices": [(size.layers or 2) - 1]},
    # Its causal head needs a configuration that is marked as causal; the default is not.
    "bert-generation": lambda size: {"is_decoder": True},
    # The query, key and value matrix is laid out for four accelerators.
    "codegen": lambda size: {"n_head": 4, "rotary_dim": size.width // 4},
    # The paper's disentangled attention; the defaults are those of BERT.
    "deberta": lambda size: DISENTANGLED,
    "deberta-v2": lambda size: DISENTANGLED,
    # Its last layers by default read keys and values of layers that two do not have.
    "gemma3n_text": lambda size: {"num_kv_shared_layers": 0},
    # Blocks between which the sequence is halved; as many as there are layers.
    "funnel": lambda size: {"block_sizes": [1] * (size.layers or 2), "num_decoder_layers": 1},
    # The kinds of layers, which have to add up to their number.
    "gpt_neo": lambda size: {"attention_types": [[["global", "local"], (size.layers or 2) // 2]]},
    # As for Bamba.
    "granitemoehybrid": lambda size: {
        "layer_types": ["linear_attention"] * ((size.layers or 2) - 1) + ["full_attention"]
    },
    # Sequences are padded to a multiple of the window, by default of 512 tokens, and the table has to hold them.
    "led": lambda size: {"attention_window": 64, "max_encoder_position_embeddings": size.positions + 64},
    "longformer": lambda size: {"attention_window": 64},
    # heads times their width has to be `expand` (2) times the width. By default the state (128), the groups (8) and
    # the chunks (256) outgrow small budgets: the scan in plain PyTorch holds chunk² · heads · state numbers.
    "mamba2": lambda size: {
        "num_heads": size.heads,
        "head_dim": 2 * size.head,
        "n_groups": 1,
        "state_size": 32,
        "chunk_size": 32,
    },
    # The decoder of a Reformer, as in the paper: plain positions, since axial ones fix the length of training
    # sequences; chunks short enough to hash sequences of training length, and a table that holds the complete last
    # one; a number of buckets that does not depend on the first batch.
    "reformer": lambda size: {
        "is_decoder": True,
        "attn_layers": ["local", "lsh"] * max(1, (size.layers or 2) // 2),
        "axial_pos_embds": False,
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
        "max_position_embeddings": 16 * math.ceil(size.positions / 16),
        "num_buckets": 8,
    },
    # It counts its blocks twice; kernels for accelerators compute in bfloat16 by default; its cache fits
    # only widths that are multiples of 128.
    "xlstm": lambda size: {
        "num_blocks": size.layers,
        "use_cache": False,
        "ffn_round_up_to_multiple_of": 8,
        "autocast_kernel_dtype": "float32",
    },
    # It takes one expert at a time.
    "zaya": lambda size: {"num_experts_per_tok": 1},
    # Adapters of one language.
    "xmod": lambda size: {"languages": ["en_XX"], "default_language": "en_XX"},
}

# Made of sub-configurations, none of which is for images or sound.
OF_PARTS = frozenset({"mpt", "esm"})

# Beyond the longest sequence: some tables begin after the padding's id.
SPARE_POSITIONS = 2


def names(config_class: type[PreTrainedConfig]) -> dict[str, Field]:
    """The fields of a configuration that are its own and not every configuration's."""
    common = {each.name for each in fields(PreTrainedConfig)}
    return {each.name: each for each in fields(config_class) if each.name not in common}


def sized_fields(config_class: type[PreTrainedConfig], size: Sizes) -> dict[str, Any]:
    """The fields of a configuration that a size sets."""
    own = names(config_class)
    ruled = {name: value(size) for role, value in RULES for name in role if name in own}
    set_here = {name: value for name, value in ruled.items() if value is not None}
    return set_here | EXCEPTIONS.get(config_class.model_type, lambda size: {})(size)


def without_dropout(config_class: type[PreTrainedConfig]) -> dict[str, float]:
    """Zero for every rate of dropout that a configuration has: the protocol trains without."""
    return {
        name: 0.0
        for name, each in names(config_class).items()
        if "drop" in name and type(each.default) in (int, float)
    }


def first_of(role: tuple[str, ...], config_class: type[PreTrainedConfig]) -> str | None:
    """What a configuration calls the size of a role; None where it has none."""
    own = names(config_class)
    return next((name for name in role if name in own), None)
