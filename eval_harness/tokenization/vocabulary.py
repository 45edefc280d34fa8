"""Tasks as tokens: the vocabulary, and encoded batches.

B batch   T tokens   U places where a model answers
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.task import Task


SPECIAL_TOKENS = ("<pad>", "<bos>", "<sep>", "<eos>", "<mask>")
NOT_SCORED = -100


class Vocabulary:
    """The tokens of a task: the special ones, then the input alphabet, then the output symbols that are not in it.

    Attributes:
        tokens: all tokens, in the order of their ids.
        pad_id, bos_id, sep_id, eos_id, mask_id: ids of the special tokens, 0 to 4.
        input_ids: [input alphabet] token id of each input symbol.
        output_ids: [output alphabet] token id of each output symbol.
    """

    pad_id, bos_id, sep_id, eos_id, mask_id = range(5)

    def __init__(self, task: Task):
        symbols = dict.fromkeys(task.input_alphabet + task.output_alphabet)
        for symbol in symbols:
            if symbol in SPECIAL_TOKENS or symbol.split() != [symbol]:
                raise HarnessError(f"Symbol {symbol!r} of task {task.name!r} is a special token, empty or spaced out.")
        self.tokens = SPECIAL_TOKENS + tuple(symbols)
        ids = {token: number for number, token in enumerate(self.tokens)}
        self.input_ids = np.array([ids[symbol] for symbol in task.input_alphabet])
        self.output_ids = np.array([ids[symbol] for symbol in task.output_alphabet])

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.tokens)


@dataclass(frozen=True)
class Encoded:
    """A batch of tokens with the expected predictions.

    A model is exactly correct on row b if `argmax(logits[b, u]) == labels[b, u]` at every u that is scored. A model
    that answers at the tokens it reads has U = T; an encoder-decoder answers at its decoder's tokens, a classifier
    once.

    Attributes:
        input_ids: [B, T] tokens, right-padded.
        labels: [B, U] the expected prediction of the logits at the same position (no shift), -100 where nothing is
            scored. Token ids; of a classifier, indices into the task's output alphabet.
        attention_mask: [B, T] 1, and 0 on padding.
        is_end: [B, U] bool, the label is the terminator: it counts for exact match, not for token accuracy.
        decoder_input_ids: [B, U] the decoder's tokens; None without a decoder.
        position_ids: [B, T] ids that the model reads; None where it makes its own.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    attention_mask: np.ndarray
    is_end: np.ndarray
    decoder_input_ids: np.ndarray | None = None
    position_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, rows: slice | np.ndarray) -> "Encoded":
        arrays: dict[str, Any] = {name: None if array is None else array[rows] for name, array in vars(self).items()}
        return Encoded(**arrays)

    @property
    def width(self) -> int:
        """The number of tokens of the longest row, on both sides of an encoder-decoder."""
        streams = (self.input_ids, self.decoder_input_ids)
        return sum(tokens.shape[1] for tokens in streams if tokens is not None)
