"""From tasks to tokens: the vocabulary, the tokenizer, and the formats in which a task is posed to a model.

B batch   T tokens   x input symbols   y answer symbols
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from eval_harness.errors import HarnessError, unknown
from eval_harness.tasks.task import Sample, Task, within


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


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
    """A batch of tokens with what a model should say at each of them.

    A model is exactly right on row b where `argmax(logits[b, t]) == labels[b, t]` at every t that is scored.

    Attributes:
        input_ids: [B, T] tokens, right-padded.
        labels: [B, T] what the logits at this very position should say (no shift), -100 where nothing is scored.
        attention_mask: [B, T] 1, and 0 on padding.
        is_end: [B, T] bool, the label is the terminator: it counts for exact match, not for token accuracy.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    attention_mask: np.ndarray
    is_end: np.ndarray


class Format(ABC):
    """A way to pose a task to a model.

    Attributes:
        name: what users type.
        needs_causal: whether a model that sees later tokens would read the answer.
    """

    name: ClassVar[str]
    needs_causal: ClassVar[bool] = False

    @abstractmethod
    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Turns a sample into tokens and aligned labels; `bos` puts <bos> before the input."""

    @abstractmethod
    def token_length(self, task: Task, length: int, bos: bool = True) -> int:
        """The greatest number of tokens that an example has at a task length."""

    def prompt_template(self, bos: bool) -> str:
        """What the tokenizer makes of an input $A."""
        return "<bos> $A" if bos else "$A"

    def check(self, task: Task) -> None:
        """Refuses a task that is not posed in this format.

        Raises:
            HarnessError: naming the formats that the task has.
        """
        if self.name not in task.formats:
            raise HarnessError(f"Task {task.name!r} has no {self.name} format; it has: {', '.join(task.formats)}.")


_FORMATS: dict[str, Format] = {}


def register_format(kind: type[Format]) -> type[Format]:
    """Class decorator: makes a format known under its name."""
    _FORMATS[kind.name] = kind()
    return kind


def list_formats() -> list[str]:
    """The names of all formats, sorted."""
    return sorted(_FORMATS)


def get_format(name: str) -> Format:
    """The format of a name.

    Raises:
        HarnessError: where there is none.
    """
    if name not in _FORMATS:
        raise unknown("format", name, _FORMATS)
    return _FORMATS[name]


@register_format
class Autoregressive(Format):
    """The answer follows the input, token by token: `<bos> x <sep> y <eos>`.

    Scored are y and <eos>, each at the token before it.
    """

    name = "autoregressive"
    needs_causal = True

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Puts y behind x; its first symbol is due at <sep>, <eos> at its last symbol."""
        self.check(task)
        sep = int(bos) + sample.input_lengths  # [B]
        eos = sep + 1 + sample.target_lengths  # [B]
        encoded = _prompt(sample, vocabulary, bos, sizes=eos + 1)
        rows = np.arange(len(sample))
        answer = vocabulary.output_ids[sample.targets]  # [B, L_out]
        columns = sep[:, None] + np.arange(answer.shape[1])  # [B, L_out] where each symbol is due
        encoded.input_ids[rows, sep] = vocabulary.sep_id
        _place(encoded.input_ids, columns + 1, answer, within(sample.target_lengths, answer.shape[1]))
        encoded.input_ids[rows, eos] = vocabulary.eos_id
        _place(encoded.labels, columns, answer, sample.scored)
        _end(encoded, rows, eos - 1, vocabulary)
        return encoded

    def token_length(self, task: Task, length: int, bos: bool = True) -> int:
        """The input, the longest answer, <sep>, <eos> and perhaps <bos>."""
        self.check(task)
        return int(bos) + task.input_length(length) + 1 + task.output_length(length) + 1

    def prompt_template(self, bos: bool) -> str:
        """The prompt ends with <sep>, where the answer begins."""
        return f"{super().prompt_template(bos)} <sep>"


@register_format
class Parallel(Format):
    """The whole answer is read at once from masks behind the input: `<bos> x <mask> ... <mask>`.

    There are as many masks as the longest answer at this length needs, so they say nothing of the input; where answers
    vary in length, there is one more, and <eos> ends the answer. Masks behind the end are not scored. Delétang et al.
    2023, https://arxiv.org/abs/2207.02098.
    """

    name = "parallel"

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Puts the masks behind x; each symbol is due at its own mask."""
        self.check(task)
        lengths, which = np.unique(sample.lengths, return_inverse=True)
        masks = np.array([self._masks(task, int(length)) for length in lengths], dtype=np.int64)[which]  # [B]
        first = int(bos) + sample.input_lengths  # [B]
        encoded = _prompt(sample, vocabulary, bos, sizes=first + masks)
        tokens = np.arange(encoded.input_ids.shape[1])
        answered = (tokens >= first[:, None]) & (encoded.attention_mask == 1)  # [B, T]
        encoded.input_ids[answered] = vocabulary.mask_id
        answer = vocabulary.output_ids[sample.targets]  # [B, L_out]
        _place(encoded.labels, first[:, None] + np.arange(answer.shape[1]), answer, sample.scored)
        if task.varying_answers:
            _end(encoded, np.arange(len(sample)), first + sample.target_lengths, vocabulary)
        return encoded

    def token_length(self, task: Task, length: int, bos: bool = True) -> int:
        """The input, the masks and perhaps <bos>."""
        self.check(task)
        return int(bos) + task.input_length(length) + self._masks(task, length)

    def _masks(self, task: Task, length: int) -> int:
        return task.output_length(length) + int(task.varying_answers)


@register_format
class InPlace(Format):
    """The answer is read at certain tokens of the input: `<bos> x`."""

    name = "in_place"

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Each symbol is due at its position in x."""
        self.check(task)
        if sample.positions is None:
            raise HarnessError(f"Task {task.name!r} is posed in place, but its answers name no positions.")
        encoded = _prompt(sample, vocabulary, bos, sizes=int(bos) + sample.input_lengths)
        _place(encoded.labels, int(bos) + sample.positions, vocabulary.output_ids[sample.targets], sample.scored)
        return encoded

    def token_length(self, task: Task, length: int, bos: bool = True) -> int:
        """The input and perhaps <bos>."""
        self.check(task)
        return int(bos) + task.input_length(length)


def _prompt(sample: Sample, vocabulary: Vocabulary, bos: bool, sizes: np.ndarray) -> Encoded:
    """A batch of rows of `sizes` [B] tokens that begin with the inputs, with nothing scored yet."""
    shape = (len(sample), int(sizes.max(initial=0)))
    width = int(sample.input_lengths.max(initial=0))
    symbols = vocabulary.input_ids[sample.inputs[:, :width]]
    input_ids = np.full(shape, vocabulary.pad_id, dtype=np.int64)
    input_ids[:, : int(bos)] = vocabulary.bos_id
    input_ids[:, int(bos) : int(bos) + width] = np.where(
        within(sample.input_lengths, width), symbols, vocabulary.pad_id
    )
    return Encoded(
        input_ids=input_ids,
        labels=np.full(shape, NOT_SCORED, dtype=np.int64),
        attention_mask=within(sizes, shape[1]).astype(np.int64),
        is_end=np.zeros(shape, dtype=bool),
    )


def _place(tokens: np.ndarray, columns: np.ndarray, values: np.ndarray, chosen: np.ndarray) -> None:
    """Writes the chosen values [B, L_out] into tokens [B, T] at their columns [B, L_out]."""
    rows, places = np.nonzero(chosen)
    tokens[rows, columns[rows, places]] = values[rows, places]


def _end(encoded: Encoded, rows: np.ndarray, columns: np.ndarray, vocabulary: Vocabulary) -> None:
    """Makes the terminator due at one column of each row."""
    encoded.labels[rows, columns] = vocabulary.eos_id
    encoded.is_end[rows, columns] = True


def build_tokenizer(task: Task, format: str, bos: bool = True) -> "PreTrainedTokenizerFast":
    """The tokenizer of a task: one token per symbol between spaces, prompts as the format makes them.

    It pads on the left, as generation wants. A symbol that the task does not have is an error: there is no token for
    the unknown.
    """
    # transformers takes more than a second to import, and nothing else here needs it.
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    posed = get_format(format)
    posed.check(task)
    ids = {token: number for number, token in enumerate(Vocabulary(task).tokens)}
    tokenizer = Tokenizer(WordLevel(ids))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single=posed.prompt_template(bos), special_tokens=[(token, ids[token]) for token in SPECIAL_TOKENS]
    )
    roles = ("pad_token", "bos_token", "sep_token", "eos_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,  # would glue "?" to the symbol before it
        **dict(zip(roles, SPECIAL_TOKENS, strict=True)),
    )
