"""Exact match and token accuracy of token sequences, by length and with honest intervals."""

# One import a line: the scanner of `evaluate` reads `import a, b` as one package.
import datasets
import evaluate
import numpy as np
import scipy.stats


_DESCRIPTION = """
Scores predicted token ids against references. Positions whose reference is -100 do not count. A sequence matches
exactly when every position that counts is right; token accuracy is the share of right positions over all sequences.
Given the length of every example, exact match is also reported by length, with its 95 % Wilson interval: unlike the
standard error, the interval does not vanish at 0 % and 100 %, where curves over the length begin and end.
"""

_INPUTS = """
Args:
    predictions (list of list of int): token ids, each list as long as its reference.
    references (list of list of int): token ids, -100 where nothing is scored.
    lengths (list of int, optional): the length of each example, however the task counts it.

Returns:
    exact_match (float): share of sequences without a wrong token.
    token_accuracy (float): share of right tokens.
    by_length (list of dict, with lengths only): length, examples, exact_match, exact_match_low and exact_match_high
        of each length, in ascending order.

Examples:
    >>> metric = evaluate.load("eval_harness/metrics/length_generalization")
    >>> metric.compute(predictions=[[5, 6], [5, 5]], references=[[-100, 6], [5, 6]])
    {'exact_match': 0.5, 'token_accuracy': 0.6666666666666666}
"""

_CITATION = """
@article{wilson1927probable,
  author  = {Edwin B. Wilson},
  title   = {Probable Inference, the Law of Succession, and Statistical Inference},
  journal = {Journal of the American Statistical Association},
  volume  = {22},
  number  = {158},
  pages   = {209--212},
  year    = {1927},
}
"""

_NOT_SCORED = -100


class LengthGeneralization(evaluate.Metric):
    """Exact match by length, for sequences of token ids."""

    def _info(self) -> evaluate.MetricInfo:
        tokens = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": tokens, "references": tokens}),
        )

    def _compute(self, predictions, references, lengths=None) -> dict:  # ty: ignore[incompatible-method-override]
        marks = [_marks(*pair) for pair in zip(predictions, references, strict=True)]
        right = np.concatenate(marks)
        if not right.size:
            raise ValueError("No reference has a token to score: all of them are empty or -100.")
        exact = np.array([bool(mark.all()) for mark in marks])
        scores = {"exact_match": float(exact.mean()), "token_accuracy": float(right.mean())}
        if lengths is not None:
            scores["by_length"] = _by_length(exact, lengths)
        return scores


def _marks(prediction, reference) -> np.ndarray:
    """Whether each scored token of one sequence is right."""
    if len(prediction) != len(reference):
        raise ValueError(f"A prediction has {len(prediction)} tokens and its reference {len(reference)}.")
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    scored = reference != _NOT_SCORED
    return prediction[scored] == reference[scored]


def _by_length(exact: np.ndarray, lengths) -> list[dict]:
    lengths = np.asarray(lengths)
    if lengths.shape != exact.shape:
        raise ValueError(f"There are {exact.size} examples and {lengths.size} lengths.")
    rows = []
    for length in np.unique(lengths):
        chosen = exact[lengths == length]
        interval = scipy.stats.binomtest(int(chosen.sum()), chosen.size).proportion_ci(0.95, method="wilson")
        rows.append(
            {
                "length": int(length),
                "examples": int(chosen.size),
                "exact_match": float(chosen.mean()),
                "exact_match_low": float(interval.low),
                "exact_match_high": float(interval.high),
            }
        )
    return rows
