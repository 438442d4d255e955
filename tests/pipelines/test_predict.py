"""`xmodal predict caption` and `evaluate` with beams, on a model that never trained: no cluster, no services."""

import json
from pathlib import Path

from PIL import Image

from tests.pipelines.road import prepared, untrained_run, xmodal


def test_captions_of_files_and_of_a_report_are_searched_with_the_beams_asked_for(tmp_path: Path) -> None:
    recipe = prepared(str(tmp_path / "root"), tracking={"uri": ""})
    run = untrained_run(recipe)
    Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB").save(tmp_path / "a.jpg")
    asked = ["predict", "caption", run.name, tmp_path / "a.jpg", "--root", tmp_path / "root"]
    plain, greedy, searched = (xmodal(*asked, *more) for more in ([], ["--beams", "1"], ["--beams", "3"]))
    assert plain.code == greedy.code == searched.code == 0, searched.err
    assert plain.out == greedy.out and json.loads(searched.out).keys() == {"file", "caption"}
    refused = xmodal(*asked, "--beams", "0")
    assert refused.code == 2 and "--beams" in refused.err
    assert xmodal("predict", "embed", run.name, tmp_path / "a.jpg", "--beams", "3").code == 2
    report = tmp_path / "report.html"
    ended = xmodal("evaluate", run.name, "--root", tmp_path / "root", "--report", report, "--beams", "2")
    assert ended.code == 0, ended.err
    assert "Written by beam search with 2 beams." in report.read_text(encoding="utf-8")
