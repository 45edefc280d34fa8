"""Plain solvers of the tasks in `tasks/lookup`, one example at a time."""

from itertools import product


def mqar(x, task):
    pairs = task.pairs_at(len(x))
    values = dict(zip(x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2], strict=True))
    return [values[symbol] for symbol in x[2 * pairs :] if symbol in values]


def is_mqar(x, task):
    pairs = task.pairs_at(len(x))
    keys, values, rest = x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2], x[2 * pairs :]
    return (
        all(key.startswith("k") for key in keys)
        and all(value.startswith("v") for value in values)
        and len(set(keys)) == len(set(values)) == pairs
        and sorted(symbol for symbol in rest[::2] if symbol in keys) == sorted(keys)
        and not set(rest[1::2]) & set(keys)
        and (task.random_fillers or set(rest) <= {*keys, "_"})
    )


def every_mqar(length, task):
    if len(task.input_alphabet) ** length > 50_000:
        return None
    return [x for x in product(task.input_alphabet, repeat=length) if is_mqar(x, task)]


def read_on(string, key, task):
    string, key = "".join(string), "".join(key)
    start = string.index(key) + len(key)
    return list(string[start : start + task.span])


def prefix_lookup(x, task):
    key, string = "".join(x).split("|")
    return read_on(string, key, task)


def suffix_lookup(x, task):
    string, key = "".join(x).split("|")
    return read_on(string, key, task)


def has_room(string, key, task):
    return len(key) == task.key_letters and key in string[: len(string) - task.span]


def is_prefix_lookup(x, task):
    key, string = "".join(x).split("|")
    return has_room(string, key, task)


def is_suffix_lookup(x, task):
    string, key = "".join(x).split("|")
    return has_room(string, key, task)


def every_string_and_key(length, task):
    if task.letters**length > 50_000:
        return None
    strings = ("".join(letters) for letters in product(task.output_alphabet, repeat=length))
    last = length - task.span - task.key_letters
    return {(string, string[start : start + task.key_letters]) for string in strings for start in range(last + 1)}


def every_prefix_lookup(length, task):
    pairs = every_string_and_key(length, task)
    return pairs and [tuple(f"{key}|{string}") for string, key in pairs]


def every_suffix_lookup(length, task):
    pairs = every_string_and_key(length, task)
    return pairs and [tuple(f"{string}|{key}") for string, key in pairs]


SOLVERS = {"mqar": mqar, "prefix_lookup": prefix_lookup, "suffix_lookup": suffix_lookup}
GRAMMARS = {"mqar": is_mqar, "prefix_lookup": is_prefix_lookup, "suffix_lookup": is_suffix_lookup}
SPACES = {"mqar": every_mqar, "prefix_lookup": every_prefix_lookup, "suffix_lookup": every_suffix_lookup}
BOUNDED = ["prefix_lookup", "suffix_lookup"]
KEYS = [
    "mqar:pairs=1,vocabulary=4",
    "mqar:pairs=1,vocabulary=6,random_fillers=False",
    "mqar:share=0.25,vocabulary=64",
    "prefix_lookup:letters=2,span=1",
    "suffix_lookup:letters=2,span=1",
    "suffix_lookup:letters=3,key_letters=1,span=2",
]
DIGESTS = {
    "mqar": (1, "b238a448e875"),
    "prefix_lookup": (1, "5c03e6bd724a"),
    "suffix_lookup": (1, "48358f45546e"),
}
