"""Runs the common tests of transformers, those that its source distribution has, on every model type of Longreach.

    python -m tests.library_tests [OPTIONS OF PYTEST]

The distribution of the installed release is downloaded with pip, so this is no part of `make test`. It lacks the tests
of `generate()`, of exporters and of single models: empty classes take their place, and `tests/hf_models` has tests of
our own. They need `pip install parameterized`.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
from importlib import import_module
from pathlib import Path

import torch
import transformers

import hf_models


ROOT = Path(__file__).parents[1]
# What the library's files import and its distribution does not have.
MISSING = {
    "generation/test_utils.py": "class GenerationTesterMixin: pass\n",
    "exporters/test_export.py": "class ExportTesterMixin: pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {'return_dict': False}\n",
}
CASES = "from tests.library_tests import cases\n\nglobals().update(cases(__package__))\n"
SETTINGS = "[pytest]\nfilterwarnings = ignore\n"
SIZES = {"vocab_size": 99, "hidden_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_labels": 3}
ATTENTION = {**SIZES, "num_attention_heads": 4, "intermediate_size": 37, "max_position_embeddings": 128}
OPTIONS = {
    **{f"{kind}Config": {"num_hidden_layers": 2} for kind in ("LSTM", "RNN", "StackRNN", "TapeRNN", "LSTMSeq2Seq")},
    "PositionTransformerConfig": {"num_hidden_layers": 2, "position_encoding": "rope"},
    "UniversalTransformerConfig": {"num_steps": 2, "halting": "act"},
    "PositionTransformerSeq2SeqConfig": {"num_encoder_layers": 2, "num_decoder_layers": 2},
    "UniversalTransformerSeq2SeqConfig": {"num_steps": 2},
}


class ModelTester:
    """What the common tests ask of a model's own tester."""

    batch_size, seq_length, num_labels, is_training = 5, 7, 3, True
    encoder_seq_length = decoder_seq_length = key_length = 7
    vocab_size, hidden_size, num_hidden_layers, num_attention_heads = 99, 32, 2, 4

    def __init__(self, config_class, options: dict):
        self.config_class, self.options = config_class, options

    def get_config(self):
        """A configuration."""
        return self.config_class(**self.options)

    def prepare_config_and_inputs_for_common(self):
        """A configuration, and a batch without padding."""
        config, input_ids = self.get_config(), torch.randint(3, 99, (self.batch_size, self.seq_length))
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if config.is_encoder_decoder:
            inputs |= {"decoder_input_ids": input_ids.clone(), "decoder_attention_mask": torch.ones_like(input_ids)}
        return config, inputs


def case(config_class, options: dict, mixin, config_tester):
    """The tests of one model type."""
    config, has_attention = config_class(**options), "num_attention_heads" in options

    class LibraryTest(mixin, unittest.TestCase):
        all_model_classes = tuple(hf_models.MODEL_CLASSES[config_class].values())
        is_encoder_decoder, has_attentions = config.is_encoder_decoder, has_attention

        def setUp(self):
            self.model_tester = ModelTester(config_class, options)
            common = ["hidden_size", "num_hidden_layers"] + ["num_attention_heads"] * has_attention
            self.config_tester = config_tester(self, config_class, has_text_modality=False, common_properties=common)

        def test_config(self):
            self.config_tester.run_common_tests()

        def test_generation_tester_mixin_inheritance(self):
            self.skipTest("The tests of generate() are not in the distribution.")

        def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
            inputs = dict(super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels))
            if return_labels and not model_class.__name__.endswith("Model"):
                shape = (5,) if "SequenceClassification" in model_class.__name__ else (5, 7)
                inputs["labels"] = torch.zeros(shape, dtype=torch.long)
            return inputs

        def _with_heads(self, test, **given):
            heads = tuple(each for each in self.all_model_classes if not each.__name__.endswith("Model"))
            with unittest.mock.patch.object(type(self), "all_model_classes", heads):
                test(**given)

        def test_training(self):
            self._with_heads(super().test_training)

        def check_training_gradient_checkpointing(self, **given):
            self._with_heads(super().check_training_gradient_checkpointing, **given)

    return LibraryTest


def cases(package: str) -> dict[str, type]:
    """A class of tests for each model type, by name."""
    mixin = import_module(".test_modeling_common", package).ModelTesterMixin
    tester = import_module(".test_configuration_common", package).ConfigTester
    found = {}
    for config_class in hf_models.MODEL_CLASSES:
        name = config_class.__name__
        options = {**(SIZES if "LSTM" in name or "RNN" in name else ATTENTION), **OPTIONS[name]}
        found[f"Test{name}"] = case(config_class, options, mixin, tester)
    return found


def main() -> int:
    """Downloads, unpacks and runs the tests."""
    with tempfile.TemporaryDirectory() as folder:
        package = f"transformers=={transformers.__version__}"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-binary",
            ":all:",
            "--no-deps",
            "--dest",
            folder,
        ]
        subprocess.run([*pip, package], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        tests = archive.with_name(archive.name.removesuffix(".tar.gz")) / "tests"
        tests.rename(library := Path(folder) / "library")
        (library / "__init__.py").touch()
        for name, text in MISSING.items():
            (library / name).parent.mkdir()
            (library / name).parent.joinpath("__init__.py").touch()
            (library / name).write_text(text, encoding="utf-8")
        (library / "test_longreach.py").write_text(CASES, encoding="utf-8")
        (Path(folder) / "pytest.ini").write_text(SETTINGS, encoding="utf-8")
        options = ["-q", "-p", "no:cacheprovider", "--import-mode=prepend", *sys.argv[1:]]
        path = os.pathsep.join([folder, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "pytest", str(library / "test_longreach.py"), *options]
        return subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
