"""What is particular to the encodings that depend on what the tokens say."""

from dataclasses import replace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import DynamicCache, StaticCache, Wav2Vec2BertConfig
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import (
    Wav2Vec2BertRelPositionalEmbedding,
    Wav2Vec2BertSelfAttention,
)

from hf_models.attention import Attention
from hf_models.position_encoding import PositionEncoding, Positions
from hf_models.position_registry import parse_position_encoding
from tests.hf_models import model_cases
from tests.hf_models.model_cases import CLOSE, config_of, pad, ragged, tokens
from tests.hf_models.plain_content import PlainFoX, PlainPaTH, PlainScores
from tests.hf_models.plain_encoding import PlainNormalizer, plain_attention, visible_keys
from tests.hf_models.plain_encodings import PLAIN_ENCODINGS
from tests.hf_models.plain_rotary import PlainRoPE


CONTENT = ("shaw", "shaw_values", "transformer_xl", "cope", "fox", "dape", "path")
HEADS, WIDTH = 2, 8


def build(entry, **options):
    """A backbone with noise on every weight."""
    return model_cases.build("transformer-none", "Model", position_encoding=entry, **options)


def encoding_of(entry, causal=True, noise=0.5, **options):
    """An encoding by itself, and the configuration it was made for."""
    config = config_of("transformer-none", position_encoding=entry, is_causal=causal, **options)
    encoding_class, arguments = parse_position_encoding(entry)
    torch.manual_seed(0)
    encoding = encoding_class(config, **arguments)
    for part in encoding.modules():
        if isinstance(part, PositionEncoding):
            part.initialise()
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter += noise * torch.randn_like(parameter)
    return encoding, config


def initial(entry, **options):
    """The encoding of a fresh model."""
    torch.manual_seed(0)
    config = config_of("transformer-none", position_encoding=entry, **options)
    return model_cases.class_of(config, "Model")(config).encodings[0]


def positions_of(length, causal=True, ids=None, batch=1, **fields):
    """A sequence of this length, seen as a whole."""
    ids = torch.arange(length)[None].expand(batch, -1) if ids is None else ids
    visible_mask = torch.ones(batch, 1, length, length, dtype=torch.bool)
    visible_mask = visible_mask.tril() if causal else visible_mask
    return Positions(ids, ids, HEADS, WIDTH**-0.5, is_causal=causal, visible_mask=visible_mask, **fields)


def queries_and_keys(length, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, batch, HEADS, length, WIDTH, generator=generator).unbind(0)


def states_of(model, input_ids, **options):
    return model(input_ids, **options).last_hidden_state


# Caches and windows, which the suite over all encodings does not have.


@pytest.mark.parametrize("entry", [*CONTENT, "rope+fox", "path+fox"])
def test_a_cache_of_fixed_size_changes_nothing(entry):
    model = build(entry)
    input_ids, mask = pad(ragged((5, 9, 2)), "left")
    whole = states_of(model, input_ids, attention_mask=mask)
    cache, pieces = StaticCache(config=model.config, max_cache_len=12), []
    for start, end in ((0, 4), (4, 5), (5, 9)):
        options = {"attention_mask": mask[:, :end], "past_key_values": cache, "use_cache": True}
        pieces.append(states_of(model, input_ids[:, start:end], **options))
    torch.testing.assert_close(torch.cat(pieces, dim=1)[mask.bool()], whole[mask.bool()], **CLOSE)


def windowed(entry):
    """The entry with arguments that a sliding window allows."""
    return {"name": "path", "convolution": 2} if entry == "path" else entry


@pytest.mark.parametrize("entry", CONTENT)
def test_a_sliding_window_with_a_cache_changes_nothing(entry):
    model = build(windowed(entry), attention_types="sliding", sliding_window=3)
    input_ids, mask = pad(ragged((5, 9, 2)), "left")
    whole = states_of(model, input_ids, attention_mask=mask)
    cache, pieces = DynamicCache(config=model.config), []
    for start, end in ((0, 4), (4, 5), (5, 6), (6, 7), (7, 9)):
        options = {"attention_mask": mask[:, :end], "past_key_values": cache, "use_cache": True}
        pieces.append(states_of(model, input_ids[:, start:end], **options))
    torch.testing.assert_close(torch.cat(pieces, dim=1)[mask.bool()], whole[mask.bool()], **CLOSE)


@pytest.mark.parametrize("entry", CONTENT)
def test_a_hole_of_padding_is_as_if_it_were_not_there(entry):
    # As when a batch that was padded on the right goes on.
    model = build({"name": "path", "convolution": 1} if entry == "path" else entry)
    whole, keep = tokens(1, 7), torch.tensor([True, True, True, False, False, True, True])
    states = states_of(model, whole, attention_mask=keep[None].long())
    torch.testing.assert_close(states[:, keep], states_of(model, whole[:, keep]), **CLOSE)


def attend(entry, states, causal=True, window=None, plain_class=None):
    """An attention layer with an encoding over one sequence `[T, D]`, by the implementation and by loops."""
    options = {"attn_implementation": "eager", "hidden_size": HEADS * WIDTH}
    if window is not None:
        options |= {"attention_types": "sliding", "sliding_window": window}
    encoding, config = encoding_of(entry, causal, **options)
    layer = Attention(config)
    length = len(states)
    positions = positions_of(length, causal).with_rotation(encoding)
    seen = torch.zeros_like(positions.visible_mask)
    for i in range(length):
        seen[..., i, visible_keys(i, length, causal, window)] = True
    positions.visible_mask = seen
    name = entry if isinstance(entry, str) else entry["name"]
    plain = (plain_class or PLAIN_ENCODINGS[name])(encoding, config)
    expected = plain_attention(states, layer, plain, PlainNormalizer(None, config), list(range(length)), window)
    output, _ = layer(states[None], None, encoding.pair_bias(positions.pairs()), positions, encoding)
    return output[0], expected


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("entry", CONTENT)
def test_the_formula_holds_within_a_window(entry, causal):
    if entry == "path" and not causal:
        pytest.skip("has no bidirectional form")
    output, expected = attend(windowed(entry), torch.randn(7, 16), causal, window=3)
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)


# Compositions.


class PlainRoPEFoX(PlainFoX, PlainRoPE):
    """Turned queries and keys, and what the gates leave."""

    def __init__(self, encoding, config):
        super().__init__(encoding.parts[1], config)


class PlainPaTHFoX(PlainScores):
    """Reflected keys, and what the gates leave."""

    def __init__(self, encoding, config):
        super().__init__(encoding, config)
        self.path, self.fox = PlainPaTH(encoding.parts[0], config), PlainFoX(encoding.parts[1], config)

    def score(self, h, i, j, visible_mask, positions):
        return self.path.score(h, i, j, visible_mask, positions) + self.fox.content_bias(
            h, i, j, visible_mask, positions
        )


@pytest.mark.parametrize(("entry", "plain"), [("rope+fox", PlainRoPEFoX), ("path+fox", PlainPaTHFoX)])
def test_compositions_follow_the_formulas_of_their_parts(entry, plain):
    output, expected = attend(entry, torch.randn(6, 16), plain_class=plain)
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)


def test_the_order_of_the_parts_does_not_matter_to_the_traces():
    (first, _), (second, _) = encoding_of("path+fox"), encoding_of("fox+path")
    second.parts[0].load_state_dict(first.parts[1].state_dict())
    second.parts[1].load_state_dict(first.parts[0].state_dict())
    states, (query, key), positions = torch.randn(1, 5, 16), queries_and_keys(5), positions_of(5)
    scores = []
    for encoding in (first, second):
        own = positions.with_key_features(encoding.key_features(states))
        scores.append(encoding.scores(query, key, encoding.bias(query, key, own), own))
    torch.testing.assert_close(*scores)


def test_two_encodings_that_make_the_scores_are_refused():
    with pytest.raises(StrictDataclassError, match="PaTH and DAPE each make the scores by themselves"):
        config_of("transformer-none", position_encoding="path+dape")


# Shaw.


def bert(kind, **options):
    """transformers' attention with relative positions, randomly drawn."""
    torch.manual_seed(0)
    layer = Wav2Vec2BertSelfAttention(
        Wav2Vec2BertConfig(
            hidden_size=16,
            num_attention_heads=HEADS,
            position_embeddings_type=kind,
            attention_dropout=0.0,
            attn_implementation="eager",
            max_source_positions=32,
            **options,
        )
    ).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    for linear in (layer.linear_q, layer.linear_k, layer.linear_v, layer.linear_out):
        nn.init.zeros_(linear.bias)
    return layer


@torch.no_grad()
def check_against_bert(entry, theirs, states, weights, relative=None):
    """Our attention with the weights of theirs gives its output; `weights` are the encoding's."""
    encoding, config = encoding_of(entry, causal=False, attn_implementation="eager")
    encoding.load_state_dict(weights)
    ours = Attention(config)
    ours.qkv_proj.weight.copy_(torch.cat([theirs.linear_q.weight, theirs.linear_k.weight, theirs.linear_v.weight]))
    ours.o_proj.weight.copy_(theirs.linear_out.weight)
    positions = positions_of(states.shape[1], causal=False)
    output, _ = ours(states, None, None, positions, encoding)
    torch.testing.assert_close(output, theirs(states, relative_position_embeddings=relative)[0], **CLOSE)


def test_shaw_is_that_of_transformers():
    theirs = bert("relative_key", left_max_position_embeddings=3, right_max_position_embeddings=3)
    # Their rows count from the query to the key, ours from the key to the query.
    weights = {"keys.weight": theirs.distance_embedding.weight.flip(0)}
    check_against_bert({"name": "shaw", "max_distance": 3}, theirs, torch.randn(2, 9, 16), weights)


def test_shaw_shares_a_vector_beyond_its_greatest_distance():
    encoding, _ = encoding_of({"name": "shaw", "max_distance": 2})
    query, key = queries_and_keys(6)
    bias = encoding.bias(query, key, positions_of(6))
    torch.testing.assert_close(bias[..., 5, :4], bias[..., 5, :1].expand(-1, -1, 4))
    assert not torch.allclose(bias[..., 5, 3], bias[..., 5, 4])
    assert not torch.allclose(bias[..., 5, 4], bias[..., 5, 5])


def test_shaw_has_vectors_for_the_future_in_bidirectional_models_alone():
    for causal, rows in ((True, 4), (False, 7)):
        encoding, _ = encoding_of({"name": "shaw_values", "max_distance": 3}, causal)
        assert encoding.keys.weight.shape == encoding.added_values.weight.shape == (rows, WIDTH)


def test_shaw_with_values_adds_the_mean_vector_to_the_output():
    encoding, _ = encoding_of({"name": "shaw_values", "max_distance": 1})
    weights = torch.tensor([[1.0, 0, 0], [0.25, 0.75, 0], [0.2, 0.3, 0.5]]).expand(1, HEADS, 3, 3)
    own, before = encoding.added_values.weight
    added = encoding.values(weights, positions_of(3))
    for i, (now, past) in enumerate([(1, 0), (0.75, 0.25), (0.5, 0.5)]):
        torch.testing.assert_close(added[0, 1, i], now * own + past * before)


def test_shaw_needs_a_distance():
    with pytest.raises(StrictDataclassError, match="ShawValues needs a max_distance of at least 1, not 0"):
        config_of("transformer-none", position_encoding={"name": "shaw_values", "max_distance": 0})


# Transformer-XL.


def test_transformer_xl_is_that_of_transformers():
    theirs, states = bert("relative"), torch.randn(2, 9, 16)
    weights = {
        "projection.weight": theirs.linear_pos.weight,
        "key_preference": theirs.pos_bias_u,
        "distance_preference": theirs.pos_bias_v,
    }
    relative = Wav2Vec2BertRelPositionalEmbedding(theirs.config)(states)
    check_against_bert("transformer_xl", theirs, states, weights, relative)


def direct_bias(encoding, query, key, distances):
    """The same with a sinusoid for every pair, in double precision `[B, H, Tq, Tk]`."""
    m = torch.arange(8, dtype=torch.float64)
    angles = distances.double()[..., None] * 10000 ** (-2 * m / 16)
    sinusoid = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # [B, Tq, Tk, D]
    relative = (sinusoid @ encoding.projection.weight.double().T).unflatten(-1, (HEADS, WIDTH))
    asked = query.double() + encoding.distance_preference.double()[:, None]
    by_distance = torch.einsum("bhqk,bqshk->bhqs", asked, relative)
    by_key = torch.einsum("hk,bhsk->bhs", encoding.key_preference.double(), key.double())[:, :, None]
    return ((by_distance + by_key) / WIDTH**0.5).float()


@pytest.mark.parametrize("start", [0, 100_000])
def test_transformer_xl_is_exact_far_out(start):
    encoding, _ = encoding_of("transformer_xl")
    query, key = queries_and_keys(6)
    ids = start + torch.tensor([[0, 1, 3, 40, 41, 900]])
    expected = direct_bias(encoding, query, key, ids[:, :, None] - ids[:, None, :])
    torch.testing.assert_close(encoding.bias(query, key, positions_of(6, ids=ids)), expected, rtol=1e-4, atol=1e-4)


def test_transformer_xl_takes_drawn_distances():
    encoding, _ = encoding_of("transformer_xl", causal=False)
    query, key = queries_and_keys(5, batch=2)
    randomized_distances = torch.tensor([[3, 4, 9, 20, 21], [0, 1, 2, 3, 30]])
    positions = positions_of(5, causal=False, randomized_distances=randomized_distances)
    expected = direct_bias(encoding, query, key, positions.distances()[:, 0])
    torch.testing.assert_close(encoding.bias(query, key, positions), expected, rtol=1e-4, atol=1e-4)
    same = positions_of(5, causal=False, randomized_distances=torch.arange(5).expand(2, -1))
    torch.testing.assert_close(encoding.bias(query, key, same), encoding.bias(query, key, positions_of(5, False)))


def test_transformer_xl_begins_with_small_preferences():
    encoding = initial("transformer_xl", hidden_size=256)
    for preference in (encoding.key_preference, encoding.distance_preference):
        assert 0.01 < preference.std() < 0.03


def test_transformer_xl_stays_in_float32_under_autocast():
    encoding, _ = encoding_of("transformer_xl")
    query, key = queries_and_keys(6)
    expected = encoding.bias(query, key, positions_of(6))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(encoding.bias(query, key, positions_of(6)), expected)


def test_transformer_xl_needs_pairs_of_channels():
    with pytest.raises(StrictDataclassError, match="TransformerXL needs an even hidden_size, not 15"):
        config_of("transformer-none", position_encoding="transformer_xl", hidden_size=15, num_attention_heads=3)


# CoPE.


def test_cope_begins_without_effect():
    assert not initial("cope").vectors.any()
    assert not initial("cope", is_causal=False).vectors.any()


@pytest.mark.parametrize("causal", [True, False])
def test_cope_with_open_gates_counts_tokens(causal):
    encoding, _ = encoding_of({"name": "cope", "positions": 4}, causal)
    query, key = torch.full((1, HEADS, 6, WIDTH), 9.0), torch.full((1, HEADS, 6, WIDTH), 9.0)
    products = (encoding.vectors @ query[0, 0, 0]).unflatten(0, (-1, 4))
    bias = encoding.bias(query, key, positions_of(6, causal))[0, 1]
    for i in range(6):
        for j in range(i + 1 if causal else 6):
            torch.testing.assert_close(bias[i, j], products[int(j > i), min(abs(i - j) + 1, 3)])


def test_cope_counts_no_padding():
    encoding, _ = encoding_of("cope")
    query, key = queries_and_keys(6)
    positions = positions_of(6)
    positions.visible_mask = positions.visible_mask & (torch.arange(6) >= 2)
    alone = positions_of(4)
    whole = encoding.bias(query, key, positions)[..., 2:, 2:].tril()
    torch.testing.assert_close(whole, encoding.bias(query[:, :, 2:], key[:, :, 2:], alone).tril())


def test_cope_is_not_scaled_and_ignores_the_temperature():
    encoding, _ = encoding_of("cope")
    query, key = queries_and_keys(4)
    for factor in (1.0, 3.0):
        with torch.no_grad():
            encoding.vectors.fill_(factor)  # the same at each position: the gates do not matter
        bias = encoding.bias(query, key, positions_of(4))
        torch.testing.assert_close(bias, factor * query.sum(-1, keepdim=True).expand_as(bias))


def test_cope_needs_two_positions():
    with pytest.raises(StrictDataclassError, match="CoPE needs at least 2 positions, not 1"):
        config_of("transformer-none", position_encoding={"name": "cope", "positions": 1})


# FoX.


def fox_bias(encoding, states, positions):
    positions = positions.with_key_features(encoding.key_features(states))
    length = states.shape[1]
    return encoding.bias(*queries_and_keys(length, len(states)), positions)


def test_fox_with_constant_gates_is_alibi():
    encoding, _ = encoding_of("fox", noise=0.0)
    nn.init.zeros_(encoding.gate.weight)
    with torch.no_grad():
        encoding.gate.bias.copy_(torch.tensor([0.0, 3.0]))
    bias = fox_bias(encoding, torch.randn(1, 6, 16), positions_of(6))
    distances = torch.arange(6)[:, None] - torch.arange(6)
    for head, logit in enumerate([0.0, 3.0]):
        slope = torch.log1p(torch.exp(torch.tensor(-logit)))
        torch.testing.assert_close(bias[0, head].tril(), (-slope * distances).tril())


def test_fox_backwards_is_fox_of_the_reversed_sequence():
    encoding, _ = encoding_of("fox", causal=False)
    states, positions = torch.randn(1, 6, 16), positions_of(6, causal=False)
    straight = fox_bias(encoding, states, positions)
    with torch.no_grad():  # the two gates change places
        for parameter in (encoding.gate.weight, encoding.gate.bias):
            parameter.copy_(parameter.unflatten(0, (HEADS, 2)).flip(1).flatten(0, 1))
    backwards = fox_bias(encoding, states.flip(1), positions)
    torch.testing.assert_close(straight, backwards.flip(-1, -2))
    assert (straight <= 0).all()


def test_fox_keeps_its_sums_in_float32():
    encoding, _ = encoding_of("fox", noise=0.0)
    states = torch.randn(1, 4000, 16)
    positions = positions_of(1).with_key_features(encoding.key_features(states).to(torch.bfloat16))
    positions.first_query = 3999
    query, key = torch.zeros(1, HEADS, 1, WIDTH), torch.zeros(1, HEADS, 4000, WIDTH)
    logs = positions.key_features[..., 0].double()
    expected = logs.flip(-1).cumsum(-1).flip(-1) - logs
    torch.testing.assert_close(encoding.bias(query, key, positions)[:, :, 0], expected.float(), rtol=1e-4, atol=2e-3)


def test_fox_begins_with_gates_at_a_half():
    # As in the authors' code: no bias that holds the gates open.
    assert not initial("fox").gate.bias.any()


# DAPE.


def test_dape_with_a_silent_network_is_its_base():
    for base in ("kerple", "alibi", {"name": "fire", "threshold": 4}):
        dape, alone = build({"name": "dape", "base": base}), build(base)
        encoding = dape.encodings[0]
        with torch.no_grad():
            for parameter in encoding.network.parameters():
                parameter.zero_()
        others = {name: value for name, value in alone.state_dict().items() if not name.startswith("encodings")}
        dape.load_state_dict(others, strict=False)
        encoding.base.load_state_dict(alone.encodings[0].state_dict())
        torch.testing.assert_close(states_of(dape, tokens()), states_of(alone, tokens()), **CLOSE)


def test_dape_takes_on_what_its_base_is():
    flat, kernel = ({"name": "dape", "base": base} for base in ("fire", {"name": "alibi", "form": "symmetric"}))
    fire, alibi = initial(flat, is_causal=False), initial(kernel, is_causal=False)
    assert (fire.relative, fire.sees_direction) == (False, True)
    assert (alibi.relative, alibi.sees_direction) == (True, False)


def test_dape_refuses_what_is_no_base():
    for base, text in (
        ("rope", "Unknown base of DAPE 'rope'. Allowed: alibi, kerple, fire."),
        ("kerpel", "Did you mean 'kerple'?"),
        ({"name": "alibi", "form": "wide"}, "ALiBi has no form 'wide'"),
    ):
        with pytest.raises(StrictDataclassError) as caught:
            config_of("transformer-none", position_encoding={"name": "dape", "base": base})
        assert text in str(caught.value)
    with pytest.raises(StrictDataclassError, match="FIRE reads ids, not distances alone"):
        config_of(
            "transformer-none",
            position_encoding={"name": "dape", "base": "fire"},
            position_ids_scheme="randomized_distances",
        )
    with pytest.raises(StrictDataclassError, match="DAPE needs a width of at least 1, not 0"):
        config_of("transformer-none", position_encoding={"name": "dape", "width": 0})


# PaTH.


def path_scores(encoding, states, query, key, positions):
    return encoding.scores(query, key, None, positions.with_key_features(encoding.key_features(states)))


def test_path_does_not_depend_on_the_size_of_its_chunks():
    encoding, _ = encoding_of("path")
    states, (query, key), positions = torch.randn(2, 11, 16), queries_and_keys(11, batch=2), positions_of(11, batch=2)
    whole = path_scores(encoding, states, query, key, positions).tril()
    for chunk in (1, 2, 3, 5, 10, 11):
        encoding.chunk = chunk
        torch.testing.assert_close(path_scores(encoding, states, query, key, positions).tril(), whole, **CLOSE)


def test_path_is_stable_over_many_chunks():
    encoding, _ = encoding_of("path", noise=0.0)
    nn.init.constant_(encoding.strength.bias, 4.0)  # reflections, nearly: nothing is forgotten
    nn.init.ones_(encoding.kernel)
    length = 400
    states, (query, key) = torch.randn(1, length, 16), queries_and_keys(length)
    scores = path_scores(encoding, states, query, key, positions_of(length))
    vectors, strengths = encoding.reflections(positions_of(length).with_key_features(encoding.key_features(states)))
    moved = key[0].double().clone()  # [H, T, K], carried on by each token in turn
    for i in range(length):
        w, b = vectors[0, :, i].double(), strengths[0, :, i].double()
        moved[:, :i] -= b[:, None] * (moved[:, :i] @ w[..., None]) * w[:, None]
        expected = (moved[:, : i + 1] @ query[0, :, i, :, None].double())[..., 0] * WIDTH**-0.5
        torch.testing.assert_close(scores[0, :, i, : i + 1], expected.float(), rtol=1e-3, atol=1e-3)


def test_path_with_a_reflection_of_strength_two_keeps_lengths():
    encoding, _ = encoding_of("path")
    _, key = queries_and_keys(9)
    vectors = nn.functional.normalize(torch.randn(1, HEADS, 9, WIDTH), dim=-1)
    queries = torch.eye(WIDTH).expand(1, HEADS, -1, -1)
    for strength, kept in ((2.0, True), (1.0, False)):
        strengths = torch.full((1, HEADS, 9, 1), strength)
        # Every unit vector as a query after the last token: the products are the key as it arrives there.
        arrived = encoding.products(queries, key, vectors, strengths, torch.full((1, WIDTH), 8))
        lengths = arrived.norm(dim=-2)[..., :8]
        assert torch.allclose(lengths, key.norm(dim=-1)[..., :8], rtol=1e-4) == kept


def test_path_without_reflections_is_no_encoding():
    encoding, _ = encoding_of("path")
    query, key = queries_and_keys(5)
    positions = positions_of(5).with_key_features(torch.zeros(1, HEADS, 5, WIDTH + 1))
    torch.testing.assert_close(encoding.scores(query, key, None, positions), query @ key.mT * positions.scaling)


def test_path_convolves_over_the_past_alone_and_over_no_padding():
    encoding, _ = encoding_of("path")
    key_features = encoding.key_features(torch.randn(1, 6, 16))

    def reflections(key_features, token_mask=None):
        return encoding.reflections(
            replace(positions_of(key_features.shape[2]), key_features=key_features, token_mask=token_mask)
        )

    whole, _ = reflections(key_features)
    changed = key_features.clone()
    changed[:, :, 3] += 1
    vectors, _ = reflections(changed)
    assert torch.equal(vectors[:, :, :3], whole[:, :, :3])
    assert not any(torch.allclose(vectors[:, :, t], whole[:, :, t]) for t in (3, 4, 5))
    padded, strengths = reflections(key_features, torch.arange(6)[None] >= 2)
    alone, _ = reflections(key_features[:, :, 2:])
    torch.testing.assert_close(padded[:, :, 2:], alone)
    assert not padded[:, :, :2].any()
    assert not strengths[:, :, :2].any()
    torch.testing.assert_close(whole.norm(dim=-1), torch.ones(1, HEADS, 6))


def test_path_strengths_lie_between_zero_and_two():
    encoding, _ = encoding_of("path", noise=3.0)
    strengths = encoding.key_features(torch.randn(1, 99, 16))[..., -1]
    assert strengths.min() < 0.2
    assert strengths.max() > 1.8
    assert ((strengths >= 0) & (strengths <= 2)).all()


def test_path_begins_with_a_convolution_as_torch_does():
    kernel = initial("path", hidden_size=256).kernel
    assert kernel.abs().max() <= 3**-0.5
    assert 0.5 < kernel.abs().max() < 0.58


def test_path_stays_in_float32_under_autocast():
    encoding, _ = encoding_of("path")
    states, (query, key), positions = torch.randn(1, 9, 16), queries_and_keys(9), positions_of(9)
    positions = positions.with_key_features(encoding.key_features(states))
    expected = encoding.scores(query, key, None, positions)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoding.scores(query, key, None, positions), expected)


@pytest.mark.parametrize("entry", ["path+fox", "transformer_xl", "cope", "dape", "shaw_values"])
def test_mixed_precision_trains_close_to_single_precision(entry):
    model = build(entry).train()
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            states = states_of(model, tokens(), use_cache=False)
        states.float().square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert gradients[1].isfinite().all()
    assert nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


def test_path_refuses_what_it_cannot_do():
    for arguments, options, text in (
        ({}, {"attention_types": "sliding", "sliding_window": 4}, "reads what a sliding window has dropped"),
        ({"convolution": 0}, {}, "needs a rank and a convolution of at least 1, not 32, 0"),
        ({"rank": 0}, {}, "needs a rank and a convolution of at least 1, not 0, 3"),
        ({}, {"is_causal": False}, "PaTH has no bidirectional form"),
    ):
        with pytest.raises(StrictDataclassError, match=text):
            config_of("transformer-none", position_encoding={"name": "path", **arguments}, **options)
