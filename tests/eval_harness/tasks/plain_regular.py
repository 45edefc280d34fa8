"""Plain solvers of the tasks in `tasks/regular`, one example at a time."""

from itertools import pairwise


def parity(x, task):
    return ["odd" if x.count("1") % 2 else "even"]


def even_pairs(x, task):
    changes = sum(left != right for left, right in pairwise(x))
    return ["odd" if changes % 2 else "even"]


def cycle_navigation(x, task):
    place = 0
    for symbol in x:
        place = (place + {"0": -1, "1": 0, "2": 1}[symbol]) % 5
    return [str(place)]


def modular_arithmetic(x, task):
    value = 0
    for difference in "".join(x).replace("-", "+-").split("+"):
        product = 1
        for factor in difference.split("*"):
            product *= int(factor)
        value += product
    return [str(value % 5)]


def alternates(x, task):
    return set(x[::2]) <= set("01234") and set(x[1::2]) <= set("+-*")


SOLVERS = {
    "parity": parity,
    "even_pairs": even_pairs,
    "cycle_navigation": cycle_navigation,
    "modular_arithmetic": modular_arithmetic,
}
GRAMMARS = {"modular_arithmetic": alternates}
DIGESTS = {
    "parity": (1, "9cfb5a47354f"),
    "even_pairs": (1, "6baa578f6e01"),
    "cycle_navigation": (1, "492dc382a7c4"),
    "modular_arithmetic": (1, "cc15bd845c8b"),
}
