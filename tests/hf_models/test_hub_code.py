"""The model package as code for the Hub: flat files that import torch, transformers, huggingface_hub and siblings."""

import ast
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files, get_relative_imports

import hf_models
from hf_models import MODEL_CLASSES


pytestmark = pytest.mark.versions
FOLDER = Path(hf_models.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
MODELINGS = [file for file in FILES if file.name.startswith("modeling_")]


def ids(files):
    return [file.name for file in files]


def test_the_package_is_flat():
    assert [path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"] == []
    assert len(FILES) > 10


@pytest.mark.parametrize("file", FILES, ids=ids(FILES))
def test_a_file_asks_for_torch_transformers_and_huggingface_hub_alone(file):
    imports = {name for name in get_imports(file) if name not in sys.stdlib_module_names}
    assert imports <= {"torch", "transformers", "huggingface_hub"}


@pytest.mark.parametrize("file", FILES, ids=ids(FILES))
def test_relative_imports_name_siblings_at_the_top_level_and_nothing_else(file):
    siblings = {other.stem for other in FILES} - {"__init__"}
    assert set(get_relative_imports(file)) <= siblings
    tree = ast.parse(file.read_text())
    nested = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node not in tree.body]
    assert nested == []
    at_top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.level}
    # What the library finds by a regular expression is what Python imports: no docstring looks like an import.
    assert at_top == set(get_relative_imports(file))
    assert all(node.level < 2 for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("file", MODELINGS, ids=ids(MODELINGS))
def test_every_file_that_a_model_needs_exists(file):
    assert all(Path(needed).exists() for needed in get_relative_import_files(file))


@pytest.mark.parametrize("file", [file for file in FILES if file.name != "__init__.py"], ids=lambda file: file.name)
def test_a_shipped_file_states_its_license(file):
    assert "SPDX-License-Identifier: Apache-2.0" in ast.get_docstring(ast.parse(file.read_text()))


@pytest.mark.parametrize("config_class", MODEL_CLASSES, ids=lambda cls: cls.__name__)
def test_the_auto_map_names_every_class_and_its_file(config_class):
    auto_map = config_class().auto_map
    assert auto_map["AutoConfig"] == f"configuration_{config_class.model_type}.{config_class.__name__}"
    expected = {
        auto_class.__name__: f"modeling_{config_class.model_type}.{model_class.__name__}"
        for auto_class, model_class in MODEL_CLASSES[config_class].items()
    }
    assert {name: value for name, value in auto_map.items() if name != "AutoConfig"} == expected
    for name, model_class in MODEL_CLASSES[config_class].items():
        assert model_class.__module__ == f"hf_models.modeling_{config_class.model_type}"
        assert model_class._auto_class == name.__name__
    assert config_class._auto_class == "AutoConfig"


@pytest.mark.parametrize("config_class", MODEL_CLASSES, ids=lambda cls: cls.__name__)
def test_no_class_name_makes_generate_take_another_path(config_class):
    for name in ("reformer", "minimax", "xlnet", "rwkv", "xlstm", "mamba"):
        assert all(name not in model_class.__name__.lower() for model_class in MODEL_CLASSES[config_class].values())
