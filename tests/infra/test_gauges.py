"""Names of what Prometheus is shown of a run."""

import re
from pathlib import Path

import infra.gauges
from infra.gauges import SHOWN
from tests.conftest import REPOSITORY


def test_names_say_noun_and_unit_and_the_guide_has_them_all() -> None:
    source = Path(infra.gauges.__file__).read_text()
    names = set(re.findall(r'"(xmodal_\w+)"', source))
    assert {name for name, _ in SHOWN.values()} < names and len(names) == len(SHOWN) + 2
    units = "samples_per_second|seconds|ratio|steps|value|total"
    assert all(re.fullmatch(rf"xmodal_[a-z_]+_({units})", name) for name in names)
    page = (REPOSITORY / "docs/cluster.md").read_text()
    assert set(re.findall(r"^\| `(xmodal_\w+)` \|", page, re.MULTILINE)) == names
