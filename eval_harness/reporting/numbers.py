"""Numbers and names as a reader wants them: no more digits than they carry."""

from eval_harness.results.statistics import AtLeast


MISSING = "-"


def quantity(value: float | None, unit: str = "") -> str:
    """A size with a decimal prefix: 98.9k, 1.2M; with a unit "1.2 GFLOP"."""
    if value is None:
        return MISSING
    prefixes = ["", "k", "M", "G", "T", "P", "E"]
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    digits = 0 if abs(value) >= 100 or value == int(value) else 1
    number = f"{value:.{digits}f}"
    return f"{number} {prefixes[0]}{unit}" if unit else number + prefixes[0]


def percent(share: float | None) -> str:
    """A share of one in per cent; a tenth only at the ends, where "100" must mean all and "0" none."""
    if share is None:
        return MISSING
    value = 100 * share
    if 99 < value < 100:
        return f"{min(value, 99.9):.1f}"
    if 0 < abs(value) < 1:
        return f"{value:.1f}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """A time in at most two units: "8.4 s", "3 min 5 s", "2 h 10 min"."""
    if seconds is None:
        return MISSING
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def length(value: AtLeast | None) -> str:
    """A length, with "≥" where it is only known to be at least that."""
    if value is None:
        return MISSING
    return f"≥ {value.value}" if value.censored else str(value.value)


def reach_in_words(value: AtLeast, train_length: int) -> str:
    """A reach beside its multiple of the training length, rounded down: "98 (4.9 L)"."""
    return f"{length(value)} ({value.value * 10 // train_length / 10:.1f} L)"


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 run", "3 runs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def words(name: str) -> str:
    """An identifier in words: underscores become spaces."""
    return name.replace("_", " ")
