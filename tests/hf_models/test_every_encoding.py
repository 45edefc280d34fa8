"""What holds for every position encoding, causal and bidirectional: one suite over the registry.

A new encoding is tested by being registered, here and with its plain form in `plain_encodings.PLAIN_ENCODINGS`.
"""

from contextlib import contextmanager

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_models import (
    PositionTransformerConfig,
    PositionTransformerModel,
    UniversalTransformerConfig,
    UniversalTransformerModel,
)
from hf_models.attention_normalizers import NORMALIZERS
from hf_models.position_encoding import PositionEncoding
from hf_models.position_registry import POSITION_ENCODINGS, parse_position_encoding
from tests.hf_models import fresh_process, references
from tests.hf_models.model_cases import ATTENTION, CLOSE, checkpoint_activations, pad, ragged, tokens
from tests.hf_models.plain_encoding import plain_attention
from tests.hf_models.plain_encodings import ENTRIES, PLAIN_ENCODINGS, PLAIN_NORMALIZERS


IDS = torch.tensor([[0, 2, 5, 9, 11, 12, 30], [1, 2, 3, 4, 5, 6, 7], [0, 8, 16, 17, 18, 19, 31]])
LOOSE: dict = {"rtol": 1e-3, "atol": 1e-3}


def fits(entry, causal: bool) -> bool:
    """Whether an encoding has a form for this mask."""
    try:
        UniversalTransformerConfig(**{**ATTENTION, "position_encoding": entry, "is_causal": causal})
    except StrictDataclassError:
        return False
    return True


CASES = [
    pytest.param(entry, causal, id=f"{label}-{'causal' if causal else 'bidirectional'}")
    for label, entry in ENTRIES.items()
    for causal in (True, False)
    if fits(entry, causal)
]
# Forms of an encoding run the same code as the encoding itself, as far as saving and compiling go.
NAMED = [case for case in CASES if case.id.rpartition("-")[0] in POSITION_ENCODINGS or "+" in case.id]
CAUSAL = [case for case in CASES if case.values[1]]
BIDIRECTIONAL = [case for case in CASES if not case.values[1]]
every = pytest.mark.parametrize(("entry", "causal"), CASES)
every_named = pytest.mark.parametrize(("entry", "causal"), NAMED)
every_causal = pytest.mark.parametrize(("entry", "causal"), CAUSAL)
every_bidirectional = pytest.mark.parametrize(("entry", "causal"), BIDIRECTIONAL)


def build(entry, causal=True, noise=0.2, recurrent=False, **options):
    """A model with the encoding in evaluation mode, the same at every call; recurrent where the encoding needs it."""
    recurrent = recurrent or parse_position_encoding(entry)[0].recurrent_only
    options = {**ATTENTION, "position_encoding": entry, "is_causal": causal, **options}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if recurrent:
            layers = options.pop("num_hidden_layers", 2)
            model = UniversalTransformerModel(UniversalTransformerConfig(**{"num_steps": layers, **options}))
        else:
            model = PositionTransformerModel(PositionTransformerConfig(**options))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
    return model.eval()


def states_of(model, input_ids, ids=None, mask=None):
    return model(input_ids, position_ids=ids, attention_mask=mask).last_hidden_state


@contextmanager
def uncompiled():
    """FlexAttention without a compiler."""
    torch.compiler.set_stance("force_eager")
    try:
        yield
    finally:
        torch.compiler.set_stance("default")


# Completeness.


def test_every_encoding_and_normalizer_has_a_plain_form():
    assert PLAIN_ENCODINGS.keys() == POSITION_ENCODINGS.keys()
    assert PLAIN_NORMALIZERS.keys() == NORMALIZERS.keys()
    assert {name for name in ENTRIES if name in POSITION_ENCODINGS} == POSITION_ENCODINGS.keys()


@pytest.mark.parametrize("name", POSITION_ENCODINGS)
def test_an_encoding_without_a_bidirectional_form_says_so(name):
    build(name)
    if fits(name, causal=False):
        build(name, causal=False)
        return
    why = "has no bidirectional form; it needs is_causal=True|a bidirectional model must say form='symmetric'"
    with pytest.raises(StrictDataclassError, match=why):
        build(name, causal=False)


# The formula.


def plain_layer(model, input_ids, ids, normalizer="softmax"):
    """The states after one pre-norm layer of one sequence, by loops `[T, D]`."""
    layers = model.stack.layers if hasattr(model, "stack") else model.layers
    layer, config = layers[0], model.config
    encoding = model.encodings[0]
    plain = PLAIN_ENCODINGS[parse_name(config.position_encoding)](encoding, config)
    plain_normalizer = PLAIN_NORMALIZERS[normalizer](layer.attention.normalizer, config)
    states = plain.embed(model.embed_tokens(input_ids), ids)
    normed = references.layer_norm(states, layer.attention_norm)
    states = states + plain_attention(normed, layer.attention, plain, plain_normalizer, ids)
    states = states + references.feed_forward(
        references.layer_norm(states, layer.feed_forward_norm), layer.feed_forward
    )
    return references.layer_norm(states, model.norm)


def parse_name(entry) -> str:
    return entry if isinstance(entry, str) else entry["name"]


def compare_with_loops(model, normalizer="softmax"):
    """The states of two sequences and the gradient of every parameter, against the plain layer."""
    input_ids, ids = tokens(2, 6), torch.stack([IDS[0, :6], IDS[1, :6]])
    states = states_of(model, input_ids, ids)
    plain = torch.stack([plain_layer(model, input_ids[row], ids[row].tolist(), normalizer) for row in range(2)])
    torch.testing.assert_close(states, plain, rtol=1e-3, atol=1e-4)
    upstream = torch.randn_like(states)
    parameters = dict(model.named_parameters())
    ours, theirs = (
        torch.autograd.grad(output, list(parameters.values()), upstream, allow_unused=True, materialize_grads=True)
        for output in (states, plain)
    )
    for name, first, second in zip(parameters, ours, theirs, strict=True):
        scale = max(1.0, second.abs().max().item())
        torch.testing.assert_close(
            first / scale, second / scale, **LOOSE, msg=lambda text, name=name: f"{name}: {text}"
        )
    unused = [name for name, gradient in zip(parameters, ours, strict=True) if not gradient.any()]
    assert not [name for name in unused if "encodings" in name or "normalizer" in name]


@every
def test_it_follows_its_formula_forward_and_in_every_gradient(entry, causal):
    if "+" in parse_name(entry) or parse_name(entry) == "composed":
        pytest.skip("the parts are compared one by one")
    compare_with_loops(build(entry, causal, num_hidden_layers=1, attn_implementation="eager"))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("entry", ["none", "alibi"])
def test_a_normalizer_follows_its_formula_forward_and_in_every_gradient(normalizer, entry, causal):
    options = {"num_hidden_layers": 1, "attn_implementation": "eager", "attention_normalizer": normalizer}
    if NORMALIZERS[normalizer].causal_only and not causal:
        with pytest.raises(StrictDataclassError, match="has no bidirectional form"):
            build(entry, causal, **options)
        return
    compare_with_loops(build(entry, causal, **options), normalizer)


# Implementations of attention.


def eager_only(model) -> bool:
    return any(choice.eager_only for choice in model.config.choices())


def check_fused(implementation, entry, causal, **options):
    """A fused implementation agrees with eager attention over ids of every kind, or refuses what it cannot compute."""
    eager = build(entry, causal, attn_implementation="eager", **options)
    if eager_only(eager):
        with pytest.raises(ValueError, match=f"needs attn_implementation='eager'; '{implementation}' cannot"):
            build(entry, causal, attn_implementation=implementation, **options)
        return
    fused = build(entry, causal, attn_implementation=implementation, **options)
    assert fused.config._attn_implementation == implementation
    input_ids, mask = pad(ragged(), "left")
    for ids in (None, IDS, IDS[:1]):
        for padding in (None, mask):
            kept = torch.ones_like(mask).bool() if padding is None else mask.bool()
            states = []
            for model in (eager, fused):
                model.requires_grad_(implementation == "sdpa")  # FlexAttention has no backward on a CPU
                model.zero_grad()
                states.append(states_of(model, input_ids, ids, padding)[kept])
            torch.testing.assert_close(states[1].detach(), states[0].detach(), **CLOSE)
    if implementation == "sdpa":
        for output in states:
            output.square().sum().backward()
        for (name, first), second in zip(eager.named_parameters(), fused.parameters(), strict=True):
            if first.grad is not None:
                torch.testing.assert_close(second.grad, first.grad, rtol=1e-3, atol=2e-3, msg=name)


@pytest.mark.versions
@every
def test_sdpa_agrees_with_eager_forward_and_backward(entry, causal):
    check_fused("sdpa", entry, causal)


@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention says that it is slow
@every
def test_flex_attention_agrees_with_eager(entry, causal):
    with uncompiled():
        check_fused("flex_attention", entry, causal)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("implementation", ["sdpa", "flex_attention"])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_normalizer_is_the_same_in_every_implementation(normalizer, implementation):
    with uncompiled():
        check_fused(implementation, "alibi", True, attention_normalizer=normalizer)


@every
def test_flash_attention_is_refused(entry, causal):
    # Its kernels know no bias: it would be dropped without a word.
    with pytest.raises(ValueError, match=r"does not support Flash Attention|flash"):
        build(entry, causal, attn_implementation="flash_attention_2")


@every
def test_without_a_request_the_fastest_possible_implementation_is_taken(entry, causal):
    model = build(entry, causal)
    assert model.config._attn_implementation == ("eager" if eager_only(model) else "sdpa")


# Invariants.


@every
def test_padding_and_the_batch_change_nothing(entry, causal):
    model = build(entry, causal)
    sequences = ragged()
    for side in ("left", "right"):
        input_ids, mask = pad(sequences, side)
        together = states_of(model, input_ids, mask=mask)
        for row, sequence in enumerate(sequences):
            alone = states_of(model, sequence[None])[0]
            torch.testing.assert_close(together[row][mask[row].bool()], alone, **CLOSE)


def check_cache(model):
    """Pieces with a cache, left padding included, equal one pass over all tokens."""
    input_ids, mask = pad(ragged((5, 9, 2)), "left")
    whole = states_of(model, input_ids, mask=mask)
    pieces, cache = [], None
    for start, end in ((0, 4), (4, 5), (5, 8), (8, 9)):
        outputs = model(input_ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        pieces.append(outputs.last_hidden_state)
    torch.testing.assert_close(torch.cat(pieces, dim=1)[mask.bool()], whole[mask.bool()], **CLOSE)


@every_causal
def test_cached_equals_recomputed_with_left_padding(entry, causal):
    model = build(entry)
    if not model.config.use_cache:
        pytest.skip("the encoding refuses a cache")
    check_cache(model)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_normalizer_holds_with_a_cache_and_left_padding(normalizer):
    check_cache(build("alibi", attention_normalizer=normalizer))


@every_causal
def test_later_tokens_change_nothing_when_causal(entry, causal):
    model = build(entry)
    whole, part = states_of(model, tokens(2, 9)), states_of(model, tokens(2, 9)[:, :5])
    assert torch.allclose(whole[:, :5], part, rtol=1e-4, atol=1e-5) or not model.prefix_stable


@every
def test_only_relative_encodings_are_the_same_anywhere(entry, causal):
    model = build(entry, causal)
    shift = 20 if any(encoding.has_table for encoding in model.encodings) else 900
    here, there = (states_of(model, tokens(), torch.arange(start, start + 7)[None]) for start in (0, shift))
    relative = all(encoding.relative for encoding in model.encodings)
    assert torch.allclose(here, there, **LOOSE) == relative


@every_bidirectional
def test_it_says_whether_it_can_tell_left_from_right(entry, causal):
    model = build(entry, causal=False)
    straight, backwards = states_of(model, tokens()), states_of(model, tokens().flip(-1)).flip(1)
    blind = torch.allclose(straight, backwards, rtol=1e-3, atol=1e-4)
    assert blind == (not any(encoding.sees_direction for encoding in model.encodings))


@every
def test_it_sees_the_order_wherever_that_can_be_seen(entry, causal):
    model = build(entry, causal, num_attention_heads=4)  # some encodings leave half of the heads alone
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    straight, shuffled = states_of(model, tokens())[:, order], states_of(model, tokens()[:, order])
    blind = torch.allclose(straight, shuffled, rtol=1e-3, atol=1e-4)
    assert blind == (not causal and parse_name(entry) == "none")


@every
def test_it_stays_finite_in_bfloat16_at_position_100_000(entry, causal):
    table = any(encoding.has_table for encoding in build(entry, causal).encodings)
    options = {"max_position_embeddings": 100_007} if table else {}
    model = build(entry, causal, noise=0.02, **options).to(torch.bfloat16)
    far = torch.tensor([[0, 1, 50_000, 99_998, 99_999, 100_000, 100_006]])
    for ids in (far, torch.arange(100_000, 100_007)[None]):
        states = states_of(model, tokens(), ids)
        assert states.dtype == torch.bfloat16
        assert states.isfinite().all()
        model.zero_grad()
        states.sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.slow
@every_named
def test_compilation_finds_no_graph_break(entry, causal):
    torch._dynamo.reset()
    model = build(entry, causal, use_cache=False, num_hidden_layers=1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    input_ids, mask = pad(ragged(), "left")
    expected = states_of(model, input_ids, mask=mask)
    torch.testing.assert_close(states_of(compiled, input_ids, mask=mask), expected)


@pytest.mark.slow
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_compilation_finds_no_graph_break_in_a_normalizer(normalizer):
    torch._dynamo.reset()
    model = build("alibi", use_cache=False, num_hidden_layers=1, attention_normalizer=normalizer)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(states_of(compiled, tokens()), states_of(model, tokens()))


@every
def test_it_works_inside_the_universal_transformer(entry, causal):
    model = build(entry, causal, recurrent=True, num_steps=3, halting="act", halting_bias=-0.5)
    loop = build(entry, causal, recurrent=True, num_steps=3)
    sequences = ragged()
    input_ids, mask = pad(sequences, "left")
    for recurrent in (model, loop):
        states = states_of(recurrent, input_ids, mask=mask)
        alone = states_of(recurrent, sequences[0][None])[0]
        torch.testing.assert_close(states[0][mask[0].bool()], alone, **CLOSE)
    if causal and model.config.use_cache:
        check_cache(model)
    if parse_position_encoding(entry)[0].recurrent_only:
        return
    # Two steps of one layer are two layers with the same weights.
    stacked = build(entry, causal, num_hidden_layers=3)
    weights = stacked.state_dict()
    for name, value in loop.state_dict().items():
        for layer in range(3):
            weights[name.replace("stack.layers.0.", f"layers.{layer}.")] = value
    stacked.load_state_dict({name: weights[name] for name in stacked.state_dict()})
    if type(loop.encodings[0]).embed is PositionEncoding.embed:
        torch.testing.assert_close(states_of(loop, tokens()), states_of(stacked, tokens()), **CLOSE)


# Saving.


@pytest.fixture(scope="module")
def loaded_elsewhere(tmp_path_factory):
    """What a process without Longreach finds of every saved model, and what was saved."""
    folder, jobs, expected = tmp_path_factory.mktemp("fresh"), [], {}
    for case in NAMED:
        model = build(*case.values)
        model.save_pretrained(folder / case.id)
        jobs.append({"name": case.id, "saved": case.id, "auto_class": "AutoModel", "input_ids": tokens().tolist()})
        expected[case.id] = fresh_process.look_at(model, tokens())
    return fresh_process.run(folder, jobs), expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [case.id for case in NAMED])
def test_a_fresh_process_loads_the_same_parameters_and_buffers(loaded_elsewhere, name):
    found, expected = loaded_elsewhere
    assert found[name]["digest"] == expected[name]["digest"]
    torch.testing.assert_close(found[name]["output"], expected[name]["output"], **CLOSE)


@every
def test_gradient_checkpointing_changes_no_gradient(entry, causal):
    gradients = []
    for checkpointing in (False, True):
        model = build(entry, causal, use_cache=False).train()
        if checkpointing:
            checkpoint_activations(model, use_reentrant=False)
        states_of(model, tokens()).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        if first is not None:
            torch.testing.assert_close(first, second)
