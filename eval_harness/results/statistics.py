"""The figures of the protocol: intervals of one checkpoint, fit and reach of one run, and what several seeds say.

Rows are those of `lengths.parquet` (`results.schemas.LENGTHS`): dictionaries, one per tested length. Two metrics are
known by the names of their columns: "exact" (all of the answer and its end) and "tokens" (its symbols).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal


Metric = Literal["exact", "tokens"]
Row = dict[str, Any]


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, https://doi.org/10.2307/2276774).

    It has a width at 0 % and 100 % too, where a standard error is zero and where curves over length spend most of
    their points. It speaks of the drawn examples of one checkpoint, not of other trainings of the model.

    Returns:
        The lower and the upper bound, both in [0, 1].
    """
    from scipy.stats import binomtest  # takes a while to import, and training never gets here

    interval = binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def threshold(baseline: float) -> float:
    """What counts as right: nine tenths of the way from the input-blind baseline to a perfect score."""
    return baseline + 0.9 * (1.0 - baseline)


def normalised(accuracy: float, baseline: float) -> float | None:
    """Accuracy on the scale where the baseline is 0 and a perfect score is 1; below the baseline it is negative.

    Returns:
        None where the baseline is already perfect, so that nothing is left to measure.
    """
    return (accuracy - baseline) / (1.0 - baseline) if baseline < 1.0 else None


def interval(row: Row, metric: Metric = "exact") -> tuple[float, float]:
    """The Wilson interval of one length.

    The symbols of one answer fall together, so token accuracy counts each example, not each token, as a trial.
    """
    if metric == "exact":
        return row["exact_low"], row["exact_high"]
    return wilson(round(row["tokens"] * row["examples"]), row["examples"])


def fit_rows(rows: Iterable[Row], train_length: int) -> list[Row]:
    """The rows that decide about the fit: trained lengths in [L/2, L] that are not enumerable."""
    return [r for r in rows if not r["enumerable"] and train_length <= 2 * r["length"] <= 2 * train_length]


def fits(rows: Iterable[Row], train_length: int, metric: Metric = "exact") -> bool | None:
    """Whether the run has learnt its task on the upper half of the lengths it was trained on.

    Returns:
        None where every length of that half is enumerable or untested, so that the fit is unknown.
    """
    used = fit_rows(rows, train_length)
    if not used:
        return None
    return fmean(r[metric] for r in used) >= fmean(threshold(r[f"baseline_{metric}"]) for r in used)


@dataclass(frozen=True)
class Reach:
    """How far past its training length one run is still right."""

    reach: int
    """The last tested length before the first that fails; the training length where the first one fails."""
    certified: int
    """The last tested length before the first that does not pass."""
    next_tested: int | None
    """The length that failed; None where none did."""
    grid_end: int
    """The greatest tested length."""
    recovers: bool
    """Whether a length after the first failure passes again."""

    @property
    def at_grid_end(self) -> bool:
        """Whether no tested length failed, so that the reach is at least `reach` ("≥")."""
        return self.next_tested is None

    @property
    def certified_at_grid_end(self) -> bool:
        """Whether every tested length passed."""
        return self.certified == self.grid_end


def reach(rows: Iterable[Row], train_length: int, metric: Metric = "exact") -> Reach | None:
    """The reach of one run over its tested lengths beyond L; enumerable lengths are left out.

    A length passes if the lower Wilson bound is at least the threshold there, fails if the upper bound is below it,
    and is open otherwise. `fits` is separate: without a fit, reach means nothing.

    Returns:
        None where no length beyond L was tested.
    """
    beyond = sorted((r for r in rows if r["length"] > train_length and not r["enumerable"]), key=lambda r: r["length"])
    if not beyond:
        return None
    lengths = [r["length"] for r in beyond]
    verdicts = [_verdict(r, metric) for r in beyond]
    failed = verdicts.index("fail") if "fail" in verdicts else len(beyond)
    unsure = next((i for i, verdict in enumerate(verdicts) if verdict != "pass"), len(beyond))
    before = [train_length, *lengths]  # before[i] is the length tested before lengths[i]
    return Reach(
        reach=before[failed],
        certified=before[unsure],
        next_tested=lengths[failed] if failed < len(lengths) else None,
        grid_end=lengths[-1],
        recovers="pass" in verdicts[failed:],
    )


def _verdict(row: Row, metric: Metric) -> str:
    low, high = interval(row, metric)
    needed = threshold(row[f"baseline_{metric}"])
    if low >= needed:
        return "pass"
    return "fail" if high < needed else "open"


@dataclass(frozen=True)
class AtLeast:
    """A length that may be censored: at the end of the tested lengths all that is known is "at least this"."""

    value: int
    censored: bool


def censored_median(values: Sequence[AtLeast]) -> AtLeast:
    """The median of lengths of which some are only known to be at least so great.

    A censored value ranks above an equal one that is known. Of an even number the lower of the two in the middle is
    taken: half-way to a value that is not known is not known either.
    """
    ranked = sorted(values, key=lambda v: (v.value, v.censored))
    return ranked[(len(ranked) - 1) // 2]


def known_median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


@dataclass(frozen=True)
class SeedSummary:
    """What the seeds of one model on one task say together. Reach is over the runs that fit."""

    runs: int
    fitted: int
    reach: AtLeast | None
    """The median; None where no run fits."""
    reach_range: tuple[AtLeast, AtLeast] | None
    certified_reach: AtLeast | None
    token_reach: AtLeast | None
    recovers: int
    """Runs that pass again after their first failure."""
    extrapolation_exact: float | None
    """The median over seeds, of runs that fit and of those that do not; so are the other measures below."""
    extrapolation_tokens: float | None
    normalised_exact: float | None
    training_flops: float | None
    training_seconds: float | None


def aggregate_seeds(summaries: Sequence[dict[str, Any]]) -> SeedSummary:
    """Aggregates the runs of one model, on one task under one protocol, that differ only in their seed.

    Args:
        summaries: rows of `eval_harness.results.summary.summarise`, one for each run; at least one.
    """
    fitted = [s for s in summaries if s["fits"]]
    reaches = _censored(fitted, "reach", "at_grid_end")
    certified = _censored(fitted, "certified_reach", "certified_at_grid_end")
    token_reaches = _censored(summaries, "token_reach", "token_at_grid_end")
    return SeedSummary(
        runs=len(summaries),
        fitted=len(fitted),
        reach=censored_median(reaches) if reaches else None,
        reach_range=(reaches[0], reaches[-1]) if reaches else None,
        certified_reach=censored_median(certified) if certified else None,
        token_reach=censored_median(token_reaches) if token_reaches else None,
        recovers=sum(bool(s["recovers"]) for s in fitted),
        extrapolation_exact=known_median(s["extrapolation_exact"] for s in summaries),
        extrapolation_tokens=known_median(s["extrapolation_tokens"] for s in summaries),
        normalised_exact=known_median(s["normalised_exact"] for s in summaries),
        training_flops=known_median(s["training_flops"] for s in summaries),
        training_seconds=known_median(s["training_seconds"] for s in summaries),
    )


def _censored(summaries: Iterable[dict[str, Any]], value: str, censored: str) -> list[AtLeast]:
    found = [AtLeast(s[value], s[censored]) for s in summaries if s[value] is not None]
    return sorted(found, key=lambda v: (v.value, v.censored))
