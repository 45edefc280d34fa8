"""The loss of library models.

Our causal heads take labels aligned with their logits. Library models shift labels, some unconditionally, and average
in different ways, so their labels are kept from them and compared with their logits here.

B batch   U places where a model answers   V answers it chooses from
"""

import torch
from transformers import PreTrainedModel

from eval_harness.tokenization.vocabulary import NOT_SCORED
from hf_models.losses import cross_entropy


class AlignedLoss:
    """Cross-entropy of labels aligned with the logits, normalised as the Trainer requests.

    Args:
        model: the model, of which only the weight of an auxiliary loss is read, such as a balance among experts.
        smoothing: share of the uniform distribution in the targets (`label_smoothing_factor`).
    """

    def __init__(self, model: PreTrainedModel, smoothing: float = 0.0):
        self.smoothing = smoothing
        self.auxiliary_weight = getattr(model.config, "router_aux_loss_coef", 0.0)

    def __call__(self, outputs, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None):
        """The loss of a micro-batch.

        Args:
            outputs: with logits [B, U, V], or of a classifier [B, V]; longer than the labels where a model pads.
            labels: [B, U], of a classifier [B, 1]; -100 where nothing is scored.
            num_items_in_batch: scored labels of the complete step; None for the mean of these.
        """
        logits = outputs.logits[:, : labels.shape[1]] if outputs.logits.ndim == 3 else outputs.logits
        scored = (labels != NOT_SCORED).sum()
        items = scored if num_items_in_batch is None else num_items_in_batch
        loss = cross_entropy(logits, labels, items, self.smoothing)
        auxiliary = getattr(outputs, "aux_loss", None)
        return loss if auxiliary is None else loss + self.auxiliary_weight * auxiliary * scored / items
