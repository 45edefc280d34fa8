"""The model package as code for the Hub: flat files that import torch, transformers, huggingface_hub and siblings."""

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
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
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert [node for node in relative if node not in tree.body] == []
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


DOCUMENTED = {"transformers", "transformers.generation", "transformers.modeling_outputs", "transformers.utils"}


@pytest.mark.parametrize("file", FILES, ids=ids(FILES))
def test_undocumented_names_of_transformers_have_one_place(file):
    tree = ast.parse(file.read_text())
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0}
    named |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    beyond = {name for name in named if name.partition(".")[0] == "transformers"} - DOCUMENTED
    assert beyond == set() or file.name == "transformers_internals.py"


@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention warns that it is slow
def test_flex_attention_works_where_transformers_has_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers.integrations.flex_attention", None)
    file = FOLDER / "transformers_internals.py"
    own = ModuleType("own_internals")
    exec(compile(file.read_text(), file, "exec"), own.__dict__)
    query, key, value = torch.randn(3, 2, 2, 5, 8)

    def add_bias(score, row, head, query_index, key_index):
        return score + (query_index - key_index) * 0.1

    torch.compiler.set_stance("force_eager")
    try:
        found = own.compile_friendly_flex_attention(query, key, value, score_mod=add_bias, training=True)
    finally:
        torch.compiler.set_stance("default")
    places = torch.arange(5)
    bias = (places[:, None] - places) * 0.1
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    torch.testing.assert_close(found, expected)
