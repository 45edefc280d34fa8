"""Each encoding against its formula, and what follows from the formulas."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_models import PositionTransformerConfig, PositionTransformerModel
from hf_models.position_added import Learned, Sinusoidal, sinusoids
from hf_models.position_bias_learned import T5
from hf_models.position_composed import Composed
from hf_models.position_encoding import PositionEncoding, Positions
from hf_models.position_registry import POSITION_ENCODINGS, LayerEncodings, parse_position_encoding
from tests.hf_models import references
from tests.hf_models.model_cases import ATTENTION, CLOSE, build, tokens


IDS = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 4, 9, 17, 18, 30]])
IDS_LISTS = st.lists(st.integers(0, 3000), min_size=2, max_size=6)


def config(**options):
    return PositionTransformerConfig(**{**ATTENTION, **options})


def positions_of(ids) -> Positions:
    ids = torch.as_tensor(ids)
    ids = ids if ids.dim() == 2 else ids[None]
    return Positions(ids, ids, num_heads=2, scaling=8**-0.5)


def noisy(module):
    """The same module with every parameter drawn anew."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


# Formulas.


def test_distances_are_positive_in_the_past():
    positions = Positions(torch.tensor([[5, 9]]), torch.tensor([[0, 5, 9]]), num_heads=2, scaling=1.0)
    assert positions.distances().tolist() == [[[[5, 0, -4], [9, 4, 0]]]]


@pytest.mark.parametrize("width", [2, 6, 16])
def test_sinusoids_are_the_papers_interleaved_form(width):
    expected = torch.stack([torch.stack([references.sinusoid(int(p), width) for p in row]) for row in IDS])
    torch.testing.assert_close(sinusoids(IDS, width), expected, **CLOSE)
    states = torch.randn(2, 6, 16)
    added = Sinusoidal(config()).embed(states, IDS) - states
    torch.testing.assert_close(added, sinusoids(IDS, 16), **CLOSE)


def test_learned_vectors_are_looked_up_and_receive_their_gradient():
    encoding = noisy(Learned(config()))
    states, upstream = torch.zeros(2, 6, 16), torch.randn(2, 6, 16)
    added = encoding.embed(states, IDS)
    added.backward(upstream)
    expected = torch.zeros_like(encoding.table.weight)
    for row in range(2):
        for column in range(6):
            torch.testing.assert_close(added[row, column], encoding.table.weight[IDS[row, column]])
            expected[IDS[row, column]] += upstream[row, column]
    torch.testing.assert_close(encoding.table.weight.grad, expected)


def test_the_base_class_does_nothing():
    encoding, states = PositionEncoding(config()), torch.randn(2, 2, 6, 8)
    assert encoding.embed(states, IDS) is states
    assert encoding.rotation(IDS) is None
    assert encoding.rotate(states, states, None) == (states, states)
    assert encoding.pair_bias(positions_of(IDS).pairs()) is None
    assert encoding.bias(states, states, positions_of(IDS)) is None
    assert encoding.key_features(states) is None
    assert encoding.values(states, positions_of(IDS)) is None
    assert not list(encoding.parameters())


def test_coordinates_add_position_and_step_before_every_step():
    encoding = POSITION_ENCODINGS["coordinate"](config())
    states = torch.randn(2, 6, 16)
    for step in range(3):
        plain = [[references.coordinate(p, step + 1, 16) for p in row] for row in IDS.tolist()]
        expected = torch.stack([torch.stack(row) for row in plain])
        torch.testing.assert_close(encoding.embed(states, IDS, step) - states, expected, **CLOSE)


@pytest.mark.parametrize("name", ["learned", "sinusoidal"])
def test_absolute_vectors_enter_a_recurrent_model_once(name):
    encoding, states = noisy(POSITION_ENCODINGS[name](config())), torch.randn(2, 6, 16)
    assert not torch.equal(encoding.embed(states, IDS, 0), states)
    assert encoding.embed(states, IDS, 1) is states


# Which layer uses what.


def test_equal_entries_share_one_instance_and_different_arguments_do_not():
    entries = ["t5", {"name": "t5", "buckets": 8}, "t5", "rope", {"name": "t5", "buckets": 8}]
    encodings = LayerEncodings(config(num_hidden_layers=5, position_encoding=entries))
    assert len(encodings.distinct) == 3
    assert encodings[0] is encodings[2]
    assert encodings[1] is encodings[4]
    assert encodings[1].table.num_embeddings == 8
    assert encodings[0].table.num_embeddings == 32
    assert [encodings.enters(layer) for layer in range(5)] == [True, True, False, True, False]


@pytest.mark.parametrize("case", ["transformer-t5", "universal-group"])
def test_a_shared_bias_is_computed_once_per_forward_pass(case, monkeypatch):
    calls = []
    original = T5.pair_bias
    monkeypatch.setattr(T5, "pair_bias", lambda self, pairs: calls.append(self) or original(self, pairs))
    build(case, "Model")(tokens())
    assert len(calls) == 1


def test_a_list_gives_each_layer_its_own_encoding():
    same = build("transformer-alibi", "Model")
    listed = build("transformer-alibi", "Model", position_encoding=["alibi", "alibi"])
    mixed = build("transformer-alibi", "Model", position_encoding=["alibi", "none"])
    states = [model(tokens()).last_hidden_state for model in (same, listed, mixed)]
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
    assert not torch.allclose(states[2], states[0], atol=1e-3)


def test_arguments_reach_the_encoding():
    encoding, arguments = parse_position_encoding({"name": "fire", "width": 7, "threshold": 9})
    module = encoding(config(), **arguments)
    assert module.network[0].out_features == 7
    assert module.threshold == 9


@pytest.mark.parametrize("name", ["learned", "sinusoidal"])
def test_an_absolute_encoding_of_a_later_layer_enters_there(name):
    model = build("transformer-none", "Model", position_encoding=["none", name], norm_position="post")
    hidden = model(tokens(), output_hidden_states=True).hidden_states
    shifted = model(tokens(), position_ids=torch.arange(5, 12)[None], output_hidden_states=True).hidden_states
    torch.testing.assert_close(hidden[1], shifted[1])
    assert not torch.allclose(hidden[2], shifted[2], atol=1e-2)


def pointwise(name: str) -> bool:
    return POSITION_ENCODINGS[name].pair_bias is not PositionEncoding.pair_bias


@settings(max_examples=40, deadline=None)
@given(
    ids=IDS_LISTS,
    name=st.sampled_from([name for name in POSITION_ENCODINGS if pointwise(name)]),
    is_causal=st.booleans(),
)
def test_pair_biases_take_any_ids_and_depend_on_the_pair_alone(ids, name, is_causal):
    encoding = noisy(POSITION_ENCODINGS[name](config(is_causal=is_causal)))
    bias, rotated = (encoding.pair_bias(positions_of(row).pairs()) for row in (ids, ids[::-1]))
    assert bias.isfinite().all()
    torch.testing.assert_close(rotated, bias.flip(2, 3), **CLOSE)
    # The pairs of one head on a diagonal are the same however they are arranged.
    positions = positions_of(ids).pairs()
    diagonal = type(positions)(positions.rows[:, 0, 0, 0], torch.tensor(1), torch.tensor(ids), torch.tensor(ids[::-1]))
    expected = bias[0, 1].flip(-1).diagonal()
    torch.testing.assert_close(encoding.pair_bias(diagonal), expected, **CLOSE)


# Several encodings at once.


def test_names_joined_by_a_plus_are_composed():
    encoding, arguments = parse_position_encoding("rope + t5")
    assert encoding is Composed
    assert [part.__name__ for part, _ in arguments["parts"]] == ["RoPE", "T5"]


def test_a_composed_encoding_does_what_each_part_does():
    entry = {"name": "composed", "parts": ["learned", "rope", {"name": "t5", "buckets": 8}, "alibi"]}
    composed = noisy(LayerEncodings(config(position_encoding=entry))[0])
    learned, rope, t5, alibi = composed.parts
    states = torch.randn(2, 6, 16)
    torch.testing.assert_close(composed.embed(states, IDS), learned.embed(states, IDS))
    query, key = torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    for ours, theirs in zip(*(each.rotate(query, key, each.rotation(IDS)) for each in (composed, rope)), strict=True):
        torch.testing.assert_close(ours, theirs)
    pairs = positions_of(IDS).pairs()
    torch.testing.assert_close(composed.pair_bias(pairs), t5.pair_bias(pairs) + alibi.pair_bias(pairs))
    assert composed.has_table
    assert not composed.relative


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("rope+", "Unknown position encoding ''"),
        ("rope+alibbi", "Unknown position encoding 'alibbi'. Did you mean 'alibi'?"),
        ({"name": "composed", "parts": ["rope"]}, "needs at least two parts, not 1"),
        ({"name": "composed"}, "needs at least two parts, not 0"),
        ("rope+xpos", "RoPE and XPos each turn queries and keys and cannot be composed"),
        ("dape+path", "DAPE and PaTH each make the scores by themselves and cannot be composed"),
        ("pope+cope", "PoPE widens the queries that CoPE reads: they cannot be composed"),
        ("shaw+pope", "PoPE widens the queries that Shaw reads"),
        ({"name": "rope+alibi", "form": "causal"}, "takes no arguments; give them as"),
        ({"name": "composed", "parts": ["rope", {"name": "t5", "bukkets": 4}]}, "T5 has no argument 'bukkets'"),
    ],
    ids=str,
)
def test_what_cannot_be_composed_is_refused(entry, text):
    with pytest.raises(StrictDataclassError) as caught:
        config(position_encoding=entry)
    assert text in str(caught.value)


# Another encoding for a trained model.


def test_a_trained_model_may_drop_or_exchange_its_encoding(tmp_path):
    trained = build("transformer-t5", "Model")
    trained.save_pretrained(tmp_path)
    dropped = PositionTransformerModel.from_pretrained(tmp_path, position_encoding="none")
    expected = build("transformer-none", "Model")
    expected.load_state_dict(
        {name: value for name, value in trained.state_dict().items() if not name.startswith("encodings.")}
    )
    torch.testing.assert_close(dropped(tokens()).last_hidden_state, expected(tokens()).last_hidden_state)
    # Its tables have other shapes; none is taken by mistake.
    exchanged = PositionTransformerModel.from_pretrained(tmp_path, position_encoding="learned")
    assert exchanged.encodings[0].table.weight.shape == (32, 16)
    torch.testing.assert_close(
        exchanged.layers[0].attention.qkv_proj.weight, trained.layers[0].attention.qkv_proj.weight
    )


def test_a_trained_model_may_change_its_rope_scaling(tmp_path):
    build("transformer-rope", "Model").save_pretrained(tmp_path)
    scaled = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    model = PositionTransformerModel.from_pretrained(tmp_path, rope_parameters=scaled)
    far = model(tokens(), position_ids=4 * torch.arange(7)[None]).last_hidden_state
    near = PositionTransformerModel.from_pretrained(tmp_path)(tokens()).last_hidden_state
    torch.testing.assert_close(far, near, **CLOSE)
