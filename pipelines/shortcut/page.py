"""docs/shortcut.md and its two drawings, from the points of the runs."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.report.charts import METADATA, STYLE
from pipelines.shortcut.toy import BATCH, SPECIES, simpson
from pipelines.shortcut.variants import LATE, PLAIN, QUEUE, STEPS, VARIANTS, Point, late

Runs = Mapping[str, Sequence[Sequence[Point]]]
"""Variant -> one run a seed."""
LINES = {
    "single positive": "-",
    "masked": "--",
    "multi-positive": (0, (6, 1, 1, 1, 1, 1)),
    "refreshed": ":",
    "consistency": "-.",
}
PAGE = """# The shortcut, shown

Written by `python -m pipelines.shortcut docs`; `tests/pipelines/test_shortcut.py` holds the bounds of its first column.

**What is shown.** Where captions repeat, a queue with a single positive teaches the encoders to tell *when* a key
was made. Each query's one right answer is the newest key of all, and many stored keys carry the very same caption:
content cannot tell the right one from these, the encoder's version can. ReCap's abstract names a convergence
shortcut that comes of encoder fluctuations; this is our own measurement of one, on a toy, and it says nothing about
how often it happens on real archives.

**The toy.** {species} species, a few of them common (sum of squared shares {simpson:.3f}, so that of {queue} stored
keys {false:.0f} are related to a query on average), one caption for all images of a species, images of 16 x 16
pixels: a pattern of the species under noise, never the same image twice. {steps} steps of {batch} pairs, m = {m},
tau = {tau} fixed. All variants see the same batches from the same weights.

- *single positive*: `fn_policy: none`, as MoCo and USER count;
- *masked*: `fn_policy: mask`, related keys leave the denominator;
- *multi-positive*: `fn_policy: soft`, related keys share the target;
- *refreshed*: single positive, and stored keys move with the key encoder (`queue.refresh`, after each step); it knows
  no labels;
- *consistency*: single positive, and `tasks.cons` at weight 1; it knows no labels either.

**What is measured.** *Leak*: the newer half of the stored image keys told from the older half by a linear probe, as
AUC, mean of the last {late} points of a run; 0.5 = cannot be told. *Control*: the same probe of the same images,
encoded now: it stays at 0.5 where the images themselves tell nothing. *Drift*: mean 1 - cos of a stored key and its
image encoded now. Uniformity: lower is more spread. Seeds {seeds}; a cell holds one number a seed.

| after {steps} steps | leak | control | drift | uniformity | species right |
|---|---|---|---|---|---|
{rows}

![Leak over steps](shortcut-leak.svg)

![Drift over steps](shortcut-drift.svg)

**How to read it.** Masking is the first remedy, because it takes away what the shortcut feeds on; several positives do
so too. Where captions
carry no codes that could be compared, refresh or consistency do it without labels. The refresh edits stored keys, so
part of its lower leak is its own doing: uniformity and accuracy are independent of that. Its window must be short
beside the age of the queue (here 16 steps), because rows of the current window are not refreshed: with `every: 8`
(measured apart, seed 0) the leak was 0.44 to 0.55 right after a refresh and up to 0.74 six steps later. `xmodal train`
logs `queue/leak_image` and `queue/leak_text` at every checkpoint, beside them `queue/drift`, which is the drift of the
step's own keys: how far the key encoder moves in one step, and no age of a queue. The drift that is meant above, of
older keys, is row C1 of `xmodal evaluate`, which reads their images again. `xmodal show` warns of `fn_policy: none`
where false negatives are expected.
"""


def write(folder: Path, runs: Runs, seeds: Sequence[int]) -> list[Path]:
    """The page and its drawings; returns the files."""
    drawings = {
        "shortcut-leak.svg": _drawing(runs, _leak),
        "shortcut-drift.svg": _drawing(runs, _drift),
    }
    files = {"shortcut.md": _page(runs, seeds), **drawings}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def _page(runs: Runs, seeds: Sequence[int]) -> str:
    return PAGE.format(
        species=SPECIES,
        simpson=simpson(),
        queue=QUEUE,
        false=QUEUE * simpson(),
        steps=STEPS,
        batch=BATCH,
        m=PLAIN["momentum"]["coefficient"],
        tau=PLAIN["temperature"]["initial"],
        late=LATE,
        seeds=" and ".join(map(str, seeds)),
        rows="\n".join(_row(name, runs[name]) for name in VARIANTS),
    )


def _row(name: str, every: Sequence[Sequence[Point]]) -> str:
    ends = [points[-1] for points in every]
    columns = [
        [f"{late(points):.2f}" for points in every],
        [f"{one.control:.2f}" for one in ends],
        [f"{one.drift:.5f}" for one in ends],
        [f"{one.uniformity:.2f}" for one in ends],
        [f"{one.accuracy:.1%}" for one in ends],
    ]
    return f"| {name} | " + " | ".join(" / ".join(column) for column in columns) + " |"


def _drawing(runs: Runs, paint: Callable[[Axes, Runs], None]) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.2, 3.0), layout="constrained")
        axes = figure.add_subplot()
        paint(axes, runs)
        axes.set_xlabel("optimizer steps")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=METADATA)
    return stream.getvalue()


def _leak(axes: Axes, runs: Runs) -> None:
    for name, style in LINES.items():
        axes.plot(*zip(*((one.step, one.leak) for one in runs[name][0]), strict=True), linestyle=style, label=name)
    axes.axhline(0.5, color="0.6", linewidth=0.8)
    axes.set_ylabel("leak (AUC), 0.5 = none")


def _drift(axes: Axes, runs: Runs) -> None:
    for name, style in LINES.items():
        axes.plot(*zip(*((one.step, one.drift) for one in runs[name][0]), strict=True), linestyle=style, label=name)
    axes.set_yscale("log")
    axes.set_ylabel("drift of stored keys")
