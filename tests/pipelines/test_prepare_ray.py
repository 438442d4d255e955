"""Prepare over Ray Data actors, archive and root on a real S3 server: the same parts as in one process."""

from functools import partial

import pytest

from infra.storage import NotFound, open_store
from pipelines.dataset import Dataset
from pipelines.prepare import flow, items, workers
from pipelines.prepare.images import PixelTask, ReadPixels
from pipelines.prepare.workers import RayWorkers
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT, settings, write_survey
from xmodal.transforms import PixelSettings


def parts(dataset: Dataset) -> list[str]:
    return [entry["path"] for kind in ("pixels", "records", "vocabularies") for entry in dataset.document[kind]]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
def test_ray_on_s3_makes_the_parts_that_one_process_makes(
    bucket_url: str, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "cut", partial(items.cut, most=24))  # several items of so few files
    monkeypatch.setattr(workers, "LIGHT_TASKS", 2)
    write_survey(open_store(f"{bucket_url}/archive"))
    data = settings(f"{bucket_url}/archive")
    one = flow.prepare(data, open_store(f"{bucket_url}/one"), IMAGE, TEXT, workers=IN_PROCESS, lease=5.0)
    ray = flow.prepare(data, open_store(f"{bucket_url}/ray"), IMAGE, TEXT, workers=RayWorkers(2), lease=5.0)
    assert parts(ray) == parts(one) and ray.check(read_data=True) == []
    again = flow.prepare(data, open_store(f"{bucket_url}/ray"), IMAGE, TEXT, workers=RayWorkers(2), lease=5.0)
    assert again.digest == ray.digest


@pytest.mark.ray
@pytest.mark.services
def test_what_a_store_refuses_in_a_worker_reaches_the_driver(ray_cluster: str, bucket_url: str) -> None:
    absent = open_store("s3://no-such-bucket-here/archive")
    task = PixelTask("item", "survey", absent, absent, absent, [], PixelSettings())
    with pytest.raises(NotFound, match="no-such-bucket-here"):
        list(RayWorkers(1).run(ReadPixels, (), [task, task]))
