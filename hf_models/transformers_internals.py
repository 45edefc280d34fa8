"""The names of transformers that its documentation does not promise, in one place, with the reason for each.

The library's own models use them too, and no documented name does the same. The tests import them from every release
in `tested_versions.py`; a release that moves one needs a fallback here, as FlexAttention has.

SPDX-License-Identifier: Apache-2.0
"""

import torch
from transformers.activations import ACT2FN  # the activations that `hidden_act` names in every configuration
from transformers.cache_utils import (  # caches make their layers by the names of layer types
    STATIC_LAYER_TYPE_MAPPING,
    DynamicLayer,
    StaticLayer,
)
from transformers.masking_utils import (  # masks as each attention implementation takes them
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)
from transformers.modeling_layers import GradientCheckpointingLayer  # `activation_checkpointing_enable` looks for it
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, RopeParameters  # the scalings of `rope_parameters`
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # what `attn_implementation` names, added ones too
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # whose labels the Trainer shifts
from transformers.utils import TransformersKwargs  # the arguments that the library passes to any model
from transformers.utils.generic import can_return_tuple  # `return_dict`
from transformers.utils.output_capturing import capture_outputs  # `output_hidden_states` and `output_attentions`


try:
    # Compiled once for each process, and shared with the models of the library.
    from transformers.integrations.flex_attention import compile_friendly_flex_attention
except ImportError:
    from torch.nn.attention.flex_attention import flex_attention

    _compiled_flex_attention = torch.compile(flex_attention)

    def compile_friendly_flex_attention(query, key, value, training=False, **kwargs):
        """FlexAttention; compiled, except where a compiler is already at work."""
        attend = flex_attention if torch.compiler.is_compiling() else _compiled_flex_attention
        return attend(query, key, value, **kwargs)


__all__ = [
    "ACT2FN",
    "ALL_ATTENTION_FUNCTIONS",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "ROPE_INIT_FUNCTIONS",
    "STATIC_LAYER_TYPE_MAPPING",
    "DynamicLayer",
    "GradientCheckpointingLayer",
    "RopeParameters",
    "StaticLayer",
    "TransformersKwargs",
    "can_return_tuple",
    "capture_outputs",
    "compile_friendly_flex_attention",
    "create_bidirectional_mask",
    "create_bidirectional_sliding_window_mask",
    "create_causal_mask",
    "create_sliding_window_causal_mask",
]
