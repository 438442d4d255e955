"""Training in which a worker, the driver, a node or the S3 server dies at every kind of moment: it ends with the bytes
of an undisturbed run, and nothing else is stored."""

import signal
from pathlib import Path

import pytest

from infra.storage import Store
from pipelines.train.runs import Run
from tests.chaos.moments import Moment, held
from tests.chaos.training import Training, the_run
from tests.pipelines.road import assert_same_end


@pytest.mark.chaos
@pytest.mark.services
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_kill_in_training(moment: Moment, training: Training, tmp_path: Path) -> None:
    undisturbed, root = training.undisturbed, training.fresh()
    with held(lambda: training.run(root, moment, tmp_path), tmp_path) as status:
        training.kill(moment.victim, tmp_path)
    if moment.victim == "driver":
        assert status == [-signal.SIGKILL]
        status = [training.run(root)]
    assert status == [0], training.log()
    run = the_run(root)
    assert_same_end(run, undisturbed)
    assert run.read("result.json") == undisturbed.read("result.json")
    assert files(run) == files(undisturbed) and list(root.leftovers()) == []


def files(run: Run) -> list[str]:
    store: Store = run.store
    return [entry.key for entry in store.list(run.prefix)]
