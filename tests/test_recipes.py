"""Every recipe trains, and those of published curves are the runs of their study or picture."""

import runpy
from pathlib import Path

import pytest

from docs.manual.pondering import HALTING, run_of
from eval_harness.studies.catalogue.quickstart import STUDY


ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TRAIN = runpy.run_path(str(ROOT / "scripts" / "train.py"))


def test_each_published_curve_has_a_recipe():
    runs = [TRAIN["specify"](*TRAIN["parse"]([str(path)])) for path in RECIPES]
    published = [run for run in STUDY.runs if run.seed == 0] + [run_of(rule) for rule in HALTING]
    assert {run.identity() for run in published} <= {run.identity() for run in runs}


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_for_three_steps(path, tmp_path):
    flags = ["--max_steps", "3", "--output_dir", str(tmp_path / "run"), "--disable_tqdm", "true", "--use_cpu"]
    assert TRAIN["main"]([str(path), *flags]) == 0
    assert (tmp_path / "run" / "model.safetensors").exists()
