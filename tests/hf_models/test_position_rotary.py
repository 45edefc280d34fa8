"""What is particular to RoPE and its scalings, xPos and PoPE."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from hf_models import PositionTransformerConfig, PositionTransformerModel
from hf_models.position_encoding import Positions
from hf_models.position_rotary import PoPE, RoPE, XPos
from tests.hf_models import references
from tests.hf_models.model_cases import ATTENTION, CLOSE, build, tokens


pytestmark = pytest.mark.versions
IDS = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 4, 9, 17, 18, 30]])
WIDE = {"hidden_size": 32, "num_attention_heads": 2, "max_position_embeddings": 64}
ORIGINAL = 16
SCALINGS: dict[str, dict] = {
    "default": {},
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": ORIGINAL},
    "proportional": {"partial_rotary_factor": 0.5},
    "dynamic": {"factor": 2.0},
    "longrope": {
        "short_factor": [1.0 + 0.1 * m for m in range(8)],
        "long_factor": [2.0 + 0.5 * m for m in range(8)],
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
    },
}
LENGTH_DEPENDENT = ("dynamic", "longrope")


def scaled(rope_type: str, **more) -> dict:
    """`rope_parameters` of a type."""
    return {"rope_type": rope_type, "rope_theta": 500.0, **SCALINGS[rope_type], **more}


def config(**options):
    return PositionTransformerConfig(**{**ATTENTION, **options})


def refused(text: str, **options):
    """A configuration is refused with this text."""
    with pytest.raises(StrictDataclassError, match=text):
        config(**options)


def states(width: int, rows: int = 2, length: int = 6):
    """Queries and keys of two heads."""
    return torch.randn(rows, 2, length, width), torch.randn(rows, 2, length, width)


def turn_at(encoding, query, key, ids):
    """Queries and keys at these ids."""
    return encoding.rotate(query, key, encoding.rotation(ids))


def products(encoding, query, key, ids):
    """Products of turned queries and keys `[B, H, T, T]`."""
    return torch.einsum("bhqk,bhsk->bhqs", *turn_at(encoding, query, key, ids))


# RoPE.


def test_rope_is_a_product_of_complex_numbers_forward_and_in_its_gradient():
    encoding = RoPE(config())
    query, key = (part.requires_grad_() for part in states(8))
    upstream = torch.randn(2, 2, 2, 6, 8)
    plain = [
        torch.stack([torch.stack([references.rotate(h, r.tolist()) for h in x]) for x, r in zip(s, IDS, strict=True)])
        for s in (query, key)
    ]
    results = []
    for rotated in (turn_at(encoding, query, key, IDS), plain):
        rotated = torch.stack(list(rotated))
        results.append((rotated.detach(), *torch.autograd.grad(rotated, (query, key), upstream)))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, **CLOSE)


@pytest.mark.parametrize("shift", [1, 17, 1000])
def test_rope_products_depend_on_the_distance_alone(shift):
    encoding, (query, key) = RoPE(config()), states(8)
    here, there, elsewhere = (products(encoding, query, key, ids) for ids in (IDS, IDS + shift, IDS.flip(-1)))
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(here, elsewhere, atol=0.1)


@pytest.mark.parametrize("end", [ORIGINAL - 1, ORIGINAL, 31, 63, 64, 200])
@pytest.mark.parametrize("rope_type", SCALINGS)
def test_every_scaling_is_that_of_transformers(rope_type, end):
    ours = RoPE(config(**WIDE, rope_parameters=scaled(rope_type), use_cache=False))
    llama = LlamaConfig(**WIDE, num_hidden_layers=1, intermediate_size=8, rope_parameters=scaled(rope_type))
    ids = torch.stack([torch.arange(end - 5, end + 1), torch.arange(6)])
    query, key = states(16)
    expected = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(llama)(query, ids))
    for rotated, theirs in zip(turn_at(ours, query, key, ids), expected, strict=True):
        torch.testing.assert_close(rotated, theirs, **CLOSE)


def test_all_scalings_of_transformers_are_there():
    assert set(RoPE.rope_types) == {"default", *ROPE_INIT_FUNCTIONS} == set(SCALINGS)


@pytest.mark.parametrize("rope_type", ["default", "linear", "yarn"])
def test_partial_rotation_is_that_of_transformers_gpt_neox(rope_type):
    parameters = scaled(rope_type, partial_rotary_factor=0.25)
    ours = RoPE(config(**WIDE, rope_parameters=dict(parameters)))
    neox = GPTNeoXConfig(**WIDE, rope_parameters=dict(parameters))
    (query, key), neox_rope = states(16), modeling_gpt_neox.GPTNeoXRotaryEmbedding(neox)
    rotated = turn_at(ours, query, key, IDS)
    expected = modeling_gpt_neox.apply_rotary_pos_emb(query[..., :4], key[..., :4], *neox_rope(query, IDS))
    for whole, theirs, before in zip(rotated, expected, (query, key), strict=True):
        torch.testing.assert_close(whole[..., :4], theirs, **CLOSE)
        assert torch.equal(whole[..., 4:], before[..., 4:])


def test_partial_rotation_is_rope_of_a_narrower_head_and_p_rope_keeps_the_high_frequencies():
    query, key = states(16)
    partial = RoPE(config(**WIDE, rope_parameters=scaled("default", partial_rotary_factor=0.5)))
    narrow = RoPE(config(**{**WIDE, "hidden_size": 16}, rope_parameters=scaled("default")))
    torch.testing.assert_close(
        turn_at(partial, query, key, IDS)[0][..., :8], turn_at(narrow, query[..., :8], key[..., :8], IDS)[0]
    )
    whole, _ = RoPE(config(**WIDE, rope_parameters=scaled("default"))).frequencies(IDS)
    kept, _ = RoPE(config(**WIDE, rope_parameters=scaled("proportional"))).frequencies(IDS)
    torch.testing.assert_close(kept, torch.cat([whole[:4], torch.zeros(4)]))


def test_linear_scaling_divides_the_ids():
    query, key = states(8, rows=1, length=4)
    linear = RoPE(config(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}))
    far, near = torch.tensor([[0, 4, 8, 40]]), torch.tensor([[0, 1, 2, 10]])
    torch.testing.assert_close(turn_at(linear, query, key, far), turn_at(RoPE(config()), query, key, near), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_angles_are_taken_in_float32_whatever_the_states_are(dtype):
    encoding, ids = RoPE(config()).to(dtype), torch.arange(100_000, 100_006)[None]
    query, key = (part.to(dtype) for part in states(8))
    rotated = turn_at(encoding, query, key, ids)[0]
    assert rotated.dtype == dtype
    exact = turn_at(encoding, query.float(), key.float(), ids)[0]
    torch.testing.assert_close(rotated.float(), exact, rtol=1e-2, atol=1e-2)


# Scalings whose frequencies depend on the longest position.


@pytest.mark.parametrize(("rope_type", "limit"), [("dynamic", 64), ("longrope", ORIGINAL)])
def test_the_longest_position_of_the_batch_decides_for_all_rows(rope_type, limit):
    encoding = RoPE(config(**WIDE, rope_parameters=scaled(rope_type), use_cache=False))
    query, key = states(16, rows=2, length=4)
    near, reaching, beyond = (torch.tensor([[0, 1, 2, 3], [4, 5, 6, end]]) for end in (7, limit - 1, limit))
    first = [turn_at(encoding, query, key, ids)[0][0] for ids in (near, reaching, beyond)]
    assert torch.equal(first[0], first[1])
    assert not torch.allclose(first[0], first[2], atol=1e-3)


@pytest.mark.parametrize("rope_type", LENGTH_DEPENDENT)
def test_such_a_model_is_said_to_be_neither_relative_nor_prefix_stable(rope_type):
    options = {**WIDE, "rope_parameters": scaled(rope_type), "use_cache": False}
    model = build("transformer-rope", "Model", **options)
    assert not model.prefix_stable
    assert not model.encodings[0].relative
    # Later tokens beyond the limit change earlier outputs.
    input_ids = tokens(2, 80)
    whole, part = (model(input_ids[:, :end]).last_hidden_state[:, :8] for end in (80, 8))
    assert not torch.allclose(whole, part, atol=1e-3)
    assert build("transformer-rope", "Model").prefix_stable


@pytest.mark.parametrize("rope_type", LENGTH_DEPENDENT)
def test_such_a_model_refuses_a_cache_and_generates_without(rope_type):
    model = build("transformer-rope", **WIDE, rope_parameters=scaled(rope_type))
    assert model(tokens()).past_key_values is None
    generated = model.generate(tokens(1, 4), max_new_tokens=16, min_new_tokens=16, do_sample=False)
    chosen = generated[:, :4]
    for _ in range(16):
        logits = model(chosen).logits[:, -1]
        logits[:, model.config.eos_token_id] = -torch.inf
        chosen = torch.cat([chosen, logits.argmax(-1, keepdim=True)], dim=-1)
    assert torch.equal(generated, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("rope_type", SCALINGS)
def test_no_scaling_breaks_the_graph(rope_type):
    torch._dynamo.reset()
    encoding = RoPE(config(**WIDE, rope_parameters=scaled(rope_type), use_cache=False))
    compiled = torch.compile(turn_at, backend="eager", fullgraph=True)
    query, key = states(16)
    for ids in (IDS, IDS + 70):
        torch.testing.assert_close(compiled(encoding, query, key, ids), turn_at(encoding, query, key, ids))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"rope_type": "axial"}, "RoPE has no rope_type 'axial'"),
        ({"partial_rotary_factor": 0.2}, "partial_rotary_factor 0.2 of 16 channels leaves 3; an even number"),
        ({"partial_rotary_factor": 0.1}, "leaves 1; an even number of at least 2 is needed"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor 1.5 of 16 channels leaves 24"),
        (
            {**scaled("dynamic"), "partial_rotary_factor": 0.125},
            "rope_type 'dynamic' needs at least 4 turned channels, not 2",
        ),
        ({**scaled("longrope"), "long_factor": [1.0]}, "long_factor needs 8 numbers, one a pair, not 1"),
    ],
)
def test_what_rope_cannot_turn_is_refused(parameters, text):
    refused(text, **WIDE, rope_parameters=parameters, use_cache=False)


@pytest.mark.parametrize("names", ["rope+pope", "xpos+rope"])
def test_two_encodings_that_turn_are_not_composed(names):
    refused("each turn queries and keys and cannot be composed", position_encoding=names)


# xPos.


def exact_scores(query, key, query_ids, key_ids, scale_base=512.0):
    """Sun et al. 2022 pair by pair in float64, from states that are not turned yet."""
    query, key = query.double(), key.double()
    half = query.shape[-1] // 2
    distances = (query_ids[:, None, :, None] - key_ids[:, None, None, :]).double()
    total = torch.zeros(distances.shape[:1] + query.shape[1:3] + key.shape[2:3], dtype=torch.float64)
    for m in range(half):
        first, second = (torch.complex(part[..., m], part[..., m + half]) for part in (query, key))
        phases = torch.polar(torch.ones_like(distances), distances * 10000.0 ** (-m / half))
        zeta = (m / half + 0.4) / 1.4
        rotated = first[..., :, None] * second.conj()[..., None, :] * phases
        total = total + rotated.real * zeta ** (distances / scale_base)
    return total


def xpos_scores(encoding, query, key, ids):
    query, key = turn_at(encoding, query, key, ids)
    return encoding.scores(query, key, None, Positions(ids, ids, num_heads=2, scaling=1.0))


@pytest.mark.parametrize("scale_base", [512, 64])
@pytest.mark.parametrize("start", [0, 5_000])
def test_xpos_scores_follow_the_formula_over_many_blocks(start, scale_base):
    encoding, (query, key) = XPos(config(), scale_base=scale_base), states(8, length=150)
    ids = start + torch.stack([torch.arange(150), torch.randperm(3000)[:150].sort().values])
    expected = exact_scores(query, key, ids, ids, scale_base).tril()
    torch.testing.assert_close(xpos_scores(encoding, query, key, ids).tril().double(), expected, rtol=1e-3, atol=5e-3)


def test_xpos_scores_are_exact_at_100_000_positions():
    # There the formula's own factors, zeta ** (position / 512), are beyond float32.
    encoding, (query, key) = XPos(config()), states(8, rows=1, length=70)
    ids = torch.cat([torch.arange(3), torch.arange(100_000, 100_067)])[None]
    scores = xpos_scores(encoding, query, key, ids)
    near = scores[:, :, 3:, 3:].tril().double()
    torch.testing.assert_close(near, exact_scores(query, key, ids, ids)[:, :, 3:, 3:].tril(), rtol=1e-2, atol=5e-2)
    assert scores[:, :, 10:, :3].abs().max() < 1e-6


def test_xpos_scores_agree_with_cached_ones_whatever_the_call():
    encoding, (query, key) = XPos(config()), states(8, rows=1, length=100)
    ids = 20_000 + torch.arange(100)[None]
    query, key = turn_at(encoding, query, key, ids)
    whole = encoding.scores(query, key, None, Positions(ids, ids, 2, 1.0))
    for start, end in ((0, 1), (63, 66), (99, 100)):
        positions = Positions(ids[:, start:end], ids[:, :end], 2, 1.0)
        part = encoding.scores(query[:, :, start:end], key[:, :, :end], None, positions)
        torch.testing.assert_close(part.tril(start), whole[:, :, start:end, :end].tril(start), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_xpos_stays_finite_however_ids_jump(dtype):
    encoding = XPos(config())
    query, key = (part.to(dtype).requires_grad_() for part in states(8, rows=1))
    ids = torch.tensor([[0, 40_000, 100_000, 5, 1_000_000, 7]])
    scores = xpos_scores(encoding, query, key, ids)
    gradients = torch.autograd.grad(scores.sum(), (query, key))
    assert scores.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_xpos_leaves_channels_that_are_not_turned_without_fading():
    parameters = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    encoding = XPos(config(rope_parameters=parameters))
    fading = encoding.fading(torch.tensor([[0, 512]]))[0, 0]
    assert torch.equal(fading[0], torch.ones(8))
    torch.testing.assert_close(fading[1], torch.tensor([0.4 / 1.4, 0.9 / 1.4] * 2 + [1.0] * 4))


def test_xpos_refuses_a_scale_that_is_no_distance():
    refused("XPos needs a positive scale_base, not 0", position_encoding={"name": "xpos", "scale_base": 0})


# PoPE.


@pytest.mark.parametrize("theta", [10000.0, 100.0])
def test_pope_products_follow_the_formula(theta):
    encoding = PoPE(config(rope_parameters={"rope_type": "default", "rope_theta": theta}))
    torch.nn.init.uniform_(encoding.phase, -6, 6)
    query, key = states(8)
    expected = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    for row, head, i, j in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, 6, 6))).tolist():
        for c in range(8):
            sizes = [math.log1p(math.exp(part[row, head, t, c])) for part, t in ((query, i), (key, j))]
            angle = (IDS[row, i] - IDS[row, j]).item() * theta ** (-c / 8) - encoding.phase[head, c].item()
            expected[row, head, i, j] += sizes[0] * sizes[1] * math.cos(angle)
    torch.testing.assert_close(products(encoding, query, key, IDS).double(), expected, rtol=1e-4, atol=1e-4)
    assert turn_at(encoding, query, key, IDS)[0].shape == (2, 2, 6, 16)


def test_pope_phases_begin_at_zero_or_anywhere_on_the_circle():
    zero = build("transformer-rope", "Model", noise=0.0, position_encoding="pope")
    assert not zero.encodings[0].phase.any()
    options = {"hidden_size": 512, "position_encoding": {"name": "pope", "phase": "uniform"}}
    phase = build("transformer-rope", "Model", noise=0.0, **options).encodings[0].phase
    assert phase.shape == (2, 256)
    assert -2 * math.pi <= phase.min() < -6
    assert -0.3 < phase.max() <= 0
    assert phase.mean().item() == pytest.approx(-math.pi, abs=0.4)


def test_pope_keeps_the_scaling_of_the_heads_width():
    model = build("transformer-rope", "Model", position_encoding="pope", num_hidden_layers=1)
    assert model.layers[0].attention.scaling == 8**-0.5


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"rope_type": "linear", "factor": 2.0}, "it has no rope_type 'linear'"),
        ({"partial_rotary_factor": 0.5}, "it has no partial_rotary_factor 0.5"),
    ],
)
def test_pope_has_no_scalings(parameters, text):
    refused(text, position_encoding="pope", rope_parameters=parameters)


def test_pope_refuses_another_beginning():
    refused("PoPE has no phase 'ones'", position_encoding={"name": "pope", "phase": "ones"})


@pytest.mark.parametrize("name", ["rope", "xpos", "pope"])
def test_distances_cannot_be_drawn_for_what_reads_ids(name):
    refused("reads ids, not distances alone", position_encoding=name, position_ids_scheme="randomized_distances")


def test_a_loaded_model_keeps_its_phases(tmp_path):
    model = build("transformer-rope", "Model", position_encoding={"name": "pope", "phase": "uniform"})
    model.save_pretrained(tmp_path)
    loaded = PositionTransformerModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.encodings[0].phase, model.encodings[0].phase)
