"""What `xmodal show` says of momentum and queue before compute is spent."""

import math

import numpy as np
import pytest

from pipelines.advice import own_image, simpson, told
from pipelines.recipe import Recipe, load_recipe
from tests.pipelines.road import xmodal


def recipe(*overrides: str) -> Recipe:
    return load_recipe(["demo", "model.momentum.coefficient=0.99", "model.queue.size=1024", *overrides])


def warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("WARNING: ")]


def test_simpson_is_the_sum_of_squared_shares() -> None:
    taxa = ["fox"] * 6 + ["deer"] * 3 + [None]
    assert simpson(taxa) == pytest.approx(0.6**2 + 0.3**2)
    assert simpson(taxa, power=0) == pytest.approx(2 / 9)
    assert simpson([None]) == simpson([]) == 0


def test_a_run_that_is_long_enough_is_told_and_not_warned_of() -> None:
    lines = told(recipe(), steps=1000, rows=5000, share=0.04)
    assert not warnings(lines)
    assert "queue of 1024 keys: 32 steps old at most, staleness 0.28 (0 none, 1 all)" in lines
    half = math.log(0.5) / math.log(0.99)
    assert f"key encoder: half-life {half:.0f} of 1000 steps, (1 - m) * steps = 10.0" in lines
    wanted = f"{0.04 * (1024 + 31):.1f} of 1055 candidates are of a query's species, on average (fn_policy mask)"
    assert f"false negatives of itc: {wanted}" in lines


def test_a_schedule_is_judged_as_training_follows_it() -> None:
    """Of the run's middle and end, by the coefficient of each step; before its length is known no number is told."""
    warm = recipe("model.momentum.warmup=10000")
    (line,) = warnings(told(warm, steps=1000))
    assert "staleness 1.00 halfway, 1.00 at the end (0 none, 1 all)" in told(warm, steps=1000)[0]
    assert "model.momentum.coefficient 0.99, warmup 10000: the oldest keys are 100% out of date" in line
    assert not warnings(told(warm)) and "how stale depends on the length of the run" in told(warm)[0]
    short = told(recipe("model.momentum.warmup=10"), steps=1000)
    kept = math.prod((1 + t) / (10 + t) for t in range(500 - 32, 500))
    assert f"staleness {1 - kept:.2f} halfway, 0.28 at the end" in short[0] and not warnings(short)


def test_along_a_cosine_keys_get_fresher() -> None:
    rising = recipe("model.momentum.coefficient=0.9", "model.momentum.cosine=100")
    (line,) = warnings(told(rising, steps=1000))
    assert "staleness 0.00 halfway, 0.00 at the end" in told(rising, steps=1000)[0]
    assert line.endswith("cosine 100: from step 100 of 1000 on the key encoder stands still (m = 1)")
    (line,) = warnings(told(recipe("model.momentum.coefficient=0.9", "model.momentum.cosine=1000"), steps=1000))
    kept = math.prod(1 - 0.1 * (1 + math.cos(math.pi * t / 1000)) / 2 for t in range(500 - 32, 500))
    assert f"coefficient 0.9, cosine 1000: the oldest keys are {1 - kept:.0%} out of date" in line


def test_the_mean_coefficient_tells_whether_the_key_encoder_arrives() -> None:
    lines = told(recipe("model.momentum.coefficient=0.993", "model.momentum.cosine=1000"), steps=1000)
    mean = math.prod(1 - 0.007 * (1 + math.cos(math.pi * t / 1000)) / 2 for t in range(1000)) ** (1 / 1000)
    assert f"(1 - m) * steps = {(1 - mean) * 1000:.1f}, m = {mean:.4g} on average" in lines[1]
    (line,) = warnings(lines)
    assert "coefficient 0.993, cosine 1000: (1 - m) * steps = 3.5, below 5" in line
    assert not warnings(told(recipe("model.momentum.coefficient=0.993"), steps=1000))


UTO = ["model.tasks.itc=null", "model.tasks.uto={fn_policy: none}"]
TRIPLET = ["model.tasks={itc: null, triplet: {fn_policy: none}}", "model.matcher={kind: scan, width: 8}"]


@pytest.mark.parametrize(
    ("overrides", "candidates"),
    [(UTO, 1055), ([*UTO, "model.tasks.uto.queue_weight=0"], 31), (TRIPLET, 31)],
)
def test_every_task_with_negatives_is_told_of_and_warned_of(overrides: list[str], candidates: int) -> None:
    """UTO asks the queue too, a triplet the batch alone."""
    name = "uto" if overrides[1].startswith("model.tasks.uto") else "triplet"
    lines = told(recipe(*overrides), share=0.04)
    (note,) = [line for line in lines if line.startswith(f"false negatives of {name}: ")]
    assert f": {0.04 * candidates:.1f} of {candidates} candidates are of a query's species" in note
    (line,) = warnings(lines)
    assert line.startswith(f"WARNING: model.tasks.{name}.fn_policy none: {0.04 * candidates:.1f} related candidates")


def test_keys_of_the_own_image_are_a_count_over_orders() -> None:
    """A captioned set names no species: what a queue repeats is the image, from the epoch before."""
    generator = np.random.default_rng(0)
    for size, n in ((6, 20), (20, 20), (30, 20), (47, 20)):
        found = []
        for _ in range(400):
            drawn = np.concatenate([generator.permutation(n) for _ in range(5)])
            found += [(drawn[place - size : place] == drawn[place]).sum() for place in range(4 * n, 5 * n)]
        assert own_image(size, n) == pytest.approx(np.mean(found), abs=0.02)


@pytest.mark.parametrize("name", ["user-f30k", "user-coco"])
def test_the_parity_recipes_of_captioned_sets_get_their_line(name: str) -> None:
    f30k = load_recipe([name])
    (line,) = [line for line in told(f30k, rows=29_000) if line.startswith("false negatives of uto: ")]
    size, batch = f30k.model.queue.size, f30k.train.global_batch
    own = size * (size + 1) / 2 / 29_000**2
    wanted = f"{own:.2g} of {size + batch - 1} candidates show a query's own image in an earlier pass"
    assert wanted in line and not warnings(told(f30k, rows=29_000))
    assert "uto.fn_policy none: 1.5 related" in warnings(told(f30k, rows=size // 2))[-1]


@pytest.mark.parametrize(
    ("overrides", "facts", "words"),
    [
        (["model.momentum.coefficient=0.999"], {"steps": 900}, "(1 - m) * steps = 0.9, below 5 the key encoder never"),
        (["model.momentum.coefficient=1"], {"steps": 900}, "take at most 0.9944"),
        (["model.momentum.coefficient=0.9"], {}, "the oldest keys are 97% out of date"),
        (
            ["model.queue.refresh={every: 9}"],
            {},
            "every 9: keys are at most 32 steps old, and rows of the current window",
        ),
        ([], {"rows": 800}, "model.queue.size 1024: the train split has 800 images"),
        (["train.epochs=2"], {"rows": 511}, "the run sees 1022 images in all, so the queue never fills"),
        (["train.epochs=2"], {"rows": 512}, "model.queue.size 1024: the train split has 512 images"),
        (["model.tasks.itc.fn_policy=none"], {"share": 0.04}, "42.2 related candidates a query count as negatives"),
    ],
)
def test_each_mistake_is_one_line(overrides: list[str], facts: dict[str, float], words: str) -> None:
    (line,) = warnings(told(recipe(*overrides), **facts))  # pyright: ignore[reportArgumentType]
    assert words in line and "\n" not in line


def test_what_is_not_known_yet_is_not_said() -> None:
    assert len(told(recipe())) == len(told(recipe(*UTO))) == len(told(recipe(*TRIPLET), rows=5000)) == 1


def test_a_model_without_negatives_has_no_false_ones() -> None:
    assert len(told(recipe("model.tasks.itc=null", "model.tasks.cons={}"), share=0.5)) == 1


def test_show_prints_it(tmp_path) -> None:
    ended = xmodal(
        "show", "demo", f"compute.root={tmp_path}", "model.momentum.coefficient=0.9", "model.queue.size=1024"
    )
    assert ended.code == 0 and "# WARNING: model.queue.size 1024" in ended.out
