"""Plain solvers of the tasks in `tasks/copying`, one example at a time."""

from itertools import permutations


def copy(x, task):
    return x


def double(x, task):
    return x + x


def reverse(x, task):
    return x[::-1]


def copy_twice(x, task):
    return [*x, "[NEXT]", *x]


def copy_reversed_twice(x, task):
    return [*x[::-1], "[NEXT]", *x[::-1]]


def copy_reversed_then_forward(x, task):
    return [*x[::-1], "[NEXT]", *x]


def all_different(x, task):
    return len(set(x)) == len(x)


def all_equal(x, task):
    return len(set(x)) == 1


def every_repetition(length, task):
    return [(symbol,) * length for symbol in task.input_alphabet]


def replace_repeated(x, task):
    old, new, _, *string = x
    return [new if symbol == old else symbol for symbol in string]


def is_replacement(x, task):
    old, new, colon, *string = x
    return old != new and colon == ":" and set(string) == {old}


def every_replacement(length, task):
    return [(old, new, ":") + (old,) * length for old, new in permutations(task.output_alphabet, 2)]


SOLVERS = {
    "copy": copy,
    "copy_twice": copy_twice,
    "copy_reversed": reverse,
    "copy_reversed_twice": copy_reversed_twice,
    "copy_reversed_then_forward": copy_reversed_then_forward,
    "copy_repeated": copy,
    "copy_repeated_twice": double,
    "replace_repeated": replace_repeated,
    "decimal_copy": copy,
    "decimal_double": double,
    "decimal_reverse": reverse,
    "unique_copy": copy,
    "repeat_copy": copy,
}
GRAMMARS = {
    "unique_copy": all_different,
    "copy_repeated": all_equal,
    "copy_repeated_twice": all_equal,
    "replace_repeated": is_replacement,
}
SPACES = {
    "copy_repeated": every_repetition,
    "copy_repeated_twice": every_repetition,
    "replace_repeated": every_replacement,
}
KEYS = [
    "copy_twice:symbols=2",
    "copy_reversed_then_forward:symbols=3",
    "copy_repeated:symbols=5",
    "replace_repeated:symbols=4",
]
DIGESTS = {
    "copy": (1, "b00ddacb42d8"),
    "copy_twice": (1, "2c66a2b67334"),
    "copy_reversed": (1, "170d850a4648"),
    "copy_reversed_twice": (1, "c0d0c60578c9"),
    "copy_reversed_then_forward": (1, "0d7a20b69fd5"),
    "copy_repeated": (1, "c9c4a45a00a9"),
    "copy_repeated_twice": (1, "e0ba087d33a8"),
    "replace_repeated": (1, "1a7db122bfca"),
    "decimal_copy": (1, "378d862a7e97"),
    "decimal_double": (1, "d858c64448c2"),
    "decimal_reverse": (1, "3d030afaf5a3"),
    "unique_copy": (1, "e87725c85794"),
    "repeat_copy": (1, "98749f36a40a"),
}
