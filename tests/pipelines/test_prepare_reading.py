"""Metadata read by a process of its own: the same survey, and the same refusals in one line."""

import pytest

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.prepare import reading
from pipelines.prepare.listing import list_survey
from tests.pipelines.surveys import settings


def test_another_process_reads_the_same(archive: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = settings(archive.url)
    here = list_survey(data, data.surveys[0])
    monkeypatch.setattr(reading, "MANY_FILES", 1)
    apart = list_survey(data, data.surveys[0])
    for name in ("media", "observations", "detections", "deployments"):
        assert getattr(apart.known.survey, name).equals(getattr(here.known.survey, name))
    assert apart.known.survey.refused == here.known.survey.refused
    assert dict(apart.rejected) == dict(here.rejected) and dict(apart.entries) == dict(here.entries)
    assert (apart.metadata, apart.digest) == (here.metadata, here.digest)


def test_what_another_process_refuses_is_refused(archive: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE_BYTES", 1)
    archive.put("datapackage.json", b"{}")
    data = settings(archive.url)
    with pytest.raises(DataRefused, match="is not Camtrap DP"):
        list_survey(data, data.surveys[0])
