"""Scores against a plain loop that decodes row by row, a perfect answerer, and what must not change a score."""

import json
import math
from itertools import product

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from eval_harness.errors import HarnessError
from eval_harness.models import ARCHITECTURES, build_model
from eval_harness.scoring import scorer as scoring
from eval_harness.scoring.bleu import bleu, to_texts
from eval_harness.scoring.evaluate import load_model
from eval_harness.scoring.protocol import TestLengths
from eval_harness.scoring.scorer import TEST_SEED, Scorer
from eval_harness.tasks import get_task, list_tasks
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.problem import get_problem
from eval_harness.tokenization.vocabulary import Vocabulary
from eval_harness.training.setup import size_for
from hf_models import LSTMConfig, LSTMForCausalLM
from tests.tiny_runs import tiny, train_quietly


ACT = {"halting": "act", "num_steps": 4, "halting_bias": -0.5, "halting_threshold": 0.9}
MODELS = {**{name: (name, {}) for name in ARCHITECTURES}, "act": ("universal_transformer-rope", ACT)}
RANDOM = {"position_ids_scheme": "randomized", "eval_position_ids_scheme": "randomized"}


def build(name="lstm", noise=0.3, config=None, **changes):
    """A model with weights that are all over the place, so that its answers vary with the input."""
    run = tiny(name, config=config or {}, **changes)
    model = build_model(size_for(run).config, get_format(run.format).head)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def lengths_of(*lengths: int, train_length: int = 6) -> TestLengths:
    within = tuple(length for length in lengths if length <= train_length)
    beyond = tuple(length for length in lengths if length > train_length)
    return TestLengths(within, beyond, (), train_length, 2.0)


def score(model, task="duplicate", format="", lengths=(3, 7), examples=100, bos=True):
    return Scorer(model, get_problem(task, format, bos), examples).score(lengths_of(*lengths))


def counted(rows):
    return [{name: value for name, value in row.items() if name not in ("tokens_per_second", "loss")} for row in rows]


def assert_same_outcomes(first, second):
    assert first.examples == second.examples
    for mine, others in ((first.positions, second.positions), (first.lengths, second.lengths)):
        assert counted(mine) == counted(others)
        assert [row["loss"] for row in mine] == pytest.approx([row["loss"] for row in others], rel=1e-5)


@torch.no_grad()
def decode_row_by_row(model, task, length, count, ids=None) -> list[dict]:
    """The definition: ask for each answer alone, and compare it symbol by symbol."""
    reads_a_source = model.config.is_encoder_decoder
    vocabulary, rows = Vocabulary(task), []
    sample = task.sample(length, count, TEST_SEED, "test")
    for row in range(count):
        asked = vocabulary.input_ids[sample.inputs[row, : sample.input_lengths[row]]]
        right = vocabulary.output_ids[sample.targets[row, : sample.target_lengths[row]]].tolist()
        end = vocabulary.eos_id if reads_a_source else vocabulary.sep_id
        prompt = torch.tensor([[vocabulary.bos_id, *asked, end]])
        options = {} if ids is None else {"position_ids": ids[row][None]}
        longest = int(sample.target_lengths.max()) + 1
        said = model.generate(
            prompt,
            max_new_tokens=longest,
            do_sample=False,
            pad_token_id=vocabulary.pad_id,
            eos_token_id=vocabulary.eos_id,
            **options,
        )[0, 1 if reads_a_source else prompt.shape[1] :].tolist()
        wanted = [*right, vocabulary.eos_id]
        hits = [place < len(said) and said[place] == token for place, token in enumerate(wanted)]
        rows.append(
            {
                "length": length,
                "index": row,
                "exact": all(hits),
                "tokens": len(right),
                "right_tokens": sum(hits[:-1]),
                "first_wrong": -1 if all(hits) else hits.index(False),
            }
        )
    return rows


def assert_decoded(outcomes, expected):
    found = sorted(outcomes.examples, key=lambda row: (row["length"], row["index"]))
    assert [{name: row[name] for name in expected[0]} for row in found] == expected


# One of each kind of cache; the others differ from one of these in their position encoding alone.
KINDS = ("lstm", "rnn", "stack_rnn", "tape_rnn", "transformer-rope", "transformer-fox", "universal_transformer", "act")


@pytest.mark.parametrize("name", MODELS)
def test_teacher_forcing_finds_what_decoding_finds(name):
    architecture, config = MODELS[name]
    model = build(architecture, config=config)
    scorer = Scorer(model, get_problem("duplicate"), examples=12)
    assert scorer.decoding == "teacher-forced"
    outcomes = scorer.score(lengths_of(2, 5))
    assert len(outcomes.examples) == 24
    rows = 12 if name in KINDS else 2
    outcomes.examples = [example for example in outcomes.examples if example["index"] < rows]
    assert_decoded(outcomes, [row for n in (2, 5) for row in decode_row_by_row(model, scorer.problem.task, n, rows)])


SOURCE = "sequence_to_sequence"


@pytest.mark.versions
@pytest.mark.parametrize("name", ["lstm", "transformer-alibi", "act", "universal_transformer-rope"])
def test_teacher_forcing_of_a_decoder_finds_what_decoding_finds(name):
    architecture, config = MODELS[name]
    model = build(architecture, config=config, format=SOURCE, budget=40_000)
    scorer = Scorer(model, get_problem("duplicate", SOURCE), examples=12)
    assert scorer.decoding == "teacher-forced"
    outcomes = scorer.score(lengths_of(2, 5))
    assert_decoded(outcomes, [row for n in (2, 5) for row in decode_row_by_row(model, scorer.problem.task, n, 12)])
    assert_same_outcomes(score(model, format=SOURCE, lengths=(2, 5), examples=12), outcomes)


@pytest.mark.parametrize(("format", "task"), [(SOURCE, "binary_addition"), ("classification", "parity")])
@pytest.mark.parametrize("name", ["lstm", "transformer-rope"])
def test_a_trained_model_with_another_head_is_scored_as_it_answers(name, format, task, tmp_path):
    run = tiny(
        name, task=task, format=format, steps=60, learning_rate=5e-3, budget=20_000 if name != "lstm" else 40_000
    )
    model, _ = load_model(train_quietly(run, tmp_path / "run"))
    outcomes = score(model, task, format, lengths=(5, 9), examples=24)
    if format == SOURCE:
        assert_decoded(
            outcomes, [row for n in (5, 9) for row in decode_row_by_row(model.eval(), get_task(task), n, 24)]
        )
        return
    sample, vocabulary = get_task(task).sample(9, 24, TEST_SEED, "test"), Vocabulary(get_task(task))
    prompts = [[vocabulary.bos_id, *vocabulary.input_ids[row], vocabulary.sep_id] for row in sample.inputs]
    said = model(torch.tensor(prompts)).logits.argmax(-1).numpy()
    found = [row["exact"] for row in outcomes.examples if row["length"] == 9]
    assert found == (said == sample.targets[:, 0]).tolist()


def test_ponder_steps_of_an_encoder_decoder_are_the_mean_over_both_sides():
    model = build("universal_transformer-rope", config=ACT, format=SOURCE, task="binary_addition", budget=20_000)
    task = get_task("binary_addition")
    outcomes = score(model, task.key(), SOURCE, lengths=(8,))
    sample = task.sample(8, 100, TEST_SEED, "test")
    for index in range(0, 100, 9):
        encoded = get_format(SOURCE).encode(sample[index : index + 1], task, Vocabulary(task))
        with torch.no_grad():
            output = model(torch.tensor(encoded.input_ids), decoder_input_ids=torch.tensor(encoded.decoder_input_ids))
        steps = torch.cat([output.ponder_steps, output.encoder_ponder_steps], dim=1).float()
        assert outcomes.examples[index]["ponder_steps"] == pytest.approx(steps.mean().item(), abs=1e-5)


@pytest.mark.parametrize(
    ("ours", "asked"), [("autoregressive", SOURCE), (SOURCE, "parallel"), ("classification", "parallel")]
)
def test_a_format_needs_its_head(ours, asked):
    model = build("lstm", task="parity", format=ours, budget=40_000)
    with pytest.raises(HarnessError, match=f"The {asked} format needs a model with a .* head; LSTM.* has a .* head"):
        Scorer(model, get_problem("parity", asked))


@pytest.mark.parametrize(
    ("name", "task"),
    [("lstm", "parity"), ("lstm", "binary_addition"), ("transformer-rope", "parity"), ("act", "parity")],
)
def test_the_same_of_models_that_are_sometimes_right(name, task, tmp_path):
    architecture, config = MODELS[name]
    run = tiny(architecture, task=task, config=config, steps=60, learning_rate=5e-3)
    model = AutoModelForCausalLM.from_pretrained(train_quietly(run, tmp_path / "run")).eval()
    outcomes = score(model, task, lengths=(3, 9), examples=24)
    assert_decoded(outcomes, [row for n in (3, 9) for row in decode_row_by_row(model, get_task(task), n, 24)])
    assert len({row["exact"] for row in outcomes.examples}) == 2
    if task == "binary_addition":  # one wrong symbol leads decoding, but not teacher forcing, to others
        assert any(row["right_tokens"] != row["teacher_forced_tokens"] for row in outcomes.examples)


def test_a_model_that_looks_ahead_is_decoded_freely():
    class LooksAhead(LSTMForCausalLM):
        prefix_stable = False

    stable = build("lstm", task="parity")
    model = LooksAhead(stable.config)
    model.load_state_dict(stable.state_dict())
    free, forced = (Scorer(each.eval(), get_problem("duplicate")) for each in (model, stable))
    assert (free.decoding, forced.decoding) == ("free", "teacher-forced")
    assert_same_outcomes(*(score(each, "duplicate", examples=32) for each in (model, stable)))


class Answerer(LSTMForCausalLM):
    """Reads the right answers from a table, but for the row and place that it is told to get wrong."""

    def remember(self, encoded, wrong=None):
        labels = encoded.labels.copy()
        if wrong is not None:
            row, place = wrong
            column = np.flatnonzero(labels[row] != -100)[place]
            labels[row, column] = (labels[row, column] + 1) % self.config.vocab_size
        read = (
            encoded.input_ids
            if encoded.decoder_input_ids is None
            else np.hstack([encoded.input_ids, encoded.decoder_input_ids])
        )
        self.answers = dict(zip(map(tuple, read.tolist()), labels.clip(0), strict=True))
        return self

    def forward(self, input_ids, decoder_input_ids=None, **kwargs):
        read = input_ids if decoder_input_ids is None else torch.hstack([input_ids, decoder_input_ids])
        said = torch.tensor(np.stack([self.answers[tuple(row)] for row in read.tolist()]))
        logits = torch.nn.functional.one_hot(said, self.config.vocab_size).float()
        return CausalLMOutputWithPast(logits=logits)


# A text has no one answer, and translations are decoded, which an answerer out of a table cannot.
ASKED = [name for name in list_tasks() if get_task(name).skill not in ("language modelling", "translation")]


@pytest.mark.parametrize("name", ASKED)
def test_a_perfect_answerer_is_perfect_in_every_format_of_a_task(name, monkeypatch):
    task, vocabulary = get_task(name), Vocabulary(get_task(name))
    length = next(length for length in range(8, 20) if task.valid_length(length))
    sample = task.sample(length, 100, TEST_SEED, "test")
    monkeypatch.setattr(scoring, "forward_flops", lambda *args, **inputs: 0)
    for format, bos in product(task.formats, (True, False)):
        encoded = get_problem(task, format, bos).encode(sample)
        model = Answerer(LSTMConfig(vocab_size=vocabulary.size, hidden_size=2)).remember(encoded)
        head = get_format(format).head
        monkeypatch.setattr(scoring, "head_of", lambda model, head=head: head)
        outcomes = score(model, name, format, lengths=(length,), bos=bos)
        [row] = outcomes.lengths
        assert (row["exact"], row["tokens"], row["teacher_forced"], row["exact_high"]) == (1.0, 1.0, 1.0, 1.0)
        assert all(row["first_wrong"] == -1 and row["right_tokens"] == row["tokens"] for row in outcomes.examples)
        assert sum(row["tokens"] for row in outcomes.examples) == sample.scored.sum()


@pytest.mark.parametrize(("task", "format"), [("duplicate", "parallel"), ("flip_flop:ignore=0.1", "in_place")])
def test_one_wrong_token_is_one_wrong_token(task, format):
    sample = get_task(task).sample(20, 100, TEST_SEED, "test")
    encoded = get_format(format).encode(sample, get_task(task), Vocabulary(get_task(task)))
    row = int(np.flatnonzero(sample.target_lengths == sample.target_lengths.max())[-1])
    model = Answerer(build("lstm", task=task, format=format).config).remember(encoded, wrong=(row, 2))
    outcomes = score(model, task, format, lengths=(20,))
    assert [example["index"] for example in outcomes.examples if not example["exact"]] == [row]
    assert outcomes.examples[row]["first_wrong"] == 2
    assert outcomes.examples[row]["right_tokens"] == outcomes.examples[row]["tokens"] - 1
    assert [place["position"] for place in outcomes.positions if place["right"] != place["total"]] == [2]


@torch.no_grad()
@pytest.mark.parametrize("format", ["parallel", "in_place"])
@pytest.mark.parametrize("both_ways", [True, False])
def test_answers_read_at_once_are_read_where_they_are_due(format, both_ways):
    task = get_task("flip_flop:ignore=0.3" if format == "in_place" else "binary_addition")
    config = {"is_causal": not both_ways}
    model = build("transformer-t5", task=task.key(), format=format, config=config, noise=0.1)
    outcomes = score(model, task.key(), format, lengths=(8,), examples=100)
    sample = task.sample(8, 100, TEST_SEED, "test")
    encoded = get_format(format).encode(sample, task, Vocabulary(task))
    for index, example in enumerate(outcomes.examples):
        size = encoded.attention_mask[index].sum()
        said = model(torch.tensor(encoded.input_ids[index : index + 1, :size])).logits[0].argmax(-1).numpy()
        due = encoded.labels[index, :size] != -100
        hits = said[due] == encoded.labels[index, :size][due]
        answers = hits[~encoded.is_end[index, :size][due]]
        assert example["exact"] == hits.all()
        assert (example["tokens"], example["right_tokens"]) == (len(answers), answers.sum())
        assert example["first_wrong"] == (-1 if hits.all() else hits.argmin())
    assert Scorer(model, get_problem(task, format)).decoding == "parallel"


@pytest.mark.parametrize("name", ["lstm", "transformer-fire", "act"])
def test_the_size_of_batches_changes_nothing(name, monkeypatch):
    architecture, config = MODELS[name]
    model = build(architecture, config=config)
    usual = score(model, lengths=(5, 9), examples=12)
    for tokens in (1, 100):
        monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", tokens)
        assert_same_outcomes(score(model, lengths=(5, 9), examples=12), usual)


def test_random_ids_are_drawn_for_each_example_and_not_for_a_batch(monkeypatch):
    model = build("transformer-learned", config=RANDOM)
    before = torch.random.get_rng_state()
    usual = score(model, lengths=(5, 9), examples=12)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", 100)
    assert_same_outcomes(score(model, lengths=(5, 9), examples=12), usual)
    more = score(model, lengths=(5, 9), examples=20).examples
    assert [row for row in more if row["index"] < 12] == usual.examples


def test_random_ids_are_the_same_under_teacher_forcing_and_in_decoding():
    model = build("transformer-sinusoidal", config=RANDOM, noise=0.1)
    seen, hook = watch(model)
    outcomes = score(model, lengths=(7,), examples=16)
    hook.remove()
    ids = seen[0]["position_ids"]
    assert ids.shape == (16, 3 * 7 + 3)
    assert len({tuple(row) for row in ids.tolist()}) == 16
    assert (ids.diff(dim=1) > 0).all()
    assert ids.max() < model.config.max_position_embeddings
    assert_decoded(outcomes, decode_row_by_row(model, get_task("duplicate"), 7, 16, ids))


def test_coupled_ids_reach_the_model_under_teacher_forcing_and_in_decoding(tmp_path):
    schemes = {"position_ids_scheme": "supplied", "eval_position_ids_scheme": "supplied"}
    run = tiny("transformer-learned", task="coupled_addition", train_length=3, config=schemes, steps=40)
    model, _ = load_model(train_quietly(run, tmp_path / "run"))
    task = get_task(run.task)
    outcomes = score(model, run.task, lengths=(2, 4), examples=24)
    for length in (2, 4):
        format, sample = get_format("autoregressive"), task.sample(length, 24, TEST_SEED, "test")
        ids = format.coupled_ids(sample, task, format.token_length(task, length))
        expected = decode_row_by_row(model.eval(), task, length, 24, torch.tensor(ids))
        found = [row for row in outcomes.examples if row["length"] == length]
        assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert sum(row["right_tokens"] for row in outcomes.examples) > 0


def test_translations_are_decoded_whole_and_have_a_bleu(tmp_path):
    pairs = [{"en": f"word {a} and {b}", "de": f"Wort {a} und {b}"} for a in range(30) for b in range(30)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    task = get_task("translation", dataset=str(tmp_path / "data"), vocabulary=300, step=30)
    sizes = {"train_length": 30, "budget": 40_000, "steps": 60, "learning_rate": 1e-2}
    run = tiny("lstm", task=task.key(), format=SOURCE, **sizes)
    model, _ = load_model(train_quietly(run, tmp_path / "run"))
    scorer = Scorer(model, get_problem(task, SOURCE), examples=10)
    [row] = scorer.score(lengths_of(30, train_length=30)).lengths
    sample, vocabulary = task.sample(30, 10, TEST_SEED, "test"), Vocabulary(task)
    said, right = [], []
    for x, y, x_length, y_length in zip(
        sample.inputs, sample.targets, sample.input_lengths, sample.target_lengths, strict=True
    ):
        source = [vocabulary.bos_id, *vocabulary.input_ids[x[:x_length]], vocabulary.eos_id]
        options = {"max_new_tokens": task.output_length(30) + 1, "eos_token_id": vocabulary.eos_id}
        written = model.generate(torch.tensor([source]), do_sample=False, pad_token_id=0, **options)[:, 1:]
        said += to_texts(written.numpy(), scorer.problem)
        right.append(task.detokenize([task.output_alphabet[symbol] for symbol in y[:y_length]]))
    by_hand = bleu(said, right)
    assert row["bleu"] == pytest.approx(by_hand["bleu"])
    assert 0 < row["bleu"] < 100
    assert scorer.bleu_signature == by_hand["bleu_signature"]


def test_random_distances_are_drawn_for_each_example_too():
    scheme = dict.fromkeys(RANDOM, "randomized_distances")
    model = build("transformer-t5", config=scheme, noise=0.1)
    outcomes = score(model, lengths=(7,), examples=16)
    assert_same_outcomes(score(model, lengths=(7,), examples=16), outcomes)
    seen, hook = watch(model)
    score(model, lengths=(7,), examples=16)
    hook.remove()
    drawn = seen[0]["position_ids"]
    assert_decoded(outcomes, decode_row_by_row(model, get_task("duplicate"), 7, 16, drawn))


def test_a_model_with_hashing_attention_is_decoded_freely():
    lsh = {"attention_types": {"name": "lsh", "chunk_length": 4}}
    model = build("transformer-alibi", config=lsh)
    scorer = Scorer(model, get_problem("duplicate"), examples=12)
    assert scorer.decoding == "free"
    assert len(scorer.score(lengths_of(2, 5)).examples) == 24


def watch(model):
    """Keeps what a model is called with; also the hook that does so."""
    seen = []

    def note(module, arguments, inputs):
        seen.append(inputs)

    return seen, model.register_forward_pre_hook(note, with_kwargs=True)


def never(*args, **kwargs):
    raise AssertionError("work was done")


@pytest.mark.parametrize(("name", "config"), [("transformer-learned", {}), ("transformer-rope", RANDOM)])
def test_a_sequence_that_does_not_fit_is_refused_before_work(name, config, monkeypatch):
    model = build(name, config=config, table_factor=2.0)
    assert score(model, lengths=(12,)).lengths[0]["token_length"] == 39 == model.config.max_position_embeddings
    monkeypatch.setattr(model, "forward", never)
    with pytest.raises(HarnessError, match="Length 13 needs 42 position ids; the model's table or id range has 39"):
        score(model, lengths=(3, 13))


@pytest.mark.parametrize("name", ["lstm", "transformer-rope", "universal_transformer"])
def test_what_has_no_table_takes_any_length(name):
    assert score(build(name, table_factor=1.0), lengths=(40,)).lengths[0]["token_length"] == 123


@pytest.mark.parametrize(
    ("options", "lengths", "words"),
    [
        ({"task": "flip_flop"}, (6, 9), "has no length 9; the nearest valid ones are 8, 10"),
        ({"task": "duplicate"}, (0, 3), "has no length 0"),
        ({"task": "duplicate", "format": "in_place"}, (3,), "has no in_place format"),
        ({"task": "duplicate", "format": "paralel"}, (3,), "Did you mean 'parallel'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_work(options, lengths, words, monkeypatch):
    model = build()
    monkeypatch.setattr(model, "forward", never)
    with pytest.raises(HarnessError, match=words):
        score(model, lengths=lengths, **options)


def test_a_bidirectional_model_is_not_asked_token_by_token():
    model = build("transformer-rope", format="parallel", config={"is_causal": False})
    with pytest.raises(HarnessError, match="autoregressive format needs a causal model"):
        score(model, format="autoregressive")
    assert len(score(model, format="parallel").examples) == 200


def test_ponder_steps_are_the_mean_over_the_real_tokens():
    model = build("universal_transformer-rope", config=ACT, task="binary_addition")
    outcomes = score(model, "binary_addition", lengths=(8,))
    task = get_task("binary_addition")
    sample = task.sample(8, 100, TEST_SEED, "test")
    encoded = get_format("autoregressive").encode(sample, task, Vocabulary(task))
    for index, example in enumerate(outcomes.examples):
        size = encoded.attention_mask[index].sum()
        with torch.no_grad():
            steps = model(torch.tensor(encoded.input_ids[index : index + 1, :size]), use_cache=False).ponder_steps
        assert example["ponder_steps"] == pytest.approx(steps.mean().item(), abs=1e-5)
    assert len({example["ponder_steps"] for example in outcomes.examples}) > 1
    mean = np.mean([example["ponder_steps"] for example in outcomes.examples])
    assert outcomes.lengths[0]["ponder_steps"] == pytest.approx(mean)
    plain = score(build("universal_transformer-rope"), lengths=(3,))
    assert plain.lengths[0]["ponder_steps"] is None
    assert {example["ponder_steps"] for example in plain.examples} == {None}


def wilson_by_hand(right: int, count: int) -> tuple[float, float]:
    z, share = 1.959963984540054, right / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def test_a_lengths_row_follows_from_its_examples(trained_once):
    model = AutoModelForCausalLM.from_pretrained(trained_once)
    outcomes = score(model, lengths=(2, 6, 9))
    assert [row["length"] for row in outcomes.lengths] == [2, 6, 9]
    assert [row["split"] for row in outcomes.lengths] == ["within", "within", "beyond"]
    assert [row["enumerable"] for row in outcomes.lengths] == [True, True, False]  # 4, 64 and 512 inputs; 400
    for row in outcomes.lengths:
        examples = [example for example in outcomes.examples if example["length"] == row["length"]]
        assert [example["index"] for example in examples] == list(range(100))
        right, tokens = sum(e["exact"] for e in examples), sum(e["tokens"] for e in examples)
        assert (row["examples"], row["exact"]) == (100, right / 100)
        assert (row["exact_low"], row["exact_high"]) == pytest.approx(wilson_by_hand(right, 100), abs=1e-9)
        assert row["tokens"] == sum(e["right_tokens"] for e in examples) / tokens
        assert row["teacher_forced"] == sum(e["teacher_forced_tokens"] for e in examples) / tokens
        assert row["threshold"] == pytest.approx(row["baseline_exact"] + 0.9 * (1 - row["baseline_exact"]))
        assert row["token_length"] == 3 * row["length"] + 3
        assert row["tokens_per_second"] > 0
        places = [place for place in outcomes.positions if place["length"] == row["length"]]
        assert [place["position"] for place in places] == list(range(2 * row["length"]))
        assert sum(place["total"] for place in places) == tokens
        assert sum(place["right"] for place in places) == sum(e["right_tokens"] for e in examples)


def test_operations_are_counted_at_the_real_length():
    rows = score(build("transformer-none"), lengths=(3, 12)).lengths
    model = build("transformer-none")
    width, inner = model.config.hidden_size, model.config.intermediate_size
    for row in rows:
        layers = 2 * (2 * (4 * width**2 + 2 * width * inner) + 4 * row["token_length"] * width)
        assert row["flops_per_token"] == layers + 2 * width * model.config.vocab_size


def test_all_models_meet_the_same_examples():
    met = []
    for name in ("lstm", "transformer-rope", "universal_transformer"):
        model = build(name)
        seen, _ = watch(model)
        score(model, format="parallel", lengths=(7,))
        met.append(seen[0]["input_ids"])
    assert torch.equal(met[0], met[1])
    assert torch.equal(met[0], met[2])


def test_progress_is_told_of_every_length_from_the_longest():
    told = []
    Scorer(build(), get_problem("duplicate", "parallel"), examples=100).score(lengths_of(3, 5, 9), told.append)
    assert told == [9, 5, 3]
