"""A model in float64 computes in float64: nothing is cast down, and no rounding of a lower type enters.

Every model type, encoding, normalizer, attention type, way to halt and head is covered by being registered.
"""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_models.attention_normalizers import NORMALIZERS
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.position_registry import POSITION_ENCODINGS
from tests.hf_models import model_cases, test_every_encoding, test_layer_looped, test_modeling_seq2seq
from tests.hf_models.model_cases import CASES, REPRESENTATIVES, heads_of, labels_for, pad, ragged


IDS, MASK = pad(ragged(), "left")


class Precision(TorchDispatchMode):
    """Lists the operations, of the backward pass too, that cast float64 down or let another type in.

    Args:
        casts_up: whether other types may be cast up to float64.
    """

    def __init__(self, casts_up: bool = False):
        super().__init__()
        self.casts_up = casts_up
        self.found: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        given, made = floating((args, kwargs)), floating(results)
        down = torch.float64 in given and made - {torch.float64}
        up = torch.float64 in made and given - {torch.float64}
        if down or (up and not self.casts_up):
            self.found.append(f"{operation}: {given} -> {made}")
        return results


def floating(values) -> set[torch.dtype]:
    """The floating-point types among the tensors somewhere in `values`."""
    return {leaf.dtype for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()}


def check(model, casts_up: bool = False, **batch):
    """Runs a model in float64 forward and backward, and fails where anything is not float64."""
    model = model.double()
    with Precision(casts_up) as precision:
        output = model(**batch)
        loss = output.loss if "labels" in batch else output.last_hidden_state.square().mean()
        loss.backward()
    assert not precision.found
    assert floating((dict(output), loss)) == {torch.float64}
    assert floating([parameter.grad for parameter in model.parameters()]) == {torch.float64}


def check_implementations(build, **given):
    """The same under eager and, where it can compute the model, under fused attention."""
    eager = build(attn_implementation="eager")
    check(eager, **given)
    if not any(choice.eager_only for choice in eager.config.choices()):
        check(build(attn_implementation="sdpa"), **given)


@pytest.mark.parametrize("case", CASES)
def test_every_model_type_and_head_computes_in_float64(case):
    heads = heads_of(case) if case in REPRESENTATIVES else ("ForMaskedLM",)
    for head in heads:
        labels = {} if head == "Model" else {"labels": labels_for(head)}
        check(model_cases.build(case, head), input_ids=IDS, attention_mask=MASK, **labels)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_every_loss_of_sequences_is_computed_in_float64(problem):
    model = model_cases.build("transformer-none", "ForSequenceClassification", problem_type=problem)
    check(model, input_ids=IDS, labels=torch.rand(3, 3, dtype=torch.float64))


@test_every_encoding.every
def test_every_encoding_computes_in_float64(entry, causal):
    def build(**options):
        return test_every_encoding.build(entry, causal, num_hidden_layers=1, **options)

    check_implementations(build, input_ids=IDS, attention_mask=MASK)


@pytest.mark.parametrize("name", [name for name, kind in POSITION_ENCODINGS.items() if kind.distances_only])
def test_drawn_distances_are_computed_with_in_float64(name):
    model = test_every_encoding.build(name, position_ids_scheme="randomized_distances", num_hidden_layers=1)
    check(model.train(), input_ids=IDS, attention_mask=MASK)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_normalizer_computes_in_float64(name):
    for causal in (True, False) if not NORMALIZERS[name].causal_only else (True,):

        def build(causal=causal, **options):
            return test_every_encoding.build("alibi", causal, attention_normalizer=name, **options)

        check_implementations(build, input_ids=IDS, attention_mask=MASK)


@pytest.mark.parametrize("name", ATTENTION_TYPES)
def test_every_attention_type_computes_in_float64(name):
    def build(**options):
        return test_every_encoding.build("alibi", attention_types=name, sliding_window=3, **options)

    check_implementations(build, input_ids=IDS, attention_mask=MASK)


HASHING = ({"wrap_around": True}, {"across_buckets": False}, {"num_rounds": 1}, {"seed": None})


@pytest.mark.parametrize("options", HASHING, ids=str)
def test_what_hashes_alike_attends_in_float64(options):
    lsh = {"name": "lsh", "chunk_length": 2, "num_rounds": 2, **options}
    model = test_every_encoding.build("alibi", attention_types=lsh, attention_dropout=0.1)
    # The axes are drawn in float32, so that vectors of both types are hashed alike.
    check(model.train(), input_ids=IDS, attention_mask=MASK, casts_up=True)


WAYS = ((True, "eager"), (False, "sdpa"))  # whether in training, and the attention


@pytest.mark.parametrize("rule", test_layer_looped.RULES)
def test_every_way_to_halt_computes_in_float64(rule):
    for shape in (shape for other, shape in test_layer_looped.CASES if other == rule):
        options = {**test_layer_looped.RULES[rule], **test_layer_looped.SHAPES[shape]}
        for training, implementation in WAYS:
            model = model_cases.build("universal-act", "ForMaskedLM", **options, attn_implementation=implementation)
            check(model.train(training), input_ids=IDS, attention_mask=MASK, labels=labels_for("ForMaskedLM"))


@pytest.mark.parametrize("case", test_modeling_seq2seq.CASES)
def test_every_encoder_decoder_computes_in_float64(case):
    for training, implementation in WAYS if "lstm" not in case else WAYS[:1]:
        model = test_modeling_seq2seq.build(case, attn_implementation=implementation).train(training)
        check(model, input_ids=IDS, attention_mask=MASK, labels=labels_for("ForMaskedLM"))


@pytest.mark.parametrize("case", CASES)
def test_autocast_leaves_a_model_in_float64_as_it_is(case):
    model = model_cases.build(case, "Model").double()
    expected = model(IDS, attention_mask=MASK).last_hidden_state
    with torch.autocast("cpu", torch.bfloat16):
        states = model(IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(states, expected, rtol=1e-9, atol=1e-12)
