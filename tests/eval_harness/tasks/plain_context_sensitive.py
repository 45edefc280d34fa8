"""Plain solvers of the tasks in `tasks/context_sensitive`, one example at a time."""

from math import isqrt


def duplicate(x, task):
    return x + x


def missing_duplicate(x, task):
    half = len(x) // 2
    return [bit for pair in zip(x[:half], x[half:], strict=True) if "?" in pair for bit in pair if bit != "?"]


def is_missing_one(x, task):
    half = len(x) // 2
    return x.count("?") == 1 and sum(a != b for a, b in zip(x[:half], x[half:], strict=True)) == 1


def odds_first(x, task):
    return x[::2] + x[1::2]


def number(bits):
    return int("".join(reversed(bits)), 2)


def bits_of(value):
    return list(reversed(f"{value:b}"))


def binary_addition(x, task):
    plus = x.index("+")
    return bits_of(number(x[:plus]) + number(x[plus + 1 :]))


def binary_multiplication(x, task):
    times = x.index("*")
    return bits_of(number(x[:times]) * number(x[times + 1 :]))


def is_operation(x, task):
    operands = "".join(x).split(task.operator)
    return len(operands) == 2 and all("1" in operand for operand in operands)


def compute_sqrt(x, task):
    if task.most_significant_first:
        return list(f"{isqrt(number(x[::-1])):0{(len(x) + 1) // 2}b}")
    return list(f"{isqrt(number(x)):0{(len(x) + 1) // 2}b}")[::-1]


def bucket_sort(x, task):
    return sorted(x, key=int)


SOLVERS = {
    "duplicate": duplicate,
    "missing_duplicate": missing_duplicate,
    "odds_first": odds_first,
    "binary_addition": binary_addition,
    "binary_multiplication": binary_multiplication,
    "compute_sqrt": compute_sqrt,
    "bucket_sort": bucket_sort,
}
GRAMMARS = {
    "missing_duplicate": is_missing_one,
    "binary_addition": is_operation,
    "binary_multiplication": is_operation,
    "compute_sqrt": lambda x, task: "1" in x,
}
KEYS = ["bucket_sort:symbols=12", "bucket_sort:symbols=2", "compute_sqrt:most_significant_first=True"]
DIGESTS = {
    "duplicate": (1, "272a543cf683"),
    "missing_duplicate": (1, "bb25a56dd8bf"),
    "odds_first": (1, "39e8c88678e3"),
    "binary_addition": (1, "2f0dc8281542"),
    "binary_multiplication": (1, "9aff359c7cf1"),
    "compute_sqrt": (1, "e8a6c8db954b"),
    "bucket_sort": (1, "63fd108916fc"),
}
