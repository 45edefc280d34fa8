"""A process of its own, where hf_models cannot be imported: `run` starts it, and it runs this file.

Reads jobs.json in the folder it is given, loads each saved model with trust_remote_code, writes what it found to
found.pt, and saves each model again.
"""

import hashlib
import importlib.abc
import json
import sys
from pathlib import Path


class Refuse(importlib.abc.MetaPathFinder):
    """Stands for an environment without Longreach, however it is installed here."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hf_models", "eval_harness"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def digest(model) -> str:
    """SHA-256 over the names and values of all parameters and buffers."""
    total = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        total.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def look_at(model, input_ids) -> dict:
    """What parent and child compare."""
    import torch
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model.eval()
    with torch.no_grad():
        target = {"decoder_input_ids": input_ids} if model.config.is_encoder_decoder else {}
        output = model(input_ids, **target)
    found = {"digest": digest(model), "output": output.logits if "logits" in output else output.last_hidden_state}
    # The Trainer shifts labels that it smooths where the class is among these.
    found["listed_as_causal"] = type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    if model.can_generate():
        for name, cache in (("tokens", {}), ("uncached_tokens", {"use_cache": False})):
            torch.manual_seed(0)
            found[name] = model.generate(input_ids, max_new_tokens=4, do_sample=False, pad_token_id=0, **cache)
    return found


def run(folder: Path, jobs: list[dict]) -> dict:
    """Loads saved models in a process of its own; returns what it found of each, by name.

    Args:
        folder: where the models are saved; the process works there.
        jobs: `name`, `saved` (the model's folder), `auto_class` and `input_ids` of each.
    """
    import torch

    from tests import warm_process

    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = warm_process.run(__file__, str(folder), cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(folder / "found.pt")


def main(folder: Path):
    """Does all jobs."""
    import torch
    import transformers

    torch.set_num_threads(1)
    found = {}
    for job in json.loads((folder / "jobs.json").read_text()):
        auto_class = getattr(transformers, job["auto_class"])
        model = auto_class.from_pretrained(folder / job["saved"], trust_remote_code=True)
        found[job["name"]] = look_at(model, torch.tensor(job["input_ids"]))
        found[job["name"]]["module"] = type(model).__module__
        model.save_pretrained(folder / "again" / job["name"])
    torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    sys.meta_path.insert(0, Refuse())
    main(Path(sys.argv[1]))
