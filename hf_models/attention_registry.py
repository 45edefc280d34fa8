"""The registry that configurations name attention mechanisms by.

SPDX-License-Identifier: Apache-2.0
"""

from .attention import Attention, SlidingAttention
from .attention_lsh import LSHAttention, SharedQueryKeyAttention
from .registry import parse_entry


ATTENTION_TYPES: dict[str, type[Attention]] = {
    "full": Attention,
    "sliding": SlidingAttention,
    "shared_query_key": SharedQueryKeyAttention,
    "lsh": LSHAttention,
}


def parse_attention_type(entry: str | dict) -> tuple[type[Attention], dict]:
    """Class and arguments of a configuration's entry; ValueError names what is wrong."""
    return parse_entry(entry, ATTENTION_TYPES, "attention type")
