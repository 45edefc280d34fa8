"""Parameters by kind, and operations against a cell loop and against a formula."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eval_harness.models import build_model
from eval_harness.models.compute import count_parameters, forward_flops, training_flops
from hf_models import (
    LSTMConfig,
    PositionTransformerConfig,
    RNNConfig,
    StackRNNConfig,
    TapeRNNConfig,
    UniversalTransformerConfig,
)


VOCABULARY, WIDTH, HEADS, FEED_FORWARD = 11, 16, 2, 24
SIZES = {"vocab_size": VOCABULARY, "hidden_size": WIDTH}
ATTENTION = {**SIZES, "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD, "max_position_embeddings": 80}


def transformer(encoding="none", **options):
    return build_model(PositionTransformerConfig(**ATTENTION, position_encoding=encoding, **options))


def universal(**options):
    return build_model(UniversalTransformerConfig(**ATTENTION, position_encoding="none", **options))


def tokens(batch, length):
    return torch.randint(5, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(0))


def test_parameters_fall_into_kinds_that_add_up():
    counts = count_parameters(transformer("learned"))
    table = VOCABULARY * WIDTH
    layer = 4 * WIDTH**2 + 2 * WIDTH * FEED_FORWARD + FEED_FORWARD + WIDTH + 4 * WIDTH
    assert counts == {
        "counted": 2 * layer + 2 * WIDTH,
        "embedding": table,
        "head": table,
        "position_tables": 80 * WIDTH,
        "total": 2 * layer + 2 * WIDTH + 2 * table + 80 * WIDTH,
    }


def test_a_tied_head_is_counted_once():
    tied, untied = (count_parameters(transformer(tie_word_embeddings=tie)) for tie in (True, False))
    assert tied["head"] == 0
    assert untied["head"] == untied["embedding"] == tied["embedding"] == VOCABULARY * WIDTH
    assert untied["total"] - tied["total"] == VOCABULARY * WIDTH
    assert tied["counted"] == untied["counted"]


@pytest.mark.parametrize(("encoding", "own"), [("t5", 32 * HEADS), ("fire", 2 * 32 + 33 * HEADS + 2), ("rope", 0)])
def test_what_is_no_table_counts(encoding, own):
    plain, with_encoding = count_parameters(transformer()), count_parameters(transformer(encoding))
    assert with_encoding["counted"] - plain["counted"] == own
    assert with_encoding["position_tables"] == 0


def test_the_halting_unit_counts():
    assert (
        count_parameters(universal(halting="act"))["counted"] == count_parameters(universal())["counted"] + WIDTH + 1
    )


CELLS = {LSTMConfig: nn.LSTMCell, RNNConfig: nn.RNNCell}


def cell_loop_flops(config_class, layers: int, directions: int, lengths: list[int]) -> int:
    """What torch counts when every cell is called on its own, and then the head."""
    cell, head = CELLS[config_class](WIDTH, WIDTH // directions), nn.Linear(WIDTH, VOCABULARY, bias=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for _ in range(layers * directions):
            for place in range(max(lengths)):
                cell(torch.zeros(sum(length > place for length in lengths), WIDTH))
        head(torch.zeros(len(lengths) * max(lengths), WIDTH))
    return counter.get_total_flops()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [7, 4, 1]])
@pytest.mark.parametrize("config_class", CELLS)
def test_an_lstm_and_an_rnn_cost_what_their_cells_cost(config_class, layers, bidirectional, lengths):
    model = build_model(config_class(**SIZES, num_hidden_layers=layers, bidirectional=bidirectional))
    mask = (torch.arange(7) < torch.tensor(lengths)[:, None]).long()  # where it has zeros, the model runs packed
    expected = cell_loop_flops(config_class, layers, 2 if bidirectional else 1, lengths)
    assert forward_flops(model, input_ids=tokens(3, 7), attention_mask=mask) == expected
    assert forward_flops(model, training=True, input_ids=tokens(3, 7), attention_mask=mask) == expected


def controller_flops(batch: int, length: int, read: int, chosen: int, writer: int = 0) -> int:
    """Two operations for every weight of the network and of the head, and token."""
    return 2 * batch * length * (WIDTH * (2 * WIDTH + read + chosen + VOCABULARY) + writer)


@pytest.mark.parametrize("size", [None, 3])
def test_a_stack_costs_its_network_and_three_products_for_every_cell(size):
    model = build_model(StackRNNConfig(**SIZES, num_stacks=2, stack_cell_size=5, stack_size=size))
    cells = 7 * 7 if size is None else 7 * 3  # room is made for 7 tokens at once
    expected = controller_flops(3, 7, read=10, chosen=2 * 3 + 10) + 2 * 3 * cells * 2 * 5 * 3
    assert forward_flops(model, input_ids=tokens(3, 7)) == expected


@pytest.mark.parametrize(("options", "cells", "moves"), [({}, 15, 3), ({"memory_size": 9, "jump_length": 2}, 9, 5)])
def test_a_tape_costs_its_network_and_a_product_for_every_move_and_cell(options, cells, moves):
    model = build_model(TapeRNNConfig(**SIZES, memory_cell_size=5, writer_sizes=[6, 4], **options))
    network = controller_flops(3, 7, read=5, chosen=moves + 6, writer=6 * 4 + 4 * 5)
    assert forward_flops(model, input_ids=tokens(3, 7)) == network + 2 * 3 * 7 * cells * 5 * moves


def transformer_flops(batch: int, length: int, layers: int = 2) -> int:
    """Two operations for every weight of a matrix and token; the two products of attention; the head."""
    matrices = 4 * WIDTH**2 + 2 * WIDTH * FEED_FORWARD
    per_layer = 2 * length * matrices + 4 * length**2 * WIDTH
    return batch * (layers * per_layer + 2 * length * WIDTH * VOCABULARY)


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("batch", "length"), [(1, 5), (3, 5), (2, 64)])
def test_a_transformer_costs_what_the_formula_says(batch, length, is_causal):
    model = transformer(is_causal=is_causal)
    assert model.config._attn_implementation == "sdpa"
    assert forward_flops(model, input_ids=tokens(batch, length)) == transformer_flops(batch, length)


def test_padding_costs_a_transformer_as_much_as_tokens():
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert forward_flops(transformer(), input_ids=tokens(2, 5), attention_mask=mask) == transformer_flops(2, 5)


def test_fire_pays_for_its_network():
    own = 2 * 9**2 * (32 + 32 * HEADS)  # once for all layers
    assert forward_flops(transformer("fire"), input_ids=tokens(1, 9)) == transformer_flops(1, 9) + own


def test_attention_makes_twice_the_length_cost_more_than_twice():
    model = transformer()
    short, long = (forward_flops(model, input_ids=tokens(1, length)) for length in (40, 80))
    assert long - 2 * short == 2 * 4 * (80**2 - 2 * 40**2) * WIDTH


def test_steps_that_are_not_taken_cost_nothing():
    early = universal(halting="act", num_steps=4, halting_bias=20)  # everything halts at the first step
    late = universal(halting="act", num_steps=4, halting_bias=-20)
    inputs, head = {"input_ids": tokens(2, 6)}, 2 * 6 * 2 * WIDTH * VOCABULARY
    for model in (early, late):
        model.model.stack.halting.unit.weight.data.zero_()
    full = forward_flops(late, **inputs)
    assert full - head == 4 * (forward_flops(early, **inputs) - head)
    assert forward_flops(early, training=True, **inputs) == full


def test_training_costs_three_passes_of_every_sequence():
    model = transformer()
    assert training_flops(model, [({"input_ids": 5}, 10), ({"input_ids": 9}, 2)]) == 3 * (
        10 * transformer_flops(1, 5) + 2 * transformer_flops(1, 9)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("build", [transformer, lambda: build_model(RNNConfig(**SIZES))], ids=["transformer", "rnn"])
def test_counting_leaves_the_model_as_it_was(build, training):
    model = build().train(training)
    implementation = model.config._attn_implementation
    with pytest.raises(IndexError):
        forward_flops(model, training=not training, input_ids=torch.full((1, 3), VOCABULARY + 1))
    forward_flops(model, training=not training, input_ids=tokens(1, 3))
    assert all(module.training == training for module in model.modules())
    assert model.config._attn_implementation == implementation
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
