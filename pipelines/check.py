"""`xmodal check`: is a dataset or a checkpoint what it says it is?"""

from pathlib import Path

from infra.storage import Store
from pipelines.dataset import Dataset, versions
from pipelines.errors import Failed
from pipelines.places import root_store
from pipelines.prepare.leakage import leakage, told
from pipelines.train.runs import named, sound
from xmodal import checkpoint


def check(target: str, root: str | None, read_data: bool) -> str:
    """Verifies dataset `target` of ROOT in all its versions, a checkpoint (directory), or all of a run (name, URL).

    Returns what was verified, and for each version how many places, events, files and days stand in two splits: none.
    Raises Failed with every problem found, NotFound where `target` is neither.
    """
    store = root_store(root)
    numbers = versions(store, target) if "/" not in target else []
    if not numbers:
        return _checkpoints(store, target)
    problems, lines = [], []
    for number in numbers:
        dataset = Dataset.open(store, target, number)
        found = dataset.check(read_data)
        crossings = leakage(dataset) if not found else []
        found += [f"in two splits: {told(crossings)}"] if any(one.count for one in crossings) else []
        problems += [f"version {number}: {problem}" for problem in found]
        lines.append(f"version {number}: in two splits: {told(crossings)}")
    if problems:
        raise Failed(f"dataset {target}: " + "; ".join(problems))
    how = "every byte read" if read_data else "sizes compared; --read-data reads every byte"
    return "\n".join([f"dataset {target}: {len(numbers)} versions are whole ({how})", *lines])


def _checkpoints(store: Store, target: str) -> str:
    if (Path(target) / checkpoint.MANIFEST).exists():
        checkpoint.verify(Path(target))
        return f"{target}: every file is what its manifest says"
    run = named(store, target)
    saved, problems = run.saved(), []
    for one in saved:
        try:
            with sound(run, [one]):
                pass
        except checkpoint.Damaged as error:
            problems.append(str(error))
    if problems:
        raise Failed(f"run {run.name}: " + "; ".join(problems))
    return f"run {run.name}: every file of its {len(saved)} checkpoints is what their manifests say"
