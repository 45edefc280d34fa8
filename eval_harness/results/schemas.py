"""The columns of the result files."""

import pyarrow as pa


SCHEMA_VERSION = 1


def _schema(columns: dict[str, pa.DataType], optional: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in optional) for name, kind in columns.items()])


EXAMPLES = _schema(
    {
        "length": pa.int32(),
        "index": pa.int32(),
        "exact": pa.bool_(),
        "tokens": pa.int32(),
        "right_tokens": pa.int32(),
        "teacher_forced_tokens": pa.int32(),
        "first_wrong": pa.int32(),
        "ponder_steps": pa.float32(),
    },
    optional=("ponder_steps",),
)

POSITIONS = _schema(
    {
        "length": pa.int32(),
        "position": pa.int32(),
        "right": pa.int32(),
        "total": pa.int32(),
        "loss": pa.float64(),
    },
    optional=("loss",),
)

LENGTHS = _schema(
    {
        "length": pa.int32(),
        "token_length": pa.int32(),
        "split": pa.string(),
        "enumerable": pa.bool_(),
        "examples": pa.int32(),
        "exact": pa.float64(),
        "exact_low": pa.float64(),
        "exact_high": pa.float64(),
        "tokens": pa.float64(),
        "teacher_forced": pa.float64(),
        "loss": pa.float64(),
        "bleu": pa.float64(),
        "baseline_exact": pa.float64(),
        "baseline_tokens": pa.float64(),
        "baseline_teacher_forced": pa.float64(),
        "random_exact": pa.float64(),
        "random_tokens": pa.float64(),
        "last_symbol_exact": pa.float64(),
        "last_symbol_tokens": pa.float64(),
        "most_frequent_exact": pa.float64(),
        "most_frequent_tokens": pa.float64(),
        "threshold": pa.float64(),
        "ponder_steps": pa.float64(),
        "flops_per_token": pa.float64(),
        "tokens_per_second": pa.float64(),
    },
    optional=(
        "loss",
        "bleu",
        "random_exact",
        "random_tokens",
        "last_symbol_exact",
        "last_symbol_tokens",
        "most_frequent_exact",
        "most_frequent_tokens",
        "ponder_steps",
        "flops_per_token",
        "tokens_per_second",
    ),
)

SUMMARY = pa.schema(
    {
        "study": pa.string(),
        "run_id": pa.string(),
        "cell_id": pa.string(),
        "model": pa.string(),
        "task": pa.string(),
        "task_version": pa.int32(),
        "skill": pa.string(),
        "format": pa.string(),
        "bos": pa.bool_(),
        "causal": pa.bool_(),
        "decoding": pa.string(),
        "seed": pa.int64(),
        "train_length": pa.int32(),
        "factor": pa.float64(),
        "examples": pa.int32(),
        "fits": pa.bool_(),
        "fit_exact": pa.float64(),
        "fit_threshold": pa.float64(),
        "reach": pa.int32(),
        "at_grid_end": pa.bool_(),
        "next_tested": pa.int32(),
        "recovers": pa.bool_(),
        "certified_reach": pa.int32(),
        "certified_at_grid_end": pa.bool_(),
        "token_reach": pa.int32(),
        "token_at_grid_end": pa.bool_(),
        "extrapolation_exact": pa.float64(),
        "normalised_exact": pa.float64(),
        "extrapolation_tokens": pa.float64(),
        "normalised_tokens": pa.float64(),
        "loss": pa.float64(),
        "loss_beyond": pa.float64(),
        "bleu": pa.float64(),
        "bleu_beyond": pa.float64(),
        "parameters": pa.int64(),
        "parameters_total": pa.int64(),
        "training_flops": pa.float64(),
        "training_seconds": pa.float64(),
        "training_tokens": pa.int64(),
        "peak_memory_bytes": pa.int64(),
        "flops_per_token": pa.float64(),
        "flops_per_token_longest": pa.float64(),
        "tokens_per_second": pa.float64(),
        "ponder_steps": pa.float64(),
        "ponder_steps_beyond": pa.float64(),
        "final_loss": pa.float64(),
        "weights_digest": pa.string(),
    }
)
