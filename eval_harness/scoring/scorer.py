"""A model × problem × lengths → the outcome of every example.

Exact match is read from one teacher-forced pass, which equals greedy decoding when the model is prefix-stable: if all
argmaxes along the expected answer are correct, decoding takes that path, and it leaves it at the first wrong one.
Token accuracy in the autoregressive format is that of free decoding, so examples that leave it early are decoded.
Translations are all decoded: their BLEU needs the texts.

B examples   T tokens   S scored tokens of an example
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from eval_harness.errors import HarnessError
from eval_harness.models import adapter_of, declared, decode, head_of
from eval_harness.models.compute import forward_flops, uncached
from eval_harness.results.statistics import threshold, wilson
from eval_harness.scoring.baselines import baselines
from eval_harness.scoring.bleu import bleu, to_texts
from eval_harness.scoring.protocol import TestLengths, is_enumerable
from eval_harness.tasks import Sample
from eval_harness.tasks.task import derive_rng
from eval_harness.tokenization.problem import Problem
from eval_harness.tokenization.vocabulary import NOT_SCORED, Encoded, Vocabulary
from eval_harness.training.batches import to_model_inputs
from hf_models.position_ids import RANDOM_SCHEMES, draw_position_ids


TEST_SEED = 0  # test examples are the same for all models
TOKENS_PER_BATCH = 8_192
COUNTED_EXAMPLES = 4  # of a length, to count operations on: halting depends on the input


@dataclass
class Outcomes:
    """The result of scoring, as rows of the result files."""

    examples: list[dict]
    positions: list[dict]
    lengths: list[dict]


@dataclass(frozen=True)
class Targets:
    """The scored tokens of encoded examples, at the front of each row and in order.

    Attributes:
        columns: [B, S] the column of each in the labels; where a row has fewer, columns that are not scored.
        labels: [B, S] the labels.
        scored: [B, S] whether there is such a token.
        is_end: [B, S] whether it is the terminator.
    """

    columns: np.ndarray
    labels: np.ndarray
    scored: np.ndarray
    is_end: np.ndarray

    @classmethod
    def of(cls, encoded: Encoded) -> "Targets":
        """The targets of encoded examples."""
        scored = encoded.labels != NOT_SCORED
        columns = np.argsort(~scored, axis=1, kind="stable")[:, : scored.sum(1).max()]
        parts = (np.take_along_axis(each, columns, axis=1) for each in (encoded.labels, scored, encoded.is_end))
        return cls(columns, *parts)

    @property
    def in_answer(self) -> np.ndarray:
        """True on scored tokens of the answer, without the terminator [B, S]."""
        return self.scored & ~self.is_end


@dataclass
class TeacherForced:
    """The result of one forward pass along the expected answers.

    Attributes:
        correct: [B, S] whether the most probable token is the label.
        losses: [B, S] the loss in nats, 0 where nothing is scored.
        ponder: [B] mean ponder steps, or None.
    """

    correct: np.ndarray
    losses: np.ndarray
    ponder: np.ndarray | None


class Scorer:
    """Scores one model on one problem.

    Args:
        model: a model with the problem's head.
        problem: the problem.
        examples: test examples of each length.
    """

    def __init__(self, model: PreTrainedModel, problem: Problem, examples: int = 512):
        self.model = model.eval()
        self.problem, self.examples = problem, examples
        self.adapter, self.probe = adapter_of(model.config), declared(model)
        self.bleu_signature: str | None = None
        name = problem.format.name
        if problem.head != head_of(model):
            heads = f"a {problem.head} head; {type(model).__name__} has a {head_of(model)} head"
            raise HarnessError(f"The {name} format needs a model with {heads}.")
        if problem.needs_causal and not self.adapter.is_causal:
            raise HarnessError(f"The {name} format needs a causal model: a bidirectional one would see the answer.")

    @property
    def prefix_stable(self) -> bool:
        """Whether the model's outputs at a token stay the same when more tokens follow."""
        return self.probe.prefix_stable

    @property
    def decoding(self) -> str:
        """The decoding: "parallel", or "teacher-forced" where that equals free decoding, else "free"."""
        if not self.problem.decodes:
            return "parallel"
        return "teacher-forced" if self.prefix_stable else "free"

    def score(self, lengths: TestLengths, progress: Callable[[int], None] = lambda length: None) -> Outcomes:
        """Scores every length, the longest first, so that what does not fit fails at once.

        Args:
            lengths: the lengths to test.
            progress: called with each length when it is done.

        Raises:
            HarnessError: the task has no such length, or the model's position table is shorter.
        """
        self.check(lengths.all)
        outcomes = Outcomes([], [], [])
        for length in reversed(lengths.all):
            sample = self.problem.task.sample(length, self.examples, TEST_SEED, "test")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(TEST_SEED)  # some models hash at random
                examples, positions, measured = self._score_sample(sample, length)
            outcomes.examples += examples
            outcomes.positions += positions
            outcomes.lengths.append(self._aggregate(length, sample, examples, measured, lengths))
            progress(length)
        outcomes.lengths.reverse()
        return outcomes

    def check(self, lengths) -> None:
        """Refuses lengths that the task does not have or the model cannot take."""
        for length in lengths:
            self.problem.task.check_length(length)
        config = self.model.config
        bounded = hasattr(config, "bounds_positions") and config.bounds_positions(config.eval_position_ids_scheme)
        tokens = self.problem.token_length(max(lengths))
        if bounded and tokens > config.max_position_embeddings:
            raise HarnessError(
                f"Length {max(lengths)} needs {tokens} position ids; the model's table or id range has "
                f"{config.max_position_embeddings}."
            )
        self.probe = self.adapter.probe(self.model, self.problem.token_lengths(max(lengths)), self.problem.decodes)

    def _score_sample(self, sample: Sample, length: int):
        encoded = self.problem.encode(sample)
        encoded = replace(encoded, position_ids=self._position_ids(sample, length, encoded.input_ids.shape[1]))
        targets = Targets.of(encoded)
        begun = time.perf_counter()
        forced = self._teacher_force(encoded, targets)
        seconds = time.perf_counter() - begun
        decoded, bleu = self._decoded(encoded, targets, length, forced.correct)
        tokens = encoded.width
        measured = {
            "token_length": tokens,
            "loss": float(forced.losses.sum() / targets.scored.sum()),
            "bleu": bleu,
            "flops_per_token": self._flops(encoded) / (min(COUNTED_EXAMPLES, len(sample)) * tokens),
            "tokens_per_second": len(sample) * tokens / seconds,
        }
        examples = example_rows(length, targets, decoded, forced)
        return examples, position_rows(length, targets, decoded, forced), measured

    @torch.inference_mode()
    def _teacher_force(self, encoded: Encoded, targets: Targets) -> TeacherForced:
        """Reads the expected answers in one pass."""
        correct, losses, ponder = [], [], []
        for rows in batches(len(encoded), encoded.width):
            outputs = self.model(**self.inputs(encoded, rows), **uncached(self.model))
            labels = torch.from_numpy(encoded.labels[rows]).to(outputs.logits.device)  # [b, U]
            logits = outputs.logits.reshape(*labels.shape, -1)  # a classifier's are [b, C]
            correct.append((logits.argmax(-1) == labels).cpu().numpy())
            losses.append(cross_entropy(logits.float().mT, labels, ignore_index=NOT_SCORED, reduction="none").cpu())
            if getattr(outputs, "ponder_steps", None) is not None:
                ponder.append(mean_ponder_steps(outputs))
        return TeacherForced(
            correct=np.take_along_axis(np.concatenate(correct), targets.columns, axis=1),
            losses=np.take_along_axis(torch.cat(losses).double().numpy(), targets.columns, axis=1),
            ponder=np.concatenate(ponder) if ponder else None,
        )

    def _decoded(
        self, encoded: Encoded, targets: Targets, length: int, correct: np.ndarray
    ) -> tuple[np.ndarray, float | None]:
        """Correctness of each scored token under greedy decoding `[B, S]`, and the BLEU of translations."""
        translates = self.problem.decodes and self.problem.task.skill == "translation"
        rows = np.arange(len(encoded)) if self.decoding == "free" or translates else np.arange(0)
        if self.decoding == "teacher-forced" and not translates:
            rows = leaves_early(correct, targets)
        generated = self._decode(encoded, targets, length, rows)
        decoded = correct.copy()
        decoded[rows] = generated[:, : targets.labels.shape[1]] == targets.labels[rows]
        if not translates:
            return decoded, None
        references = np.where(targets.scored, targets.labels, Vocabulary.pad_id)
        score = bleu(*(to_texts(ids, self.problem) for ids in (generated, references)))
        self.bleu_signature = str(score["bleu_signature"])
        return decoded, float(score["bleu"])

    @torch.inference_mode()
    def _decode(self, encoded: Encoded, targets: Targets, length: int, rows: np.ndarray) -> np.ndarray:
        """The tokens generated by greedy decoding, from the first scored one on `[rows, ≥ S]`."""
        width = targets.labels.shape[1]
        longest = max(width, self.problem.task.output_length(length) + 1)
        generated = np.full((len(rows), longest), Vocabulary.pad_id)
        # An answer begins where the prompt ends; a decoder's prompt is its first token, whatever the source is.
        ends = targets.columns[rows, 0] + 1
        for prompt_length in np.unique(ends):
            alike = np.flatnonzero(ends == prompt_length)
            for chosen in batches(len(alike), encoded.width):
                part = alike[chosen]
                inputs = self.inputs(encoded, rows[part])
                room = width if "position_ids" in inputs else longest  # supplied ids end with the expected answer
                tokens = self._generate(inputs, prompt_length, room)
                generated[part, : tokens.shape[1]] = tokens
        return generated

    def _generate(self, inputs: dict[str, torch.Tensor], prompt_length: int, width: int) -> np.ndarray:
        """Up to `width` tokens after prompts of equal length, the most probable one at each position `[b, W]`."""
        if "decoder_input_ids" in inputs:
            source = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
            prompts = source | {"decoder_input_ids": inputs["decoder_input_ids"][:, :prompt_length]}
        else:
            tokens = inputs["input_ids"][:, :prompt_length]
            prompts = inputs | {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        generated = decode(self.model, width, **prompts, eos_token_id=Vocabulary.eos_id, use_cache=self.probe.cached)
        return generated[:, prompt_length:].cpu().numpy()

    def inputs(self, encoded: Encoded, rows) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward for these rows, without labels."""
        inputs = to_model_inputs(encoded[rows], shifted=False)
        del inputs["labels"]
        if "decoder_input_ids" in inputs:
            inputs["decoder_attention_mask"] = (inputs["decoder_input_ids"] != Vocabulary.pad_id).long()
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    def _position_ids(self, sample: Sample, length: int, width: int) -> np.ndarray | None:
        """The ids of an encoded sample of so many tokens `[B, T]`; None where the model makes its own."""
        scheme = getattr(self.model.config, "eval_position_ids_scheme", "consecutive")
        if scheme == "supplied":
            return self.problem.coupled_ids(sample, width)
        return self._drawn_ids(length, len(sample))[:, :width] if scheme in RANDOM_SCHEMES else None

    def _drawn_ids(self, length: int, count: int) -> np.ndarray:
        """Position ids of a fixed draw for each example, for the longest sequence of this length `[B, T]`."""
        config = self.model.config
        tokens = self.problem.token_length(length)
        drawn = []
        for index in range(count):
            seed = int(derive_rng("position ids", self.problem.task.key(), length, index).integers(2**63))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                drawn.append(
                    draw_position_ids(config.eval_position_ids_scheme, 1, tokens, config.max_position_embeddings)
                )
        return torch.cat(drawn).numpy()

    def _flops(self, encoded: Encoded) -> int:
        inputs = self.inputs(encoded, np.arange(len(encoded))[:COUNTED_EXAMPLES])
        return forward_flops(self.model, training=False, **inputs)

    def _aggregate(self, length, sample, examples, measured, lengths: TestLengths) -> dict:
        """The row of one length; it follows from the examples' rows, the baselines and the measurements."""
        exact = sum(example["exact"] for example in examples)
        tokens = sum(example["tokens"] for example in examples)
        low, high = wilson(exact, len(examples))
        known = baselines(self.problem.task, length, sample)
        ponder = [example["ponder_steps"] for example in examples if example["ponder_steps"] is not None]
        return {
            "length": length,
            "split": split_of(length, lengths),
            "enumerable": is_enumerable(self.problem.task, length, self.examples),
            "examples": len(examples),
            "exact": exact / len(examples),
            "exact_low": low,
            "exact_high": high,
            "tokens": sum(example["right_tokens"] for example in examples) / tokens if tokens else 1.0,
            "teacher_forced": sum(e["teacher_forced_tokens"] for e in examples) / tokens if tokens else 1.0,
            "threshold": threshold(known["baseline_exact"]),
            "ponder_steps": float(np.mean(ponder)) if ponder else None,
            **measured,
            **known,
        }


def split_of(length: int, lengths: TestLengths) -> str:
    """The part of the protocol that a length belongs to."""
    if length in lengths.beyond:
        return "beyond"
    return "reach" if length in lengths.reach_only else "within"


def batches(count: int, tokens: int) -> Iterator[slice]:
    """Cuts `count` rows of so many tokens into slices that a forward pass takes."""
    size = max(1, TOKENS_PER_BATCH // tokens)
    return (slice(start, start + size) for start in range(0, count, size))


def mean_ponder_steps(outputs) -> np.ndarray:
    """The mean number of steps over each row's tokens, padding excluded, on both sides of an encoder-decoder `[b]`."""
    sides = [getattr(outputs, name, None) for name in ("ponder_steps", "encoder_ponder_steps")]
    steps = torch.cat([side for side in sides if side is not None], dim=-1).float()  # padding has none
    return (steps.sum(-1) / (steps > 0).sum(-1)).cpu().numpy()


def example_rows(length: int, targets: Targets, decoded: np.ndarray, forced: TeacherForced) -> list[dict]:
    """The rows of `examples.parquet` of one length."""
    answers, scored = targets.in_answer, targets.scored
    return [
        {
            "length": length,
            "index": index,
            "exact": bool(decoded[index][scored[index]].all()),
            "tokens": int(answers[index].sum()),
            "right_tokens": int(decoded[index][answers[index]].sum()),
            "teacher_forced_tokens": int(forced.correct[index][answers[index]].sum()),
            "first_wrong": first_wrong(decoded[index][scored[index]]),
            "ponder_steps": None if forced.ponder is None else float(forced.ponder[index]),
        }
        for index in range(len(scored))
    ]


def position_rows(length: int, targets: Targets, decoded: np.ndarray, forced: TeacherForced) -> list[dict]:
    """The rows of `positions.parquet` of one length."""
    answers = targets.in_answer
    totals, correct, losses = answers.sum(0), (decoded & answers).sum(0), (forced.losses * answers).sum(0)
    return [
        {
            "length": length,
            "position": place,
            "right": int(correct[place]),
            "total": int(totals[place]),
            "loss": float(losses[place] / totals[place]),
        }
        for place in np.flatnonzero(totals).tolist()
    ]


def leaves_early(correct: np.ndarray, targets: Targets) -> np.ndarray:
    """Rows whose first wrong token is followed by another of the answer, which decoding then reads differently."""
    wrong = targets.scored & ~correct
    first = wrong.argmax(1)
    last = targets.in_answer.sum(1) - 1
    return np.flatnonzero(wrong.any(1) & (first < last))


def first_wrong(correct: np.ndarray) -> int:
    """Index of the first wrong token, or -1."""
    return -1 if correct.all() else int(correct.argmin())
