"""Plain solvers of the tasks in `tasks/counting`, one example at a time."""

from collections import Counter


def majority(x, task):
    return [Counter(x).most_common(1)[0][0]]


def one_mode(x, task):
    counts = sorted(Counter(x).values())
    return counts[-1:] != counts[-2:-1]


def three_majorities(x, task):
    return [majority(x[start::3], task)[0] for start in range(3)]


def three_modes(x, task):
    return all(one_mode(x[start::3], task) for start in range(3))


def parity(x, task):
    return ["odd" if x.count("1") % 2 else "even"]


SOLVERS = {
    "majority": majority,
    "binary_majority": majority,
    "binary_majority_interleave": three_majorities,
    "uniform_parity": parity,
}
GRAMMARS = {"majority": one_mode, "binary_majority": one_mode, "binary_majority_interleave": three_modes}
KEYS = ["majority:letters=2", "majority:letters=3"]
DIGESTS = {
    "majority": (1, "dfbe8c657b37"),
    "binary_majority": (1, "cf6ea713a3c5"),
    "binary_majority_interleave": (1, "396612d56e30"),
    "uniform_parity": (1, "5963d0f58fd8"),
}
