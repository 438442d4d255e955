"""Repeated captions and a single positive: the queue leaks; masked, with several positives, refreshed or held
consistent, it does not."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from pipelines.shortcut import page
from pipelines.shortcut.toy import Toy, shares, simpson
from pipelines.shortcut.variants import VARIANTS, Point, late, run

LEAKS, TIGHT = 0.7, 0.6
"""Bounds of the specification: AUC above the first is a leak, below the second is none."""


def test_the_toy_is_a_function_of_its_seed() -> None:
    first, second = Toy(0).batch(3), Toy(0).batch(3)
    assert torch.equal(first.image, second.image) and torch.equal(first.caption_id, second.caption_id)
    assert not torch.equal(first.image, Toy(1).batch(3).image) and not torch.equal(first.image, Toy(0).batch(4).image)
    assert simpson() == pytest.approx(float((shares() ** 2).sum())) == pytest.approx(0.043, abs=0.001)
    assert not set(Toy(0).batch(3).sample_id.tolist()) & set(Toy(0).batch(4).sample_id.tolist())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_single_positive_leaks(variant: str) -> None:
    points = run(variant)
    assert late(points) > LEAKS if variant == "single positive" else late(points) < TIGHT
    assert abs(points[-1].control - 0.5) < 0.1  # the images themselves do not tell


def test_a_short_run_has_all_its_points() -> None:
    points = run("refreshed", steps=5, every=2)
    assert [one.step for one in points] == [2, 4, 5]
    assert all(0 <= one.accuracy <= 1 and one.drift >= 0 for one in points)


def test_the_page_holds_every_variant(tmp_path: Path) -> None:
    ends = [Point(n, 0.4 + 0.1 * n, 0.5, 10.0 ** -min(n, 2), -2.0, 0.25) for n in (5, 1, 2, 3, 4)]
    runs = {name: [ends] * 2 for name in VARIANTS}
    files = page.write(tmp_path, runs, (0, 1))
    text = (tmp_path / "shortcut.md").read_text()
    assert page.LINES.keys() == VARIANTS.keys()
    for name in VARIANTS:
        assert f"| {name} | 0.65 / 0.65 | 0.50 / 0.50 | 0.01000 / 0.01000 | -2.00 / -2.00 | 25.0% / 25.0% |" in text
    for file in files[1:]:
        assert ElementTree.parse(file).getroot().tag.endswith("svg") and f"({file.name})" in text
