"""Expressions of an exact length in which brackets stand around every operation, and their values modulo five.

An expression is `d`, `- d`, `( d )` or `( - d )` with a digit d from 0 to 4, at the lengths one to four, and
`( expression operator expression )` beyond.
"""

from functools import lru_cache

import numpy as np

from eval_harness.tasks.sample import fill_after


COUNTED = 60  # the length up to which expressions are counted
SYMBOLS = ("0", "1", "2", "3", "4", "(", ")", "+", "-", "*")
OPEN, CLOSE, PLUS, MINUS, TIMES = range(5, 10)


def draw_expressions(length: int, count: int, operators: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws expressions [count, length]: equally likely digits, operators, and lengths of left operands."""
    symbols = rng.integers(5, size=(count, length))
    rows, starts, lengths = np.arange(count), np.zeros(count, dtype=np.int64), np.full(count, length)
    while len(rows):  # parts [parts] of expressions that are still to be written, a level of brackets at a time
        ends = starts + lengths - 1
        bracketed = lengths >= 3
        symbols[rows[bracketed], starts[bracketed]] = OPEN
        symbols[rows[bracketed], ends[bracketed]] = CLOSE
        negative = (lengths == 2) | (lengths == 4)
        symbols[rows[negative], starts[negative] + bracketed[negative]] = MINUS
        inner = lengths >= 5
        rows, starts, lengths = rows[inner], starts[inner], lengths[inner]
        left = rng.integers(1, lengths - 3)
        symbols[rows, starts + 1 + left] = rng.choice(operators, size=len(rows))
        rows = np.concatenate([rows, rows])
        starts = np.concatenate([starts + 1, starts + 2 + left])
        lengths = np.concatenate([left, lengths - 3 - left])
    return symbols


def evaluate(symbols: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Values [count] modulo five of expressions [count, L] of which the first `lengths` symbols are real.

    One pass over the columns with a stack for every row: a level of brackets holds its value so far and the operator
    that awaits its second operand. A new level begins as "0 +".
    """
    count = len(symbols)
    symbols = fill_after(symbols, lengths, -1)
    opens, closes = symbols == OPEN, symbols == CLOSE
    signs = _unary_minus(symbols)
    numbers = np.where(np.pad(signs, ((0, 0), (1, 0)))[:, :-1], -symbols, symbols)
    digits, binary = (symbols >= 0) & (symbols < OPEN), (symbols >= PLUS) & ~signs
    levels = np.cumsum(opens, axis=1) - np.cumsum(closes, axis=1)  # [count, L], after each symbol
    depth = levels.max(initial=0) + 2
    cells = levels + depth * np.arange(count)[:, None]  # each symbol's level in stacks that stand one after another
    values, operators = np.zeros(count * depth, dtype=np.int64), np.full(count * depth, PLUS)
    columns = (np.ascontiguousarray(array.T) for array in (cells, symbols, numbers, opens, closes, digits, binary))
    for cell, symbol, number, opened, closed, digit, awaits in zip(*columns, strict=True):
        value, operator = values[cell], operators[cell]
        operand = np.where(closed, values[cell + 1], number)
        result = np.where(operator == TIMES, value * operand, value + np.where(operator == MINUS, -operand, operand))
        values[cell] = np.where(digit | closed, result % 5, value * ~opened)
        operators[cell] = np.where(awaits, symbol, np.where(opened, PLUS, operator))
    return values[::depth]


def _unary_minus(symbols: np.ndarray) -> np.ndarray:
    """Marks each minus [count, L] that stands at the beginning, after a bracket opens or after an operator."""
    minus = symbols == MINUS
    minus[:, 1:] &= (symbols[:, :-1] == OPEN) | (symbols[:, :-1] >= PLUS)
    return minus


@lru_cache
def count_expressions(length: int, operators: int) -> tuple[int, int]:
    """The number of expressions of a length, and of digits in all of them, where there are so many operators.

    Beyond `COUNTED` it is the number at that length, a lower bound.
    """
    length = min(length, COUNTED)
    expressions, digits = [0, 5, 5, 5, 5], [0, 5, 5, 5, 5]
    for total in range(5, length + 1):
        splits = [(left, total - 3 - left) for left in range(1, total - 3)]
        expressions.append(operators * sum(expressions[a] * expressions[b] for a, b in splits))
        digits.append(operators * sum(2 * digits[a] * expressions[b] for a, b in splits))
    return expressions[length], digits[length]
