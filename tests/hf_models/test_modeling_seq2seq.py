"""Encoder-decoders: teacher forcing, caches, beams, padding, halting on both sides, losses, saving and training."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    DynamicCache,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

import hf_models
from hf_models.layer_decoder import CrossAttention
from tests.hf_models import fresh_process
from tests.hf_models.model_cases import (
    ATTENTION,
    BOS,
    CLOSE,
    COMMON,
    EOS,
    PAD,
    PONDERING,
    VOCABULARY,
    assert_same,
    checkpoint_activations,
    gradients,
    pad,
    ragged,
    tokens,
)
from tests.hf_models.plain_recurrence import look_at_source
from tests.hf_models.test_every_encoding import uncompiled


pytestmark = pytest.mark.versions
TRANSFORMER, UNIVERSAL, LSTM = (
    hf_models.PositionTransformerSeq2SeqConfig,
    hf_models.UniversalTransformerSeq2SeqConfig,
    hf_models.LSTMSeq2SeqConfig,
)
UNEVEN = {**ATTENTION, "num_encoder_layers": 1, "num_decoder_layers": 2}
CASES = {
    "lstm": (LSTM, COMMON),
    "lstm-2": (LSTM, {**COMMON, "num_hidden_layers": 2, "initial_state": "learned"}),
    **{
        f"transformer-{encoding}": (TRANSFORMER, {**UNEVEN, "position_encoding": encoding})
        for encoding in ("none", "rope", "alibi", "t5", "sinusoidal", "learned", "fox")
    },
    "transformer-post": (TRANSFORMER, {**UNEVEN, "norm_position": "post"}),
    "transformer-sliding": (TRANSFORMER, {**ATTENTION, "attention_types": "sliding", "sliding_window": 2}),
    "universal": (UNIVERSAL, {**ATTENTION, "num_steps": 3}),
    "universal-act": (UNIVERSAL, {**PONDERING, "halting_bias": 1.0}),
    "universal-act-rope-post": (
        UNIVERSAL,
        {**PONDERING, "norm_position": "post", "num_shared_layers": 2, "position_encoding": "rope"},
    ),
    "universal-ponder_net": (
        UNIVERSAL,
        {**PONDERING, "halting": "ponder_net", "encoder_halting": "act", "halting_threshold": 0.6},
    ),
    "universal-published": (UNIVERSAL, {**PONDERING, "halting": "published"}),
    "universal-around": (
        UNIVERSAL,
        {**PONDERING, "num_prelude_layers": 1, "num_coda_layers": 1, "position_encoding": "alibi"},
    ),
    "universal-exits": (UNIVERSAL, {**ATTENTION, "exit_criterion": "stable_argmax", "exit_threshold": 2}),
}
# In the published variant halted states go on changing until the last of the batch has halted.
STABLE = [case for case in CASES if case != "universal-published"]
REPRESENTATIVES = ("lstm-2", "transformer-rope", "universal-act")
NEW = 5


def build(case, noise=0.2, **overrides):
    config_class, options = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSeq2SeqLM.from_config(config_class(**{**options, **overrides}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
    return model.eval()


def generate(model, source, mask=None, new=NEW, **options):
    return model.generate(
        source, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False, **options
    )


def refused(config_class, text, **options):
    with pytest.raises((ValueError, StrictDataclassError)) as caught:
        config_class(**options)
    assert text in str(caught.value) + str(caught.value.__cause__ or "")


def targets(batch=3, length=NEW):
    labels = tokens(batch, length, seed=3)
    for row in range(batch):
        labels[row, length - row :] = -100
    return labels


# Configurations.


@pytest.mark.parametrize("config_class", [LSTM, TRANSFORMER, UNIVERSAL])
def test_a_configuration_derives_those_of_its_encoder_and_decoder(config_class):
    config = config_class(hidden_size=32, bos_token_id=4)
    assert config.is_encoder_decoder
    assert config.decoder_start_token_id == 4
    encoder, decoder = config.encoder_config(), config.decoder_config()
    assert (encoder.hidden_size, decoder.hidden_size) == (32, 32)
    assert (encoder.is_causal, decoder.is_causal) == (False, True)
    assert not encoder.is_encoder_decoder
    assert decoder.layer_types == config.layer_types
    assert config_class(decoder_start_token_id=0).decoder_start_token_id == 0


def test_layers_of_both_sides_are_counted_apart():
    config = TRANSFORMER(num_encoder_layers=3, num_decoder_layers=1)
    assert config.encoder_config().num_hidden_layers == 3
    assert config.decoder_config().num_hidden_layers == 1
    assert len(config.layer_types) == 1
    refused(TRANSFORMER, "derives 'num_hidden_layers'", num_hidden_layers=3)


def test_what_does_not_fit_either_side_is_refused():
    refused(TRANSFORMER, "is_causal cannot be set", is_causal=False)
    refused(TRANSFORMER, "is_encoder_decoder=True", is_encoder_decoder=False)
    refused(TRANSFORMER, "causal form needs a causal model", position_encoding={"name": "alibi", "form": "causal"})
    refused(UNIVERSAL, "causal", position_encoding="xpos")
    refused(TRANSFORMER, "position_encoding", num_encoder_layers=1, position_encoding=["rope", "alibi"])
    refused(TRANSFORMER, "consecutive", eval_position_ids_scheme="randomized")
    refused(UNIVERSAL, "an encoder makes none: set encoder_halting", halting="ponder_net")
    refused(UNIVERSAL, "encoder_halting", halting="ponder_net", encoder_halting="ponder_net")
    refused(LSTM, "must be even", hidden_size=15)


# Teacher forcing and the cache.


@pytest.mark.parametrize("case", STABLE)
def test_teacher_forcing_predicts_what_generation_writes(case):
    model = build(case)
    source, mask = pad(ragged(), "right")
    written = generate(model, source, mask)
    assert (written[:, 0] == BOS).all()
    logits = model(source, attention_mask=mask, decoder_input_ids=written[:, :-1]).logits
    logits[..., EOS] = -math.inf  # as min_new_tokens has it
    assert torch.equal(logits.argmax(-1), written[:, 1:])


@pytest.mark.parametrize("case", STABLE)
@pytest.mark.parametrize("side", ["left", "right"])
def test_generation_is_the_same_with_a_cache_and_without(case, side):
    model = build(case)
    source, mask = pad(ragged(), side)
    for beams in (1, 3):
        found = [
            generate(
                model,
                source,
                mask,
                num_beams=beams,
                num_return_sequences=beams,
                use_cache=cache,
                return_dict_in_generate=True,
            )
            for cache in (True, False)
        ]
        assert torch.equal(found[0].sequences, found[1].sequences)
        if beams > 1:
            torch.testing.assert_close(found[0].sequences_scores, found[1].sequences_scores, **CLOSE)
    assert len(found[0].sequences.unique(dim=0)) > 2


@pytest.mark.parametrize("case", ["transformer-t5", "universal-act"])
def test_a_cache_of_fixed_size_gives_the_same(case):
    model, (source, mask) = build(case), pad(ragged(), "left")
    written = [generate(model, source, mask, cache_implementation=kind, num_beams=2) for kind in ("static", "dynamic")]
    assert torch.equal(*written)


def test_beam_search_finds_what_is_at_least_as_likely_as_greedy_search():
    for case in REPRESENTATIVES:
        model, source = build(case), tokens()
        likelihood = []
        for beams in (1, 4):
            written = generate(model, source, num_beams=beams)
            scores = model(source, decoder_input_ids=written[:, :-1]).logits
            scores[..., EOS] = -math.inf
            likelihood.append(scores.log_softmax(-1).gather(-1, written[:, 1:, None]).sum())
        assert likelihood[1] >= likelihood[0] - 1e-4


@pytest.mark.parametrize("case", STABLE)
def test_chunks_with_the_returned_cache_give_the_logits_of_the_whole(case):
    model = build(case)
    source, mask = pad(ragged(), "left")
    target = tokens(3, 6, seed=2)
    expected = model(source, attention_mask=mask, decoder_input_ids=target, use_cache=False)
    assert expected.past_key_values is None
    past, logits, encoded = None, [], None
    for chunk in target.split((3, 1, 2), dim=1):
        output = model(
            None if encoded else source,
            attention_mask=mask,
            encoder_outputs=encoded,
            decoder_input_ids=chunk,
            past_key_values=past,
            use_cache=True,
        )
        past, encoded = output.past_key_values, (output.encoder_last_hidden_state,)
        logits.append(output.logits)
    torch.testing.assert_close(torch.cat(logits, 1), expected.logits, **CLOSE)
    assert past.get_seq_length() == 6


def test_the_source_is_offered_once_per_generation(monkeypatch):
    offered, offer = [], CrossAttention.offer
    monkeypatch.setattr(CrossAttention, "offer", lambda self, states: offered.append(self) or offer(self, states))
    for case, layers in (("transformer-rope", 2), ("universal-act", 1), ("universal-around", 3)):
        offered.clear()
        generate(build(case), tokens(), num_beams=2)
        assert len(offered) == len(set(offered)) == layers


def test_a_cache_without_a_part_for_the_source_is_refused():
    with pytest.raises(ValueError, match="needs an EncoderDecoderCache, not DynamicCache"):
        build("transformer-rope")(tokens(), decoder_input_ids=tokens(), past_key_values=DynamicCache())


def test_a_call_without_a_target_is_refused():
    with pytest.raises(ValueError, match="needs decoder_input_ids"):
        build("transformer-rope")(tokens())


# Padding.


@pytest.mark.parametrize("case", STABLE)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_source_gives_what_it_gives_alone(case, side):
    model, sources = build(case), ragged()
    source, mask = pad(sources, side)
    target = tokens(3, NEW, seed=2)
    together = model(source, attention_mask=mask, decoder_input_ids=target)
    for row, alone in enumerate(sources):
        expected = model(alone[None], decoder_input_ids=target[row : row + 1])
        torch.testing.assert_close(together.logits[row : row + 1], expected.logits, **CLOSE)


@pytest.mark.parametrize("case", REPRESENTATIVES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_target_gives_what_it_gives_alone(case, side):
    model, written = build(case), ragged(seed=4)
    target, mask = pad(written, side)
    together = model(tokens(), decoder_input_ids=target, decoder_attention_mask=mask).logits
    for row, alone in enumerate(written):
        expected = model(tokens()[row : row + 1], decoder_input_ids=alone[None]).logits
        torch.testing.assert_close(together[row][mask[row].bool()], expected[0], **CLOSE)


# Attention to the source.


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_to_the_source_is_the_formula_forward_and_backward(implementation):
    config = TRANSFORMER(**ATTENTION, attn_implementation=implementation).decoder_config()
    assert config._attn_implementation == implementation
    torch.manual_seed(0)
    layer = CrossAttention(config)
    source, states = torch.randn(2, 6, 16, requires_grad=True), torch.randn(2, 4, 16, requires_grad=True)
    token_mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0]]).bool()
    found, weights = layer(states, *layer.offer(source), token_mask[:, None, None])
    assert (weights is None) == (implementation == "sdpa")
    rows = zip(states, source, token_mask, strict=True)
    plain = [[look_at_source(layer, state, seen[kept]) for state in row] for row, seen, kept in rows]
    expected = torch.stack([torch.stack(row) for row in plain])
    torch.testing.assert_close(found, expected, **CLOSE)
    inputs = [states, source, *layer.parameters()]
    probe = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * probe).sum(), inputs),
        torch.autograd.grad((expected * probe).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", ["transformer-alibi", "transformer-post"])
def test_a_decoder_layer_is_three_sublayers_with_residuals_and_norms(case):
    model, seen = build(case, num_decoder_layers=1), []
    (layer,) = model.model.decoder_layers()
    layer.register_forward_hook(lambda module, given, output: seen.append((given, output)))
    model(tokens(), decoder_input_ids=tokens(3, 4), use_cache=False)
    (states, mask, bias, positions, encoding, *source), output = seen[0]
    sublayers = [
        (layer.attention_norm, lambda states: layer.attention(states, mask, bias, positions, encoding)[0]),
        (layer.cross_attention_norm, lambda states: layer.cross_attention(states, *source)[0]),
        (layer.feed_forward_norm, layer.feed_forward),
    ]
    for norm, sublayer in sublayers:
        states = norm(states + sublayer(states)) if case.endswith("post") else states + sublayer(norm(states))
    torch.testing.assert_close(output, states, **CLOSE)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("lstm")])
def test_attention_to_the_source_is_blind_to_positions(case):
    model, target, order = build(case), tokens(3, NEW, seed=2), torch.tensor([3, 1, 0, 6, 2, 5, 4])
    states = model.get_encoder()(tokens()).last_hidden_state
    seen = [model(encoder_outputs=(s,), decoder_input_ids=target).logits for s in (states, states[:, order])]
    torch.testing.assert_close(*seen, **CLOSE)
    assert not torch.allclose(seen[0], model(encoder_outputs=(-states,), decoder_input_ids=target).logits, atol=1e-2)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("lstm")])
def test_eager_and_fused_attention_agree(case):
    source, mask = pad(ragged(), "left")
    inputs = {"input_ids": source, "attention_mask": mask, "labels": targets()}
    found = []
    for implementation in ("eager", "sdpa"):
        model = build(case, attn_implementation=implementation)
        assert model.model.encoder.config._attn_implementation == implementation
        found.append(model(**inputs).logits[targets() != -100])
    torch.testing.assert_close(*found, **CLOSE)
    model.set_attn_implementation("eager")
    assert model.model.decoder.config._attn_implementation == "eager"
    torch.testing.assert_close(model(**inputs).logits[targets() != -100], found[1], **CLOSE)


@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention says that it is slow
def test_flex_attention_agrees():
    source, mask = pad(ragged(), "left")
    found = []
    for implementation in ("eager", "flex_attention"):
        with torch.no_grad(), uncompiled():
            model = build("transformer-alibi", attn_implementation=implementation)
            found.append(model(source, attention_mask=mask, decoder_input_ids=tokens(3, 6, seed=1)).logits)
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.parametrize("case", ["lstm-2", "transformer-rope", "universal"])
def test_outputs_are_recorded_on_both_sides(case):
    options = {} if case == "lstm-2" else {"attn_implementation": "eager"}
    model = build(case, **options)
    output = model(tokens(), decoder_input_ids=tokens(3, 4), output_hidden_states=True, output_attentions=True)
    encoder, decoder = model.config.encoder_config(), model.config.decoder_config()
    assert len(output.encoder_hidden_states) == encoder.num_hidden_layers + 1
    assert len(output.decoder_hidden_states) == decoder.num_hidden_layers + 1
    assert output.encoder_hidden_states[-1].shape == (3, 7, 16)
    weights = output.cross_attentions[-1]
    assert weights.shape[-2:] == (4, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    if case != "lstm-2":
        assert len(output.cross_attentions) == len(output.decoder_attentions) == decoder.num_hidden_layers
        assert output.encoder_attentions[0].shape == (3, 2, 7, 7)
    model.config.output_hidden_states = model.config.output_attentions = True
    configured = model(tokens(), decoder_input_ids=tokens(3, 4))
    for name in ("encoder_hidden_states", "decoder_hidden_states", "cross_attentions"):
        assert len(configured[name]) == len(output[name])


# Labels and losses.


def test_labels_are_shifted_behind_the_start_token():
    model = build("transformer-rope", decoder_start_token_id=5)
    labels = torch.tensor([[7, 8, 9], [7, -100, -100]])
    assert model.prepare_decoder_input_ids_from_labels(labels).tolist() == [[5, 7, 8], [5, 7, PAD]]
    without = build("transformer-rope", bos_token_id=None)
    with pytest.raises(ValueError, match="set decoder_start_token_id or bos_token_id"):
        without(tokens(2), labels=labels)


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_mean_over_what_is_scored(case):
    model, labels = build(case, **({"ponder_loss_weight": 0.0} if "universal" in case else {})), targets()
    output = model(tokens(), labels=labels)
    expected = nn.functional.cross_entropy(output.logits[labels != -100], labels[labels != -100])
    torch.testing.assert_close(output.loss, expected)
    shifted = model.prepare_decoder_input_ids_from_labels(labels)
    given = model(tokens(), decoder_input_ids=shifted, labels=labels)
    if case != "universal-published":  # there the padding ponders too, and keeps the others from ending
        torch.testing.assert_close(given.loss, expected)


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_what_is_not_scored_in_the_middle_is_read_all_the_same(case):
    model, labels = build(case), tokens(3, NEW, seed=3)
    shifted = model.prepare_decoder_input_ids_from_labels(labels)
    shifted[:, 2] = PAD
    labels[:, 1] = -100
    found = model(tokens(), labels=labels).logits
    torch.testing.assert_close(found, model(tokens(), decoder_input_ids=shifted).logits, **CLOSE)


@pytest.mark.parametrize(
    "case", ["lstm-2", "transformer-rope", "universal-act", "universal-around", "universal-ponder_net"]
)
def test_four_batches_of_one_have_the_gradient_of_one_batch_of_four(case):
    sources, labels = ragged((4, 7, 2, 5)), targets(4)
    source, mask = pad(sources, "left")
    items = (labels != -100).sum()
    found = []
    for size in (4, 1):
        model = build(case, **({"ponder_loss_weight": 1.0} if "universal" in case else {})).train()
        for begin in range(0, 4, size):
            rows = slice(begin, begin + size)
            batch = {"attention_mask": mask[rows], "labels": labels[rows], "num_items_in_batch": items}
            model(source[rows], **batch).loss.backward()
        found.append(gradients(model))
    assert_same(*found, rtol=1e-3, atol=1e-5)
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())


# Training.


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("case", ["lstm-2", "transformer-t5", "universal-act", "universal-around"])
def test_checkpointing_leaves_the_gradient_as_it_is(case, reentrant):
    found = []
    for checkpointed in (False, True):
        model = build(case).train()
        if checkpointed:
            checkpoint_activations(model, use_reentrant=reentrant)
        model(tokens(), labels=targets()).loss.backward()
        found.append(gradients(model))
    assert_same(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_model_in_bfloat16_is_finite(case):
    model = build(case).bfloat16()
    source, mask = pad(ragged(), "left")
    output = model(source, attention_mask=mask, labels=targets())
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.isfinite()
    assert generate(model, source, mask, num_beams=2).shape == (3, NEW + 1)


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_the_trainer_learns_to_copy_and_generates_in_evaluation(case, tmp_path):
    model = build(case, noise=0.0, hidden_size=32)
    data = []
    for row in range(64):
        source = tokens(1, 3 + row % 2, seed=row)[0].tolist()
        data.append({"input_ids": source, "labels": [*source, EOS]})

    def collate(examples):
        source, mask = pad([torch.tensor(example["input_ids"]) for example in examples], "right")
        labels, _ = pad([torch.tensor(example["labels"]) for example in examples], "right", value=-100)
        return {"input_ids": source, "attention_mask": mask, "labels": labels}

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        max_steps=40,
        learning_rate=1e-2,
        per_device_train_batch_size=16,
        predict_with_generate=True,
        generation_max_length=8,
        generation_num_beams=2,
    )
    seen = []

    def measure(predictions):
        seen.append(predictions.predictions)
        return {"tokens": float(predictions.predictions.size)}

    trainer = Seq2SeqTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=data[:6],
        data_collator=collate,
        compute_metrics=measure,
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.75 * before
    assert seen[-1].shape[0] == 6
    assert (seen[-1][:, 0] == BOS).all()


# Saving.


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_tied_embeddings_are_one_tensor_on_both_sides(case, tmp_path):
    model = build(case, tie_word_embeddings=True)
    embedding = model.get_input_embeddings()
    assert embedding is model.model.encoder.embed_tokens
    assert model.lm_head.weight is embedding.weight
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert [name for name in saved if tuple(saved[name].shape) == (VOCABULARY, 16)] == [
        "model.encoder.embed_tokens.weight"
    ]
    again = type(model).from_pretrained(tmp_path)
    assert again.lm_head.weight is again.get_input_embeddings().weight
    inputs = {"input_ids": tokens(), "labels": targets()}
    torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, **CLOSE)
    assert build(case).lm_head.weight is not build(case).get_input_embeddings().weight


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_the_backbone_alone_loads_from_the_folder(case, tmp_path):
    model = build(case)
    model.save_pretrained(tmp_path)
    backbone = AutoModel.from_pretrained(tmp_path)
    found = backbone(tokens(), decoder_input_ids=tokens(3, 4)).last_hidden_state
    expected = model.model(tokens(), decoder_input_ids=tokens(3, 4)).last_hidden_state
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.slow
def test_a_process_without_longreach_loads_encoder_decoders(tmp_path):
    jobs, expected = [], {}
    for case in ("lstm-2", "transformer-t5", "universal-act"):
        model = build(case, eos_token_id=None)
        model.save_pretrained(tmp_path / case)
        expected[case] = fresh_process.look_at(model, tokens())
        jobs.append(
            {"name": case, "saved": case, "auto_class": "AutoModelForSeq2SeqLM", "input_ids": tokens().tolist()}
        )
    found = fresh_process.run(tmp_path, jobs)
    for case in expected:
        assert found[case]["module"].startswith("transformers_modules.")
        assert found[case]["digest"] == expected[case]["digest"]
        torch.testing.assert_close(found[case]["output"], expected[case]["output"], **CLOSE)
        assert torch.equal(found[case]["tokens"], expected[case]["tokens"])
        assert torch.equal(found[case]["tokens"], found[case]["uncached_tokens"])
        again = {file.name for file in (tmp_path / "again" / case).glob("*.py")}
        assert again == {file.name for file in (tmp_path / case).glob("*.py")}
