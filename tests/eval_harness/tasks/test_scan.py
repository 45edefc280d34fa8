"""SCAN against the source's rules of interpretation, read word by word, and its published counts."""

import hashlib
from collections import Counter

import pytest

from eval_harness.errors import HarnessError
from eval_harness.scoring import protocol
from eval_harness.tasks import get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.vocabulary import Vocabulary


SCAN = get_task("scan")
LENGTHS = [length for length in range(1, 49) if SCAN.valid_length(length)]
BEYOND = {24: 336, 25: 448, 26: 512, 27: 448, 28: 448, 30: 576, 32: 448, 33: 256, 36: 64, 40: 256, 48: 128}


def actions(words):
    """The meaning of a command, as the source defines it."""
    for joint in ("and", "after"):
        if joint in words:
            first, second = words[: words.index(joint)], words[words.index(joint) + 1 :]
            return actions(first) + actions(second) if joint == "and" else actions(second) + actions(first)
    if words[-1] in ("twice", "thrice"):
        return actions(words[:-1]) * {"twice": 2, "thrice": 3}[words[-1]]
    verb, *rest = words
    action = [] if verb == "turn" else ["I_" + verb.upper()]
    if not rest:
        return action
    turn = ["I_TURN_" + rest[-1].upper()]
    return {"opposite": turn + turn + action, "around": (turn + action) * 4}.get(rest[0], turn + action)


def pairs(sample):
    for row in range(len(sample)):
        x = [SCAN.input_alphabet[index] for index in sample.inputs[row][: sample.input_lengths[row]]]
        yield x, [SCAN.output_alphabet[index] for index in sample.targets[row]]


def commands(task, split, lengths=LENGTHS):
    return {tuple(x) for length in lengths for x, _ in pairs(task.rows(split, length))}


def test_every_command_asks_for_the_actions_that_the_source_says():
    seen = set()
    for length in LENGTHS:
        for x, y in pairs(SCAN.rows("test", length)):
            assert y == actions(x)
            assert len(y) == length
            seen.add(tuple(x))
    assert len(seen) == 20_910
    assert max(map(len, seen)) == max(map(SCAN.input_length, LENGTHS)) == 9


def test_the_example_is_true_and_stands_in_the_docstring():
    for x, y in SCAN.examples:
        assert actions(x.split()) == y.split()
        assert f"{x} -> {y}\n" in type(SCAN).__doc__
        assert tuple(x.split()) in commands(SCAN, "train")


def test_the_split_by_length_is_the_published_one():
    trained = commands(SCAN, "train")
    assert len(trained) == 16_990
    assert trained == commands(SCAN, "train", [length for length in LENGTHS if length <= 22])
    assert {length: len(SCAN.rows("test", length)) for length in LENGTHS if length > 22} == BEYOND
    assert sum(BEYOND.values()) == 3_920
    assert protocol.test_lengths(SCAN, 22).beyond == tuple(BEYOND)


def test_lengths_up_to_the_cutoff_are_seen_unless_commands_are_held_out():
    held_out = get_task("scan:held_out=0.1")
    assert [protocol.is_enumerable(SCAN, length, 512) for length in (10, 22, 24)] == [True, True, False]
    assert [protocol.is_enumerable(held_out, length, 512) for length in (10, 22, 24)] == [False, False, False]


@pytest.mark.parametrize("cutoff", [22, 26])
def test_held_out_commands_are_in_one_split_alone(cutoff):
    task = get_task(f"scan:cutoff={cutoff},held_out=0.1")
    within = [length for length in LENGTHS if length <= cutoff]
    parts = [commands(task, split, within) for split in ("train", "tune", "test")]
    everything = commands(SCAN, "test", within)
    assert Counter(command for part in parts for command in part) == Counter(everything)
    assert [round(len(part) / len(everything), 2) for part in parts] == [0.8, 0.1, 0.1]
    assert commands(task, "baseline", within) == parts[0]
    beyond = [length for length in LENGTHS if length > cutoff]
    assert commands(task, "test", beyond) == commands(task, "baseline", beyond) == commands(SCAN, "test", beyond)
    assert not commands(task, "train", beyond)


def test_the_cutoff_is_the_greatest_training_length():
    assert SCAN.training_lengths(22) == list(range(1, 23))
    with pytest.raises(HarnessError, match=r"'scan' has no training rows of length 24; the greatest below it is 22."):
        SCAN.training_lengths(24)
    assert get_task("scan:cutoff=26").training_lengths(26)[-3:] == [24, 25, 26]


def test_a_greater_share_holds_out_the_same_commands_and_more():
    small, great = (commands(get_task(f"scan:held_out={share}"), "test") for share in (0.1, 0.3))
    assert small < great


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("cutoff=48", "'cutoff' of task 'scan' cannot be 48; give 1 to 47"),
        ("cutoff=0", "cannot be 0"),
        ("held_out=0.5", "'held_out' of task 'scan' cannot be 0.5; give 0 to below 0.5"),
        ("held_out=-0.1", "cannot be -0.1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(HarnessError, match=message):
        get_task(f"scan:{options}")


def test_the_data_are_those_of_the_version():
    task = get_task("scan:held_out=0.1")
    samples = [task.sample(22, 300, seed=0, split=split) for split in ("train", "test")]
    digest = hashlib.sha256(b"".join(s.inputs.tobytes() + s.targets.tobytes() for s in samples)).hexdigest()[:12]
    assert (task.version, digest) == (1, "d3dc3769e249")


def test_a_row_in_tokens_is_command_and_actions_whatever_their_lengths():
    vocabulary = Vocabulary(SCAN)
    sample = SCAN.sample(12, 64, seed=0)
    encoded = get_format("autoregressive").encode(sample, SCAN, vocabulary)
    for ids, mask, (x, y) in zip(encoded.input_ids, encoded.attention_mask, pairs(sample), strict=True):
        text = [vocabulary.tokens[number] for number in ids[mask == 1]]
        assert text == ["<bos>", *x, "<sep>", *y, "<eos>"]
