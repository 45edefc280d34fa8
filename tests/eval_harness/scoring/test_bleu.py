from collections import Counter
from math import exp, log

import numpy as np
import pytest

from eval_harness.errors import HarnessError
from eval_harness.scoring.bleu import bleu, to_texts
from eval_harness.tokenization.problem import get_problem


REFERENCES = ["the cat sat on the mat today", "there is a dog in the old garden", "we go home now my friend"]
HYPOTHESES = ["the cat sat on a mat today", "there is a dog in the garden", "we go home now my dear friend"]


def plain_bleu(hypotheses, references):
    """Papineni et al. 2002: the geometric mean of four precisions, times the brevity penalty."""
    precisions = []
    for n in range(1, 5):
        right = total = 0
        for pair in zip(hypotheses, references, strict=True):
            said, due = (Counter(zip(*(text.split()[k:] for k in range(n)), strict=False)) for text in pair)
            right += (said & due).total()
            total += said.total()
        precisions.append(right / total)
    said, due = (sum(len(text.split()) for text in texts) for texts in (hypotheses, references))
    return 100 * exp(min(0, 1 - due / said) + sum(map(log, precisions)) / 4)


def test_scores_are_those_of_the_definition():
    assert bleu(HYPOTHESES, REFERENCES)["bleu"] == pytest.approx(plain_bleu(HYPOTHESES, REFERENCES))
    assert bleu(REFERENCES, REFERENCES)["bleu"] == pytest.approx(100)


def test_the_signature_says_how_it_was_computed():
    signature = bleu(HYPOTHESES, REFERENCES)["bleu_signature"]
    assert all(part in signature for part in ("nrefs:1", "case:mixed", "tok:13a", "version:"))


def test_each_text_needs_a_reference():
    for references in ([], REFERENCES[:2]):
        with pytest.raises(HarnessError, match=f"not {len(references)} for 3"):
            bleu(HYPOTHESES, references)
    with pytest.raises(HarnessError, match="not 0 for 0"):
        bleu([], [])


def test_tokens_are_read_up_to_their_end():
    problem = get_problem("scan")
    vocabulary = problem.vocabulary
    rows = ["<bos> I_RUN I_JUMP <eos> I_RUN <pad>", "I_LOOK <mask> I_LOOK I_RUN <sep> <pad>", "<eos> " * 6]
    ids = np.array([[vocabulary.tokens.index(token) for token in row.split()] for row in rows])
    assert to_texts(ids, problem) == ["I_RUN I_JUMP", "I_LOOK I_LOOK I_RUN", ""]
