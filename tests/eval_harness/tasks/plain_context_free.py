"""Plain solvers of the tasks in `tasks/context_free`, one example at a time."""


def reverse(x, task):
    return x[::-1]


def split_operation(x):
    """The left operand, operator and right operand of "( left operator right )", or None for other strings."""
    if len(x) < 5 or x[0] != "(" or x[-1] != ")":
        return None
    depth = 0
    for place in range(1, len(x) - 1):
        depth += {"(": 1, ")": -1}.get(x[place], 0)
        if depth == 0 and x[place] in "+-*" and place > 1:
            return x[1:place], x[place], x[place + 1 : -1]
    return None


def is_expression(x):
    if parts := split_operation(x):
        return is_expression(parts[0]) and is_expression(parts[2])
    if len(x) in (3, 4) and x[0] == "(" and x[-1] == ")":
        x = x[1:-1]
    return len(x) in (1, 2) and x[-1] in "01234" and x[:-1] in ("", "-")


def value_of(x):
    if parts := split_operation(x):
        left, right = value_of(parts[0]), value_of(parts[2])
        return {"+": left + right, "-": left - right, "*": left * right}[parts[1]]
    return int(x.strip("()"))


def modular_arithmetic_brackets(x, task):
    return [str(value_of("".join(x)) % 5)]


def solve_equation(x, task):
    left, right = "".join(x).split("=")
    return [digit for digit in "01234" if value_of(left.replace("x", digit)) % 5 == int(right)]


def expressions(length, operators):
    """Every expression of a length, as a string."""
    if length <= 4:
        pattern = {1: "{}", 2: "-{}", 3: "({})", 4: "(-{})"}[length]
        return [pattern.format(digit) for digit in "01234"]
    return [
        f"({left}{operator}{right})"
        for split in range(1, length - 3)
        for left in expressions(split, operators)
        for operator in operators
        for right in expressions(length - 3 - split, operators)
    ]


def every_expression(length, task):
    return [tuple(x) for x in expressions(length, "+-*")] if length <= 9 else None


def every_equation(length, task):
    if length > 10:
        return None
    return [
        tuple(f"{x[:place]}x{x[place + 1 :]}={value_of(x) % 5}")
        for x in expressions(length - 2, "+-")
        for place in range(len(x))
        if x[place].isdigit()
    ]


def is_equation(x, task):
    left, right = "".join(x).split("=")
    return left.count("x") == 1 and is_expression(left.replace("x", "0")) and right in tuple("01234")


def stack_manipulation(x, task):
    stack = []
    for symbol in x:
        stack = stack[:-1] if symbol == "pop" else [*stack, symbol.removeprefix("push_")]
    return stack[::-1]


def bits_then_commands(x, task):
    kinds = ["bit" if symbol in ("0", "1") else "command" for symbol in x]
    return kinds == sorted(kinds) and (len(x) == 1 or len(set(kinds)) == 2) and kinds[0] == "bit"


SOLVERS = {
    "reverse": reverse,
    "modular_arithmetic_brackets": modular_arithmetic_brackets,
    "solve_equation": solve_equation,
    "stack_manipulation": stack_manipulation,
}
GRAMMARS = {
    "modular_arithmetic_brackets": lambda x, task: is_expression("".join(x)),
    "solve_equation": is_equation,
    "stack_manipulation": bits_then_commands,
}
SPACES = {"modular_arithmetic_brackets": every_expression, "solve_equation": every_equation}
DIGESTS = {
    "reverse": (1, "c51933ada52b"),
    "modular_arithmetic_brackets": (1, "04735bebd414"),
    "solve_equation": (1, "ef060e2db765"),
    "stack_manipulation": (1, "52aa78983ae3"),
}
