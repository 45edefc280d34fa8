"""Every architecture at every budget, counted here a second time and by hand."""

from itertools import pairwise

import pytest
from transformers import AutoConfig

import hf_models
from eval_harness.errors import HarnessError
from eval_harness.models import ARCHITECTURES, size_model
from hf_models import LSTMConfig, RNNConfig, StackRNNConfig, TapeRNNConfig, UniversalTransformerConfig


BUDGETS = (20_000, 100_000, pytest.param(1_000_000, marks=pytest.mark.slow))


def counted_by_hand(config) -> int:
    """Parameters without token embeddings, output head and position tables, from the sizes alone."""
    width = config.hidden_size
    if isinstance(config, (LSTMConfig, RNNConfig)):
        units, directions = (width // 2, 2) if config.bidirectional else (width, 1)
        gates, vectors = (4, 2) if isinstance(config, LSTMConfig) else (1, 1)
        learned = vectors * width if config.initial_state == "learned" else 0
        return config.num_hidden_layers * (directions * gates * units * (width + units + 2) + learned)
    if isinstance(config, StackRNNConfig):
        read = config.num_stacks * config.stack_cell_size
        return config.num_hidden_layers * (
            width * (2 * width + read + 1) + (width + 1) * (3 * config.num_stacks + read)
        )
    if isinstance(config, TapeRNNConfig):
        read, moves = config.num_tapes * config.memory_cell_size, 3 if config.jump_length is None else 5
        sizes = [width, *config.writer_sizes, read]
        writer = sum((before + 1) * after for before, after in pairwise(sizes))
        return width * (2 * width + read + 1) + (width + 1) * moves * config.num_tapes + writer
    attention, norms = 4 * width**2, 4 * width
    feed_forward = 2 * width * config.intermediate_size + config.intermediate_size + width
    universal = isinstance(config, UniversalTransformerConfig)
    layers = config.num_shared_layers if universal else config.num_hidden_layers
    heads = config.num_attention_heads
    encoding = encoding_by_hand(config.position_encoding, width, heads)
    halting = width + 1 if universal and config.halting == "act" else 0
    last_norm = 2 * width if config.norm_position == "pre" else 0
    return layers * (attention + feed_forward + norms) + encoding + halting + last_norm


def encoding_by_hand(name: str, width: int, heads: int) -> int:
    """Parameters of a causal model's encoding with its default arguments, tables of positions left out."""
    head, kerple = width // heads, 2 * heads
    return {
        "pope": width,
        "t5": 32 * heads,
        "fire": 32 + 32 + 32 * heads + heads + 2,
        "kerple": kerple,
        "shaw": 17 * head,
        "shaw_values": 2 * 17 * head,
        "transformer_xl": width * width + 2 * width,
        "cope": 64 * head,
        "fox": (width + 1) * heads,
        "dape": kerple + (2 * heads + 1) * 32 + (32 + 1) * heads,
        "path": 2 * 32 * width + 3 * width + (width + 1) * heads,
    }.get(name, 0)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_meets_every_budget(name, budget):
    sized = size_model(name, budget, vocab_size=11)
    assert sized.architecture == name
    assert abs(counted_by_hand(sized.config) - budget) <= 0.03 * budget
    assert sized.parameters["counted"] == counted_by_hand(sized.config)
    assert all(getattr(sized.config, field) == size for field, size in sized.chosen.items())


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("lstm", {"num_hidden_layers": 3}),
        ("lstm", {"num_hidden_layers": 2, "bidirectional": True}),
        ("lstm", {"initial_state": "learned"}),
        ("rnn", {"num_hidden_layers": 2, "bidirectional": True, "initial_state": "learned"}),
        ("stack_rnn", {"num_hidden_layers": 2, "num_stacks": 3, "stack_cell_size": 5}),
        ("tape_rnn", {"num_tapes": 4, "memory_size": 40, "jump_length": 7, "writer_sizes": [32]}),
        ("transformer-rope", {"num_attention_heads": 3, "num_hidden_layers": 4}),
        ("transformer-fire", {"hidden_size": 48, "num_attention_heads": 3}),
        ("transformer-alibi", {"intermediate_size": 128, "num_attention_heads": 2}),
        ("transformer-t5", {"norm_position": "post", "is_causal": False}),
        ("universal_transformer", {"halting": "act", "num_steps": 7, "num_shared_layers": 2}),
        ("universal_transformer-rope", {"intermediate_size": 300, "num_attention_heads": 1}),
    ],
)
def test_what_is_given_is_kept_and_the_rest_is_solved_for(name, given):
    sized = size_model(name, 50_000, **given)
    assert {field: getattr(sized.config, field) for field in given} == given
    assert not sized.chosen.keys() & given.keys()
    assert abs(counted_by_hand(sized.config) - 50_000) <= 0.03 * 50_000


def test_sizes_that_are_all_given_are_checked_against_the_budget():
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2, "num_hidden_layers": 2}
    assert size_model("transformer-none", 99_500, **sizes).chosen == {}
    with pytest.raises(HarnessError, match=r"cannot meet a budget of 200000 .* within 3%: the nearest size has 99"):
        size_model("transformer-none", 200_000, **sizes)


def test_the_nearest_size_is_named_where_only_the_width_is_free():
    widths = {width: counted_by_hand(_of_width(width)) for width in (8, 16, 32, 64, 96, 128)}
    nearest = min(widths.values(), key=lambda count: abs(count - 200_000))
    with pytest.raises(HarnessError, match=f"the nearest size has {nearest}"):
        size_model("transformer-rope", 200_000, intermediate_size=256)


def _of_width(width):
    return hf_models.PositionTransformerConfig(hidden_size=width, intermediate_size=256, num_attention_heads=1)


@pytest.mark.parametrize(
    ("name", "budget", "config", "words"),
    [
        ("lstmm", 20_000, {}, ["'lstmm'", "Did you mean 'lstm'?"]),
        ("transformer-coordinate", 20_000, {}, ["'transformer-coordinate'", "Did you mean"]),
        ("transformer-rope", 10, {}, ["cannot be as small as 10"]),
        ("lstm", 5, {}, ["cannot meet a budget of 5", "nearest size has 16"]),
        ("tape_rnn", 3_000, {}, ["cannot meet a budget of 3000"]),
        ("tape_rnn", 20_000, {"jump_length": 3}, ["jump_length needs a memory_size"]),
        ("stack_rnn", 20_000, {"bidirectional": True}, ["Unknown configuration key of stack_rnn: 'bidirectional'"]),
        ("lstm", 20_000, {"hidden_size": 64}, ["cannot meet a budget of 20000", "33280"]),
        ("transformer-rope", 20_000, {"positon_encoding": "rope"}, ["'positon_encoding'", "'position_encoding'"]),
        ("transformer-rope", 20_000, {"position_encoding": "alibbi"}, ["'alibbi'", "Did you mean 'alibi'?"]),
        ("lstm", 20_000, {"num_heads": 2}, ["Unknown configuration key of lstm: 'num_heads'", "num_hidden_layers"]),
        ("lstm", 20_000, {"hidden_dropout": 0.1}, ["'hidden_dropout'", "Did you mean 'dropout'?"]),
        ("lstm", 20_000, {"num_hidden_layers": "two"}, ["num_hidden_layers", "int", "two"]),
        ("universal_transformer", 20_000, {"num_hidden_layers": 2}, ["derives 'num_hidden_layers'"]),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, budget, config, words):
    with pytest.raises(HarnessError) as refusal:
        size_model(name, budget, **config)
    assert "\n" not in str(refusal.value)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_a_configuration_goes_through_a_file(tmp_path):
    config = size_model("transformer-fire", 20_000, vocab_size=9).config
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.intermediate_size == config.intermediate_size
    assert loaded.position_encoding == "fire"
