"""Publishing: a finished run becomes a folder as the Hub expects it, and, on request, a model repository.

The folder is completed first, so that nothing is lost when the Hub cannot be reached; pushing it is a separate step
that may be repeated. Names and tokens are checked before the first file is made.

```
README.md                      the card, with its model-index
config.json, weights, *.py …   what `save_pretrained` wrote: loads without Longreach
figures/<cell>.png, .svg       the curve of each evaluation
results/run.json               results/ is a run folder without its model: `load_run` reads it
results/evaluations/<cell>/…
```
"""

import re
import shutil
import warnings
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id
from rich.filesize import decimal

from eval_harness.errors import HarnessError
from eval_harness.publishing.model_card import figure_path, model_card
from eval_harness.reporting.drawing import save
from eval_harness.reporting.figures import accuracy_figure
from eval_harness.results.files import read_json
from eval_harness.results.folders import WEIGHTS, RunFolder, RunResult, StudyFolder, load_run


RESULTS = "results"  # in a repository: a run folder without its model


@dataclass(frozen=True)
class Publication:
    """One run, ready for the Hub or on it."""

    repo_id: str
    folder: Path
    """The prepared folder."""
    files: list[tuple[str, int]]
    """Path in the repository and size in bytes."""
    url: str | None = None
    """The repository's address once it is pushed."""

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return sum(size for path, size in self.files if path.endswith(WEIGHTS))


@dataclass(frozen=True)
class Outcome:
    """What one call of `publish` did."""

    publications: list[Publication]
    unfinished: list[str]
    """Run folders of the study that are not trained or not scored to the end, and so were left out."""


def publish(
    source: str | Path,
    to: str,
    push: bool = False,
    private: bool = False,
    output: str | Path | None = None,
    token: str | None = None,
) -> Outcome:
    """Prepares a run, or every finished run of a study, and pushes it on request.

    Args:
        source: a run's folder or a study's.
        to: a user or organisation, under which a run is named `<study>-<run folder>`; for one run also a
            complete repository id.
        push: upload; without it nothing leaves this machine.
        private: make new repositories private.
        output: where to put the prepared folder (of a study: a folder in it for each run); `<run folder>/hub` if None.
        token: the Hub's token; the one `hf auth login` stored if None.

    Raises:
        HarnessError: see `prepare`, `check_push` and `push`.
    """
    source = Path(source)
    runs, unfinished = _runs(source)
    repositories = _repositories(runs, to, is_study=runs != [source])
    if push:
        check_push(next(iter(repositories)), token)
    publications = []
    for repo_id, run in repositories.items():
        folder = prepare(run, _output_folder(run, repo_id, output, is_study=run != source), repo_id, overwrite=True)
        publications.append(Publication(repo_id, folder, plan(folder)))
    if push:
        publications = [_pushed(publication, private, token) for publication in publications]
    return Outcome(publications, unfinished)


def describe(outcome: Outcome) -> str:
    """What was prepared, file by file, and whether it was uploaded, as text for the terminal."""
    blocks = [_describe(publication) for publication in outcome.publications]
    if outcome.unfinished:
        blocks.append(f"Left out, not finished yet: {', '.join(outcome.unfinished)}.")
    if not any(publication.url for publication in outcome.publications):
        blocks.append("Dry run: nothing was uploaded. Add --push to upload.")
    return "\n\n".join(blocks)


def prepare(run_folder: str | Path, output_folder: str | Path, repo_id: str, overwrite: bool = False) -> Path:
    """Makes the folder to upload. It appears complete or not at all.

    Args:
        run_folder: a trained and scored run.
        output_folder: the folder to make.
        repo_id: the repository that the card is for.
        overwrite: replace a folder that an earlier call made; any other folder is always refused.

    Raises:
        HarnessError: the run is not finished, the id is not one, or the output folder exists.
    """
    run_folder, output = Path(run_folder), Path(output_folder)
    check_repo_id(repo_id)
    results = _finished(run_folder)
    _check_output(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        _fill(temporary, run_folder, results, repo_id)
        _replace_folder(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output


def plan(folder: str | Path) -> list[tuple[str, int]]:
    """The files that a push of this folder uploads: path in the repository, size in bytes; by path."""
    folder = Path(folder)
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in files)


def check_repo_id(repo_id: str) -> None:
    """Checks that a name is `namespace/name` as the Hub allows it.

    Raises:
        HarnessError: it is not.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise HarnessError(f"{repo_id!r} cannot be a repository on the Hub. {error}") from None
    if not repo_id.isascii():  # which huggingface_hub 1 does not check
        raise HarnessError(f"{repo_id!r} cannot be a repository on the Hub. Its names are made of ASCII characters.")
    if "/" not in repo_id:
        raise HarnessError(f"{repo_id!r} names no owner; write it as user/name.")


def check_push(repo_id: str, token: str | None = None) -> None:
    """Checks all that a push needs, before anything is computed or uploaded.

    Args:
        repo_id: the repository to be pushed to.
        token: the Hub's token; the stored one if None.

    Raises:
        HarnessError: a bad name, no token, one that the Hub does not know or that cannot write there, or no Hub.
    """
    check_repo_id(repo_id)
    token = token or get_token()
    if token is None:
        raise HarnessError("Pushing needs a token of the Hub: run `hf auth login`, or set HF_TOKEN.")
    try:
        account = HfApi().whoami(token=token)
    except (HTTPError, OSError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == HTTPStatus.UNAUTHORIZED:
            raise HarnessError("The Hub does not know this token; run `hf auth login`, or set HF_TOKEN.") from None
        raise HarnessError(f"The Hub at {constants.ENDPOINT} did not answer: {_in_one_line(error)}.") from None
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HarnessError("This token can only read from the Hub; pushing needs one that can write.")
    owner = repo_id.split("/")[0]
    owners = [account["name"], *(group["name"] for group in account.get("orgs", []))]
    if owner not in owners:
        raise HarnessError(f"This token cannot publish under {owner!r}. Allowed: {', '.join(owners)}.")


def push(folder: str | Path, repo_id: str, private: bool = False, token: str | None = None) -> str:
    """Uploads a prepared folder, and returns the repository's address. Pushing again uploads only what changed.

    Results and figures of earlier pushes that the folder no longer has are deleted; other files on the Hub stay.

    Args:
        folder: what `prepare` made.
        repo_id: the repository; it is created if there is none.
        private: whether it is created private; an existing repository keeps its visibility.
        token: the Hub's token; the stored one if None.

    Raises:
        HarnessError: the Hub refused, or went away. The folder is as it was, and the push can be repeated.
    """
    hub = HfApi(token=token)
    try:
        url = hub.create_repo(repo_id, private=private, exist_ok=True)
        with warnings.catch_warnings():
            # Result tables in a model's repository are meant: they are what its card is made from.
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            hub.upload_folder(
                folder_path=folder,
                repo_id=repo_id,
                commit_message="Publish a Longreach run",
                delete_patterns=["results/*", "figures/*"],
            )
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise HarnessError(
            f"Pushing {repo_id} failed: {_in_one_line(error)}. "
            f"The prepared folder is complete at {folder}; the same command pushes it again."
        ) from error
    return str(url)


def _runs(source: Path) -> tuple[list[Path], list[str]]:
    """The runs to publish, and the names of those of the study that are not finished."""
    if RunFolder(source).is_trained:
        return [source], []
    study = StudyFolder(source)
    if not study.description.is_file():
        raise HarnessError(f"{source} is neither a run (it has no run.json) nor a study (it has no study.json).")
    runs = study.runs()
    finished = [run.path for run in runs if run.why_not_publishable() is None]
    if not finished:
        raise HarnessError(f"The study {source} has no finished run to publish yet.")
    return finished, [run.name for run in runs if run.path not in finished]


def _repositories(runs: list[Path], to: str, is_study: bool) -> dict[str, Path]:
    """The run folder of each repository to be; every name is checked."""
    if is_study and "/" in to:
        raise HarnessError(
            f"A study becomes one repository a run: publish it to a user or organisation, not to {to!r}."
        )
    named: dict[str, Path] = {}
    for run in runs:
        repo_id = to if "/" in to else f"{to}/{_repo_name(run)}"
        check_repo_id(repo_id)
        if repo_id in named:
            raise HarnessError(f"{named[repo_id]} and {run} would both become {repo_id}; publish them one by one.")
        named[repo_id] = run
    return named


def _repo_name(run: Path) -> str:
    """`<study>-<run folder>`, or only the folder where there is no study, in the Hub's alphabet."""
    study, name = RunFolder(run).read_record()["study"], RunFolder(run).name
    name = f"{study}-{name}" if study else name
    name = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    return re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", name)).strip("-.")


def _output_folder(run: Path, repo_id: str, output: str | Path | None, is_study: bool) -> Path:
    if output is None:
        return run / "hub"
    return Path(output) / repo_id.split("/")[1] if is_study else Path(output)


def _pushed(publication: Publication, private: bool, token: str | None) -> Publication:
    url = push(publication.folder, publication.repo_id, private, token)
    return replace(publication, url=url)


def _describe(publication: Publication) -> str:
    files = publication.files
    width = max(len(path) for path, _ in files)
    total = decimal(sum(size for _, size in files))
    lines = [
        publication.repo_id,
        *(f"  {path:<{width}}  {decimal(size):>12}" for path, size in files),
        f"  {len(files)} files, {total}, of which weights {decimal(publication.weights)}; in {publication.folder}",
    ]
    if publication.url:
        lines.append(f"  Uploaded to {publication.url}")
    return "\n".join(lines)


def _finished(run: Path) -> list[RunResult]:
    """Every evaluation of a finished run; those of the task it was trained on come first."""
    folder = RunFolder(run)
    if problem := folder.why_not_publishable():
        raise HarnessError(problem)
    results = [load_run(run, cell.cell_id) for cell in folder.cells()]
    return sorted(results, key=lambda result: (result.cell["task"] != result.training["task"], result.cell["cell_id"]))


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise HarnessError(f"{output} exists already; choose another folder.")
    if not RunFolder(output / RESULTS).is_trained or not (output / "README.md").is_file():
        raise HarnessError(f"{output} exists and is no folder that publishing made; choose another.")


def _fill(folder: Path, run: Path, results: list[RunResult], repo_id: str) -> None:
    """Writes everything the repository holds into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source, target = RunFolder(run), RunFolder(folder / RESULTS)
    config = read_json(source.config)
    _check_own_code(source, config)
    for path in source.model_files():
        shutil.copyfile(path, folder / path.name)
    for result in results:
        figure = Path(figure_path(result))
        save(accuracy_figure([result]), folder / figure.parent, figure.stem)
        cell_id = result.cell["cell_id"]
        shutil.copytree(source.cell(cell_id).path, target.cell(cell_id).path)
    shutil.copyfile(source.record, target.record)
    model_card(results, repo_id, config).save(folder / "README.md")


def _check_own_code(run: RunFolder, config: dict) -> None:
    """Refuses a model whose configuration points to code that was not saved: nobody could load it."""
    for reference in config.get("auto_map", {}).values():
        file = f"{reference.split('.')[0]}.py"
        in_another_repository = "--" in reference
        if not in_another_repository and not (run.path / file).is_file():
            raise HarnessError(f"{run.config} names {file}, which is not beside it; save the model again.")


def _replace_folder(new: Path, old: Path) -> None:
    """Replaces one folder by another, which takes more than a rename."""
    retired = old.with_name(f".{old.name}.old")
    shutil.rmtree(retired, ignore_errors=True)
    if old.exists():
        old.rename(retired)
    new.rename(old)
    shutil.rmtree(retired, ignore_errors=True)


def _in_one_line(error: BaseException) -> str:
    """The first line of an error; of a failed upload also the first line of its cause."""
    text = (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return f"{text}: {_in_one_line(error.__cause__)}"
    return text
