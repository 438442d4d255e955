"""`make demo`: the main job on an embedded S3 server, a local Ray and a local MLflow server.

Everything it keeps lies in `.xmodal/demo`; a second run reuses it. What it starts stops with it.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infra.cluster import local_ray
from infra.mlflow_server import MlflowServer
from infra.process import Child
from infra.seaweed import SeaweedServer
from infra.storage import open_store
from pipelines.__main__ import one_line_errors
from pipelines.demo.survey import is_complete

if TYPE_CHECKING:
    from pipelines.evaluate.flow import Evaluated

HOME = Path(".xmodal/demo")
DRAWING_SECONDS = 900.0
ARCHIVE, ROOT = "s3://xmodal-archive/generated", "s3://xmodal/root"
RECIPE = ("demo",)
HEADLINE = ("test/species/micro", "test/species/macro", "test/t2i/map_at_r", "test/caption/cider")
"""Log keys of the figures that the demo ends with."""
QUERIES = ("a camera-trap image of a red fox", "an even-toed ungulate at night", "an empty camera-trap image")


def main() -> None:
    """Runs the whole road and ends by telling what to open."""
    begun = time.monotonic()
    with ExitStack() as services:
        storage(services)
        with survey() as drawn:  # while the other services come up
            address = start(services)
            drawn()
        measured = road()
        print(measured.text)
        measured.record()
        show_queries(run_name())
        page = search_page(services, run_name())
        tell(address, page, measured.report, headline(measured.text), time.monotonic() - begun)
        if stays():
            wait(page)


def storage(services: ExitStack) -> None:
    """S3; its address and credentials go into the environment."""
    with step("starting S3 (SeaweedFS)"):
        server = services.enter_context(SeaweedServer(HOME / "s3", buckets=["xmodal-archive", "xmodal"]))
        os.environ |= server.environment() | {"XMODAL_ROOT": ROOT}


def start(services: ExitStack) -> str:
    """MLflow and Ray. Returns MLflow's address, which goes into the environment."""
    with step("starting MLflow and Ray"):
        tracking = services.enter_context(MlflowServer(HOME / "mlflow"))
        os.environ["MLFLOW_TRACKING_URI"] = tracking.uri
        services.enter_context(local_ray(2, HOME / "ray"))
    return tracking.uri


@contextmanager
def survey() -> Iterator[Callable[[], None]]:
    """Draws the generated survey where the bucket does not hold all of it, in a process that ends with the block; what
    it yields waits for it. Raises StartFailed where the drawing fails."""
    if is_complete(open_store(ARCHIVE)):
        yield lambda: None
        return
    print("\n== drawing a camera-trap survey (generated: no real animals)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pipelines.demo.drawing", ARCHIVE]
    with Child(command, HOME / "survey.log", dict(os.environ)) as child:
        yield partial(child.wait_until, lambda: child.process.poll() == 0, DRAWING_SECONDS)


def road() -> "Evaluated":
    """prepare, train, evaluate."""
    from pipelines.evaluate.flow import evaluate
    from pipelines.prepare.verb import prepare
    from pipelines.train.flow import train

    with step("prepare"):
        print(prepare(RECIPE, False))
    with step("train on 2 workers"):
        print(train(RECIPE))
    with step("evaluate"):
        return evaluate(run_name(), (), None, HOME / "report.html", False)


def run_name() -> str:
    """The demo's run."""
    from pipelines.dataset import Dataset
    from pipelines.recipe import load_recipe
    from pipelines.train.flow import choose_run

    recipe = load_recipe(RECIPE)
    store = recipe.compute.store()
    return choose_run(store, recipe, Dataset.open(store, recipe.data.name).digest, again=False).name


def show_queries(run: str) -> None:
    """A few searches over the test images."""
    from pipelines.search import search

    for query in QUERIES:
        print(f'\nxmodal search "{query}"')
        for line in search(query, run, None, "test", 3):
            print("  {score:.3f}  {media_id}  {text}".format(**line))


def search_page(services: ExitStack, run: str) -> str:
    """`xmodal serve` of the run, in this process. Returns its address."""
    from pipelines.serve.flow import Wishes, served

    with step("opening the search page"):
        wishes = Wishes(run, port=0, folder=HOME / "index", review=HOME / "corrections.csv")
        return services.enter_context(served(wishes))


def headline(table: str) -> list[str]:
    """The head of a table of figures, and its most asked lines."""
    head, *lines = table.splitlines()
    return [head, *(line for line in lines if line.split(" ")[0] in HEADLINE)]


def tell(address: str, page: str, report: Path, figures: list[str], seconds: float) -> None:
    """The headline figures, and what there is to open now."""
    print(f"\ndone in {seconds:.0f} s (the survey is generated: its figures say nothing about nature)\n")
    print("\n".join(f"  {line}" for line in figures) + "\n")
    print(f"  report   {report.resolve()}")
    print(f"  MLflow   {address}  (while this runs)")
    print(f"  search   {page}  (while this runs)")
    print(f"  kept in  {HOME.resolve()}  (make clean removes it)")


def stays() -> bool:
    """Whether what was started is to stay up: at a terminal, unless DEMO_EXIT=1."""
    return sys.stdin.isatty() and os.environ.get("DEMO_EXIT") != "1"


def wait(page: str) -> None:
    """Until Ctrl-C."""
    print(f"\nMLflow and the search page stay up; open {page}  Ctrl-C ends them")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\nstopping")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Says what is going on and how long it took."""
    print(f"\n== {title}", file=sys.stderr, flush=True)
    begun = time.monotonic()
    yield
    print(f"   {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
