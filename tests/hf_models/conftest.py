"""What every test of the model package begins with: one thread, and a fixed seed."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def single_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)
