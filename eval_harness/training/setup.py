"""Preparation of a run: the model at its size, first weights, and checks that they fit together."""

from typing import Any

from transformers import GenerationConfig

from eval_harness.errors import HarnessError
from eval_harness.models import SizedModel, adapter_of, build_model, describe_checkpoint, size_model, start_from
from eval_harness.specification import TrainingRun


def data_options(run: TrainingRun, config) -> dict[str, Any]:
    """The arguments of `TrainingBatches` that depend on the model."""
    supplied = getattr(config, "position_ids_scheme", None) == "supplied"
    return {
        "shifted": adapter_of(config).takes_shift_labels(run.problem.head),
        "id_range": config.max_position_embeddings if supplied else None,
    }


def size_for(run: TrainingRun) -> SizedModel:
    """The run's model at its budget, with a vocabulary and tables as its task and format need them."""
    problem = run.problem
    head, vocabulary = problem.head, problem.vocabulary
    longest = longest_tokens(run)
    needs: dict[str, Any] = {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.pad_id,
        "bos_token_id": vocabulary.bos_id,
        "eos_token_id": vocabulary.eos_id,
        "max_position_embeddings": longest,
    }
    if head == "sequence_to_sequence":
        needs["decoder_start_token_id"] = vocabulary.bos_id
    if head == "classification":
        needs["id2label"] = dict(enumerate(problem.task.output_alphabet))
        needs["label2id"] = {symbol: number for number, symbol in needs["id2label"].items()}
    if "abacus" in (run.config.get("position_ids_scheme"), run.config.get("eval_position_ids_scheme")):
        digits = [place for place, token in enumerate(vocabulary.tokens) if token in tuple("0123456789")]
        offset = run.config.get("abacus_offset", 100)
        needs |= {"abacus_tokens": digits, "abacus_offset": offset, "max_position_embeddings": longest + offset}
    if run.config.get("jump_length") == "input":  # of a Tape-RNN
        needs["input_end_token_id"] = [vocabulary.sep_id, vocabulary.mask_id]
    if run.revision:
        sized = describe_checkpoint(run.model, run.revision, head, needs, run.config)
    else:
        sized = size_model(run.model, run.budget, head, needs, **run.config)
    if problem.needs_causal and not adapter_of(sized.config).is_causal:
        raise HarnessError(f"The {run.format} format needs a causal model: a bidirectional one would see the answer.")
    _check_positions(run, sized.config)
    return sized


def first_model(run: TrainingRun, sized: SizedModel) -> tuple[Any, bool | None]:
    """The model that training begins with; of a checkpoint also whether its vocabulary is the task's."""
    problem = run.problem
    if not run.revision:
        return build_model(sized.config, problem.head), None
    return start_from(run.model, run.revision, sized.config, problem.head, problem.vocabulary.tokens)


def _check_positions(run: TrainingRun, config) -> None:
    schemes = [getattr(config, f"{stage}position_ids_scheme", None) for stage in ("", "eval_")]
    if "supplied" in schemes:
        _check_coupled(run)
    if not hasattr(config, "bounds_positions") or not config.bounds_positions(config.position_ids_scheme):
        return
    tokens = run.problem.token_length(run.train_length)
    if tokens > config.max_position_embeddings:
        raise HarnessError(
            f"Training length {run.train_length} needs {tokens} position ids; max_position_embeddings is "
            f"{config.max_position_embeddings}."
        )


def _check_coupled(run: TrainingRun) -> None:
    problem = run.problem
    few = problem.task.sample(run.train_length, 1, run.seed, "train")
    if problem.coupled_ids(few, problem.token_length(run.train_length)) is None:
        raise HarnessError(
            f"The position ids scheme 'supplied' needs ids with every batch; task {problem.task.name!r} has none in "
            f"the {run.format} format."
        )


def longest_length(run: TrainingRun) -> int:
    """The greatest task length that position tables must hold."""
    task = run.make_task()
    longest = int(min(run.table_factor * run.train_length, task.max_length))
    above = (length for length in range(longest, 2 * longest + 1) if task.valid_length(length))
    below = (length for length in range(longest, 0, -1) if task.valid_length(length))
    return next(above, None) or next(below)


def longest_tokens(run: TrainingRun) -> int:
    """Number of tokens of the longest sequence that position tables must hold."""
    return run.problem.token_length(longest_length(run))


def generation_config(run: TrainingRun) -> GenerationConfig:
    """Greedy decoding up to the answer's end, so that a pipeline answers a prompt of the task."""
    problem = run.problem
    vocabulary = problem.vocabulary
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=problem.task.output_length(longest_length(run)) + 1,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.bos_id,
        decoder_start_token_id=vocabulary.bos_id if problem.head == "sequence_to_sequence" else None,
        eos_token_id=vocabulary.eos_id,
    )
