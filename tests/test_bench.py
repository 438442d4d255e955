"""The benchmarks' frame on sides of known cost, and that the two sides of each benchmark do the same work."""

import hashlib
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from infra.storage import open_store
from pipelines.dataset import Dataset
from tests.bench import cca, matchers, memory, plain, released, retrieval_speed, scaling, step
from tests.bench import decode as bench_decode
from tests.bench.feeding import ColdBench, PageRows, RawBench
from tests.bench.frame import Comparison, Measured, Side, Timing, compare, measured, table
from tests.bench.loader import LoaderBench, drained
from tests.bench.photographs import Camera
from tests.bench.pictures import drawing, marked
from tests.bench.prepare import PrepareBench, rows
from tests.bench.processes import Meter
from tests.pipelines.surveys import IN_PROCESS
from tests.xmodal.world import World
from xmodal.decoding import decode
from xmodal.transforms import PixelSettings, decode_pixels, prepare_image

NO_START = Timing(0.0, 0.0, 0.0)


def run_of(units: float, cpu: float, wall: float, start: Timing = NO_START) -> Measured:
    return Measured(units, Timing(cpu, cpu / 2, wall), start)


def test_ratios_are_of_pairs_and_printed_with_their_spread() -> None:
    sides = Side("ours", lambda: 1), Side("theirs", lambda: 1)
    pairs = [(run_of(2, 4, 6), run_of(4, 4, 4)), (run_of(1, 3, 3), run_of(1, 1, 3)), (run_of(1, 1, 8), run_of(1, 1, 2))]
    comparison = Comparison("title", "row", *sides, pairs)
    assert comparison.ratios("cpu") == [2, 3, 1] and comparison.ratios("wall") == [3, 1, 4]
    lines = comparison.lines()
    assert "2000.00 ms CPU (1000.00 ms in this process), 3000.00 ms wall per row; 0.5 a CPU second" in lines[1]
    assert lines[3].endswith("2.00  (1.00 to 3.00)") and lines[4].endswith("3.00  (1.00 to 4.00)") and len(lines) == 5
    head, rule, row = table([comparison])
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| title | 2.00  (1.00 to 3.00) | 2.00  (1.00 to 3.00) | 3.00  (1.00 to 4.00) | 2000.00 ms |")


def test_a_start_is_taken_off_and_told() -> None:
    ours, theirs = run_of(2, 10, 10, Timing(6, 6, 2)), run_of(2, 4, 4)
    comparison = Comparison(
        "t", "row", Side("ours", lambda: 1, start=lambda: None), Side("b", lambda: 1), [(ours, theirs)]
    )
    assert comparison.ratios("cpu") == [1] and comparison.ratios("cpu", Measured.all_in) == [2.5]
    assert "ours 6000.00 ms CPU, 2000.00 ms wall; reference 0 ms CPU" in comparison.lines()[5]


def test_sides_take_turns_after_a_run_that_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> Side:
        start, run, settle = (partial(calls.append, f"{name} {part}") for part in ("start", "run", "settle"))
        return Side(name, lambda: run() or 1, start, settle)

    found = compare("t", "row", side("a"), side("b"), repeats=2)
    one = ["{0} start", "{0} settle", "{0} run", "{0} settle"]
    expected = [text.format(name) for name in "abba" for text in one]
    assert calls == ["a run", "a settle", "b run", "b settle", *expected] and len(found.pairs) == 2


def burn(seconds: float) -> str:
    return f"import time\nwhile time.process_time() < {seconds}: pass\n"


def test_cpu_of_children_counts_and_the_clock_stops_before_settling() -> None:
    child = [sys.executable, "-c", burn(0.3)]
    side = Side("child", lambda: subprocess.run(child, check=True) and 1, settle=lambda: time.sleep(0.05))
    found = measured(side).whole
    assert 0.25 < found.cpu < 0.9 and found.own < 0.2 and found.wall > 0.25


def test_cpu_of_a_deeper_process_that_nobody_waits_for_is_kept() -> None:
    """As under Ray's raylet: the parent ignores SIGCHLD, and so inherits no times."""
    parent = (
        "import signal, subprocess, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-c', {burn(0.4)!r} + 'input()'], stdin=subprocess.PIPE)\n"
        "input()\nchild.stdin.close()\nchild.wait()\nprint('ended', flush=True)\ninput()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        Meter() as meter,
        subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.DEVNULL, **pipes) as started,
    ):
        assert started.stdin and started.stdout
        before, deadline = meter.seconds(), time.monotonic() + 30
        while meter.seconds() - before < 0.4 and time.monotonic() < deadline:
            time.sleep(0.02)
        started.stdin.write("\n")
        started.stdin.flush()
        assert started.stdout.readline() == "ended\n"
        assert meter.seconds() - before >= 0.4
        started.stdin.write("\n")


def test_drawn_files_differ_and_show_the_same() -> None:
    one, two = (marked(drawing(64, 48, 0), number) for number in (1, 2))
    assert one != two and (decode(one, None, 16, 1.0).pixels == decode(two, None, 16, 1.0).pixels).all()
    assert drawing(64, 48, 0) != drawing(64, 48, 1)


def test_prepare_and_the_pool_make_the_same_images(tmp_path: Path) -> None:
    bench = PrepareBench(tmp_path, [drawing(64, 48, number) for number in range(2)], 48, IN_PROCESS)
    dataset = bench.prepared()
    assert (
        rows(dataset) == bench.pooled(plain.ours) == bench.pooled(plain.squeezed) == bench.pooled(plain.restored) == 48
    )
    ours = [dataset.read_group(item.index, 0, "pixels").to_pylist() for item in dataset.items]
    files = sorted((tmp_path / "run-1").glob("*.parquet"))
    theirs = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len(files) == 2
    assert Counter((row["source_sha256"], row["image"]) for part in ours for row in part) == Counter(
        (row["sha256"], row["jpeg"]) for row in theirs
    )


def test_lanes_and_plain_pyarrow_make_the_same_pixels(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 100, 32, 2)
    ours = [row for batch in bench.direct() for row in batch.image[batch.valid].numpy()]
    theirs = [row for rows in bench.pixels() for row in rows]
    assert len(ours) == len(theirs) == 2 * len(bench.source.order.rows) > 64
    assert digests(ours) == digests(theirs)
    assert drained(bench.direct()) == bench.plain().run() == len(ours) / 64


@pytest.mark.slow
@pytest.mark.ray
def test_ray_data_hands_over_what_the_reader_made(tmp_path: Path, ray_cluster: str) -> None:
    bench = LoaderBench(tmp_path, 100, 32, 1)
    one, two = list(bench.direct()), list(bench.ray(0))
    assert [batch.sample_id.tolist() for batch in one] == [batch.sample_id.tolist() for batch in two]
    assert digests([row for batch in one for row in batch.image.numpy()]) == digests(
        [row for batch in two for row in batch.image.numpy()]
    )


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_every_way_of_feeding_hands_over_the_same_pixels(tmp_path: Path, ray_cluster: str) -> None:
    """Raw rows: ours, with and without Ray, pyarrow, a DataLoader and Ray's tensor column; JPEG rows: the decoder."""
    jpeg = ColdBench(tmp_path, 100, 32, 2)
    raw = RawBench(jpeg, tmp_path, 2, 3)
    wanted = digests([row.copy() for buffer in raw.filled() for row in buffer])
    for stream in (raw.direct(), raw.ray(0)):
        assert digests([row for batch in stream for row in batch.image[batch.valid].numpy()]) == wanted
    assert digests([row.numpy() for row in PageRows([page for page in raw.pages if len(page.train)], 2)]) == wanted
    rows = sum(wanted.values()) / 64
    assert raw.plain().run() == raw.loader().run() == rows and raw.tensors().run() == 3 * rows / 2
    assert jpeg.decoding().run() == rows / 2 and drained(jpeg.direct()) == rows


def digests(images: list[np.ndarray]) -> Counter[bytes]:
    return Counter(hashlib.sha256(image.tobytes()).digest() for image in images)


def test_both_squeeze_an_image_to_the_same_size() -> None:
    settings, data = PixelSettings(size=32), drawing(96, 64, 0)
    ours, naive = prepare_image(data, settings).jpeg, plain.squeezed(data, settings)["jpeg"]
    difference = decode_pixels(ours).float() - decode_pixels(naive).float()
    assert difference.shape == (3, 32, 32) and difference.abs().mean() < 4


TRAIL = Camera("trail", 1024, 720, 1.6, 1.0, "4:2:2")


def test_every_way_of_decoding_shows_the_same_picture() -> None:
    data = TRAIL.photograph(0)
    assert 0.5 < TRAIL.bits([data]) < 1.5 and data == TRAIL.photograph(0) != TRAIL.photograph(1)
    ours = bench_decode._small(PixelSettings(size=bench_decode.SIDE))(data)
    naive = torch.from_numpy(bench_decode.pillow_full(data)).permute(2, 0, 1)
    assert bench_decode.psnr(ours, data) >= 50 and bench_decode.psnr(naive, data) >= 50


def test_decoding_is_one_threads_work_on_either_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV has a thread a core by default."""
    monkeypatch.setattr(bench_decode, "CAMERAS", (TRAIL,))
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        next(bench_decode.comparisons())
        assert cv2.getNumThreads() == torch.get_num_threads() == 1
    finally:
        cv2.setNumThreads(threads)


def test_a_worker_holds_a_few_files_and_never_all() -> None:
    """48 files of 1.2 MB (a tail behind the picture is read with it), of which 16 may be ahead."""
    files = [TRAIL.photograph(0).ljust(1_200_000, b"\0")] * 48
    assert bench_decode.grown_in_a_fresh_process(files) < 16 * 1.2e6 + 40e6


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_gram_and_the_released_loop_score_and_learn_the_same(direction: str) -> None:
    pairs, host = matchers.Pairs(6, 8, 64), matchers.scan(direction)
    assert (matchers.ours(host, pairs) - matchers.theirs(direction, pairs)).abs().max() < 1e-5
    square = matchers.Pairs(6, 6, 64)
    fast = matchers.training(partial(matchers.ours, host), square)
    slow = matchers.training(partial(matchers.theirs, direction), square)
    assert all((one - two).abs().max() < 1e-5 for one, two in zip(fast, slow, strict=True))


def test_streamed_and_sorted_ranks_are_the_same() -> None:
    pairs = matchers.Pairs(6, 6 * matchers.EACH, 64)
    found = matchers.our_ranks(matchers.scan("t2i"), pairs)
    slow = released.recall(pairs.images, pairs.captions, pairs.lengths, matchers.EACH)
    assert all((one == two).all() for one, two in zip(found, slow, strict=True))


def test_every_step_takes_the_same_batches() -> None:
    one, two, later = (step.drawn_batch(number, step.drawn_lengths(number, 5)) for number in (3, 3, 4))
    assert len(one.image) == 5 and (one.image == two.image).all() and (one.text == two.text).all()
    assert (later.image != one.image).any()


def test_batches_of_like_texts_are_the_drawn_texts() -> None:
    window = range(step.WINDOW)
    drawn, like = (
        torch.stack([make(number, 6) for number in window]) for make in (step.drawn_lengths, step.like_lengths)
    )
    assert like.flatten().sort().values.tolist() == drawn.flatten().sort().values.tolist()
    assert like.amax(1).sum() < drawn.amax(1).sum() and (like.amax(1).diff() < 0).any()


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_step_is_told_with_its_rate_its_share_of_the_peak_and_its_parts(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SHAPES", {"cpu": (4, 24, 3, 1)})
    monkeypatch.setattr(step, "PEAK_SIDE", {"cpu": 64})
    monkeypatch.setattr(step, "QUEUE", 64)
    lines = list(step.report("cpu", precision))
    told = {line[:14].strip(): line for line in lines if "samples/s" in line}
    assert list(told) == ["in-batch CLIP", "ITC", "ITC + LM", "ITC + ITM + LM"]
    work = [float(line.split("samples/s")[1].split("GFLOP")[0]) for line in told.values()]
    assert work == sorted(work) and work[0] > 0
    assert sum("forward and backward" in line for line in lines) == 4 and any("optimizer" in line for line in lines)


def test_the_driver_makes_a_version_and_then_finds_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    memory.write_package(tmp_path / "archive", 300)
    runs = [memory.driven(str(tmp_path), 300) for _ in range(2)]
    assert [run.version for run in runs] == [1, 1]
    rows = Dataset.open(open_store(str(tmp_path / "root")), "generated").ledger(["status"])["status"].to_pylist()
    assert Counter(rows) == {"ok": 300, "rejected": 4}


def test_cross_attention_of_the_speed_comparison_is_scan_pair_by_pair() -> None:
    """Against loops over words and regions in double precision (SCAN, equations 1 to 5 of t2i, mean)."""
    torch.manual_seed(0)
    scan = retrieval_speed.Scan(width=6, embed_dim=5)
    work = retrieval_speed.Work.drawn(2, "cpu", regions=3, width=6)
    with torch.no_grad():
        images, words = scan.encode(work)
        found = scan.scores(images, words, work.mask.sum(1).tolist())
    assert found.shape == (2, 10)
    for image, caption in ((0, 3), (1, 7)):
        regions, said = images[image].double().numpy(), words[caption][work.mask[caption]].double().numpy()
        raw = regions @ said.T
        raw = np.where(raw > 0, raw, 0.1 * raw)
        raw = raw / np.sqrt((raw**2).sum(1, keepdims=True))
        cosines = []
        for word in range(len(said)):
            share = np.exp(9 * raw[:, word])
            context = (share / share.sum()) @ regions
            cosines.append(said[word] @ context / np.linalg.norm(said[word]) / np.linalg.norm(context))
        assert abs(found[image, caption].item() - np.mean(cosines)) < 1e-5


def test_the_step_model_adds_up_its_terms() -> None:
    """By hand: 16 GPUs in two machines, messages of a second within and ten between, a byte a second between."""
    net = scaling.Network("n", 8, ring=(5, 1, 10), tree=(2, 1, 10), inside=100.0, between=1.0)
    few = scaling.Step(compute=10, backward=0.5, rows=1, keys=3, parameters=8, small=2, jitter=0.1)
    alone, many = scaling.step_time(1, net, few), scaling.step_time(16, net, few)
    assert alone.whole == 10 and alone.efficiency == 1
    assert many.slowest == pytest.approx(10 * 0.1 * np.sqrt(2 * np.log(16)))
    assert many.gather == 5 + (14 * 1 + 1 * 10) + 15 * (1 + 1) * 3 / 1
    assert many.small == 2 * (2 + 2 * (7 * 1 + 1 * 10))
    assert many.reduced == 5 + 2 * 24 + 2 * 15 / 16 * 4 * 8 / 1 - 0.5 * 10
    assert many.whole == pytest.approx(10 + many.slowest + many.gather + many.small + many.reduced)
    hidden = scaling.step_time(8, net, scaling.Step(compute=1000, parameters=8))
    assert hidden.reduced == 0 and hidden.gather == pytest.approx(5 + 7 * 1 + 7 * 257 * 2220 / 100)
    lines = list(scaling.modelled(scaling.Step()))
    assert len(lines) == 2 + len(scaling.NETWORKS) * len(scaling.GPUS)
    assert {line.count("|") for line in lines} == {len(scaling.HEAD) + 1}


@pytest.mark.parametrize(("latency", "bandwidth"), [(2e-4, 5e8), (0.0, 5e8), (2e-4, 1e15)])
def test_the_fit_finds_latency_and_bandwidth(latency: float, bandwidth: float) -> None:
    points = [(n, n * size, n * latency + n * size / bandwidth) for n in (1, 3) for size in (1e5, 5e5, 2e6)]
    found = scaling.fitted(points)
    assert found.latency == pytest.approx(latency, abs=1e-9) and found.bandwidth == pytest.approx(bandwidth, rel=1e-3)


def test_terms_and_whole_steps_are_measured_in_real_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORKERS": (1, 2), "ROWS": (2, 3), "STEPS": 2, "BLOCKS": 1, "COMPUTE": 0.001}.items():
        monkeypatch.setattr(scaling, name, value)
    world = World(2)
    try:
        lines = list(scaling.measured(world))
    finally:
        world.close()
    assert [line[:8] for line in lines if line.startswith("| 2 | ")] == ["| 2 | 2 ", "| 2 | 3 ", "| 2 | 3 "]
    assert sum("(fitted)" in line for line in lines) == 2
    columns = scaling.Exchanges(3).columns | {"slot": scaling.Exchanges(3).slot}
    row = sum(-(-one[0].numel() * one.element_size() // 4) * 4 for one in columns.values())
    assert scaling.handed(2, 3) == 4 * row, "a packed row as xmodal.traffic counts it, and one that tells of the rows"
    assert scaling.handed(2, 3) == 4 * scaling.Step().keys


def drawn_pairs(rng: np.random.Generator, images: int, strength: tuple[float, ...]) -> cca.Pairs:
    """Two texts an image, which share one latent number a canonical pair with it, each so strongly."""
    latent = rng.normal(size=(images, len(strength)))
    noise = [rng.normal(size=(count, len(strength))) for count in (images, 2 * images)]
    rho = np.sqrt(strength)
    owner = np.repeat(np.arange(images), 2)
    x = latent * rho + noise[0] * np.sqrt(1 - rho**2)
    y = latent[owner] * rho + noise[1] * np.sqrt(1 - rho**2)
    turned = [torch.from_numpy(side @ rng.normal(size=(len(strength), len(strength))) + 3) for side in (x, y)]
    return cca.Pairs(turned[0], turned[1], torch.from_numpy(owner))


def test_the_closed_form_finds_the_correlations_that_were_put_in() -> None:
    """And, without a ridge, what QR and SVD of the centred views give (Bjorck & Golub 1973)."""
    pairs = drawn_pairs(np.random.default_rng(0), 20_000, (0.9, 0.5, 0.2))
    found = cca.fit(pairs, 0.0).correlations.numpy()
    assert found == pytest.approx([0.9, 0.5, 0.2], abs=0.03)
    views = [(one - one.mean(0)).numpy() for one in (pairs.images[pairs.owner], pairs.texts)]
    bases = [np.linalg.qr(view)[0] for view in views]
    assert found == pytest.approx(np.linalg.svd(bases[0].T @ bases[1])[1], abs=1e-9)


def test_what_the_closed_form_prints_is_read_off_the_ranks() -> None:
    rng = np.random.default_rng(1)
    splits = {name: drawn_pairs(rng, count, (0.99, 0.98, 0.97)) for name, count in (("train", 500), ("val", 60))}
    splits["test"] = drawn_pairs(rng, 60, (0.99, 0.98, 0.97))
    maps = np.random.default_rng(2).normal(size=(2, 3, 3))
    splits = {
        name: cca.Pairs(one.images @ torch.from_numpy(maps[0]), one.texts @ torch.from_numpy(maps[1]), one.owner)
        for name, one in splits.items()
    }
    test = splits["test"]
    itself = cca.chosen(splits["train"], splits["val"])[1](test)
    printed = list(cca.lines(splits, itself))
    assert printed[-1] == "the run's rsum minus that of CCA: 0.0 (0.0 to 0.0), images resampled"
    (rsum,) = [line for line in printed if line.startswith("cca/rsum")]
    shares = cca.shares(cca.both_ranks(*itself, test.owner), test.owner)
    assert float(rsum.split()[1]) == pytest.approx(shares.mean(), abs=0.051) and len(shares) == 60
