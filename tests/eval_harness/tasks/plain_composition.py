"""Plain solvers of the tasks in `tasks/composition`, one example at a time."""

from itertools import permutations, product

import numpy as np


def lego(x, task):
    text = "".join(x)
    assignments, question = text.split("?")
    values = {"1": 1}
    waiting = [clause.split("=") for clause in assignments.split(";")]
    while waiting:
        variable, (sign, other) = waiting.pop(0)
        if other in values:
            values[variable] = values[other] if sign == "+" else -values[other]
        else:
            waiting.append((variable, (sign, other)))
    return [f"{values[question]:+d}"]


def every_lego(length, task):
    if length > 2:
        return None
    inputs = []
    for (a, b), first, second in product(permutations("abcdefghijklmnopqrstuvwxyz", 2), "+-", "+-"):
        clauses = [f"{a}={first}1", f"{b}={second}{a}"]
        for order in permutations(clauses) if task.shuffled else [clauses]:
            inputs.append(tuple(";".join(order) + f"?{b}"))
    return inputs


def is_lego(x, task):
    assignments, question = "".join(x).split("?")
    clauses = [clause.split("=") for clause in assignments.split(";")]
    made_of = {variable: other[1] for variable, other in clauses}
    chain = ["1"]
    after = {other: variable for variable, other in made_of.items()}
    while chain[-1] in after:
        chain.append(after[chain[-1]])
    n = len(clauses)
    asked = chain[n // 2 + 1 :] if n % 2 == 0 else chain[n // 2 + 2 :]
    in_order = [variable for variable, _ in clauses] == chain[1:]
    return len(made_of) == n == len(chain) - 1 and question in asked and (in_order or task.shuffled)


def compositional_table_lookup(x, task):
    random = np.random.RandomState(0x12345678)
    tables = {name: random.permutation(8) for name in "abcdefghi"}
    bits, *names = x[::-1] if task.backward else x
    state = int(bits, 2)
    for name in names:
        state = tables[name][state]
    return [f"{state:03b}"]


def is_table_lookup(x, task):
    bits, *names = x[::-1] if task.backward else x
    return bits in task.output_alphabet and not set(names) & set(task.output_alphabet)


def every_table_lookup(length, task):
    if length > 3:
        return None
    inputs = product(task.output_alphabet, *["abcdefghi"] * length)
    return [x[::-1] if task.backward else x for x in inputs]


def nested(symbols):
    """The first expression of an iterator of symbols: a digit, or a list of all between brackets; None at a close."""
    symbol = next(symbols)
    if symbol in "])":
        return None
    if symbol in "0123456789+*":
        return symbol
    inside = [] if symbol == "(" else [symbol[1:]]
    while (item := nested(symbols)) is not None:
        inside.append(item)
    return inside


def work_out_list(tree):
    """The value and the dependency depth."""
    if isinstance(tree, str):
        return int(tree), 1
    arguments = sorted((work_out_list(argument) for argument in tree[1:]), key=lambda pair: pair[0])
    values, count = [value for value, _ in arguments], len(arguments)
    if tree[0] == "SM":
        return sum(values) % 10, 1 + max(depth for _, depth in arguments)
    middle = arguments[(count - 1) // 2 : count // 2 + 1]
    first_greatest = next(pair for pair in arguments if pair[0] == values[-1])
    selected = {"MIN": arguments[:1], "MAX": [first_greatest], "MED": middle}[tree[0]]
    return sum(value for value, _ in selected) // len(selected), 1 + max(depth for _, depth in selected)


def work_out_arithmetic(tree):
    """The value and the depth."""
    if isinstance(tree, str):
        return int(tree), 1
    (left, left_depth), (right, right_depth) = work_out_arithmetic(tree[0]), work_out_arithmetic(tree[2])
    value = left + right if tree[1] == "+" else left * right
    return value % 10, 1 + max(left_depth, right_depth)


WORK_OUT = {"listops": work_out_list, "simple_arithmetic": work_out_arithmetic}


def work_out(x, task):
    return WORK_OUT[task.name](nested(iter(x)))


def expression(x, task):
    return [str(work_out(x, task)[0])]


def lists(size, task):
    """All lists of so many symbols."""
    if size == 1:
        return [(digit,) for digit in "0123456789"]
    parts = [inside for count in range(2, task.arguments + 1) for inside in sequences(size - 2, count, task)]
    return [(operator, *inside, "]") for operator in ("[MIN", "[MAX", "[MED", "[SM") for inside in parts]


def sequences(size, count, task):
    """All sequences of so many lists with so many symbols together."""
    if count == 1:
        return lists(size, task) if size > 0 else []
    firsts = range(1, size - count + 2)
    return [a + b for first in firsts for a in lists(first, task) for b in sequences(size - first, count - 1, task)]


def sums(size, task):
    """All sums and products of so many symbols."""
    if size == 1:
        return [(digit,) for digit in "0123456789"]
    return [
        ("(", *left, sign, *right, ")")
        for first in range(1, size - 3)
        for left in sums(first, task)
        for sign in "+*"
        for right in sums(size - 3 - first, task)
    ]


def every_expression(length, task):
    if task.max_symbols > 10:
        return None
    write = {"listops": lists, "simple_arithmetic": sums}[task.name]
    inputs = [x for size in range(1, task.max_symbols + 1) for x in write(size, task)]
    return [x for x in inputs if work_out(x, task)[1] == length]


SOLVERS = {
    "lego": lego,
    "compositional_table_lookup": compositional_table_lookup,
    "listops": expression,
    "simple_arithmetic": expression,
}
GRAMMARS = {"lego": is_lego, "compositional_table_lookup": is_table_lookup}
SPACES = {
    "lego": every_lego,
    "compositional_table_lookup": every_table_lookup,
    "listops": every_expression,
    "simple_arithmetic": every_expression,
}
BOUNDED = ["listops", "simple_arithmetic"]
KEYS = [
    "lego:shuffled=True",
    "compositional_table_lookup:backward=True",
    "listops:arguments=2,max_symbols=8",
    "simple_arithmetic:max_symbols=9",
]
DIGESTS = {
    "lego": (1, "ce1af459ad7c"),
    "compositional_table_lookup": (1, "baaff152c4ee"),
    "listops": (1, "aec57a89e2b4"),
    "simple_arithmetic": (1, "a2343e189b9a"),
}
