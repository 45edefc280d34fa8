"""The formats in which a task is posed to a model.

B batch   T tokens   U places where a model answers   x input symbols   y answer symbols
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from eval_harness.errors import HarnessError, unknown
from eval_harness.tasks.sample import Sample, length_mask
from eval_harness.tasks.task import Task
from eval_harness.tokenization.vocabulary import NOT_SCORED, Encoded, Vocabulary


class Format(ABC):
    """A way to pose a task to a model.

    Attributes:
        name: the name that users type.
        head: the head that a model needs: "token" (logits at every token it reads), "sequence_to_sequence" (an
            encoder-decoder) or "classification" (one label).
        decodes: whether the answer is given symbol by symbol, each after those before it.
        shows_sep: whether the first token after the input, if there is any, is <sep>.
    """

    name: ClassVar[str]
    head: ClassVar[str] = "token"
    decodes: ClassVar[bool] = False
    shows_sep: ClassVar[bool] = True

    @property
    def needs_causal(self) -> bool:
        """Whether a model that sees later tokens would read the answer."""
        return self.decodes and self.head == "token"

    @abstractmethod
    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Turns a sample into tokens and aligned labels; `bos` puts <bos> before the input."""

    def coupled_ids(self, sample: Sample, task: Task, width: int, bos: bool = True) -> np.ndarray | None:
        """The position ids that a task couples, for a sample encoded to `width` tokens [B, T]; None where it has none.

        Ids after the input continue to the last column whatever the answer's length, so that they do not reveal it.
        """
        coupled = task.coupled_ids(sample)
        if coupled is None:
            return None
        inputs, after = coupled[0], coupled[1][:, int(not self.shows_sep) :]
        ids = np.zeros((len(sample), width), dtype=np.int64)
        first = int(bos) + sample.input_lengths[:, None]  # [B, 1]
        columns = np.broadcast_to(int(bos) + np.arange(inputs.shape[1]), inputs.shape)
        _place(ids, columns, inputs, columns < np.minimum(first, width))
        columns = first + np.arange(after.shape[1])
        _place(ids, columns, after, columns < width)
        return ids

    @abstractmethod
    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The greatest number of tokens that an example has at a task length, by the argument that carries them."""

    def token_length(self, task: Task, length: int, bos: bool = True) -> int:
        """The greatest number of tokens that encoder or decoder sees at once at a task length."""
        return max(self.token_lengths(task, length, bos).values())

    def prompt_template(self, bos: bool) -> str:
        """The tokenizer's template for an input $A."""
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
    """Class decorator: registers a format under its name."""
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
    decodes = True

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Puts y after x; its first symbol is due at <sep>, <eos> at its last symbol."""
        self.check(task)
        sep = int(bos) + sample.input_lengths  # [B]
        eos = sep + 1 + sample.target_lengths  # [B]
        encoded = _prompt(sample, vocabulary, bos, sizes=eos + 1)
        rows = np.arange(len(sample))
        answer = vocabulary.output_ids[sample.targets]  # [B, L_out]
        columns = sep[:, None] + np.arange(answer.shape[1])  # [B, L_out] where each symbol is due
        encoded.input_ids[rows, sep] = vocabulary.sep_id
        _place(encoded.input_ids, columns + 1, answer, length_mask(sample.target_lengths, answer.shape[1]))
        encoded.input_ids[rows, eos] = vocabulary.eos_id
        _place(encoded.labels, columns, answer, sample.scored)
        _end(encoded, rows, eos - 1, vocabulary)
        return encoded

    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The input, the longest answer, <sep>, <eos> and perhaps <bos>."""
        self.check(task)
        return {"input_ids": int(bos) + task.input_length(length) + 1 + task.output_length(length) + 1}

    def prompt_template(self, bos: bool) -> str:
        """The prompt ends with <sep>, where the answer begins."""
        return f"{super().prompt_template(bos)} <sep>"


@register_format
class Parallel(Format):
    """The complete answer is predicted at once at masks after the input: `<bos> x <mask> ... <mask>`.

    There are as many masks as the longest answer at this length needs, so they reveal nothing of the input; where
    answers vary in length, there is one more, and <eos> ends the answer. Masks after the end are not scored. Delétang
    et al. 2023, https://arxiv.org/abs/2207.02098.
    """

    name = "parallel"
    shows_sep = False

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Puts the masks after x; each symbol is due at its own mask."""
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

    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The input, the masks and perhaps <bos>."""
        self.check(task)
        return {"input_ids": int(bos) + task.input_length(length) + self._masks(task, length)}

    def _masks(self, task: Task, length: int) -> int:
        return task.output_length(length) + int(task.varying_answers)


@register_format
class InPlace(Format):
    """The answer is predicted at certain tokens of the input: `<bos> x`."""

    name = "in_place"

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Each symbol is due at its position in x."""
        self.check(task)
        if sample.positions is None:
            raise HarnessError(f"Task {task.name!r} is posed in place, but its answers name no positions.")
        encoded = _prompt(sample, vocabulary, bos, sizes=int(bos) + sample.input_lengths)
        _place(encoded.labels, int(bos) + sample.positions, vocabulary.output_ids[sample.targets], sample.scored)
        return encoded

    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The input and perhaps <bos>."""
        self.check(task)
        return {"input_ids": int(bos) + task.input_length(length)}


@register_format
class LanguageModeling(Format):
    """The input itself is predicted, each symbol at the token before it: `<bos> x` without its last symbol.

    Every symbol is scored, but for the first where there is no <bos> before it. Nothing is decoded: the next symbol
    is predicted after the true ones.
    """

    name = "language_modeling"
    needs_causal = True

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Leaves out the last symbol of x, which is only due."""
        self.check(task)
        sizes = int(bos) + sample.input_lengths - 1
        read = replace(sample, input_lengths=sample.input_lengths - 1)
        encoded = _prompt(read, vocabulary, bos, sizes=sizes)
        columns = np.broadcast_to(np.arange(sample.targets.shape[1]), sample.targets.shape) - int(not bos)
        _place(encoded.labels, columns, vocabulary.output_ids[sample.targets], sample.scored & (columns >= 0))
        return encoded

    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The input but for its last symbol, and perhaps <bos>."""
        self.check(task)
        return {"input_ids": int(bos) + task.input_length(length) - 1}


@register_format
class SequenceToSequence(Format):
    """An encoder reads the input, a decoder writes the answer: `<bos> x <eos>` and `<bos> y <eos>`.

    Scored are y and <eos>, each at the decoder's token before it.
    """

    name = "sequence_to_sequence"
    head = "sequence_to_sequence"
    decodes = True

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Puts x on the encoder's side and y on the decoder's, which begins with <bos> whatever `bos` is."""
        self.check(task)
        rows = np.arange(len(sample))
        end = int(bos) + sample.input_lengths  # [B]
        encoded = _prompt(sample, vocabulary, bos, sizes=end + 1)
        encoded.input_ids[rows, end] = vocabulary.eos_id
        answer = vocabulary.output_ids[sample.targets]  # [B, L_out]
        shape = (len(sample), int(sample.target_lengths.max(initial=0)) + 1)
        places = np.broadcast_to(np.arange(answer.shape[1]), answer.shape)
        read = np.full(shape, vocabulary.pad_id, dtype=np.int64)
        read[:, 0] = vocabulary.bos_id
        _place(read, places + 1, answer, length_mask(sample.target_lengths, answer.shape[1]))
        labels = np.full(shape, NOT_SCORED, dtype=np.int64)
        _place(labels, places, answer, sample.scored)
        is_end = np.zeros(shape, dtype=bool)
        encoded = replace(encoded, labels=labels, is_end=is_end, decoder_input_ids=read)
        _end(encoded, rows, sample.target_lengths, vocabulary)
        return encoded

    def coupled_ids(self, sample: Sample, task: Task, width: int, bos: bool = True) -> None:
        """None: the tokens of the decoder would need some too."""

    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The input with <eos> and perhaps <bos>; the longest answer with <bos>."""
        self.check(task)
        return {
            "input_ids": int(bos) + task.input_length(length) + 1,
            "decoder_input_ids": 1 + task.output_length(length),
        }

    def prompt_template(self, bos: bool) -> str:
        """The source ends with <eos>."""
        return f"{super().prompt_template(bos)} <eos>"


@register_format
class Classification(Format):
    """The input has one label: `<bos> x <sep>`.

    Models that classify by their first token do it at <bos>, those that do it by their last at <sep>.
    """

    name = "classification"
    head = "classification"

    def encode(self, sample: Sample, task: Task, vocabulary: Vocabulary, bos: bool = True) -> Encoded:
        """Takes the only symbol of the answer as the label."""
        self.check(task)
        if sample.targets.shape[1] != 1 or not sample.scored.all():
            raise HarnessError(f"Task {task.name!r} is posed as classification, but its answers are not one symbol.")
        sep = int(bos) + sample.input_lengths  # [B]
        encoded = _prompt(sample, vocabulary, bos, sizes=sep + 1)
        encoded.input_ids[np.arange(len(sample)), sep] = vocabulary.sep_id
        return replace(encoded, labels=sample.targets.copy(), is_end=np.zeros((len(sample), 1), dtype=bool))

    def token_lengths(self, task: Task, length: int, bos: bool = True) -> dict[str, int]:
        """The input, <sep> and perhaps <bos>."""
        self.check(task)
        return {"input_ids": int(bos) + task.input_length(length) + 1}

    def prompt_template(self, bos: bool) -> str:
        """The prompt ends with <sep>."""
        return f"{super().prompt_template(bos)} <sep>"


def _prompt(sample: Sample, vocabulary: Vocabulary, bos: bool, sizes: np.ndarray) -> Encoded:
    """A batch of rows of `sizes` [B] tokens that begin with the inputs, with nothing scored yet."""
    shape = (len(sample), int(sizes.max(initial=0)))
    width = int(sample.input_lengths.max(initial=0))
    symbols = vocabulary.input_ids[sample.inputs[:, :width]]
    input_ids = np.full(shape, vocabulary.pad_id, dtype=np.int64)
    input_ids[:, : int(bos)] = vocabulary.bos_id
    input_ids[:, int(bos) : int(bos) + width] = np.where(
        length_mask(sample.input_lengths, width), symbols, vocabulary.pad_id
    )
    return Encoded(
        input_ids=input_ids,
        labels=np.full(shape, NOT_SCORED, dtype=np.int64),
        attention_mask=length_mask(sizes, shape[1]).astype(np.int64),
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
