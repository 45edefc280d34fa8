"""Plain solvers of the tasks in `tasks/arithmetic`, one example at a time.

Numbers in other bases than ten and two do not occur: `int` and format codes read and write them.
"""

from itertools import product
from math import prod


def written(value, base, width=1):
    """A number's digits, the most significant first."""
    return f"{value:0{width}{'d' if base == 10 else 'b'}}"


def greatest_width(task, first, second):
    """The most digits of a result of operands with so many digits."""
    return first + second if task.operator == "*" else max(first, second) + 1


def with_hints(digits, hints):
    return [symbol for pair in zip(hints, digits, strict=True) for symbol in pair]


def operation(x, task):
    place = x.index(task.operator)
    operands, hints = [x[:place], x[place + 1 :]], {}
    if task.hints:
        hints = [operand[::2] for operand in operands]
        operands = [operand[1::2] for operand in operands]
    widths = [len(operand) for operand in operands]
    if task.order == "reversed":
        operands = [operand[::-1] for operand in operands]
    values = [int("".join(operand), task.base) for operand in operands]
    result = prod(values) if task.operator == "*" else sum(values)
    width = {"none": 1, "all": widths[0]}.get(task.padding, greatest_width(task, *widths))
    digits = written(result, task.base, width)
    if task.order != "plain":
        digits = digits[::-1]
    if not task.hints:
        return list(digits)
    if task.order == "reversed":  # hints rise from the least significant place on, in operands and answer
        first = int(hints[0][0][1:])
        return with_hints(digits, [f"h{first + place}" for place in range(len(digits))])
    last = int(hints[0][-1][1:])  # hints fall from the least significant place on
    names = [f"h{last - place}" for place in range(len(digits))]
    return with_hints(digits, names if task.order == "reversed_answer" else names[::-1])


def digit_counts(task, length):
    """Every pair of numbers of digits of a length."""
    if task.name == "ut_addition":
        return [(a, b) for a in range(1, length // 2 + 1) for b in range(1, length) if a + b + 1 <= length]
    if task.name == "crasp_addition":
        return [(a, length - 2 - a) for a in range(1, length - 2)]
    if task.operator == "*" and task.multiplier_digits:
        return [(length, task.multiplier_digits)]
    return [(a, b) for a in range(1, length + 1) for b in range(1, length + 1) if max(a, b) == length]


def numbers_of(digits, base):
    return range(0 if digits == 1 else base ** (digits - 1), base**digits)


def input_of(task, values, digits, first_hint):
    """An input as a tuple of symbols, with the hints that begin at one."""
    width = {"longer": max(digits), "all": greatest_width(task, *digits)}.get(task.padding, 1)
    operands = [list(written(value, task.base, width)) for value in values]
    if task.order == "reversed":
        operands = [operand[::-1] for operand in operands]
    if task.hints:  # the last written digit has the last hint of all, or the first written one the first
        places = greatest_width(task, *digits)
        starts = [first_hint + (0 if task.order == "reversed" else places - len(operand)) for operand in operands]
        operands = [
            with_hints(operand, [f"h{start + place}" for place in range(len(operand))])
            for operand, start in zip(operands, starts, strict=True)
        ]
    return (*operands[0], task.operator, *operands[1])


def every_operation(length, task):
    if task.distinct_inputs(length) > 12_000:
        return None
    return [
        input_of(task, values, digits, first_hint)
        for digits in digit_counts(task, length)
        for values in product(*(numbers_of(count, task.base) for count in digits))
        for first_hint in (range(task.hints - greatest_width(task, *digits) + 1) if task.hints else [0])
    ]


def summation(x, task):
    return [str(sum(int(digit) for digit in x) % 10)]


def polynomial(x, task):
    value = int(x[0].removeprefix("x="))
    terms = [
        int(coefficient) * value ** int(power.removeprefix("x^"))
        for coefficient, power in zip(x[1::2], x[2::2], strict=True)
    ]
    return [str(sum(terms) % 10)]


def every_polynomial(length, task):
    if length > 2:
        return None
    values = [f"x={value}" for value in range(-2, 3)]
    terms = list(product([str(coefficient) for coefficient in range(-3, 4)], [f"x^{power}" for power in range(4)]))
    return [
        (x, *(symbol for term in choice for symbol in term))
        for x in values
        for choice in product(terms, repeat=length)
    ]


OPERATIONS = [
    "decimal_addition",
    "plain_addition",
    "hinted_addition",
    "coupled_addition",
    "ut_addition",
    "crasp_addition",
    "decimal_multiplication",
    "coupled_multiplication",
]
SOLVERS = {**dict.fromkeys(OPERATIONS, operation), "summation": summation, "polynomial": polynomial}
SPACES = {**dict.fromkeys(OPERATIONS, every_operation), "polynomial": every_polynomial}
KEYS = [
    "decimal_addition:padding=answer",
    "plain_addition:padding=longer",
    "plain_addition:hints=60",
    "decimal_addition:hints=4",
    "hinted_addition:order=plain",
    "ut_addition:padding=answer",
    "crasp_addition:padding=longer,hints=300",
    "crasp_addition:order=reversed,padding=all,hints=30",
    "decimal_multiplication:order=plain",
    "decimal_multiplication:padding=answer",
    "decimal_multiplication:padding=longer",
    "decimal_multiplication:padding=all,hints=40",
    "coupled_multiplication:multiplier_digits=1,padding=none",
]
DIGESTS = {
    "decimal_addition": (1, "ab735cf05768"),
    "plain_addition": (1, "f6271d6c05da"),
    "hinted_addition": (1, "85b4cd122713"),
    "coupled_addition": (1, "b3a401c6b2f6"),
    "ut_addition": (1, "9383caf9c336"),
    "crasp_addition": (1, "c84164450e6c"),
    "decimal_multiplication": (1, "3fac49ebdc9c"),
    "coupled_multiplication": (1, "574b3b4e765e"),
    "summation": (1, "ea0cf710d136"),
    "polynomial": (1, "c8160ba81fd8"),
}
