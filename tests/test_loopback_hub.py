"""The loopback Hub answers the client library as the real one does, for models and for datasets."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from tests import hub_fixtures
from tests.loopback_hub import WRITE_TOKEN


hub = hub_fixtures.hub
pytestmark = [pytest.mark.versions, pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")]


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token=WRITE_TOKEN)


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
@pytest.mark.parametrize("name", ["small.txt", "folder/large.safetensors"])
def test_what_went_up_comes_down(api, hub, tmp_path, repo_type, name):
    api.create_repo("lab/thing", repo_type=repo_type)
    commit = api.upload_file(path_or_fileobj=b"content", path_in_repo=name, repo_id="lab/thing", repo_type=repo_type)
    assert name in api.list_repo_files("lab/thing", repo_type=repo_type)
    assert api.repo_info("lab/thing", repo_type=repo_type).sha == commit.oid
    for revision in ("main", commit.oid):
        file = hf_hub_download(
            "lab/thing", name, repo_type=repo_type, revision=revision, endpoint=hub.url, cache_dir=tmp_path / revision
        )
        assert Path(file).read_bytes() == b"content"


def test_an_older_commit_keeps_its_files(api, hub):
    api.create_repo("tester/thing")
    upload = {"path_in_repo": "a.txt", "repo_id": "tester/thing"}
    first = api.upload_file(path_or_fileobj=b"one", **upload)
    second = api.upload_file(path_or_fileobj=b"two", **upload)
    commits = hub.repositories["models", "tester/thing"].commits
    assert [commits[commit.oid]["a.txt"] for commit in (first, second)] == [b"one", b"two"]


def test_what_is_missing_is_missing_by_name(api, hub, tmp_path):
    api.create_repo("tester/thing")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("tester/other")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("tester/thing", revision="0" * 40)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("tester/thing", "no.txt", endpoint=hub.url, cache_dir=tmp_path)


def test_a_private_repository_hides_from_strangers(api, hub):
    api.create_repo("tester/secret", private=True)
    assert api.model_info("tester/secret").private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.url, token=False).model_info("tester/secret")
