"""One run: what it leaves behind, that an interruption changes nothing, and what is refused."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline

from eval_harness.errors import HarnessError
from eval_harness.models import ARCHITECTURES, build_model
from eval_harness.results.files import read_json
from eval_harness.scoring.protocol import TestLengths
from eval_harness.scoring.protocol import test_lengths as protocol_lengths
from eval_harness.scoring.scorer import Scorer
from eval_harness.tasks import get_task
from eval_harness.tokenization.vocabulary import Vocabulary
from eval_harness.training import record
from eval_harness.training.arguments import RunTrainingArguments, default_arguments, weight_changing
from eval_harness.training.batches import TrainingBatches
from eval_harness.training.record import weights_digest
from eval_harness.training.setup import longest_tokens, size_for
from eval_harness.training.train import train
from tests.tiny_runs import InterruptAt, files, tiny, train_quietly, weights


RANDOM = {"position_ids_scheme": "randomized", "hidden_dropout": 0.1, "attention_dropout": 0.1}
PONDERING = {"halting": "act", "num_steps": 3, "halting_bias": -0.5, "ponder_loss_weight": 1.0}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def assert_close(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **tolerance)


def test_the_folder_loads_with_auto_classes(trained_once):
    model = AutoModelForCausalLM.from_pretrained(trained_once)
    tokenizer = AutoTokenizer.from_pretrained(trained_once)
    task = get_task("duplicate")
    assert type(model).__name__ == "LSTMForCausalLM"
    assert tokenizer("0 1").input_ids == [1, 5, 6, 2]  # <bos> 0 1 <sep>
    assert len(tokenizer) == model.config.vocab_size == Vocabulary(task).size
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 3)


@pytest.mark.versions
def test_a_pipeline_answers_a_prompt_of_the_task(trained_once):
    model = AutoModelForCausalLM.from_pretrained(trained_once).eval()
    tokens, answer = [1, 5, 6, 6, 2], []  # <bos> 0 1 1 <sep>
    while not answer or (answer[-1] != 3 and len(answer) < 49):
        with torch.no_grad():
            answer.append(int(model(torch.tensor([tokens + answer])).logits[0, -1].argmax()))
    generate = pipeline("text-generation", model=str(trained_once), device="cpu")
    [result] = generate("0 1 1", return_full_text=False)
    assert result["generated_text"].split() == [("0", "1")[token - 5] for token in answer if token >= 5]
    assert generate.model.generation_config.max_new_tokens == 2 * 24 + 1  # the answer to the longest input in reach


def test_run_json_says_what_a_number_needs(trained_once):
    run, batches = tiny(), TrainingBatches(tiny())
    record = read_json(trained_once / "run.json")
    model = AutoModelForCausalLM.from_pretrained(trained_once)
    assert record["schema"] == 1
    assert record["run_id"] == run.identity()
    assert {name: record["training"][name] for name in vars(run)} == vars(run)
    assert record["training"]["task_version"] == get_task("duplicate").version
    assert record["training"]["min_length"] == 1
    assert record["trainer"]["world_size"] == 1
    assert record["model"]["architecture"] == "LSTMForCausalLM"
    assert record["model"]["causal"] is True
    assert record["model"]["chosen"] == f"hidden_size {model.config.hidden_size}"
    assert record["model"]["parameters"]["total"] == sum(parameter.numel() for parameter in model.parameters())
    assert record["compute"]["training_tokens"] == sum(batches[step]["input_ids"].numel() for step in range(30))
    assert record["compute"]["training_flops"] > 6 * 0.97 * 8_000 * record["compute"]["training_tokens"]
    assert 0 < record["compute"]["training_seconds"] < 60
    assert record["compute"]["peak_memory_bytes"] > 10_000_000
    assert 0 < record["final_loss"] < 5
    assert record["environment"]["packages"]["torch"]
    assert record["weights_digest"] == weights_digest(model)
    assert not (trained_once / "checkpoints").exists()
    assert read_json(trained_once / "specification.json") == {"run_id": run.identity(), "training": vars(run)}


def test_a_digest_is_of_names_and_values():
    model = build_model(size_for(tiny("transformer-fire")).config)  # it has parameters without dimensions
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    assert weights_digest(model) == digest.hexdigest()
    before = weights_digest(model)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-6
    assert weights_digest(model) != before


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_trains_to_a_folder_that_loads(name, tmp_path):
    folder = train_quietly(tiny(name, steps=3), tmp_path / "run")
    record = read_json(folder / "run.json")
    assert weights_digest(AutoModelForCausalLM.from_pretrained(folder)) == record["weights_digest"]
    assert record["compute"]["training_flops"] > 0


@pytest.mark.versions
@pytest.mark.parametrize(
    ("model", "config", "half_written"),
    [
        ("lstm", {}, None),
        ("lstm", {}, "missing"),
        ("transformer-sinusoidal", RANDOM, None),
        ("transformer-sinusoidal", RANDOM, "cut"),
    ],
)
def test_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(model, config, half_written, tmp_path):
    run, saved = tiny(model, config=config), {"save_steps": 8}
    whole = train_quietly(run, tmp_path / "whole", **saved)
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train_quietly(run, broken, [InterruptAt(19)], **saved)
    newest = broken / "checkpoints" / "checkpoint-16"
    assert [path.name for path in newest.parent.iterdir()] == [newest.name]
    assert not (broken / "run.json").exists()
    if half_written:
        torn = shutil.copytree(newest, newest.with_name("checkpoint-24"))
        state = (torn / "trainer_state.json").read_text()
        (torn / "trainer_state.json").unlink()
        (torn / "model.safetensors").write_bytes(b"")
        if half_written == "cut":
            (torn / "trainer_state.json").write_text(state[: len(state) // 2])
    begun = []
    train_quietly(run, broken, [_Note(begun)], **saved)
    assert begun == [16]
    assert_equal(weights(broken), weights(whole))
    first, second = (read_json(folder / "run.json") for folder in (whole, broken))
    for name in ("weights_digest", "final_loss", "run_id", "training", "model"):
        assert first[name] == second[name], name


class _Note(InterruptAt):
    """Notes at which step training begins."""

    def __init__(self, begun: list[int]):
        super().__init__(step=-1)
        self.begun = begun

    def on_train_begin(self, args, state, control, **kwargs):
        self.begun.append(state.global_step)


def test_the_seconds_of_all_sittings_are_added_up(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(record.time, "perf_counter", lambda: next(clock))
    run, begun, logged = tiny(steps=16), [], {"save_steps": 8, "logging_steps": 100}
    with pytest.raises(KeyboardInterrupt):
        train_quietly(run, tmp_path, [InterruptAt(9)], **logged)
    state = read_json(tmp_path / "checkpoints" / "checkpoint-8" / "trainer_state.json")
    seconds = state["log_history"][-1]["seconds"]
    assert seconds > 0
    train_quietly(run, tmp_path, [_Note(begun)], **logged)
    assert begun == [8]
    assert read_json(tmp_path / "run.json")["compute"]["training_seconds"] > seconds


def test_a_run_that_was_cut_off_while_it_was_saved_is_saved_again(tmp_path, monkeypatch):
    whole = train_quietly(tiny(), tmp_path / "whole")

    def cut_off():
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "describe_environment", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_quietly(tiny(), tmp_path / "broken")
    assert (tmp_path / "broken" / "model.safetensors").exists()
    monkeypatch.undo()
    broken = train_quietly(tiny(), tmp_path / "broken")
    assert_equal(weights(broken), weights(whole))
    assert read_json(broken / "run.json")["final_loss"] == read_json(whole / "run.json")["final_loss"]


@pytest.mark.parametrize("changes", [{}, {"task": "binary_addition", "train_examples": 40}])
def test_accumulated_gradients_give_the_same_weights(changes, tmp_path):
    run = tiny(steps=12, **changes)
    one = train_quietly(run, tmp_path / "one")
    two = train_quietly(run, tmp_path / "two", gradient_accumulation_steps=2)
    assert_close(weights(one), weights(two), rtol=1e-3, atol=1e-5)
    assert read_json(two / "run.json")["final_loss"] == pytest.approx(read_json(one / "run.json")["final_loss"])


def test_the_ponder_loss_is_the_same_in_four_parts(tmp_path):
    run = tiny("universal_transformer", config=PONDERING, steps=8, learning_rate=0.05, trainer={"optim": "sgd"})
    one = train_quietly(run, tmp_path / "one")
    four = train_quietly(run, tmp_path / "four", gradient_accumulation_steps=4)
    assert_close(weights(one), weights(four), rtol=1e-3, atol=1e-5)
    free = train_quietly(replace(run, config={**PONDERING, "ponder_loss_weight": 0.0}), tmp_path / "free")
    halting = "model.stack.halting.unit.weight"
    assert (weights(one)[halting] - weights(free)[halting]).abs().max() > 1e-4


def test_two_runs_are_the_same_and_another_seed_is_another_run(trained_once, tmp_path):
    torch.manual_seed(123)
    assert_equal(weights(train_quietly(tiny(), tmp_path / "again")), weights(trained_once))
    untrained = [
        weights(train_quietly(tiny(seed=seed, steps=1, learning_rate=1e-9), tmp_path / f"seed{seed}"))
        for seed in (0, 1)
    ]
    assert (untrained[0]["lm_head.weight"] - untrained[1]["lm_head.weight"]).abs().max() > 0.01


def test_a_finished_run_is_left_as_it_is(tiny_run):
    before = files(tiny_run)
    assert train(tiny(), tiny_run) == tiny_run
    assert files(tiny_run) == before


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: tiny(seed=1), "another specification: seed 0, not 1."),
        (lambda folder: (folder / "specification.json").unlink() or tiny(), "a model that was not trained here"),
    ],
)
def test_a_folder_that_holds_something_else_is_refused_and_left(make, words, tiny_run):
    run = make(tiny_run)
    before = files(tiny_run)
    with pytest.raises(HarnessError, match=words):
        train(run, tiny_run)
    assert files(tiny_run) == before


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"model": "lstmm"}, {}, "Did you mean 'lstm'"),
        ({"format": "paralel"}, {}, "Did you mean 'parallel'"),
        ({"format": "in_place"}, {}, "has no in_place format; it has: autoregressive, parallel"),
        ({"model": "transformer-rope", "config": {"is_causal": False}}, {}, "needs a causal model"),
        ({"config": {"bidirectional": True}}, {}, "needs a causal model"),
        ({"train_examples": 3}, {}, "train_examples is 3, but there are 6 training lengths"),
        ({}, {"gradient_accumulation_steps": 3}, "batch of 8 cannot be cut into 3 equal micro-batches"),
        ({}, {"per_device_train_batch_size": 4}, "give batch_size"),
        ({}, {"max_steps": 5}, "Trainer's max_steps is 5, but the run's is 30"),
        (
            {"model": "transformer-learned", "config": {"max_position_embeddings": 8}},
            {},
            "Training length 6 needs 21 position ids; max_position_embeddings is 8",
        ),
        (
            {
                "model": "transformer-none",
                "config": {"max_position_embeddings": 8, "position_ids_scheme": "randomized"},
            },
            {},
            "Training length 6 needs 21 position ids; max_position_embeddings is 8",
        ),
        (
            {"model": "transformer-rope", "config": {"position_ids_scheme": "supplied"}},
            {},
            "scheme 'supplied' needs ids with every batch; task 'duplicate' has none",
        ),
        (
            {"model": "transformer-learned", "task": "majority", "config": {"position_ids_scheme": "abacus"}},
            {},
            "scheme 'abacus' needs abacus_tokens",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(changes, arguments, words, tmp_path):
    run, folder = tiny(**{"model": "lstm", **changes}), tmp_path / "run"
    with pytest.raises(HarnessError, match=words) as refusal:
        train_quietly(run, folder, **arguments)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()


@pytest.mark.versions
@pytest.mark.parametrize(
    ("changes", "auto_class"),
    [
        ({"task": "binary_addition"}, AutoModelForCausalLM),
        ({"task": "binary_addition", "format": "parallel", "bos": False}, AutoModelForCausalLM),
        ({"task": "flip_flop"}, AutoModelForCausalLM),
        ({"task": "flip_flop", "config": {"bidirectional": True}}, AutoModelForMaskedLM),
        ({"task": "flip_flop", "model": "transformer-t5", "config": {"is_causal": False}}, AutoModelForMaskedLM),
        (
            {"task": "parity", "format": "parallel", "model": "universal_transformer", "config": {"is_causal": False}},
            AutoModelForMaskedLM,
        ),
    ],
)
def test_every_format_trains_with_causal_and_bidirectional_models(changes, auto_class, tmp_path):
    folder = train_quietly(tiny(**{"model": "lstm", "budget": 10_000, "steps": 15, **changes}), tmp_path / "run")
    model = auto_class.from_pretrained(folder)
    record = read_json(folder / "run.json")
    assert type(model).__name__.endswith(auto_class.__name__.removeprefix("AutoModel"))
    assert weights_digest(model) == record["weights_digest"]
    assert record["model"]["causal"] is (auto_class is AutoModelForCausalLM)
    assert record["training"]["min_length"] >= get_task(changes["task"]).min_length


def test_tables_hold_the_longest_sequence():
    assert size_for(tiny("transformer-learned")).config.max_position_embeddings == 3 * 24 + 3
    assert size_for(tiny("transformer-learned", bos=False)).config.max_position_embeddings == 3 * 24 + 2
    odd = tiny("transformer-learned", task="flip_flop", train_length=6, table_factor=1.6)  # 9 is no length: 10
    assert size_for(odd).config.max_position_embeddings == 10 + 1


def test_only_what_is_not_default_is_noted_of_the_trainer(tmp_path):
    folder = str(tmp_path)
    assert weight_changing(RunTrainingArguments(output_dir=folder)) == {}
    assert weight_changing(RunTrainingArguments(output_dir=folder, logging_steps=3, save_steps=7, use_cpu=True)) == {}
    changed = {"adam_beta2": 0.95, "optim": "sgd", "weight_decay": 0.1, "lr_scheduler_type": "cosine"}
    noted = weight_changing(RunTrainingArguments(output_dir=folder, **changed))
    assert noted == changed
    assert json.loads(json.dumps(noted)) == noted


def test_what_a_specification_says_of_the_trainer_is_done(tmp_path):
    arguments = default_arguments(tiny(trainer={"weight_decay": 0.1, "optim": "sgd"}), tmp_path)
    assert (arguments.weight_decay, arguments.optim) == (0.1, "sgd")
    assert (arguments.max_steps, arguments.learning_rate, arguments.seed) == (30, 1e-3, 0)
    assert (arguments.lr_scheduler_type, arguments.warmup_steps, arguments.max_grad_norm) == ("linear", 0.05, 1.0)


def test_evaluation_while_training_changes_nothing(trained_once, tmp_path):
    watched = train_quietly(tiny(), tmp_path / "run", eval_strategy="steps", eval_steps=10)
    assert_equal(weights(watched), weights(trained_once))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes"), [("lstm", {"learning_rate": 1e-2}), ("transformer-rope", {"learning_rate": 3e-3})]
)
def test_a_model_learns_what_it_is_trained_on(model, changes, tmp_path):
    run = tiny(model, task="flip_flop:ignore=0.5", train_length=10, steps=400, batch_size=32, **changes)
    folder = train_quietly(run, tmp_path / "run")
    scorer = Scorer(AutoModelForCausalLM.from_pretrained(folder), run.problem, examples=100)
    rows = scorer.score(protocol_lengths(run.make_task(), 10, 2.0)).lengths
    assert min(row["exact"] for row in rows if row["length"] <= 10) > 0.95
    assert read_json(folder / "run.json")["final_loss"] < 0.1


def test_abacus_counts_the_digits_of_the_tasks_vocabulary(tmp_path):
    abacus = {"position_ids_scheme": "abacus", "eval_position_ids_scheme": "abacus"}
    run = tiny("transformer-learned", task="binary_addition", config=abacus, steps=3)
    vocabulary = Vocabulary(run.make_task())
    model = AutoModelForCausalLM.from_pretrained(train_quietly(run, tmp_path / "run"))
    assert [vocabulary.tokens[token] for token in model.config.abacus_tokens] == ["0", "1"]
    assert model.config.max_position_embeddings == longest_tokens(run) + model.config.abacus_offset
    outcomes = Scorer(model, run.problem, examples=4).score(TestLengths((3,), (9,), (), 6, 2.0))
    assert len(outcomes.examples) == 8
