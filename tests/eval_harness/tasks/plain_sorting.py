"""Plain solvers of the tasks in `tasks/sorting`, one example at a time."""


def sort(x, task):
    return sorted(x, key=int)


def all_different(x, task):
    return len(set(x)) == len(x)


def number_sort(x, task):
    numbers = sorted(int(number) for number in "".join(x).split(","))
    return list(",".join(map(str, numbers)))


def are_numbers(x, task):
    numbers = "".join(x).split(",")
    return all(str(int(number)) == number and 10 <= int(number) <= 9999 for number in numbers)


def every_number(length, task):
    return [tuple(str(number)) for number in range(10, 10000)] if length == 1 else None


SOLVERS = {"sort": sort, "symbol_sort": sort, "number_sort": number_sort}
GRAMMARS = {"sort": all_different, "number_sort": are_numbers}
SPACES = {"number_sort": every_number}
DIGESTS = {
    "sort": (1, "e24021f914be"),
    "symbol_sort": (1, "8ae92ab40339"),
    "number_sort": (1, "6418c4b05793"),
}
