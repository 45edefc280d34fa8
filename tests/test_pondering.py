"""The pictures of where trained models ponder, drawn of models that are not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from docs.manual import pondering
from eval_harness.models import build_model
from eval_harness.training.setup import size_for


def untrained(rule):
    torch.manual_seed(0)
    run = pondering.run_of(rule)
    return build_model(size_for(run).config).eval(), run


@pytest.mark.parametrize("rule", pondering.HALTING)
def test_the_steps_of_an_example_are_those_that_the_model_takes(rule):
    model, run = untrained(rule)
    encoded, steps, right = pondering.ponder(model, run, 5, 3)
    assert steps.shape == encoded.input_ids.shape == (3, 2 * 5 + 3)
    alone = model(torch.from_numpy(encoded.input_ids[1:2]), output_steps=True).ponder_steps
    assert np.array_equal(steps[1], alone[0].numpy())
    assert right.tolist() == [False] * 3


def test_a_right_answer_is_called_right(monkeypatch):
    model, run = untrained("act")
    forward = model.forward

    def answering(input_ids, **options):
        output = forward(input_ids, **options)
        output.logits = torch.nn.functional.one_hot(input_ids.roll(-1, 1), model.config.vocab_size).float()
        return output

    monkeypatch.setattr(model, "forward", answering)
    assert pondering.ponder(model, run, 5, 3)[2].tolist() == [True] * 3


@pytest.mark.slow
def test_the_pictures_are_drawn():
    models, runs = {}, {}
    for rule in pondering.HALTING:
        models[rule], runs[rule] = untrained(rule)
    drawn = [pondering.positions_picture(models[rule], runs[rule]) for rule in models]
    for picture in [*drawn, pondering.lengths_picture(models, runs)]:
        assert Image.open(io.BytesIO(picture)).width > 900
        assert len(picture) < 80_000
