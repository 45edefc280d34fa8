"""Translation between two natural languages."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from eval_harness.errors import HarnessError
from eval_harness.tasks.corpora.parallel_text import BIBLE, ParallelText, load_pairs
from eval_harness.tasks.corpus import ReadCorpus
from eval_harness.tasks.registry import register_task
from eval_harness.tasks.sample import Sample, length_mask


TENTHS = {"test": (0, 1), "tune": (1, 2), "train": (2, 10), "baseline": (2, 10)}  # of all sources, by their hash
BYTES = 256


@register_task
@dataclass(frozen=True, kw_only=True)
class Translation(ReadCorpus):
    """Translate a sentence: what does it say in the other language?

    Texts become symbols by byte pair encoding over bytes (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909), one
    vocabulary for both languages, learned from the training pairs. A tenth of all sources is for tests and another
    for tuning, chosen by a hash of the source, so that no source is in two splits; a source has one translation. Exact
    match requires the reference itself, so BLEU measures quality (`eval_harness.scoring.bleu`).

    By default, 31,000 verses of the Bible (World English Bible to Elberfelder): real sentences that are in the public
    domain and lie in a package, so that they are had without a network; other languages: es, fr, it, ru.

    Attributes:
        dataset: "bible", or what `datasets.load_dataset` takes: a name on the Hub or a local folder, with a column
            "translation" or a column for each language.
        config: configuration of that data set; by default the one that is called like the languages, in any order.
        languages: source and target.
        limit: the greatest number of pairs that are read.
        vocabulary: how many symbols there are, all 256 bytes among them.
        step: a length holds the sources of so many lengths, itself the greatest: few pairs have exactly n symbols.

    Example:
        ĠYou Ġshall Ġnot Ġeat Ġany Ġabomin able Ġthing . -> ĠDu Ġsollst Ġkeinen ĠGreuel Ġessen .
    """

    name = "translation"
    skill = "translation"
    source = (
        "Christodouloupoulos and Steedman 2015, A massively parallel corpus: the Bible in 100 languages, "
        "https://doi.org/10.1007/s10579-014-9287-y"
    )
    length_meaning = "symbols of the source, rounded up to a multiple of the step"
    license = "other"
    formats: ClassVar[tuple[str, ...]] = ("sequence_to_sequence", "autoregressive")
    varying_answers = True
    examples = (("ĠYou Ġshall Ġnot Ġeat Ġany Ġabomin able Ġthing .", "ĠDu Ġsollst Ġkeinen ĠGreuel Ġessen ."),)
    dataset: str = BIBLE
    config: str = ""
    languages: str = "en-de"
    limit: int = 100_000
    vocabulary: int = 4000
    step: int = 5

    def __post_init__(self):
        super().__post_init__()
        for option, least in (("vocabulary", BYTES), ("step", 1), ("limit", 1)):
            if getattr(self, option) < least:
                value = getattr(self, option)
                raise HarnessError(
                    f"Option {option!r} of task 'translation' cannot be {value}; give at least {least}."
                )

    @property
    def input_alphabet(self) -> tuple[str, ...]:
        """Bytes and the strings of them that are frequent."""
        return self._tokens().symbols

    @property
    def output_alphabet(self) -> tuple[str, ...]:
        """The same for both languages."""
        return self._tokens().symbols

    @property
    def min_length(self) -> int:  # ty: ignore[incompatible-property-override]
        """The shortest length that there is."""
        return min(self._tokens().valid)

    @property
    def max_length(self) -> int:  # ty: ignore[incompatible-property-override]
        """The longest length that there is."""
        return max(self._tokens().valid)

    def valid_length(self, length: int) -> bool:
        """Multiples of the step of which every split has pairs."""
        return super().valid_length(length) and length in self._tokens().valid

    def output_length(self, length: int) -> int:
        """Twice the source's; what is longer, or more often something else than a translation, is left out."""
        return 2 * length

    def unseen(self, length: int) -> bool:
        """No source is in two splits."""
        return True

    def rows(self, split: str, length: int) -> Sample:
        """The pairs of a split whose sources have from `length` - `step` + 1 to `length` symbols."""
        self.check_data()
        return _rows(replace(self, digest=""), split, length)

    def detokenize(self, symbols: Sequence[str]) -> str:
        """The text; bytes that are no text become the replacement character."""
        from tokenizers.decoders import ByteLevel

        return ByteLevel().decode(list(symbols)).strip()

    def digest_of_data(self) -> str:
        """That of all pairs as they are read."""
        return self.read().digest

    def read(self) -> ParallelText:
        """All pairs."""
        return load_pairs(self.dataset, self.config, self.languages, self.limit)

    def _tokens(self) -> "_Tokens":
        self.check_data()
        return _tokenize(replace(self, digest=""))


@dataclass(frozen=True)
class _Tokens:
    """All pairs as symbols: what is expensive, and made once."""

    symbols: tuple[str, ...]
    sources: list[list[int]]
    targets: list[list[int]]
    tenths: np.ndarray  # [pairs] which tenth of all sources each is in
    lengths: np.ndarray  # [pairs] of the task; 0 of pairs that are left out
    valid: frozenset[int]  # lengths that every split has


@lru_cache(maxsize=4)
def _tokenize(task: Translation) -> _Tokens:
    """Learns the symbols from the training pairs, and spells all pairs in them."""
    pairs = task.read().pairs
    tenths = np.array([_tenth(source) for source, _ in pairs])
    trained = np.flatnonzero(_within(tenths, "train")).tolist()
    symbols, spell = _learn([text for row in trained for text in pairs[row]], task.vocabulary)
    sources, targets = ([spell(pair[side]) for pair in pairs] for side in (0, 1))
    lengths = np.array([-(-len(source) // task.step) * task.step for source in sources])
    lengths[np.array([len(target) for target in targets]) > 2 * lengths] = 0
    present = [set(lengths[_within(tenths, split)].tolist()) for split in TENTHS]
    return _Tokens(symbols, sources, targets, tenths, lengths, frozenset.intersection(*map(frozenset, present)) - {0})


@lru_cache(maxsize=64)
def _rows(task: Translation, split: str, length: int) -> Sample:
    tokens = task._tokens()
    chosen = np.flatnonzero((tokens.lengths == length) & _within(tokens.tenths, split)).tolist()
    inputs, input_lengths = _stack([tokens.sources[row] for row in chosen], task.input_length(length))
    targets, target_lengths = _stack([tokens.targets[row] for row in chosen], task.output_length(length))
    scored = length_mask(target_lengths, targets.shape[1])
    return Sample(inputs, targets, input_lengths, target_lengths, scored, None, np.full(len(chosen), length))


def _within(tenths: np.ndarray, split: str) -> np.ndarray:
    low, high = TENTHS[split]
    return (low <= tenths) & (tenths < high)


def _tenth(source: str) -> int:
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big") % 10


def _learn(texts: list[str], vocabulary: int):
    """The symbols of a byte pair encoding of the texts, and the function that spells a text in them."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(vocab_size=vocabulary, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    known: dict[str, list[int]] = {}

    def spell(text: str) -> list[int]:
        """Word by word, which gives the same: no symbol reaches over a space, and words come again and again."""
        for word in text.split():
            if word not in known:
                known[word] = tokenizer.encode(word).ids
        return [number for word in text.split() for number in known[word]]

    vocab = tokenizer.get_vocab()
    return tuple(sorted(vocab, key=vocab.__getitem__)), spell


def _stack(rows: list[list[int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows padded on the right [count, width], and their lengths [count]."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    stacked = np.zeros((len(rows), width), dtype=np.int64)
    stacked[length_mask(lengths, width)] = [number for row in rows for number in row]
    return stacked, lengths
