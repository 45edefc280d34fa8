"""BLEU of translations, as sacreBLEU computes it."""

from collections.abc import Sequence

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tokenization.problem import Problem
from eval_harness.tokenization.vocabulary import SPECIAL_TOKENS


def to_texts(token_ids: np.ndarray, problem: Problem) -> list[str]:
    """The texts of token ids [B, T] up to <eos>, without special tokens."""
    vocabulary, texts = problem.vocabulary, []
    for ids in token_ids.tolist():
        end = ids.index(vocabulary.eos_id) if vocabulary.eos_id in ids else len(ids)
        symbols = [vocabulary.tokens[number] for number in ids[:end]]
        texts.append(problem.task.detokenize([symbol for symbol in symbols if symbol not in SPECIAL_TOKENS]))
    return texts


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """Corpus BLEU of texts, each against one reference.

    Post 2018, A Call for Clarity in Reporting BLEU Scores, https://arxiv.org/abs/1804.08771: the texts are given as
    people read them, and sacreBLEU splits them into words, so that the score does not depend on a model's vocabulary.

    Args:
        hypotheses: the generated texts.
        references: the expected texts, in the same order.

    Returns:
        `bleu`, 0 to 100, and `bleu_signature`, the settings of sacreBLEU; scores with different signatures are
        not comparable.

    Raises:
        HarnessError: there is nothing to score, the numbers of texts differ, or sacreBLEU is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise HarnessError("BLEU needs sacreBLEU: pip install 'longreach[translation]'.") from error
    if not hypotheses or len(hypotheses) != len(references):
        raise HarnessError(f"BLEU needs a reference for each text, not {len(references)} for {len(hypotheses)}.")
    metric = BLEU()
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return {"bleu": score, "bleu_signature": str(metric.get_signature())}
