"""What every test begins with: one thread, here and in the processes that tests start; and one small trained run."""

import gc
import os
import shutil

import pytest


os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported


def pytest_collection_finish():
    """Spares the collector what was imported: the Trainer collects garbage after every training, 0.2 s each."""
    gc.freeze()


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """The folder of a small finished run; not to be changed."""
    from tests.tiny_runs import tiny, train_quietly

    return train_quietly(tiny(), tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def tiny_run(trained_once, tmp_path):
    """A copy of that folder, free to be changed."""
    return shutil.copytree(trained_once, tmp_path / "run")


@pytest.fixture(scope="module", autouse=True)
def short_garbage_collections():
    """Leaves what exists before a module out of garbage collections: the Trainer asks for one in each run."""
    gc.collect()
    gc.freeze()
