"""Model types of transformers: their sizes counted by hand, their refusals, and what a Trainer makes of them."""

import pytest
import torch
from transformers import CONFIG_MAPPING

from eval_harness.errors import HarnessError
from eval_harness.models import Probe, build_model, size_model
from eval_harness.models.compute import count_parameters
from eval_harness.models.library_fields import names
from eval_harness.models.library_types import get_library_type, is_causal, list_library_types
from eval_harness.results.files import read_json, read_table
from eval_harness.scoring.evaluate import evaluate_run
from eval_harness.scoring.scorer import Scorer
from eval_harness.specification import Evaluation
from eval_harness.tasks import get_task
from eval_harness.tokenization.problem import get_problem
from eval_harness.training.batches import TrainingBatches
from eval_harness.training.setup import size_for
from tests.tiny_runs import tiny, train_quietly, weights


BUDGET = 100_000
CAUSAL = (
    *("gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma"),
    *("gemma2", "gemma3_text", "phi", "phi3", "falcon", "stablelm", "olmo2", "mpt", "deepseek_v3", "qwen3_next"),
    *("mamba", "mamba2", "falcon_mamba", "xlstm", "rwkv", "recurrent_gemma", "jamba", "reformer"),
)
BIDIRECTIONAL = ("bert", "roberta", "distilbert", "electra", "deberta", "deberta-v2", "modernbert", "albert", "xlnet")
ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart", "pegasus", "led", "marian")
TYPES = {
    **dict.fromkeys(CAUSAL + BIDIRECTIONAL, "token"),
    **dict.fromkeys(ENCODER_DECODERS, "sequence_to_sequence"),
}
NEEDS = {"vocab_size": 11, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3, "max_position_embeddings": 100}


def on_meta(config, head):
    with torch.device("meta"):
        return build_model(config, head)


@pytest.mark.parametrize(("name", "head"), TYPES.items())
def test_a_type_meets_a_budget_whatever_vocabulary_and_lengths(name, head):
    sized = size_model(name, BUDGET, head, NEEDS)
    assert abs(sized.parameters["counted"] - BUDGET) <= 0.03 * BUDGET
    more = {**NEEDS, "vocab_size": 2_000, "max_position_embeddings": 3_000}
    larger = size_model(name, BUDGET, head, more)
    assert larger.chosen == sized.chosen
    assert larger.parameters["counted"] == sized.parameters["counted"]
    assert larger.parameters["embedding"] > sized.parameters["embedding"]


@pytest.mark.parametrize(("name", "head"), TYPES.items())
def test_a_type_trains_without_dropout(name, head):
    config = size_model(name, BUDGET, head, NEEDS).config
    rates = [getattr(config, field) for field, each in names(type(config)).items() if "drop" in field]
    assert not any(rates)
    model = build_model(config, head)
    assert not any(module.p for module in model.modules() if isinstance(module, torch.nn.Dropout))


def gpt2_by_hand(config):
    width = config.n_embd
    norms, attention = 4 * width, (width + 1) * 3 * width + (width + 1) * width
    return config.n_layer * (norms + attention + 2 * width * config.n_inner + config.n_inner + width) + 2 * width


def llama_by_hand(config):
    width = config.hidden_size
    layer = 2 * width + 4 * width**2 + 3 * width * config.intermediate_size
    return config.num_hidden_layers * layer + width


def bert_by_hand(config):
    width, inner = config.hidden_size, config.intermediate_size
    layer = 4 * (width + 1) * width + 4 * width + 2 * width * inner + inner + width
    return config.num_hidden_layers * layer + 2 * width + (width + 1) * width + 2 * width  # and the head's own layer


def t5_by_hand(config):
    width, inner, heads = config.d_model, config.d_ff, config.num_heads
    attention, feed_forward = 4 * width**2 + width, 2 * width * inner + width
    encoder = config.num_layers * (attention + feed_forward)
    decoder = config.num_decoder_layers * (2 * attention + feed_forward)
    return encoder + decoder + 2 * (width + config.relative_attention_num_buckets * heads)


def mamba_by_hand(config):
    width, inner, state, rank = config.hidden_size, 2 * config.hidden_size, config.state_size, config.time_step_rank
    convolution = inner * config.conv_kernel + inner
    scan = inner * (rank + 2 * state) + (rank + 1) * inner + inner * state + inner
    return config.num_hidden_layers * (width + 2 * width * inner + convolution + scan + inner * width) + width


BY_HAND = {
    "gpt2": gpt2_by_hand,
    "llama": llama_by_hand,
    "bert": bert_by_hand,
    "mamba": mamba_by_hand,
    "t5": t5_by_hand,
}


@pytest.mark.parametrize("budget", [20_000, 1_000_000])
@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_counted_is_what_a_formula_says(name, budget):
    sized = size_model(name, budget, TYPES[name], NEEDS)
    assert sized.parameters["counted"] == BY_HAND[name](sized.config)
    assert sized.parameters["total"] == sum(p.numel() for p in on_meta(sized.config, TYPES[name]).parameters())


def test_tables_of_positions_stand_beside():
    sized = size_model("gpt2", BUDGET, needs=NEEDS)
    assert sized.parameters["position_tables"] == (100 + 2) * sized.config.n_embd
    assert sized.parameters["embedding"] == 11 * sized.config.n_embd
    reformer = size_model("reformer", BUDGET, needs=NEEDS)
    assert reformer.parameters["position_tables"] == 112 * reformer.config.hidden_size  # whole chunks of 16
    assert count_parameters(on_meta(size_model("llama", BUDGET).config, "token"))["position_tables"] == 0


def test_what_the_user_gives_goes_first_by_either_name():
    for name in ("n_embd", "hidden_size"):
        sized = size_model("gpt2", BUDGET, needs=NEEDS, **{name: 96, "n_layer": 1, "attn_pdrop": 0.25})
        assert (sized.config.n_embd, sized.config.n_head, sized.config.n_layer) == (96, 3, 1)
        assert sized.config.attn_pdrop == 0.25
        assert "n_embd" not in sized.chosen
        assert abs(sized.parameters["counted"] - BUDGET) <= 0.03 * BUDGET


def test_a_hybrid_has_its_first_attention_layer():
    config = size_model("recurrent_gemma", BUDGET, needs=NEEDS).config
    assert config.layers_block_type == ["linear_attention", "linear_attention", "sliding_attention"]


def test_a_switch_turns_an_encoder_into_a_decoder():
    assert not is_causal(size_model("bert", BUDGET, needs=NEEDS).config)
    decoder = size_model("bert", BUDGET, needs=NEEDS, is_decoder=True).config
    assert is_causal(decoder)
    assert type(on_meta(decoder, "token")).__name__ == "BertLMHeadModel"


@pytest.mark.parametrize(
    ("name", "head", "config", "words"),
    [
        ("gptt2", "token", {}, ["Unknown model 'gptt2'", "Did you mean 'gpt2'?"]),
        ("gemma3", "token", {}, ["'gemma3' is made of parts", "'gemma3_text'"]),
        ("t5", "token", {}, ["t5 is an encoder-decoder", "sequence_to_sequence"]),
        ("gpt2", "sequence_to_sequence", {}, ["no encoder-decoder of type 'gpt2'"]),
        ("mamba", "classification", {}, ["no classifier of type 'mamba'"]),
        ("gpt2", "token", {"n_heads": 2}, ["Unknown configuration key of gpt2: 'n_heads'", "Did you mean 'n_head'?"]),
        ("gpt2", "token", {"n_embd": 4}, ["cannot meet a budget of 100000 parameters within 3%"]),
        ("llama", "token", {"hidden_act": "relux"}, ["llama cannot be used", "relux"]),
        ("perceiver", "token", {}, ["perceiver cannot be used"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(name, head, config, words):
    with pytest.raises(HarnessError) as refusal:
        size_model(name, BUDGET, head, NEEDS, **config)
    assert "\n" not in str(refusal.value)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_the_types_that_are_listed_are_no_names_of_ours():
    assert set(TYPES) <= set(list_library_types())
    assert not {"lstm", "position_transformer"} & set(list_library_types())
    assert get_library_type("gpt2").config_class is CONFIG_MAPPING["gpt2"]


def library_run(model, **changes):
    format = "sequence_to_sequence" if TYPES[model] != "token" else "parallel" if model in BIDIRECTIONAL else ""
    return tiny(**{"model": model, "format": format, "budget": 20_000, "steps": 4, **changes})


@pytest.mark.slow
@pytest.mark.versions
@pytest.mark.parametrize(
    "model", ["gpt2", "qwen2", "mixtral", "t5", "marian", "bert", "mamba", "mamba2", "xlstm", "reformer", "rwkv"]
)
def test_a_type_is_trained_scored_and_loaded(model, tmp_path):
    run = library_run(model)
    folder = train_quietly(run, tmp_path)
    described = read_json(folder / "run.json")
    assert described["model"]["parameters"]["counted"] == size_for(run).parameters["counted"]
    assert described["compute"]["training_flops"] > 0
    cell = evaluate_run(folder, Evaluation(examples=100, lengths=(4, 9)))
    assert [row["length"] for row in read_table(cell / "lengths.parquet")] == [4, 9]
    assert read_json(cell / "cell.json")["decoding"] == ("parallel" if model == "bert" else "teacher-forced")


def test_the_loss_is_that_of_labels_as_they_stand(tmp_path):
    run = library_run("llama", steps=1, learning_rate=1e-9)
    folder = train_quietly(run, tmp_path)
    batch = TrainingBatches(run, shifted=False)[0]
    model = build_model(size_for(run).config)
    model.load_state_dict(weights(folder), strict=False)
    logits = model(batch["input_ids"]).logits  # [B, T, V]
    scored = batch["labels"] != -100
    rows = logits.log_softmax(-1)[scored].gather(1, batch["labels"][scored][:, None])
    assert read_json(folder / "run.json")["final_loss"] == pytest.approx(-rows.mean().item(), rel=1e-3)


@pytest.mark.versions
@pytest.mark.parametrize("model", ["gpt2", "t5"])
def test_a_step_cut_into_parts_is_the_same_step(model, tmp_path):
    run = library_run(model, steps=3, task="majority" if model == "gpt2" else "duplicate")
    whole = weights(train_quietly(run, tmp_path / "whole"))
    parts = weights(train_quietly(run, tmp_path / "parts", gradient_accumulation_steps=4))
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-5, rtol=1e-4)


def test_a_model_that_reads_ahead_is_refused_where_it_would_read_the_answer(tmp_path):
    with pytest.raises(HarnessError, match="needs a causal model"):
        train_quietly(library_run("bert", format="autoregressive"), tmp_path / "bert")
    with pytest.raises(HarnessError, match="cpmant reads tokens after the one it answers at"):
        train_quietly(tiny("cpmant", budget=20_000), tmp_path / "cpmant")


def test_teacher_forcing_and_decoding_say_the_same(tmp_path):
    model = build_model(size_for(library_run("gpt2")).config)
    task = get_task("duplicate")
    forced = Scorer(model, get_problem(task), examples=100)
    free = Scorer(model, get_problem(task), examples=100)
    free.check([5])
    sample = task.sample(5, 100, 0, "test")
    forced.check([5])
    assert forced.decoding == "teacher-forced"
    known, _, _ = forced._score_sample(sample, 5)
    free.probe = Probe(prefix_stable=False, cached=False)
    assert free.decoding == "free"
    decoded, _, _ = free._score_sample(sample, 5)
    assert decoded == known
