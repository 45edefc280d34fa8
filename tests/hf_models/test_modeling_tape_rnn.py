"""The network with tapes against a loop over cells, as a real tape where its moves are certain, and its jumps."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models import TapeRNNConfig
from hf_models.modeling_tape_rnn import TapeRNNLayer
from tests.hf_models.model_cases import BOS, CLOSE, PAD, build, pad, tokens
from tests.hf_models.plain_memory import assert_is_plain, model_states


RIGHT, STAY, LEFT, JUMP_RIGHT, JUMP_LEFT = range(5)
END = 3
INPUT = {"jump_length": "input", "input_end_token_id": END, "memory_size": 11}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", ["tape_rnn", "tape_rnn-jumps"])
def test_the_model_is_a_loop_over_cells_forward_and_in_every_gradient(case, side):
    assert_is_plain(build(case, "Model"), side)


def test_a_small_circle_without_jumps_is_the_loop_too():
    assert_is_plain(build("tape_rnn", "Model", memory_size=2), "left")


def test_a_tape_that_grew_many_times_is_still_the_loop():
    assert_is_plain(build("tape_rnn", "Model", noise=0.05), "right", lengths=(37, 20))


# A real tape.


@torch.no_grad()
def puppet(memory_size=None, jump_length=None, **options):
    """A layer of width 9 that does what its inputs say: channels 0 to 4 choose the move, 5 is written.

    Channel 6 of the output is what was read.
    """
    config = TapeRNNConfig(
        hidden_size=9,
        memory_cell_size=1,
        memory_size=memory_size,
        jump_length=jump_length,
        writer_sizes=[],
        **options,
    )
    layer = TapeRNNLayer(config)
    for parameter in layer.parameters():
        parameter.zero_()
    layer.input.weight[:, :9] = torch.eye(9)
    layer.input.weight[6, 9] = 1  # what is read
    layer.actions.weight[:, : layer.moves] = 200 * torch.eye(layer.moves)
    layer.write.weight[0, 5] = 1
    return layer


@torch.no_grad()
def run(layer, program, **given):
    """What was read at each token of a program of (value, move), and the tape that is left."""
    states = torch.zeros(1, len(program), 9)
    for token, (value, move) in enumerate(program):
        states[0, token, 5], states[0, token, move] = value, 1
    output, (_, tapes, *_) = layer.run(states, None, layer.first_state(states, **given))
    return output[0, :, 6].tolist(), tapes[0, 0, :, 0].tolist()


class Machine:
    """The tape of a Turing machine: cells by absolute position, on a circle where there is a size."""

    def __init__(self, size=None, jump=0):
        self.cells, self.head, self.size, self.jump = {}, 0, size, jump

    def read(self):
        return self.cells.get(self.head, 0.0)

    def act(self, value, move):
        self.cells[self.head] = value
        # The tape moves under the head: where it moves to the right, the head comes to the cell on the left.
        self.head += {RIGHT: -1, STAY: 0, LEFT: 1, JUMP_RIGHT: -self.jump, JUMP_LEFT: self.jump}[move]
        if self.size is not None:
            self.head %= self.size


@pytest.mark.parametrize(("size", "jump"), [(None, None), (7, None), (7, 3), (64, 20), (5, 12)])
def test_with_certain_moves_it_is_a_tape(size, jump):
    generator = torch.Generator().manual_seed(0)
    moves = torch.randint(3 if jump is None else 5, (80,), generator=generator).tolist()
    program = list(zip(torch.rand(80, generator=generator).tolist(), moves, strict=True))
    seen, _ = run(puppet(size, jump), program)
    machine = Machine(size, jump or 0)
    for token, (value, move) in enumerate(program):
        assert seen[token] == pytest.approx(machine.read(), abs=1e-6)
        machine.act(value, move)


def test_the_input_is_written_and_a_jump_by_its_length_comes_back_to_its_first_symbol():
    program = [(1.0, LEFT), (2.0, LEFT), (3.0, LEFT), (0.0, JUMP_RIGHT), (1.0, LEFT), (2.0, LEFT), (3.0, LEFT)]
    layer = puppet(20, "input", input_end_token_id=END)
    seen, _ = run(layer, program, input_lengths=torch.tensor([3]))
    assert seen[4:] == [1.0, 2.0, 3.0]


def test_a_tape_without_ends_is_longer_than_can_be_reached():
    assert len(run(puppet(), [(1.0, LEFT)] * 6)[1]) == 13
    for there, back in ((LEFT, RIGHT), (RIGHT, LEFT)):
        seen, _ = run(puppet(), [(token + 1.0, there) for token in range(30)] + [(0.0, back)] * 31)
        assert seen[31:] == [30.0 - token for token in range(30)]
    circle, _ = run(puppet(40), [(float(token), LEFT) for token in range(41)])
    assert circle[-1] == 0.0
    assert run(puppet(40), [(token + 1.0, LEFT) for token in range(41)])[0][-1] == 1.0  # once around


def test_a_circle_larger_than_can_be_reached_is_a_tape_without_ends():
    endless, large = build("tape_rnn", "Model"), build("tape_rnn", "Model", memory_size=60)
    input_ids = tokens(2, 24)
    torch.testing.assert_close(endless(input_ids).last_hidden_state, large(input_ids).last_hidden_state, **CLOSE)
    small = build("tape_rnn", "Model", memory_size=3)
    assert not torch.allclose(endless(input_ids).last_hidden_state, small(input_ids).last_hidden_state, atol=1e-3)


def test_the_writer_has_the_papers_sizes_by_default():
    layer = TapeRNNLayer(TapeRNNConfig(hidden_size=32))
    assert [tuple(map_.weight.shape) for map_ in (layer.write, *layer.writer)] == [(64, 32), (64, 64), (8, 64)]
    assert layer.actions.out_features == 3
    assert TapeRNNLayer(TapeRNNConfig(hidden_size=32, memory_size=40, jump_length=4)).actions.out_features == 5


def test_padding_leaves_state_and_tape_as_they_are():
    model = build("tape_rnn-jumps", "Model")
    first = model(tokens(2, 4), use_cache=True).past_key_values
    before = [[part.clone() for part in layer.state()] for layer in first.layers]
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    after = model(tokens(2, 2, 3), attention_mask=mask, past_key_values=first).past_key_values
    for layer, (hidden, tape, jumps) in zip(after.layers, before, strict=True):
        assert torch.equal(layer.keys[0], hidden[0])
        assert torch.equal(layer.values[0], tape[0])
        assert torch.equal(layer.others[0], jumps)
        assert not torch.allclose(layer.values[1], tape[1], atol=1e-3)


# Jumps by the length of the input.


def prompts() -> list[torch.Tensor]:
    """<bos> x <end> with x of 2, 4 and 1 symbols."""
    symbols = tokens(3, 4) + 1 - (tokens(3, 4) == 16).long()  # neither <end> nor beyond the vocabulary
    return [torch.tensor([BOS, *row[:length].tolist(), END]) for row, length in zip(symbols, (2, 4, 1), strict=True)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_jumps_by_the_input_are_the_loop_with_each_rows_own_length(side):
    model = build("tape_rnn-jumps", "Model", **INPUT)
    sequences = [torch.cat([prompt, tokens(1, 3, 5)[0]]) for prompt in prompts()]
    input_ids, mask = pad(sequences, side)
    states = model(input_ids, attention_mask=mask).last_hidden_state[mask.bool()]
    rows = zip(sequences, (2, 4, 1), strict=True)
    expected = torch.cat([model_states(model, sequence, jump=length) for sequence, length in rows])
    torch.testing.assert_close(states, expected, **CLOSE)
    others = torch.cat([model_states(model, sequence, jump=3) for sequence in sequences])
    assert not torch.allclose(expected, others, atol=1e-3)


@pytest.mark.parametrize(
    ("ids", "mask", "length"),
    [
        ([BOS, 5, 6, END, 7], None, 2),
        ([5, 6, 7, END, END], None, 3),
        ([BOS, 5, 6, 7], None, 3),  # nothing ends it
        ([5, 9, 6, 7], None, 1),  # the other token that may end it
        ([PAD, BOS, 5, 6, END], [0, 1, 1, 1, 1], 2),
        ([5, END, 6, END, 7], [1, 0, 1, 1, 1], 2),  # what is masked is no end
        ([BOS, END, 5], None, 0),
    ],
)
def test_the_input_ends_before_its_first_end(ids, mask, length):
    model = build("tape_rnn", "Model", **{**INPUT, "input_end_token_id": [END, 9]})
    token_mask = None if mask is None else torch.tensor([mask]).bool()
    assert model.input_lengths(torch.tensor([ids]), token_mask).tolist() == [length]


def generate(model, input_ids, mask, **options):
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": PAD, **options}
    return model.generate(input_ids, attention_mask=mask, **options)[:, input_ids.shape[1] :]


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=str)
def test_generation_keeps_the_length_of_its_prompts_input(options):
    model = build("tape_rnn-jumps", **INPUT)
    input_ids, mask = pad(prompts(), "left")
    answer = generate(model, input_ids, mask, **options)
    assert torch.equal(answer, generate(model, input_ids, mask, use_cache=False, **options))
    alone = [generate(model, prompt[None], torch.ones_like(prompt[None]), **options) for prompt in prompts()]
    assert torch.equal(answer, torch.cat(alone))


def test_greedy_generation_is_the_argmax_of_teacher_forcing_where_the_prompt_ends_the_input():
    model = build("tape_rnn-jumps", **INPUT)
    for prompt in prompts():
        answer = generate(model, prompt[None], torch.ones_like(prompt[None]))
        logits = model(torch.cat([prompt[None], answer], dim=1)).logits[:, len(prompt) - 1 : -1]
        logits[..., model.config.eos_token_id] = -torch.inf
        assert torch.equal(logits.argmax(-1), answer)


def test_the_cache_carries_the_jumps_with_their_rows():
    model = build("tape_rnn-jumps", "Model")

    def cache():
        made = model(*pad(prompts(), "left"), use_cache=True).past_key_values
        for layer in made.layers:
            layer.others = [torch.tensor([2, 4, 1])]
        return made

    reordered, repeated, selected = cache(), cache(), cache()
    reordered.reorder_cache(torch.tensor([2, 0, 0]))
    repeated.batch_repeat_interleave(2)
    selected.batch_select_indices(torch.tensor([1]))
    for layer in range(2):
        assert reordered.layers[layer].others[0].tolist() == [1, 2, 2]
        assert repeated.layers[layer].others[0].tolist() == [2, 2, 4, 4, 1, 1]
        assert selected.layers[layer].others[0].tolist() == [4]


def test_jumps_by_the_input_are_not_prefix_stable_and_the_model_says_so():
    model = build("tape_rnn-jumps", "Model", **INPUT)
    assert not model.prefix_stable
    assert build("tape_rnn-jumps", "Model").prefix_stable
    assert build("tape_rnn", "Model").prefix_stable
    whole = torch.cat([tokens(1, 6) + (tokens(1, 6) == END), torch.tensor([[END]])], dim=1)
    states = model(whole).last_hidden_state[:, :4]
    assert not torch.allclose(states, model(whole[:, :4]).last_hidden_state, atol=1e-3)


def test_embedded_tokens_do_not_say_where_the_input_ends():
    model = build("tape_rnn-jumps", "Model", **INPUT)
    embedded = model.embed_tokens(tokens())
    with pytest.raises(ValueError, match="needs input_ids: a token ends the input"):
        model(inputs_embeds=embedded)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"memory_size": 1}, "memory_size must be at least 2, not 1"),
        ({"memory_size": 9, "jump_length": 0}, "jump_length must be at least 1, not 0"),
        ({"memory_cell_size": 0}, "memory_cell_size must be at least 1, not 0"),
        ({"num_tapes": 0}, "num_tapes must be at least 1, not 0"),
        ({"writer_sizes": [4, 0]}, "writer_sizes must be at least 1 each, not [4, 0]"),
        ({"jump_length": 3}, "jump_length needs a memory_size"),
        ({"jump_length": "input", "input_end_token_id": 3}, "jump_length needs a memory_size"),
        ({"jump_length": "inputs", "memory_size": 9}, "jump_length must be a number, 'input' or None, not 'inputs'"),
        ({"jump_length": "input", "memory_size": 9}, "go together: give both or neither"),
        ({"input_end_token_id": 3}, "go together: give both or neither"),
        ({"jump_length": 2, "memory_size": 9, "input_end_token_id": 3}, "go together: give both or neither"),
        ({"memory_sise": 4}, "has no key 'memory_sise'. Did you mean 'memory_size'?"),
    ],
    ids=str,
)
def test_what_makes_no_tape_is_refused(options, text):
    with pytest.raises((ValueError, StrictDataclassError)) as caught:
        TapeRNNConfig(**options)
    assert text in str(caught.value) + str(caught.value.__cause__ or "")
