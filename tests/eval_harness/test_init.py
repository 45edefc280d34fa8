"""The package's public names."""

import pytest

import eval_harness


@pytest.mark.parametrize("name", eval_harness.__all__)
def test_every_public_name_is_there(name):
    assert getattr(eval_harness, name).__name__ == name


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        eval_harness.trian  # noqa: B018 (looking it up is the test)
