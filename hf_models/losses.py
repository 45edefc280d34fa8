"""The losses of the heads, with label smoothing, and the refusal of losses that are computed without the model.

They take the arguments of transformers' own losses and divide by the number of labels of the batch that the Trainer
counts, so that four micro-batches of one add up to one of four: regression and several classes at once too.

B batch   T positions   V vocabulary   C classes

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn

from .precision import at_least_float32


def averaged(loss_function, predicted: Tensor, labels: Tensor, items: Tensor | int | None, **options) -> Tensor:
    """The sum of a loss, divided by the number of labels over all micro-batches; the mean where that is None."""
    if items is None:
        return loss_function(predicted, labels, **options)
    total = loss_function(predicted, labels, reduction="sum", **options)
    return total / torch.as_tensor(items, device=total.device)


def cross_entropy(logits: Tensor, labels: Tensor, items: Tensor | int | None = None, smoothing: float = 0.0) -> Tensor:
    """Mean of (1 - smoothing) times -log p(label) plus smoothing times the mean of -log p over all classes.

    Szegedy et al. 2016, https://arxiv.org/abs/1512.00567.

    Args:
        logits: `[..., V]`.
        labels: of the same positions `[...]`; -100 is not scored.
        items: number of labels over all micro-batches and processes (`num_items_in_batch`), or None for these.
        smoothing: share of the uniform distribution in the targets.
    """
    flat, labels = at_least_float32(logits).flatten(0, -2), labels.flatten().to(logits.device)
    return averaged(nn.functional.cross_entropy, flat, labels, items, label_smoothing=smoothing)


def next_token_loss(
    logits, labels, vocab_size=None, num_items_in_batch=None, shift_labels=None, smoothing=0.0, **kwargs
) -> Tensor:
    """Cross-entropy of the next token; `shift_labels` are aligned with the logits already."""
    if shift_labels is None:
        shift_labels = nn.functional.pad(labels[..., 1:], (0, 1), value=-100)
    return cross_entropy(logits, shift_labels, num_items_in_batch, smoothing)


def token_loss(logits, labels, vocab_size=None, num_items_in_batch=None, smoothing=0.0, **kwargs) -> Tensor:
    """Cross-entropy of labels that are aligned with the logits."""
    return cross_entropy(logits, labels, num_items_in_batch, smoothing)


def sequence_loss(labels, pooled_logits, config, num_items_in_batch=None, smoothing=0.0, **kwargs) -> Tensor:
    """The loss of the configuration's `problem_type`, which is set from the labels where it is None.

    Raises:
        ValueError: labels that are no classes are to be smoothed.
    """
    if config.problem_type is None:
        classes = "single" if labels.dtype in (torch.long, torch.int) else "multi"
        config.problem_type = "regression" if config.num_labels == 1 else f"{classes}_label_classification"
    if config.problem_type == "single_label_classification":
        return cross_entropy(pooled_logits, labels, num_items_in_batch, smoothing)
    if smoothing:
        raise ValueError(f"Labels of the problem_type {config.problem_type!r} cannot be smoothed; give smoothing=0.")
    regression = config.problem_type == "regression"
    function = nn.functional.mse_loss if regression else nn.functional.binary_cross_entropy_with_logits
    logits = at_least_float32(pooled_logits)
    return averaged(function, logits, labels.to(logits).view_as(logits), num_items_in_batch)


@torch.compiler.disable
def refuse_loss_without_model(name: str, reason: str):
    """Refuses a loss that is computed from the logits.

    It is never compiled: an error within compiled code makes the code run again uncompiled, where `is_compiling` is
    false and nothing would be refused.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{name}: {reason}. Under label_smoothing_factor and compute_loss_func the Trainer computes the loss from the "
        "logits; leave these out and, to smooth the labels, give the model smoothing=... in each batch."
    )
