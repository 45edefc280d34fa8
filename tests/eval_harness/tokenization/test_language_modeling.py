"""Language modelling: losses against windows that are read one by one."""

from math import exp

import numpy as np
import pytest
import torch

from eval_harness.errors import HarnessError
from eval_harness.models import build_model
from eval_harness.scoring.protocol import TestLengths
from eval_harness.scoring.scorer import TEST_SEED, Scorer
from eval_harness.specification import TrainingRun
from eval_harness.tasks import get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.problem import get_problem
from eval_harness.tokenization.vocabulary import Vocabulary
from eval_harness.training.batches import TrainingBatches
from eval_harness.training.setup import size_for


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "text"
    path.write_text("".join(f"line {number} of {number % 7}: {'ab' * (number % 5)}\n" for number in range(120)))
    return path


def run(path, model="lstm", **changes):
    sizes = {"train_length": 8, "steps": 2, "batch_size": 4, "budget": 4000}
    return TrainingRun(**{"task": f"text:path={path}", "model": model, **sizes, **changes})


def model_of(run):
    model = build_model(size_for(run).config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def texts(task, sample):
    return [task.detokenize([task.input_alphabet[number] for number in row]) for row in sample.inputs]


@pytest.mark.parametrize("bos", [True, False])
def test_each_symbol_is_due_at_the_token_before_it(path, bos):
    task = get_task("text", path=str(path))
    vocabulary = Vocabulary(task)
    sample = task.sample(6, 20, seed=0)
    encoded = get_format("language_modeling").encode(sample, task, vocabulary, bos=bos)
    for row, window in enumerate(sample.inputs):
        x = [task.input_alphabet[number] for number in window]
        said = [vocabulary.tokens[number] for number in encoded.labels[row]]
        read = [vocabulary.tokens[number] for number in encoded.input_ids[row]]
        assert (read, said) == ((["<bos>", *x[:-1]], x) if bos else (x[:-1], x[1:]))
    assert not encoded.is_end.any()
    assert encoded.input_ids.shape[1] == get_format("language_modeling").token_length(task, 6, bos=bos)


def test_the_format_is_for_causal_models_alone(path):
    with pytest.raises(HarnessError, match="language_modeling format needs a causal model"):
        size_for(run(path, "transformer-rope", config={"is_causal": False}))


def score(model, task, lengths, examples, bos=True):
    lengths = TestLengths(tuple(lengths), (), (), max(lengths), 1.0)
    return Scorer(model, get_problem(task, "language_modeling", bos), examples).score(lengths)


@torch.no_grad()
@pytest.mark.parametrize("model", ["lstm", "transformer-alibi", "universal_transformer-rope"])
@pytest.mark.parametrize("bos", [True, False])
def test_losses_are_those_of_windows_read_one_by_one(path, model, bos):
    specification = run(path, model)
    task, model = specification.make_task(), model_of(specification)
    found = score(model, task, [5, 12], 40, bos)
    vocabulary = Vocabulary(task)
    for row in found.lengths:
        length = row["length"]
        windows = task.sample(length, 40, TEST_SEED, "test").inputs
        losses = []
        for window in windows:
            tokens = [vocabulary.bos_id] * bos + vocabulary.input_ids[window].tolist()
            chances = [
                model(torch.tensor([tokens[:end]])).logits[0, -1].log_softmax(-1) for end in range(1, len(tokens))
            ]
            losses.append([-float(chance[token]) for chance, token in zip(chances, tokens[1:], strict=True)])
        positions = [each["loss"] for each in found.positions if each["length"] == length]
        assert positions == pytest.approx(np.mean(losses, axis=0), abs=1e-5)
        assert row["loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity(path):
    specification = run(path)
    task, model = specification.make_task(), model_of(specification)
    torch.nn.utils.vector_to_parameters(torch.zeros(model.num_parameters()), model.parameters())
    size = Vocabulary(task).size
    found = score(model, task, [4, 30], 3)
    assert [exp(row["loss"]) for row in found.lengths] == pytest.approx([size, size])
    assert [row["examples"] for row in found.lengths] == [3, 3]
    places = [(row["length"], row["position"]) for row in found.positions]
    assert sorted(places) == [(length, place) for length in (4, 30) for place in range(length)]


def test_lengths_that_the_text_or_the_model_does_not_have_are_refused(path):
    specification = run(path, "transformer-learned", table_factor=2.0)
    task, model = specification.make_task(), model_of(specification)
    with pytest.raises(HarnessError, match=r"'text' has no length 1; its shortest is 2"):
        score(model, task, [1], 100)
    with pytest.raises(HarnessError, match=r"Length 30 needs 30 position ids; the model's table or id range has 16"):
        score(model, task, [8, 30], 100)


def test_training_reads_windows_of_the_first_part_of_the_text(path):
    specification = run(path, steps=30)
    assert "digest=" in specification.task
    batches, task = TrainingBatches(specification), specification.make_task()
    whole = path.read_text()
    for step, length in enumerate(batches.lengths.tolist()):
        labels = batches[step]["labels"]
        assert labels.shape == (4, length)
        tokens = Vocabulary(task).tokens
        for row in labels.tolist():
            window = task.detokenize([tokens[number] for number in row])
            assert window in whole[: 8 * len(whole) // 10]
    assert len(set(batches.lengths.tolist())) > 4
