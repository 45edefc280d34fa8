from dataclasses import replace

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.tasks import Corpus, Sample, get_task, list_tasks
from eval_harness.tokenization.formats import get_format, list_formats
from eval_harness.tokenization.problem import get_problem
from eval_harness.tokenization.tokenizer import build_tokenizer
from eval_harness.tokenization.vocabulary import NOT_SCORED, SPECIAL_TOKENS, Vocabulary


DRAWN = [name for name in list_tasks() if not isinstance(get_task(name), Corpus)]
# What differs between tasks: answers of one symbol, of fixed or varying length, in place; inputs of varying length.
KINDS = ["parity", "duplicate", "binary_addition", "flip_flop", "number_sort"]
PAIRS = [(name, format) for name in KINDS for format in get_task(name).formats]

each_pair = pytest.mark.parametrize(("name", "format"), PAIRS, ids=[f"{name}-{format}" for name, format in PAIRS])
with_and_without_bos = pytest.mark.parametrize("bos", [True, False])


def mixed_lengths(task):
    """A ragged sample, from the shortest length up."""
    lengths = [length for length in range(1, 12 + task.min_length) if task.valid_length(length)]
    return Sample.concatenate([task.sample(length, 6, seed=0) for length in lengths])


def symbols(alphabet, indices, length):
    return [alphabet[index] for index in indices[:length]]


def perfect_answers(task, format, encoded):
    """What a perfect model says at every place, of each row's question alone; -1 where it is not asked."""
    tokens = Vocabulary(task).tokens
    said = np.full(encoded.labels.shape, -1)
    for row, ids in enumerate(encoded.input_ids):
        text = [tokens[number] for number in ids]
        ends = ("<sep>", "<mask>", "<pad>", "<eos>")
        end = next((place for place, token in enumerate(text) if token in ends), len(text))
        question = [token for token in text[:end] if token != "<bos>"]
        solved = task.answer(
            np.array([[task.input_alphabet.index(symbol) for symbol in question]]), np.array([len(question)])
        )
        answer = symbols(task.output_alphabet, solved.targets[0], solved.target_lengths[0])
        if format == "classification":
            said[row, 0] = task.output_alphabet.index(answer[0])
            continue
        if format in ("autoregressive", "sequence_to_sequence") or (format == "parallel" and task.varying_answers):
            answer = [*answer, "<eos>"]
        first = 0 if format == "sequence_to_sequence" else end
        places = range(first, first + len(answer))
        if format == "in_place":
            places = solved.positions[0, : len(answer)] + (text[0] == "<bos>")
        for place, symbol in zip(places, answer, strict=True):
            said[row, place] = tokens.index(symbol)
    return said


@with_and_without_bos
@pytest.mark.parametrize("name", DRAWN)
def test_a_perfect_answerer_is_exactly_right_and_nothing_else_is_scored(name, bos):
    task = get_task(name)
    sample, vocabulary = mixed_lengths(task), Vocabulary(task)
    for format in task.formats:
        encoded = get_format(format).encode(sample, task, vocabulary, bos=bos)
        said = perfect_answers(task, format, encoded)
        scored = encoded.labels != NOT_SCORED
        np.testing.assert_array_equal(scored, said != -1)
        np.testing.assert_array_equal(encoded.labels[scored], said[scored])
        assert scored.any(axis=1).all()


@each_pair
def test_every_symbol_of_every_answer_and_its_end_is_scored_once(name, format):
    task = get_task(name)
    vocabulary = Vocabulary(task)
    sample = mixed_lengths(task)
    encoded = get_format(format).encode(sample, task, vocabulary)
    ended = get_format(format).decodes or (format == "parallel" and task.varying_answers)
    said = task.output_alphabet if format == "classification" else vocabulary.tokens
    for row in range(len(sample)):
        labels, is_end = encoded.labels[row], encoded.is_end[row]
        spelled = [said[number] for number in labels[(labels != NOT_SCORED) & ~is_end]]
        assert spelled == symbols(task.output_alphabet, sample.targets[row], sample.target_lengths[row])
        assert labels[is_end].tolist() == [vocabulary.eos_id] * ended


@with_and_without_bos
@each_pair
def test_tokens_lie_as_the_format_says_and_padding_is_masked(name, format, bos):
    task = get_task(name)
    vocabulary = Vocabulary(task)
    sample = mixed_lengths(task)
    encoded = get_format(format).encode(sample, task, vocabulary, bos=bos)
    for row in range(len(sample)):
        x = symbols(task.input_alphabet, sample.inputs[row], sample.input_lengths[row])
        y = symbols(task.output_alphabet, sample.targets[row], sample.target_lengths[row])
        masks = task.output_length(int(sample.lengths[row])) + task.varying_answers
        tails = {
            "autoregressive": ["<sep>", *y, "<eos>"],
            "parallel": ["<mask>"] * masks,
            "in_place": [],
            "sequence_to_sequence": ["<eos>"],
            "classification": ["<sep>"],
        }
        tokens = ["<bos>"] * bos + x + tails[format]
        width = encoded.input_ids.shape[1]
        assert [vocabulary.tokens[number] for number in encoded.input_ids[row]] == tokens + ["<pad>"] * (
            width - len(tokens)
        )
        assert encoded.attention_mask[row].tolist() == [1] * len(tokens) + [0] * (width - len(tokens))
        if get_format(format).head == "token":
            assert (encoded.labels[row, len(tokens) :] == NOT_SCORED).all()
        if format == "sequence_to_sequence":
            read = [vocabulary.tokens[number] for number in encoded.decoder_input_ids[row]]
            assert read == ["<bos>", *y] + ["<pad>"] * (len(read) - 1 - len(y))


@with_and_without_bos
@each_pair
def test_the_token_length_is_the_greatest_at_that_length(name, format, bos):
    task = get_task(name)
    for length in (4, 6):  # short, so that the longest input and answer are among the draws
        sample = task.sample(length, 512, seed=0)
        encoded = get_format(format).encode(sample, task, Vocabulary(task), bos=bos)
        sizes = get_format(format).token_lengths(task, length, bos=bos)
        assert sizes == {name: getattr(encoded, name).shape[1] for name in sizes}
        assert (sum(sizes.values()), max(sizes.values())) == (
            encoded.width,
            get_format(format).token_length(task, length, bos=bos),
        )


@each_pair
def test_no_token_before_a_label_depends_on_it_or_on_what_follows(name, format):
    task = get_task(name)
    vocabulary = Vocabulary(task)
    sample = task.sample(10, 32, seed=0)
    changed = replace(sample, targets=np.where(sample.scored, (sample.targets + 1) % len(task.output_alphabet), 0))
    before, after = (get_format(format).encode(each, task, vocabulary) for each in (sample, changed))
    if not get_format(format).needs_causal:
        np.testing.assert_array_equal(before.input_ids, after.input_ids)
        if format == "sequence_to_sequence":
            np.testing.assert_array_equal(before.decoder_input_ids[:, 0], after.decoder_input_ids[:, 0])
            np.testing.assert_array_equal(
                before.decoder_input_ids[:, 1:][before.labels[:, 1:] != NOT_SCORED],
                before.labels[:, :-1][before.labels[:, 1:] != NOT_SCORED],
            )
        return
    for row in range(len(sample)):
        first = np.flatnonzero(before.labels[row] != NOT_SCORED)[0]
        assert vocabulary.tokens[before.input_ids[row, first]] == "<sep>"
        np.testing.assert_array_equal(before.input_ids[row, : first + 1], after.input_ids[row, : first + 1])
        later = np.flatnonzero(before.labels[row] != NOT_SCORED)[:-1]  # what is due here stands at the next token
        np.testing.assert_array_equal(before.input_ids[row, later + 1], before.labels[row, later])


def test_masks_do_not_tell_the_length_of_an_answer():
    task = get_task("binary_addition")
    sample = task.sample(12, 256, seed=0)
    encoded = get_format("parallel").encode(sample, task, Vocabulary(task))
    assert len(set(sample.target_lengths.tolist())) > 1
    assert set((encoded.input_ids == Vocabulary.mask_id).sum(axis=1).tolist()) == {12}
    assert encoded.attention_mask.all()


def test_what_a_task_leaves_out_is_not_scored_but_still_said():
    task = get_task("duplicate")
    sample = task.sample(5, 8, seed=0)
    holes = sample.scored & (np.arange(10) != 3)
    encoded = get_format("autoregressive").encode(replace(sample, scored=holes), task, Vocabulary(task))
    whole = get_format("autoregressive").encode(sample, task, Vocabulary(task))
    np.testing.assert_array_equal(encoded.input_ids, whole.input_ids)
    assert ((encoded.labels == NOT_SCORED) & (whole.labels != NOT_SCORED)).sum() == 8


@each_pair
def test_rows_of_a_ragged_batch_equal_rows_encoded_alone(name, format):
    task = get_task(name)
    vocabulary = Vocabulary(task)
    sample = mixed_lengths(task)
    together = get_format(format).encode(sample, task, vocabulary)
    for row in range(len(sample)):
        alone = get_format(format).encode(sample[row : row + 1], task, vocabulary)
        for field, array in vars(alone).items():
            if array is not None:
                np.testing.assert_array_equal(getattr(together, field)[row, : array.shape[1]], array[0])


@pytest.mark.parametrize("format", list_formats())
def test_an_empty_sample_is_an_empty_batch(format):
    task = get_task({"in_place": "flip_flop", "language_modeling": "text"}.get(format, "parity"))
    assert get_format(format).encode(task.sample(4, 0, seed=0), task, Vocabulary(task)).input_ids.shape[0] == 0


def test_vocabularies_begin_with_the_special_tokens_and_share_equal_symbols():
    vocabulary = Vocabulary(get_task("cycle_navigation"))
    assert vocabulary.tokens == ("<pad>", "<bos>", "<sep>", "<eos>", "<mask>", "0", "1", "2", "3", "4")
    assert vocabulary.size == 10
    assert vocabulary.input_ids.tolist() == [5, 6, 7]
    assert vocabulary.output_ids.tolist() == [5, 6, 7, 8, 9]
    ids = (vocabulary.pad_id, vocabulary.bos_id, vocabulary.sep_id, vocabulary.eos_id, vocabulary.mask_id)
    assert tuple(vocabulary.tokens[number] for number in ids) == SPECIAL_TOKENS
    assert Vocabulary(get_task("parity")).output_ids.tolist() == [7, 8]


@pytest.mark.parametrize("symbol", ["<sep>", "a b", ""])
def test_symbols_that_would_be_read_as_something_else_are_refused(symbol, monkeypatch):
    monkeypatch.setattr(type(get_task("parity")), "input_alphabet", ("0", symbol))
    with pytest.raises(HarnessError, match="is a special token, empty or spaced out"):
        Vocabulary(get_task("parity"))


@with_and_without_bos
@each_pair
def test_the_tokenizer_makes_the_prompt_that_the_format_scores(name, format, bos):
    task = get_task(name)
    tokenizer, vocabulary = build_tokenizer(get_problem(task, format, bos)), Vocabulary(task)
    sample = task.sample(8, 16, seed=0)
    encoded = get_format(format).encode(sample, task, vocabulary, bos=bos)
    rows = zip(sample.inputs, sample.input_lengths, strict=True)
    texts = [" ".join(symbols(task.input_alphabet, *row)) for row in rows]
    prompts = tokenizer(texts)["input_ids"]
    for text, prompt, ids in zip(texts, prompts, encoded.input_ids, strict=True):
        assert prompt == ids[: len(prompt)].tolist()
        assert tokenizer.decode(prompt, skip_special_tokens=True) == text
        ends = {"sequence_to_sequence": "<eos>"} | dict.fromkeys(("autoregressive", "classification"), "<sep>")
        assert vocabulary.tokens[prompt[-1]] == ends.get(format, vocabulary.tokens[prompt[-1]])
        assert (prompt[0] == Vocabulary.bos_id) == bos


@each_pair
def test_the_tokenizer_survives_a_save(name, format, tmp_path):
    from transformers import AutoTokenizer

    task = get_task(name)
    tokenizer = build_tokenizer(get_problem(task, format))
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    vocabulary = Vocabulary(task)
    assert loaded.get_vocab() == {token: number for number, token in enumerate(vocabulary.tokens)}
    text = " ".join([*task.input_alphabet, *task.output_alphabet])
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == text
    special = (
        loaded.pad_token_id,
        loaded.bos_token_id,
        loaded.sep_token_id,
        loaded.eos_token_id,
        loaded.mask_token_id,
    )
    assert special == (0, 1, 2, 3, 4)


def test_the_tokenizer_pads_on_the_left_and_knows_no_unknown():
    tokenizer = build_tokenizer(get_problem("parity"))
    batch = tokenizer(["1 0 1", "1"], padding=True)
    assert batch["input_ids"] == [[1, 6, 5, 6, 2], [0, 0, 1, 6, 2]]
    assert batch["attention_mask"] == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert set(batch) == {"input_ids", "attention_mask"}
    with pytest.raises(Exception, match="UNK"):
        tokenizer("1 2")


def test_unknown_formats_and_formats_that_a_task_lacks_are_refused():
    names = ("autoregressive", "classification", "in_place", "language_modeling", "parallel", "sequence_to_sequence")
    assert list_formats() == [*names]
    assert [name for name in names if get_format(name).needs_causal] == ["autoregressive", "language_modeling"]
    with pytest.raises(HarnessError, match=r"Unknown format 'paralel'. Did you mean 'parallel'"):
        get_format("paralel")
    parity, flip_flop = get_task("parity"), get_task("flip_flop")
    message = r"has no in_place format; it has: autoregressive, parallel, sequence_to_sequence, classification."
    with pytest.raises(HarnessError, match=message):
        get_format("in_place").encode(parity.sample(4, 2, seed=0), parity, Vocabulary(parity))
    with pytest.raises(HarnessError, match=message):
        get_problem(parity, "in_place")
    for name in ("autoregressive", "parallel"):
        with pytest.raises(HarnessError, match=f"no {name} format; it has: in_place"):
            get_format(name).token_length(flip_flop, 4)


def test_an_answer_in_place_needs_its_places():
    task = get_task("flip_flop")
    with pytest.raises(HarnessError, match="name no positions"):
        get_format("in_place").encode(replace(task.sample(4, 2, seed=0), positions=None), task, Vocabulary(task))


def test_a_label_is_one_symbol():
    task = get_task("parity")
    sample = task.sample(4, 2, seed=0)
    wide = replace(sample, targets=np.zeros((2, 2), dtype=int), scored=np.ones((2, 2), dtype=bool))
    with pytest.raises(HarnessError, match="its answers are not one symbol"):
        get_format("classification").encode(wide, task, Vocabulary(task))


class Coupled(type(get_task("duplicate"))):
    """Duplicate, with the same id on a bit and its two copies."""

    def coupled_ids(self, sample):
        places = np.arange(1, sample.inputs.shape[1] + 1)
        width = sample.targets.shape[1]
        behind = [0, *((np.arange(width)[None] % sample.input_lengths[:, None]) + 1).T, 0]
        return np.broadcast_to(places, sample.inputs.shape), np.stack(np.broadcast_arrays(*behind), axis=1)


@with_and_without_bos
def test_coupled_ids_stand_at_the_tokens_that_they_are_for(bos):
    task = Coupled()
    sample = Sample.concatenate([task.sample(length, 1, seed=0) for length in (2, 3)])
    first = [0] * bos
    ids = {}
    for format in map(get_format, ("autoregressive", "parallel", "sequence_to_sequence")):
        encoded = format.encode(sample, task, Vocabulary(task), bos=bos)
        assert encoded.position_ids is None
        ids[format.name] = format.coupled_ids(sample, task, encoded.input_ids.shape[1], bos=bos)
    assert ids["autoregressive"].tolist() == [
        [*first, 1, 2, 0, 1, 2, 1, 2, 1, 2, 0, 0][: 11 + bos],
        [*first, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 0],
    ]
    assert ids["parallel"].tolist() == [
        [*first, 1, 2, 1, 2, 1, 2, 1, 2, 0],
        [*first, 1, 2, 3, 1, 2, 3, 1, 2, 3],
    ]
    assert ids["sequence_to_sequence"] is None
