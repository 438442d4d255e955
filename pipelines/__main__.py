"""The verbs. A flow is imported only when its verb runs, so `xmodal --help` is instant.

Data go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 usage or settings, 3 data refused,
4 the gate kept the champion, 5 a service cannot be reached, 10 not found, 11 locked by another run, 130 interrupted.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

RECIPES = click.argument("recipe", nargs=-1, required=True, metavar="RECIPE...")
CHECKPOINT = click.argument("checkpoint", metavar="CHECKPOINT")
BEAMS = click.option(
    "--beams",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Beams of the search for captions; 1: greedy.",
)
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[RECIPE|PATH=VALUE]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="xmodal")
def cli() -> None:
    """Camera-trap archives to image-text models that retrieve, caption and classify.

    A RECIPE is a YAML file, or the name of one that comes with xmodal; `path=value` arguments override settings.
    Several may be given, the later one wins.
    """


@cli.command()
@RECIPES
@click.option("--all", "whole", is_flag=True, help="Print every setting, not only what differs from the defaults.")
def show(recipe: tuple[str, ...], whole: bool) -> None:
    """The resolved recipe, its fingerprint, and what would run."""
    from pipelines.show import show

    click.echo(show(recipe, whole))


@cli.command()
@RECIPES
@click.option("--dry-run", is_flag=True, help="List and read the metadata only: what would be taken, and why not.")
@click.option("--report", type=click.Path(path_type=Path), help="With --dry-run: write an HTML page of archive health.")
@click.option(
    "--sample", type=click.IntRange(min=0), help="With --report: files to read for it, at most.  [default: 300]"
)
def prepare(recipe: tuple[str, ...], dry_run: bool, report: Path | None, sample: int | None) -> None:
    """Archive to dataset version."""
    from pipelines.prepare import verb

    if report is not None and not dry_run:
        raise click.UsageError("--report belongs to --dry-run; of a dataset that was made it tells by the ledger")
    if sample is not None and report is None:
        raise click.UsageError("--sample belongs to --report: files are read for the page alone")
    click.echo(verb.prepare(recipe, dry_run) if report is None else verb.examined(recipe, report, sample))


@cli.command()
@RECIPES
@click.option("--again", is_flag=True, help="Start a new attempt where a complete run of this recipe exists.")
def train(recipe: tuple[str, ...], again: bool) -> None:
    """Train, or resume: the same recipe and storage continue where the last checkpoint stands."""
    from pipelines.train.flow import train

    click.echo(train(recipe, again))


@cli.command()
@click.argument("space", metavar="SPACE")
@RECIPES
@click.option("--best", type=click.Path(path_type=Path), help="Where the best recipe goes.  [default: SWEEP.yaml]")
@click.option("--report", type=click.Path(path_type=Path), help="Where the page goes.  [default: SWEEP.html]")
@click.option("--at-once", type=click.IntRange(min=1), help="Trials at once.  [default: as many as the cluster holds]")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), help="Device-hours after which the sweep ends for now."
)
def tune(
    space: str,
    recipe: tuple[str, ...],
    best: Path | None,
    report: Path | None,
    at_once: int | None,
    hours: float | None,
) -> None:
    """Search settings: SPACE is a YAML file, or the name of one that comes with xmodal. Run again, it goes on."""
    from pipelines.tune.flow import Wishes, tune

    click.echo(tune(space, recipe, Wishes(best, report, at_once, hours)))


@cli.command()
@CHECKPOINT
@OVERRIDES
@click.option("--root", default=None, help="Storage root that holds the run, where CHECKPOINT is a run's name.")
@click.option("--report", "report", default="report.html", show_default=True, help="Where the HTML report goes.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--card", type=click.Path(path_type=Path), help="Write the model's card into this folder.")
@click.option("--ensemble", default=None, help="A second checkpoint of the same dataset: scores are averaged.")
@click.option("--against", default=None, help="Another checkpoint: should this one take its place?")
@BEAMS
def evaluate(
    checkpoint: str,
    overrides: tuple[str, ...],
    root: str | None,
    report: str,
    as_json: bool,
    card: Path | None,
    ensemble: str | None,
    against: str | None,
    beams: int,
) -> None:
    """Metrics beside chance with intervals, the HTML report, MLflow.

    CHECKPOINT is a run's name, its directory or URL, or a checkpoint directory.
    """
    from pipelines.evaluate.flow import evaluate

    measured = evaluate(checkpoint, overrides, root, Path(report), as_json, ensemble, beams, card, against)
    click.echo(measured.text)
    measured.record()


@cli.group()
def predict() -> None:
    """Use a model on image files or folders: embed, classify, caption."""


def _predict_verb(name: str, text: str, *options: Callable[[Any], Any]) -> None:
    @predict.command(name=name, help=text)
    @CHECKPOINT
    @click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
    @click.option(
        "--out", type=click.Path(path_type=Path), help="Write a Parquet file instead of JSON lines to stdout."
    )
    @click.option("--root", default=None, help="Storage root that holds the run, where CHECKPOINT is a run's name.")
    def run(checkpoint: str, images: tuple[Path, ...], out: Path | None, root: str | None, **more: int) -> None:
        from pipelines.predict import predict

        predict(name, checkpoint, images, out, root, **more)

    for option in options:
        option(run)


_predict_verb("embed", "Unit vectors of images.")
_predict_verb("caption", "A generated caption for each image.", BEAMS)


@predict.command()
@CHECKPOINT
@click.argument("images", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Write a Parquet file instead of JSON lines to stdout.")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Answers as files for people's tools, below it.")
@click.option("--dataset", metavar="NAME[@VERSION]", help="With --to: images of a dataset version, not of a folder.")
@click.option("--survey", help="With --dataset: those of one survey alone.")
@click.option("--unlabelled", is_flag=True, help="With --dataset: images that people have not labelled alone.")
@click.option("--review", type=click.Path(path_type=Path), help="With --to: a CSV of what to look at, best first.")
@click.option(
    "--seconds-a-look",
    type=click.FloatRange(min=0, min_open=True),
    help="With --review: by which hours are told.  [default: the model's evaluation.seconds_a_look, 10]",
)
@click.option("--precision", default=0.95, show_default=True, help="With --to: share right of the answers.")
@click.option("--deployments", metavar="FILE", help="With --to: deployments' coordinates, for a Camtrap DP package.")
@click.option("--reviewed", is_flag=True, help="With --deployments: what people labelled goes in as they say.")
@click.option("--public", is_flag=True, help="With --deployments: bare files show no people, somebody has looked.")
@click.option("--package", metavar="FILE", help="With --to: append to a copy of this Camtrap DP package.")
@click.option("--utc-offset", metavar="+HH:MM", help="With --to: of cameras' clocks that state none.")
@click.option("--card", help="With --to: folder of `evaluate --card`, where CHECKPOINT is no run.")
@click.option("--root", default=None, help="Storage root that holds the run, where CHECKPOINT is a run's name.")
def classify(
    checkpoint: str,
    images: tuple[str, ...],
    out: Path | None,
    folder: Path | None,
    root: str | None,
    **words: Any,
) -> None:
    """Species of images: scores of the best ones as JSON lines or, with --to FOLDER, one answer a frame and an event.

    An answer is the narrowest rank that is sure enough, at the thresholds that `evaluate` found; what nothing is sure
    enough of is left to people. Run again, it goes on where it was cut. With --to IMAGES is one folder, which may be
    an s3:// address.
    """
    absent = [one for one in images if "://" not in one and not Path(one).exists()]
    if absent:
        raise click.UsageError(f"{absent[0]}: no such file or folder")
    if folder is None:
        _only_with_to(words)
        if not images or any("://" in one for one in images):
            raise click.UsageError("name image files or folders; a bucket's are read with --to FOLDER")
        from pipelines.predict import predict

        predict("classify", checkpoint, tuple(map(Path, images)), out, root)
        return
    if words["deployments"] and words["package"]:
        raise click.UsageError("--deployments makes a new package, --package a copy of one: give one of them")
    if out is not None:
        raise click.UsageError("--out is one Parquet file of scores, --to a folder of answers: give one of them")
    one_folder = len(images) == 1 and ("://" in images[0] or Path(images[0]).is_dir())
    if bool(images) if words["dataset"] else not one_folder:
        raise click.UsageError("--to takes either one folder of images or --dataset")
    for name, needs in (("unlabelled", "dataset"), ("seconds_a_look", "review"), ("reviewed", "deployments"),
                        ("public", "deployments")):  # fmt: skip
        if words[name] and not words[needs]:
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to --{needs}")
    from pipelines.predictions.flow import Request, classify

    click.echo(classify(Request(checkpoint, folder, images, root=root, **words)))


def _only_with_to(words: dict[str, Any]) -> None:
    given = [name for name, value in words.items() if value not in (None, False) and name != "precision"]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} belongs to --to FOLDER, which writes answers as files")


@cli.command()
@CHECKPOINT
@click.option(
    "--to", "folder", required=True, metavar="FOLDER", help="Each kind goes into a folder of its own below it."
)
@click.option(
    "--as",
    "kinds",
    multiple=True,
    type=click.Choice(["huggingface", "onnx", "embeddings"]),
    default=["huggingface"],
    show_default=True,
    help="May be given often. huggingface: the model, its tokeniser and card; onnx: both encoders as graphs; "
    "embeddings: vectors of a dataset version's images and captions, as Parquet.",
)
@click.option("--dataset", metavar="NAME[@VERSION]", help="With embeddings.  [default: what the model was trained on]")
@click.option("--card", help="With huggingface: folder or URL of the model's card, which `evaluate --card` writes.")
@click.option("--root", default=None, help="Storage root that holds the run, where CHECKPOINT is a run's name.")
def export(
    checkpoint: str, folder: str, kinds: tuple[str, ...], dataset: str | None, card: str | None, root: str | None
) -> None:
    """A model, or what it makes of its dataset, as files for other programs. Nothing is written half."""
    if dataset is not None and "embeddings" not in kinds:
        raise click.UsageError("--dataset belongs to --as embeddings")
    if card is not None and "huggingface" not in kinds:
        raise click.UsageError("--card belongs to --as huggingface")
    from pipelines.export.flow import Request, export

    click.echo(export(Request(checkpoint, folder, kinds, dataset, card, root)))


@cli.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--checkpoint", required=True, help="A run's name, its directory or URL, or a checkpoint directory.")
@click.option("--root", default=None, help="Storage root, where CHECKPOINT is a run's name.")
@click.option("--split", default=None, help="Search one split only (train, val, test).")
@click.option("-k", "count", default=5, show_default=True, help="Results.")
@click.option("--rerank", default=None, type=click.IntRange(min=1), help="Rank so many again by matcher or ITM.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def search(
    text: tuple[str, ...],
    checkpoint: str,
    root: str | None,
    split: str | None,
    count: int,
    rerank: int | None,
    as_json: bool,
) -> None:
    """Images of the model's dataset that fit TEXT best."""
    from pipelines.search import search

    for line in search(" ".join(text), checkpoint, root, split, count, rerank):
        click.echo(
            json.dumps(line) if as_json else "{rank:>3}  {score:.3f}  {survey}/{media_id}  {text}".format(**line)
        )


@cli.command()
@CHECKPOINT
@click.option("--dataset", metavar="NAME[@VERSION]", help="Images to show.  [default: those it was trained on]")
@click.option("--root", default=None, help="Storage root, where CHECKPOINT is a run's name.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback with a token.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--token", envvar="XMODAL_SERVE_TOKEN", help="Secret of the address.  [default: drawn beyond loopback]")
@click.option(
    "--index", "folder", type=click.Path(path_type=Path), help="Folder of the index.  [default: .xmodal/index]"
)
@click.option(
    "--review",
    type=click.Path(path_type=Path, dir_okay=False),
    default="corrections.csv",
    show_default=True,
    help="Where corrections go: an overlay for `prepare`.",
)
@click.option("--precision", default=0.95, show_default=True, help="Share right of the model's answers.")
@click.option("--card", help="Folder of `evaluate --card`, where CHECKPOINT is no run.")
@click.option("--deployments", metavar="FILE", help="Deployments' coordinates: Camtrap DP can be taken away.")
@click.option("--utc-offset", metavar="+HH:MM", help="Of cameras' clocks that state none, for Camtrap DP.")
def serve(checkpoint: str, **words: Any) -> None:
    """A page on which to search images, look at them and correct their labels."""
    from pipelines.serve.flow import Wishes, serve

    serve(Wishes(checkpoint, **words))


@cli.command()
@click.argument("target", metavar="DATASET|CHECKPOINT")
@click.option("--root", default=None, help="Storage root (directory or s3:// URL).")
@click.option("--read-data", is_flag=True, help="Read every byte and compare hashes.")
def check(target: str, root: str | None, read_data: bool) -> None:
    """Verify a dataset's versions or a checkpoint."""
    from pipelines.check import check

    click.echo(check(target, root, read_data))


@cli.command()
@click.argument("images", nargs=-1, metavar="[IMAGE|FOLDER]...", type=click.Path(exists=True, path_type=Path))
@click.option("--card", required=True, help="Folder or URL of the model's card, which `evaluate --card` writes.")
@click.option("--place", "places", multiple=True, metavar="SURVEY/PLACE", help="Ask for a place; may be given often.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def seen(images: tuple[Path, ...], card: str, places: tuple[str, ...], as_json: bool) -> None:
    """Was this image file, or this place, trained on? Asked of a model's card alone."""
    from pipelines.seen import seen

    for line in seen(images, places, card, as_json):
        click.echo(line)


@cli.command()
@click.argument("dataset", metavar="DATASET")
@click.option("--root", default=None, help="Storage root (directory or s3:// URL).")
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
@click.option(
    "--older-than",
    default="24h",
    show_default=True,
    help="Age from which what no version names is deleted; a shorter one is safe where no prepare is suspended.",
)
def gc(dataset: str, root: str | None, dry_run: bool, older_than: str) -> None:
    """Delete what no version of a dataset names; retire versions that hold withdrawn images."""
    from pipelines.gc import gc

    click.echo(gc(dataset, root, older_than, dry_run))


@cli.command()
@click.argument("version", metavar="MODEL/VERSION")
@click.option("--root", default=None, help="Storage root (directory or s3:// URL), which keeps the decisions.")
@click.option("--tracking", default=None, help="Address of the MLflow server.  [default: MLFLOW_TRACKING_URI]")
@click.option("--why", default="by hand", show_default=True, help="Kept with the decision.")
def promote(version: str, root: str | None, tracking: str | None, why: str) -> None:
    """Make a registered version the champion, also an earlier one again."""
    from pipelines.promote import promote

    click.echo(promote(version, root, tracking, why))


@cli.command()
@RECIPES
@click.option("--report", default="report.html", show_default=True, help="Where the challenger's HTML report goes.")
@click.option("--kept-is-success", is_flag=True, help="Exit code 0, not 4, where the gate kept the champion.")
def retrain(recipe: tuple[str, ...], report: str, kept_is_success: bool) -> None:
    """What a schedule calls: prepare what is new, train a challenger, promote it if the gate lets it.

    Run again, it goes on where it was cut, and does nothing where nothing has changed.
    """
    from pipelines.retrain.flow import retrain

    done = retrain(recipe, Path(report))
    click.echo(done.text)
    if done.kept and not kept_is_success:
        sys.exit(4)


@cli.command()
@RECIPES
@click.option("--every", required=True, help="hour, day, week, month, or five cron fields such as '0 3 * * 1'.")
@click.option("--target", required=True, type=click.Choice(["cron", "kubernetes"]), help="What is to keep the time.")
@click.option("--cluster", help="With kubernetes: file with the rendered overlay that gives the nodes; - for stdin.")
def schedule(recipe: tuple[str, ...], every: str, target: str, cluster: str | None) -> None:
    """Print what retrains by the clock: a line for cron, or manifests for `kubectl apply -f -`."""
    from pipelines.schedule import line, manifests

    if target == "cron" and cluster is not None:
        raise click.UsageError("--cluster belongs to --target kubernetes; a crontab runs on its own machine")
    click.echo(line(recipe, every) if target == "cron" else manifests(recipe, every, cluster).rstrip())


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("verb", metavar="VERB|status|logs|stop")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS|JOB]...")
@click.option("--address", envvar="RAY_ADDRESS", required=True, help="The cluster's jobs address, http://host:8265.")
@click.option("--id", "submission_id", default=None, help="Submission id: the same words with the same id are one job.")
@click.option("--wait", is_flag=True, help="Follow the log until the job ends; its exit code is this command's.")
@click.option("--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="A variable for the job; no secret.")
@click.option("--runtime-env", type=click.Path(path_type=Path), help="YAML of Ray's runtime environment: pip ...")
def submit(
    verb: str,
    arguments: tuple[str, ...],
    address: str,
    submission_id: str | None,
    wait: bool,
    variables: tuple[str, ...],
    runtime_env: Path | None,
) -> None:
    """Run another verb as a cluster job: the same words, after `submit`. With `status JOB`, `logs JOB` or `stop JOB`,
    look at one that was submitted, or end it."""
    from pipelines.submit import LOOKS, submit

    verbs = sorted(set(cli.commands) - {"submit"})
    if verb in LOOKS:
        if len(arguments) != 1 or submission_id or variables or runtime_env:
            raise click.UsageError(f"submit {verb} takes the id of one job, which `submit` printed, and no more")
        sys.exit(LOOKS[verb](arguments[0], address, wait))
    if verb not in verbs:
        raise click.UsageError(f"{verb}: no such verb to submit; allowed: {', '.join([*verbs, *LOOKS])}")
    sys.exit(submit(verb, arguments, address, submission_id, wait, variables, runtime_env))


def main() -> None:
    """Console entry."""
    from infra.secrecy import watch_output

    watch_output()
    with one_line_errors():
        cli(standalone_mode=False)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake or a missing thing ends in one line and its exit code, a bug in its traceback. No line shows a
    secret."""
    from infra.secrecy import shown

    try:
        yield
    except (click.exceptions.Abort, KeyboardInterrupt):  # click makes the one of the other
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        print(shown(told.getvalue()), end="", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        print(f"xmodal: {shown(str(error))}", file=sys.stderr)
        sys.exit(code)


def exit_code(error: Exception) -> int | None:
    """The exit code of an error that a user can act on; None for anything else, which is a bug."""
    from infra import cluster, jobs, lock, process, storage
    from pipelines.errors import DataRefused, Failed, NotFound
    from xmodal.checkpoint import Damaged
    from xmodal.settings import SettingsError

    codes: dict[type[Exception], int] = {
        SettingsError: 2,
        DataRefused: 3,
        storage.Unreachable: 5,
        NotFound: 10,
        storage.NotFound: 10,
        lock.Locked: 11,
        storage.Denied: 1,
        jobs.JobRefused: 1,
        jobs.NoSuchJob: 10,
        lock.Lost: 1,
        process.StartFailed: 1,
        cluster.ClusterTooSmall: 1,
        Damaged: 1,
        Failed: 1,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), None)


if __name__ == "__main__":
    main()
