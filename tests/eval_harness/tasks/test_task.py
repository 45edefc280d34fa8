import os
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eval_harness.errors import HarnessError
from eval_harness.tasks import Answer, Sample, Task, get_task, list_tasks, register_task
from eval_harness.tasks.counting.majority import Majority
from eval_harness.tasks.drawing import draw_bits
from eval_harness.tasks.memory.flip_flop import FlipFlop
from eval_harness.tasks.regular.parity import Parity
from eval_harness.tasks.task import derive_rng


@dataclass(frozen=True, kw_only=True)
class Echo(Task):
    """Say the first symbol again; counts its draws."""

    name = "echo"
    skill = "copying"
    source = "a test"
    length_meaning = "symbols"
    examples = ()
    input_alphabet = ("0", "1", "2")
    output_alphabet = ("0", "1", "2")
    draws = []
    loud: str = "no"

    def output_length(self, length):
        return 1

    def draw(self, length, count, rng):
        self.draws.append((length, count))
        return rng.integers(3, size=(count, length))

    def answer(self, inputs, input_lengths):
        return Answer(inputs[:, :1], np.ones_like(input_lengths))


def assert_same(left, right):
    for name, array in vars(left).items():
        np.testing.assert_array_equal(array, getattr(right, name), err_msg=name)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 3), st.floats(0, 2), st.sampled_from([8, 200, 600]), st.sampled_from(["majority", "flip_flop"]))
@example(1.0, 1.0, 8, "flip_flop")
@example(1.0, 2.0, 200, "majority")
def test_any_range_of_a_stream_is_cut_from_the_whole(first, share, length, name):
    task = get_task(name)
    size = task.block_size(length)
    whole = task.sample(length, 5 * size, seed=3, split="train")
    start, count = int(first * size), int(share * size)
    assert_same(task.sample(length, count, seed=3, split="train", start=start), whole[start : start + count])


def test_blocks_of_short_inputs_hold_more_examples():
    sizes = [get_task("parity").block_size(length) for length in (1, 64, 65, 128, 129, 500, 10**6)]
    assert sizes == [2048, 2048, 1024, 1024, 512, 256, 256]
    assert get_task("flip_flop").sample(10, 2048, seed=0, split="train").inputs.shape == (2048, 10)
    assert get_task("number_sort").block_size(13) == 2048  # of 64 symbols


def test_every_part_of_a_streams_name_matters():
    task = Majority()
    first = task.sample(30, 64, seed=0, split="test").inputs
    others = [
        task.sample(30, 64, seed=1, split="test"),
        *(task.sample(30, 64, seed=0, split=split) for split in ("train", "tune", "baseline")),
        task.sample(30, 64, seed=0, split="test", start=task.block_size(30)),
        task.sample(31, 64, seed=0, split="test")[:],
    ]
    for other in others:
        assert (first == other.inputs[:, :30]).mean() < 0.2
    sorting = get_task("bucket_sort:symbols=12").sample(30, 64, seed=0).inputs
    assert (get_task("bucket_sort:symbols=13").sample(30, 64, seed=0).inputs == sorting).mean() < 0.2


def test_a_new_version_has_new_data(monkeypatch):
    before = Echo().sample(20, 64, seed=0).inputs
    monkeypatch.setattr(Echo, "version", 2)
    assert (Echo().sample(20, 64, seed=0).inputs == before).mean() < 0.6


def test_four_batches_of_a_block_draw_it_once(monkeypatch):
    monkeypatch.setattr(Echo, "draws", [])
    for batch in range(4):
        Echo().sample(6, 64, seed=11, start=64 * batch)
    assert Echo.draws == [(6, Echo().block_size(6))]


@pytest.mark.parametrize("count", [64, 2048, 2100])
def test_writing_into_a_sample_changes_no_later_one(count):
    task = get_task("parity")
    before = task.sample(7, count, seed=5)
    kept = replace(before, **{name: np.copy(array) for name, array in vars(before).items() if array is not None})
    before.inputs[:] = 1
    before.targets[:] = 0
    assert_same(task.sample(7, count, seed=5), kept)


@pytest.mark.parametrize("task", [Echo(), get_task("odds_first"), get_task("flip_flop")])
def test_the_arrays_of_a_sample_share_no_memory(task):
    for count in (64, task.block_size(6), 2100):
        arrays = [array for array in vars(task.sample(6, count, seed=0)).values() if array is not None]
        assert all(array.flags.writeable for array in arrays)
        assert not any(np.shares_memory(*pair) for pair in combinations(arrays, 2))


def test_data_do_not_depend_on_the_process_and_tasks_import_nothing_heavy():
    script = (
        "import sys, hashlib\n"
        "from eval_harness.tasks import Corpus, get_task, list_tasks\n"
        "heavy = {'torch', 'transformers', 'scipy', 'datasets', 'matplotlib', 'pyarrow'} & set(sys.modules)\n"
        "tasks = [task for task in map(get_task, list_tasks()) if not isinstance(task, Corpus)]\n"
        "lengths = [next(n for n in range(12, 99) if task.valid_length(n)) for task in tasks]\n"
        "pairs = zip(tasks, lengths, strict=True)\n"
        "arrays = [task.sample(length, 300, seed=2).inputs.tobytes() for task, length in pairs]\n"
        "print(sorted(heavy), hashlib.sha256(b''.join(arrays)).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().startswith("[] ")


def test_derived_generators_are_a_function_of_their_parts_alone():
    assert derive_rng("a", 1).integers(1000, size=3).tolist() == derive_rng("a", 1).integers(1000, size=3).tolist()
    assert derive_rng("a", 1).integers(2**60) != derive_rng("a", 2).integers(2**60)
    assert derive_rng("a", 1).integers(2**60) != derive_rng("a1").integers(2**60)


def test_generators_of_neighbouring_parts_are_independent():
    bits = np.stack([draw_bits(64, 64, derive_rng("a", number)) for number in range(200)])  # [generators, rows, bits]
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.2  # over generators: five and a half standard errors
    assert np.abs((bits[1:] == bits[:-1]).mean(axis=0) - 0.5).max() < 0.2


@pytest.mark.parametrize(("length", "count"), [(1, 1), (7, 3), (64, 2), (13, 1000)])
def test_bits_are_fair_at_every_place_and_of_neighbours_too(length, count):
    bits = np.stack([draw_bits(length, count, derive_rng("bits", number)) for number in range(400)])
    assert bits.shape == (400, count, length)
    assert set(np.unique(bits)) == {0, 1}
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.15
    flat = bits.reshape(400, -1)
    for distance in (1, 2, 8, 63, 64):
        if distance < flat.shape[1]:
            assert np.abs((flat[:, distance:] == flat[:, :-distance]).mean(axis=0) - 0.5).max() < 0.15


def test_slices_and_concatenations_pad_and_keep_every_column():
    task = get_task("flip_flop")
    short, long = task.sample(6, 5, seed=0), task.sample(12, 4, seed=0)
    both = Sample.concatenate([short, long])
    assert len(both) == 9
    assert both.inputs.shape == (9, 12)
    assert both.targets.shape == both.scored.shape == both.positions.shape == (9, 5)
    assert both.lengths.tolist() == [6] * 5 + [12] * 4
    assert not both.inputs[:5, 6:].any()
    assert not both.scored[:5, 2:].any()
    assert_same(both[5:], long)
    assert Sample.concatenate([get_task("parity").sample(3, 2, seed=0)] * 2).positions is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("parity", "parity"),
        ("majority:letters=26", "majority"),
        ("majority:letters=5", "majority:letters=5"),
        ("majority: letters = 5", "majority:letters=5"),
        ("flip_flop:ignore=0", "flip_flop:ignore=0.0"),
    ],
)
def test_keys_name_a_task_and_the_options_that_are_not_default(text, key):
    assert get_task(text).key() == key
    assert get_task(get_task(text).key()) == get_task(text)


def test_options_come_from_the_key_or_from_keywords():
    assert get_task("majority", letters=5) == get_task("majority:letters=5") == Majority(letters=5)
    assert get_task("majority:letters=5", letters=7) == Majority(letters=7)
    assert FlipFlop(ignore=0) == FlipFlop(ignore=0.0)
    assert Echo(loud="7").loud == "7"
    with pytest.raises(HarnessError, match="'loud' of task 'echo' cannot be 'a,b': a comma ends an option"):
        Echo(loud="a,b")
    assert Parity() != get_task("even_pairs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("party", r"Unknown task 'party'. Did you mean 'parity'\? Allowed: .*majority"),
        ("parity:bits=3", r"Task 'parity' has no options, so not 'bits' either."),
        ("majority:leters=3", r"option of task 'majority': 'leters'. Did you mean 'letters'\?"),
        ("majority:letters", r"Cannot read 'letters' in task 'majority'; write options as majority:option=value."),
        ("majority:letters=five", r"Option 'letters' of task 'majority' cannot be 'five'; give it like 26."),
        ("majority:letters=2.5", r"cannot be 2.5"),
        ("majority:letters=True", r"cannot be True"),
        ("majority:letters=27", r"cannot have 27 letters; give 2 to 26"),
        ("bucket_sort:symbols=1", r"cannot have 1 symbols; give at least 2"),
        ("flip_flop:ignore=1", r"cannot be 1.0; give 0 to below 1"),
        ("flip_flop:ignore=-0.1", r"cannot be -0.1"),
    ],
)
def test_wrong_names_and_options_are_refused_in_one_sentence(text, message):
    with pytest.raises(HarnessError, match=message):
        get_task(text)


@pytest.mark.parametrize("length", [0, -1, 2.5, 3.0, "4", None, True])
def test_no_task_has_a_length_that_is_not_a_positive_whole_number(length):
    for name in list_tasks():
        task = get_task(name)
        assert not task.valid_length(length)
        with pytest.raises(
            HarnessError, match=f"no length {length}; its shortest is|{length!r}.* is not a whole number"
        ):
            task.sample(length, 4, seed=0)


def test_a_length_between_valid_ones_is_refused_with_its_neighbours():
    with pytest.raises(HarnessError, match=r"'flip_flop' has no length 7; the nearest valid ones are 6, 8."):
        get_task("flip_flop").check_length(7)
    get_task("flip_flop").check_length(np.int64(8))


def test_a_sample_needs_a_known_split_and_rows_from_zero_on():
    task = get_task("parity")
    with pytest.raises(HarnessError, match=r"Unknown split 'tests'. Did you mean 'test'"):
        task.sample(4, 4, seed=0, split="tests")
    for count, start in ((-1, 0), (1, -1)):
        with pytest.raises(HarnessError, match=f"{count} rows from row {start}"):
            task.sample(4, count, seed=0, start=start)


def test_a_name_belongs_to_one_class():
    class Impostor(Echo):
        name = "parity"

    with pytest.raises(HarnessError, match=r"'parity' is taken by eval_harness.tasks.regular.parity.Parity"):
        register_task(Impostor)
    assert register_task(Parity) is Parity
    assert list_tasks() == sorted(list_tasks())
    assert "echo" not in list_tasks()
