"""What publishing makes of a run, what it refuses, and the way up to a Hub and back without Longreach."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from eval_harness.errors import HarnessError
from eval_harness.publishing.model_card import template
from eval_harness.publishing.model_repository import check_push, check_repo_id, describe, plan, prepare, publish, push
from eval_harness.results.files import read_json, write_json
from eval_harness.results.folders import load_run
from eval_harness.results.summary import summarise
from eval_harness.tasks import get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.problem import get_problem
from eval_harness.tokenization.tokenizer import build_tokenizer
from eval_harness.tokenization.vocabulary import Vocabulary
from hf_models import LSTMConfig, LSTMForCausalLM
from hf_models.tested_versions import TESTED_WITH
from tests import hub_fixtures
from tests.eval_harness.fake_study import MODELS, TRAIN_LENGTH, FakeTask, write_run
from tests.loopback_hub import READ_TOKEN


hub = hub_fixtures.hub
# huggingface_hub uploads LFS objects through an argument that its HTTP client has deprecated.
pytestmark = [pytest.mark.versions, pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")]
MAJORITY = FakeTask("majority", "parallel", 1, 2)
REVERSE = FakeTask("reverse", "autoregressive", 12, 2)
DID_NOT_LEARN = MODELS[3]


def finished_run(study, task=MAJORITY, model=MODELS[0], seed=1):
    """A made-up run with stand-ins for the weights and the model's own code."""
    run = write_run(study, model=model, task=task, seed=seed, examples=100)
    write_json(study / "study.json", {"name": study.name})
    auto_map = {"AutoConfig": "configuration_lstm.LSTMConfig", "AutoModelForCausalLM": "modeling_lstm.LSTMForCausalLM"}
    write_json(run / "config.json", {"architectures": ["LSTMForCausalLM"], "auto_map": auto_map})
    for name in ("configuration_lstm.py", "modeling_lstm.py", "tokenizer.json", "specification.json"):
        (run / name).write_text("{}\n")
    (run / "model.safetensors").write_bytes(bytes(4000))
    (run / "training_args.bin").write_bytes(b"a pickle that tells where the trainer lives")
    (run / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    return run


@pytest.fixture
def study(tmp_path):
    return tmp_path / "runs" / "first"


@pytest.fixture
def run(study):
    return finished_run(study)


def contents(folder):
    return {path: (folder / path).read_bytes() for path, _ in plan(folder)}


def test_the_folder_holds_the_model_its_code_its_card_its_curve_and_its_results(run, tmp_path):
    folder = prepare(run, tmp_path / "out", "tester/majority")
    cell = "results/evaluations/cell-1"
    assert [path for path, _ in plan(folder)] == sorted(
        [
            "README.md",
            "config.json",
            "configuration_lstm.py",
            "figures/cell-1.png",
            "figures/cell-1.svg",
            "model.safetensors",
            "modeling_lstm.py",
            f"{cell}/cell.json",
            f"{cell}/examples.parquet",
            f"{cell}/lengths.parquet",
            f"{cell}/positions.parquet",
            "results/run.json",
            "tokenizer.json",
        ]
    )
    assert (folder / "figures/cell-1.png").read_bytes().startswith(b"\x89PNG")


def test_the_published_results_load_as_a_run(run, tmp_path):
    folder = prepare(run, tmp_path / "out", "tester/majority")
    assert summarise(load_run(folder / "results")) == summarise(load_run(run))


def test_the_model_index_parses_back_to_the_scores(run, tmp_path):
    folder = prepare(run, tmp_path / "out", "tester/some-name")
    card = ModelCard.load(folder / "README.md")
    summary = summarise(load_run(run))
    assert card.data.model_name == "some-name"
    assert card.data.library_name == "transformers"
    scores = {(score.dataset_split, score.metric_type): score.metric_value for score in card.data.eval_results}
    within, beyond = f"test, lengths 10 to {TRAIN_LENGTH}", f"test, lengths {TRAIN_LENGTH + 1} to 99"
    assert scores == {
        (within, "exact_match"): pytest.approx(summary["fit_exact"], abs=1e-6),
        (beyond, "exact_match"): pytest.approx(summary["extrapolation_exact"], abs=1e-6),
        (beyond, "accuracy"): pytest.approx(summary["extrapolation_tokens"], abs=1e-6),
        (beyond, "reach"): summary["reach"],
    }


def test_the_card_has_a_line_for_every_length_and_links_that_lead_somewhere(run, tmp_path):
    folder = prepare(run, tmp_path / "out", "tester/majority")
    text = (folder / "README.md").read_text()
    for row in load_run(run).lengths:
        assert len(re.findall(rf"^\| {row['length']}( \*)? \|", text, re.MULTILINE)) == 1
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert links
    assert [link for link in links if not (folder / link).exists()] == []
    assert "{{" not in text
    assert "{%" not in text
    assert "None" not in text


def test_the_card_says_when_nothing_was_learnt(study, tmp_path):
    run = finished_run(study, model=DID_NOT_LEARN)
    card = ModelCard.load(prepare(run, tmp_path / "out", "tester/majority") / "README.md")
    assert "did not learn the task" in card.text
    assert "reach" not in {score.metric_type for score in card.data.eval_results}


def test_the_card_states_the_releases_that_the_model_was_tested_with(study, tmp_path):
    run = finished_run(study, task=REVERSE)
    save_random_model(run)
    text = (prepare(run, tmp_path / "out", "tester/reverse") / "README.md").read_text()
    assert f"tested with these releases, which `config.json` states too: {stated(TESTED_WITH)}." in text


def stated(versions):
    return "; ".join(f"{name} {', '.join(versions[name])}" for name in sorted(versions))


def test_a_model_of_transformers_own_is_loaded_without_trust(run, tmp_path):
    write_json(run / "config.json", {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    text = (prepare(run, tmp_path / "out", "tester/majority") / "README.md").read_text()
    assert "AutoModelForCausalLM.from_pretrained" in text
    assert "trust_remote_code" not in text
    assert "tested with these releases" not in text


def test_every_evaluation_of_a_run_has_its_section_the_trained_task_first(run, tmp_path):
    other = run / "evaluations" / "a-cell"
    shutil.copytree(run / "evaluations" / "cell-1", other)
    write_json(other / "cell.json", read_json(other / "cell.json") | {"cell_id": "a-cell", "task": "parity"})
    text = (prepare(run, tmp_path / "out", "tester/majority") / "README.md").read_text()
    assert re.findall("^## Results: (.+)$", text, re.MULTILINE) == [
        "majority, parallel format",
        "parity, parallel format",
    ]
    assert (tmp_path / "out" / "figures" / "a-cell.png").is_file()


def test_the_folder_is_the_same_byte_for_byte(run, tmp_path):
    first = prepare(run, tmp_path / "first", "tester/majority")
    second = prepare(run, tmp_path / "second", "tester/majority")
    assert contents(first) == contents(second)


def test_the_template_is_found_beside_an_installed_package_too(monkeypatch, tmp_path):
    package = tmp_path / "site-packages" / "eval_harness"
    (package / "model_cards").mkdir(parents=True)
    (package / "model_cards" / "template.md").write_text("from the wheel")
    monkeypatch.setattr("eval_harness.publishing.model_card.__file__", str(package / "publishing" / "model_card.py"))
    assert template() == "from the wheel"


def test_a_folder_made_before_is_replaced_only_on_request(run, tmp_path):
    folder = prepare(run, tmp_path / "out", "tester/majority")
    (folder / "left-over.txt").write_text("old")
    with pytest.raises(HarnessError, match="exists already"):
        prepare(run, folder, "tester/majority")
    prepare(run, folder, "tester/majority", overwrite=True)
    assert not (folder / "left-over.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


def test_a_folder_of_the_user_is_never_replaced(run, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("two years of work")
    with pytest.raises(HarnessError, match="no folder that publishing made"):
        prepare(run, thesis, "tester/majority", overwrite=True)
    assert (thesis / "chapter.tex").read_text() == "two years of work"


def test_a_failure_leaves_the_folder_of_the_time_before(run, tmp_path, monkeypatch):
    folder = prepare(run, tmp_path / "out", "tester/majority")
    before = contents(folder)
    monkeypatch.setattr("eval_harness.publishing.model_repository.model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(run, folder, "tester/majority", overwrite=True)
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("run.json", "not trained to the end"),
        ("config.json", "lost its model"),
        ("model.safetensors", "lost its model"),
        ("evaluations/cell-1/lengths.parquet", "not scored yet"),
        ("modeling_lstm.py", "names modeling_lstm.py"),
    ],
)
def test_an_unfinished_run_is_refused_in_one_sentence(run, tmp_path, missing, sentence):
    (run / missing).unlink()
    with pytest.raises(HarnessError, match=sentence):
        prepare(run, tmp_path / "out", "tester/majority")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("repo_id", ["majority", "a/b/c", "tester/a--b", "tester/ä", "tester/.hidden", "tester/x.git"])
def test_a_name_that_the_hub_does_not_allow_is_refused(repo_id):
    with pytest.raises(HarnessError, match=re.escape(repr(repo_id))):
        check_repo_id(repo_id)


def test_a_dry_run_lists_every_file_and_asks_the_hub_nothing(hub, run):
    outcome = publish(run, "tester")
    text = describe(outcome)
    assert hub.requests == []
    (publication,) = outcome.publications
    assert publication.repo_id == "tester/first-majority-lstm-1"
    assert publication.folder == run / "hub"
    assert publication.weights == 4000
    assert [path for path in contents(run / "hub") if path not in text] == []
    assert "weights 4.0 kB" in text
    assert "nothing was uploaded" in text


def test_a_study_publishes_its_finished_runs_and_names_the_others(study):
    runs = [finished_run(study, seed=seed) for seed in (1, 2)]
    (study / "still-training" / "checkpoint-1").mkdir(parents=True)
    outcome = publish(study, "lab")
    assert [p.repo_id for p in outcome.publications] == ["lab/first-majority-lstm-1", "lab/first-majority-lstm-2"]
    assert [p.folder for p in outcome.publications] == [run / "hub" for run in runs]
    assert "still-training" in describe(outcome)


def test_what_is_no_run_and_no_study_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="neither a run"):
        publish(tmp_path, "tester")


def test_a_study_needs_an_owner_not_a_repository(run, study):
    with pytest.raises(HarnessError, match="user or organisation"):
        publish(study, "tester/one")


def test_a_study_without_a_finished_run_is_refused(study):
    write_json(study / "study.json", {})
    (study / "still-training").mkdir()
    with pytest.raises(HarnessError, match="no finished run"):
        publish(study, "tester")


def test_runs_whose_names_would_fall_together_are_refused(run, study):
    run.rename(study / "a b")
    finished_run(study).rename(study / "a+b")
    with pytest.raises(HarnessError, match="both become"):
        publish(study, "tester")


def test_names_are_made_fit_for_the_hub(run, study):
    run.rename(study / "majority:letters=5..x__")
    (publication,) = publish(study, "tester").publications
    assert publication.repo_id == "tester/first-majority-letters-5.x__"


def test_a_run_of_no_study_is_named_by_its_folder(run):
    record = read_json(run / "run.json")
    record |= {"study": None, "final_loss": None, "environment": record["environment"] | {"git": None}}
    write_json(run / "run.json", record)
    (publication,) = publish(run, "tester").publications
    assert publication.repo_id == "tester/majority-lstm-1"
    assert "None" not in (run / "hub" / "README.md").read_text()


def test_a_push_without_a_token_is_refused_before_anything_is_made(hub, run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HarnessError, match="hf auth login"):
        publish(run, "tester", push=True)
    assert hub.requests == []
    assert not (run / "hub").exists()


@pytest.mark.parametrize(
    ("repo_id", "token", "sentence"),
    [
        ("tester/x", "hf_unknown", "does not know this token"),
        ("tester/x", READ_TOKEN, "can only read"),
        ("stranger/x", None, "under 'stranger'. Allowed: tester, lab"),
        ("a--b/x", None, "cannot be a repository"),
    ],
)
def test_a_push_that_cannot_succeed_is_refused_at_once(hub, repo_id, token, sentence):
    with pytest.raises(HarnessError, match=sentence):
        check_push(repo_id, token)
    assert hub.repositories == {}


def test_without_a_hub_there_is_one_sentence(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HarnessError, match=r"The Hub at http://127\.0\.0\.1:9"):
        check_push("tester/x")


def test_what_is_pushed_is_what_was_prepared(hub, run):
    outcome = publish(run, "lab/majority", push=True, private=True)
    repository = hub.repositories["models", "lab/majority"]
    pushed = {path: content for path, content in repository.files.items() if path != ".gitattributes"}
    assert pushed == contents(run / "hub")
    assert repository.private
    assert outcome.publications[0].url == f"{hub.url}/lab/majority"
    assert f"Uploaded to {hub.url}/lab/majority" in describe(outcome)


def test_a_second_push_uploads_only_what_changed(hub, run):
    publish(run, "tester/x", push=True)
    repository = hub.repositories["models", "tester/x"]
    head = repository.head
    hub.requests.clear()
    publish(run, "tester/x", push=True)
    assert repository.head == head
    assert not any("/commit/" in path for _, path in hub.requests)

    (run / "evaluations" / "cell-1").rename(run / "evaluations" / "cell-2")
    cell = run / "evaluations" / "cell-2" / "cell.json"
    write_json(cell, read_json(cell) | {"cell_id": "cell-2"})
    repository.files["notes.md"] = b"written on the Hub by hand"
    publish(run, "tester/x", push=True)
    assert set(repository.files) == {".gitattributes", "notes.md", *contents(run / "hub")}


def test_a_push_that_breaks_off_keeps_the_folder_and_can_be_repeated(hub, run):
    hub.failing = "/commit/"
    with pytest.raises(HarnessError, match=f"Pushing tester/x failed: .*{re.escape(str(run / 'hub'))}"):
        publish(run, "tester/x", push=True)
    prepared = contents(run / "hub")
    hub.failing = None
    push(run / "hub", "tester/x")
    assert prepared.items() <= hub.repositories["models", "tester/x"].files.items()


# Runs the example of a card where the two packages cannot be imported, however they are installed.
CHILD = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("hf_models", "eval_harness"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
scope = {}
exec(sys.stdin.read(), scope)
assert not {"hf_models", "eval_harness"} & {name.partition(".")[0] for name in sys.modules}
print(json.dumps([scope["answer"].tolist(), type(scope["model"]).__module__]))
"""


def save_random_model(run):
    """Puts a small real model with great random weights, so that it is sure of what it says, into a made-up run."""
    training = load_run(run).training
    task = get_task(training["task"])
    tokenizer = build_tokenizer(get_problem(task, training["format"]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LSTMForCausalLM(LSTMConfig(vocab_size=len(tokenizer), hidden_size=16, pad_token_id=0, eos_token_id=3))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    model.save_pretrained(run)
    tokenizer.save_pretrained(run)
    return model.eval()


def card_example(card):
    """The Python example of a card."""
    return card.read_text().split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize(
    ("task", "format"), [("reverse", "parallel"), ("binary_addition", "parallel"), ("flip_flop", "in_place")]
)
def test_the_example_of_the_card_reads_the_model_where_the_format_scores_it(study, tmp_path, task, format):
    run = finished_run(study, task=FakeTask(task, format, 1, 2))
    model = save_random_model(run)
    folder = prepare(run, tmp_path / "out", "tester/name")
    scope = {}
    exec(card_example(folder / "README.md").replace("tester/name", str(folder)), scope)

    task = get_task(task)
    encoded = get_format(format).encode(task.sample(8, 1, seed=0), task, Vocabulary(task))
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(encoded.input_ids)).logits
    assert scope["answer"].tolist() == logits.argmax(-1)[0, encoded.labels[0] != -100].tolist()


@pytest.mark.slow
def test_a_pushed_model_answers_the_same_in_a_process_that_has_no_longreach(hub, study, tmp_path):
    run = finished_run(study, task=FakeTask("reverse", "autoregressive", 12, 2))
    model = save_random_model(run)
    publish(run, "tester/reverse", push=True)
    task = get_task("reverse")
    encoded = get_format("autoregressive").encode(task.sample(8, 1, seed=0), task, Vocabulary(task))
    prompt = torch.from_numpy(encoded.input_ids[:, : 1 + 8 + 1])  # <bos> x <sep>
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=9, do_sample=False)

    environment = os.environ | hub.environment(tmp_path / "home") | {"OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=card_example(run / "hub" / "README.md"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answer, module = json.loads(child.stdout.splitlines()[-1])
    assert answer == expected[0, prompt.shape[1] :].tolist()
    assert module.startswith("transformers_modules.tester.reverse.")
