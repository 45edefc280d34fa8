"""Graphs for every batch and length: `torch.export`, ONNX, and `torch.compile` without a new graph for each length.

What is registered is exported here, but for what `REFUSED` names, which says so.
"""

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from hf_models import MODEL_CLASSES
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.position_registry import POSITION_ENCODINGS
from tests.hf_models.model_cases import CLOSE, RECURRENT, main_output, tokens
from tests.hf_models.registered_models import CASES, build, is_recurrent, is_seq2seq


pytestmark = pytest.mark.slow
REFUSED = {
    "stack_rnn": "StackRNNLayer reads token by token, so that it can be exported for a fixed length only",
    "tape_rnn": "TapeRNNLayer reads token by token, so that it can be exported for a fixed length only",
    "attention-lsh": "LSHAttention cannot be exported",
}
EXAMPLE = (3, 9)
SIZES = ((1, 5, "left"), (5, 70, "right"))  # longer than a block of xPos and a chunk of PaTH


BIDIRECTIONAL = ("alibi-bidirectional", "t5-bidirectional", "coordinate-bidirectional")


def is_chosen(case: str) -> bool:
    """One case for each name in a registry and each model type; other forms of an encoding run the same code."""
    encoding, _, direction = case.rpartition("-")
    if direction == "causal":
        return encoding in POSITION_ENCODINGS
    if direction == "bidirectional":
        return case in BIDIRECTIONAL or case in RECURRENT
    if is_seq2seq(case):
        return case.removeprefix("seq2seq-") in ("lstm", "transformer-rope", "universal-act")
    return case not in ("lstm-2", "rnn-tanh", "universal", "universal-group", "universal-act", "universal-act-post")


CHOSEN = [case for case in CASES if is_chosen(case)]
EXPORTED = [case for case in CHOSEN if not case.startswith(tuple(REFUSED))]
# torch's recurrent modules set an attribute while they are traced.
of_torch = pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")


class Logits(nn.Module):
    """A model as a function of tensors."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask=None, decoder_input_ids=None):
        given = {} if decoder_input_ids is None else {"decoder_input_ids": decoder_input_ids}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **given)
        return main_output(output)


def padded(batch: int, length: int, side: str) -> Tensor:
    """A mask whose rows have ever fewer tokens `[batch, length]`."""
    lengths = length - torch.arange(batch)[:, None] * (length // 6 + 1)
    mask = (torch.arange(length) < lengths.clamp(min=1)).long()
    return mask if side == "right" else mask.flip(-1)


def inputs(case: str, batch: int, length: int, side: str | None) -> dict[str, Tensor]:
    """Tokens and, with a side, a mask; an encoder-decoder has a target of another length too."""
    given = {"input_ids": tokens(batch, length, seed=length)}
    if side is not None:
        given["attention_mask"] = padded(batch, length, side)
    if is_seq2seq(case):
        given["decoder_input_ids"] = tokens(batch, length + 2, seed=1)
    return given


def exported(case: str, model, side: str | None = "left"):
    """The graph of an example, for every batch and length."""
    batch, length, target = Dim("batch"), Dim("length"), Dim("target")
    given = inputs(case, *EXAMPLE, side)
    shapes = {name: {0: batch, 1: target if name == "decoder_input_ids" else length} for name in given}
    with torch.no_grad():  # with gradients torch warns about what it traces in a loop
        return export(Logits(model), (), given, dynamic_shapes=shapes).module()


def read(case: str, given: dict[str, Tensor], logits: Tensor) -> Tensor:
    """The logits that somebody reads: those of real tokens."""
    if logits.dim() < 3 or is_seq2seq(case) or "attention_mask" not in given:
        return logits
    return logits[given["attention_mask"].bool()]


def roomy(case: str, **options):
    """A model whose tables have room for the longest sequence."""
    if not is_recurrent(case):
        options["max_position_embeddings"] = 128
    return build(case, **options)


def assert_equal_at_other_sizes(case, model, graph, masked=True):
    for batch, length, side in SIZES:
        given = inputs(case, batch, length, side if masked else None)
        with torch.no_grad():
            found, expected = graph(**given), Logits(model)(**given)
        torch.testing.assert_close(read(case, given, found), read(case, given, expected), **CLOSE)


def test_every_registered_choice_is_exported_or_refused():
    types = {CASES[case][0] for case in CHOSEN}
    assert types == set(MODEL_CLASSES)
    assert {f"attention-{name}" for name in ATTENTION_TYPES} <= set(CHOSEN)
    assert {name for name in POSITION_ENCODINGS if f"{name}-causal" in EXPORTED} == set(POSITION_ENCODINGS)


@of_torch
@pytest.mark.parametrize("case", EXPORTED)
def test_a_graph_holds_for_other_batches_and_lengths(case):
    model = roomy(case)
    assert_equal_at_other_sizes(case, model, exported(case, model))


@of_torch
@pytest.mark.parametrize("case", ["rope-causal", "t5-bidirectional", "seq2seq-transformer-rope"])
def test_so_does_one_without_a_mask(case):
    model = roomy(case)
    graph = exported(case, model, side=None)
    assert_equal_at_other_sizes(case, model, graph, masked=False)


@pytest.mark.parametrize("case", [case for case in CHOSEN if case not in EXPORTED])
def test_a_graph_that_cannot_hold_for_every_length_is_refused(case):
    (reason,) = [text for name, text in REFUSED.items() if case.startswith(name)]
    with pytest.raises(ValueError, match=reason):
        exported(case, roomy(case))


class LogitsOfIds(Logits):
    """A model as a function of tokens and their position ids."""

    def forward(self, input_ids, position_ids):
        return main_output(self.model(input_ids, position_ids=position_ids, use_cache=False))


@pytest.mark.parametrize("case", ["rope-causal", "path-causal", "t5-bidirectional"])
def test_a_graph_with_position_ids_keeps_packed_sequences_apart(case):
    model = LogitsOfIds(roomy(case))
    shapes = {0: Dim("batch"), 1: Dim("length")}
    given = tokens(3, 9), torch.arange(9).repeat(3, 1)
    with torch.no_grad():
        graph = export(model, given, dynamic_shapes=(shapes, shapes)).module()
        input_ids, position_ids = tokens(2, 20), torch.cat([torch.arange(7), torch.arange(13)]).repeat(2, 1)
        expected = model(input_ids, position_ids)
        torch.testing.assert_close(graph(input_ids, position_ids), expected, **CLOSE)
        assert not torch.allclose(model(input_ids, torch.arange(20).repeat(2, 1)), expected, atol=1e-2)


# Heads and precisions do not touch the graph of the backbone: one of each suffices.
@pytest.mark.parametrize("head", ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"])
def test_every_head_is_exported(head):
    model = build("rope-causal", head)
    assert_equal_at_other_sizes("rope-causal", model, exported("rope-causal", model))


@pytest.mark.filterwarnings("ignore")  # of torch's own exporter
def test_onnx_runs_it_at_other_sizes(tmp_path):
    model = roomy("alibi-causal")
    given = inputs("alibi-causal", *EXAMPLE, "left")
    shapes = {name: {0: Dim("batch"), 1: Dim("length")} for name in given}
    program = torch.onnx.export(
        Logits(model).eval(), (), kwargs=given, dynamic_shapes=shapes, dynamo=True, verbose=False
    )
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")

    def run(**given):
        (logits,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        return torch.from_numpy(logits)

    assert_equal_at_other_sizes("alibi-causal", model, run)


# Lengths of a length sweep, in one graph.

COMPILED = [
    *("learned-causal", "rope-causal", "xpos-causal", "t5-causal", "fire-causal", "fox-causal", "path-causal"),
    *("stick_breaking", "attention-sliding", "alibi-bidirectional", "universal-around", "halting-act"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own tracing
@pytest.mark.parametrize("case", COMPILED)
def test_a_compiled_model_has_one_graph_for_every_batch_and_length(case):
    torch._dynamo.reset()
    model = roomy(case)
    compiled = torch.compile(model, backend="eager", dynamic=True)
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for batch, length in ((3, 9), (2, 5), (3, 17), (4, 33), (2, 70)):
            given = inputs(case, batch, length, "left")
            found = main_output(compiled(**given, use_cache=False))
            expected = main_output(model(**given, use_cache=False))
            torch.testing.assert_close(read(case, given, found), read(case, given, expected), **CLOSE)
