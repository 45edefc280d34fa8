"""The aligned loss against a plain sum."""

from types import SimpleNamespace

import pytest
import torch
from transformers.trainer_pt_utils import LabelSmoother

from eval_harness.training.loss import AlignedLoss


def test_the_aligned_loss_is_a_sum_over_what_is_scored():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 7, generator=generator)  # one place more than labels
    labels = torch.tensor([[-100, 3, 1, -100], [6, -100, -100, 0]])
    expected = -sum(
        logits[row, place].log_softmax(-1)[labels[row, place]]
        for row in range(2)
        for place in range(4)
        if labels[row, place] != -100
    )
    loss = AlignedLoss(SimpleNamespace(config=SimpleNamespace(router_aux_loss_coef=0.5)))
    torch.testing.assert_close(loss(SimpleNamespace(logits=logits), labels), expected / 4)
    torch.testing.assert_close(loss(SimpleNamespace(logits=logits), labels, num_items_in_batch=10), expected / 10)
    balanced = SimpleNamespace(logits=logits, aux_loss=torch.tensor(2.0))
    torch.testing.assert_close(loss(balanced, labels), expected / 4 + 0.5 * 2.0)


def test_the_loss_of_a_classifier_is_that_of_its_labels():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[2], [0], [3]])
    loss = AlignedLoss(SimpleNamespace(config=SimpleNamespace()))
    expected = -logits.log_softmax(-1)[torch.arange(3), labels[:, 0]].mean()
    torch.testing.assert_close(loss(SimpleNamespace(logits=logits), labels), expected)


@pytest.mark.parametrize("items", [None, 10, torch.tensor(7)])
@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 7)])
def test_smoothed_labels_give_the_loss_of_the_library(shape, items):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    labels = torch.randint(7, shape[:-1] if len(shape) == 3 else (3, 1), generator=generator)
    labels[0, 0] = -100
    expected = LabelSmoother(0.2)({"logits": logits}, labels, num_items_in_batch=items)
    loss = AlignedLoss(SimpleNamespace(config=SimpleNamespace()), smoothing=0.2)
    torch.testing.assert_close(loss(SimpleNamespace(logits=logits), labels, items), expected)
