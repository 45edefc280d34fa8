"""Fixtures with a Hub on the loopback interface, for tests that publish and load."""

import huggingface_hub.constants
import pytest

from tests.loopback_hub import WRITE_TOKEN, LoopbackHub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running loopback Hub that this process takes for the Hub, with a token that may write.

    `huggingface_hub` reads its environment when it is imported, so this process is told through its constants; a
    child process is told through `hub.environment(home)`.
    """
    with LoopbackHub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        # transformers shares one client per process, which keeps the address of its first use and would wait for it.
        monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
        monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
        yield server
