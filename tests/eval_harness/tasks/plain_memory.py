"""Plain solvers of the tasks in `tasks/memory`, one example at a time."""


def flip_flop(x, task):
    said, memory = [], None
    for instruction, bit in zip(x[::2], x[1::2], strict=True):
        if instruction == "w":
            memory = bit
        if instruction == "r":
            said.append(memory)
    return said


def is_flip_flop(x, task):
    pairs = ["".join(x[start : start + 2]) for start in range(0, len(x), 2)]
    known = {"w0", "w1", "r?"} | ({"i0", "i1"} if task.ignore else set())
    return pairs[0][0] == "w" and pairs[-1] == "r?" and known.issuperset(pairs)


SOLVERS = {"flip_flop": flip_flop}
GRAMMARS = {"flip_flop": is_flip_flop}
KEYS = ["flip_flop:ignore=0", "flip_flop:ignore=0.98"]
DIGESTS = {"flip_flop": (1, "7d2f8bfdd0bc")}
