"""What real runs leave behind when something goes wrong, as a Markdown table.

One good run of the whole graph on a small drawn dataset is the base. Each fault gets a
copy of it and happens to a real run in a process of its own; then it is looked at what
readers find, and the next run must succeed. Prints a table and exits with 1 where
something did not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.scheduler.instigation import InstigatorTick

from benchmarks.inject import WAITING
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.owner import DatasetRoot, adopt
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.store import Store

ROOT = Path(__file__).parents[1]
CHAIN = "*released_model,rejected_annotations"
TRAINING = "*trained_checkpoint,rejected_annotations"
ANNOTATIONS = "validated_annotations,rejected_annotations"
WORKSPACE = ("-w", str(ROOT / "workspace.yaml"))
SECRET = '{"image": "crops/secret.jpg", "suffix": "secret"}\n'
# Tells two labels apart after seconds, well enough to be released.
RECIPE = {
    "epochs": 12,
    "image_size": 32,
    "batch_size": 16,
    "learning_rate": 0.003,
    "augmentation": {
        "rotation": 6.0,
        "zoom": 0.15,
        "shear": 0.1,
        "perspective": 0.05,
        "downscale_chance": 0.0,
        "noise_chance": 0.0,
        "erasing_chance": 0.0,
    },
}
_seeds = count(1)


class Broken(AssertionError):
    """Something that must hold did not."""


def must(holds: object, what: str) -> None:
    """Raises Broken where something does not hold."""
    if not holds:
        raise Broken(what)


def draw_two_labels(root: Path) -> None:
    """Draws some 150 crops of jerseys without a number and with an 8."""
    render_dataset(root, train=600, valid=150, test=150, seed=3)
    for file in root.glob("*/annotations.jsonl"):
        rows = file.read_text().splitlines(keepends=True)
        kept = [row for row in rows if json.loads(row)["suffix"] in ("", "8")]
        file.write_text("".join(kept))


def told(printed: str) -> str:
    """What a run printed when it failed, without its summary."""
    return printed.partition("\nFailed in ")[0][-2500:]


@dataclass
class Place:
    """A Dagster home, an artifact root and a dataset: a copy of the base."""

    folder: Path

    @property
    def data(self) -> Path:
        """The dataset root."""
        return self.folder / "data"

    @property
    def store(self) -> Store:
        """The artifacts."""
        return Store(str(self.folder / "artifacts"))

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        """The Dagster instance of the home."""
        with DagsterInstance.from_config(str(self.folder / "home")) as made:
            yield made

    def environment(self) -> dict[str, str]:
        """Variables of the processes that run here."""
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.folder / "home"),
            "JERSEY_ARTIFACT_ROOT": self.store.root,
            "JERSEY_DATA_ROOT": str(self.data),
            "FAULTS_SECRET": str(self.folder / "secret.jsonl"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
        }

    def command(self, moment: str, select: str, seed: int) -> list[str]:
        """The command line of a run, with a fault at a moment or without ("")."""
        config = self.folder / f"recipe{seed}.json"
        recipe = RECIPE | {"seed": seed}
        content: dict[str, object] = {"loggers": {"console": {}}}
        if select in (CHAIN, TRAINING):
            content["ops"] = {"trained_checkpoint": {"config": recipe}}
        config.write_text(json.dumps(content))
        program = ["benchmarks.inject", moment] if moment else ["dagster"]
        return [
            *(sys.executable, "-m", *program, "asset", "materialize"),
            *("--select", select, "-m", "jersey_assets.definitions", "-c", str(config)),
        ]

    def start(
        self,
        moment: str = "",
        select: str = CHAIN,
        seed: int = 0,
        prefix: tuple[str, ...] = (),
        limits: Callable[[], None] | None = None,
    ) -> subprocess.Popen[str]:
        """Starts a run."""
        return subprocess.Popen(
            [*prefix, *self.command(moment, select, seed)],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=limits,
        )

    def run(
        self, moment: str = "", select: str = CHAIN, seed: int = 0, **how: object
    ) -> tuple[int, str]:
        """Runs to the end; exit status and what was printed."""
        process = self.start(moment, select, seed, **how)  # type: ignore[arg-type]
        printed, _ = process.communicate(timeout=600)
        return process.returncode, printed

    def readers_find(self) -> dict[str, Artifact]:
        """What readers get of each asset, every file's digest checked."""
        folders = [path for path in Path(self.store.root).iterdir() if path.is_dir()]
        assets = [path.name for path in folders if not path.name.startswith(".")]
        return {asset: self.store.require(asset) for asset in assets}

    def next_run_is_clean(self, select: str = CHAIN, seed: int = 0) -> str:
        """Runs again without a fault, and returns what was printed."""
        status, printed = self.run("", select, seed)
        must(status == 0, f"the next run ended with {status}: {told(printed)}")
        found = self.readers_find()
        if select == CHAIN:
            list(walk_provenance(self.store, found["released_model"]))
        return printed


def versions(found: dict[str, Artifact]) -> dict[str, str]:
    """Version of each asset."""
    return {asset: artifact.version for asset, artifact in found.items()}


def stopped(moment: str, select: str, place: Place, resumes: bool = False) -> None:
    """A run that kills itself: readers find what was there, the next run is clean."""
    before, seed = place.readers_find(), next(_seeds)
    status, printed = place.run(moment, select, seed)
    must(status == -signal.SIGKILL, f"the run ended with {status}: {told(printed)}")
    after = place.readers_find()
    last = {"kill in ONNX write": "onnx_model"}.get(moment, "trained_checkpoint")
    if "release flip" in moment:
        last = "released_model"
    if moment != "kill after release flip":
        must(after[last].version == before[last].version, f"{last} was replaced")
    else:
        must(after[last].version != before[last].version, f"{last} was not replaced")
    said = place.next_run_is_clean(select, seed)
    must(not resumes or "resuming at epoch" in said, "the training began anew")


def terminated(place: Place) -> None:
    """SIGTERM in the second epoch."""
    before, seed = place.readers_find(), next(_seeds)
    process = place.start("wait in training", TRAINING, seed)
    assert process.stdout is not None
    must(any(WAITING in line for line in process.stdout), "the training never began")
    process.terminate()
    process.communicate(timeout=120)
    must(process.returncode not in (0, None), "a stopped run ended with 0")
    must(versions(place.readers_find()) == versions(before), "an artifact was replaced")
    said = place.next_run_is_clean(TRAINING, seed)
    must("resuming at epoch" in said, "the training began anew")


def in_own_mounts(script: str) -> tuple[str, ...]:
    """Runs what follows after a shell script, with mounts that nobody else sees."""
    return ("unshare", "--map-root-user", "--mount", "sh", "-euc", script, "sh")


def disk_full(place: Place) -> None:
    """The artifacts lie on a disk with 4 MB left."""
    before, seed = place.readers_find(), next(_seeds)
    used = sum(p.stat().st_size for p in Path(place.store.root).rglob("*"))
    full, kept = place.folder / "full", place.folder / "kept"
    full.mkdir()
    script = (
        f"mount -t tmpfs -o size={used + 4_000_000 + 4096 * 600} none '{full}'; "
        f"cp -a '{place.store.root}/.' '{full}'; "
        f"status=0; JERSEY_ARTIFACT_ROOT='{full}' \"$@\" || status=$?; "
        f"cp -a '{full}' '{kept}'; exit $status"
    )
    status, printed = place.run("", TRAINING, seed, prefix=in_own_mounts(script))
    must(status == 1, f"the run ended with {status}: {told(printed)}")
    must(
        " 0 MB are left on its disk" in printed, f"it does not say why: {told(printed)}"
    )
    shutil.rmtree(place.store.root)
    kept.rename(place.store.root)
    now = versions(place.readers_find())
    must(now["trained_checkpoint"] == before["trained_checkpoint"].version, "replaced")
    place.next_run_is_clean(TRAINING, seed)


def disk_read_only(place: Place) -> None:
    """The artifacts lie on a disk that was mounted read-only."""
    before, seed = versions(place.readers_find()), next(_seeds)
    root = place.store.root
    script = (
        f"mount --bind '{root}' '{root}'; mount -o remount,bind,ro '{root}'; "
        'exec "$@"'
    )
    status, printed = place.run("", TRAINING, seed, prefix=in_own_mounts(script))
    must(status == 1, f"the run ended with {status}: {told(printed)}")
    must("Read-only file system" in printed, f"it does not say why: {told(printed)}")
    must(versions(place.readers_find()) == before, "an artifact was replaced")
    place.next_run_is_clean(TRAINING, seed)


def file_deleted(place: Place) -> None:
    """Train's JSONL file goes between listing and reading."""
    before = place.readers_find()
    file = place.data / "train" / "annotations.jsonl"
    rows = file.read_text()
    status, printed = place.run("file deleted", CHAIN)
    must(status == 1, f"the run ended with {status}: {told(printed)}")
    must("train/annotations.jsonl" in printed, "it does not name the file")
    after = place.readers_find()
    for asset in ("trained_checkpoint", "released_model"):
        must(after[asset].version == before[asset].version, f"{asset} was replaced")
    file.write_text(rows)
    place.next_run_is_clean()


def link_swapped(place: Place) -> None:
    """Train's JSONL file becomes a link to a file outside the dataset."""
    file = place.data / "train" / "annotations.jsonl"
    rows = file.read_text()
    (place.folder / "secret.jsonl").write_text(SECRET)
    status, printed = place.run("link swapped", ANNOTATIONS)
    must(status == 1, f"the run ended with {status}: {told(printed)}")
    found = place.readers_find()
    for artifact in found.values():
        for name in artifact.manifest["files"]:
            leaked = b"secret" in artifact.file(name).read_bytes()
            must(not leaked, f"{artifact.asset}/{name} holds what lies outside")
    file.unlink()
    file.write_text(rows)
    place.next_run_is_clean(ANNOTATIONS)


def crop_removed(place: Place) -> None:
    """A crop goes between validation and training."""
    before, seed = versions(place.readers_find()), next(_seeds)
    crops = place.folder / "crops"
    shutil.copytree(place.data, crops)
    status, printed = place.run("crop removed", TRAINING, seed)
    must(status == 1, f"the run ended with {status}: {told(printed)}")
    (gone,) = (
        str(path.relative_to(crops))
        for path in crops.rglob("*")
        if not (place.data / path.relative_to(crops)).exists()
    )
    must(gone in printed, f"it does not name the crop: {told(printed)}")
    must(versions(place.readers_find()) == before, "an artifact was replaced")
    shutil.copytree(crops, place.data, dirs_exist_ok=True)
    place.next_run_is_clean(TRAINING, seed)


def half_written_row(place: Place) -> None:
    """A JSONL file is read while its last row is being appended."""
    with (place.data / "train" / "annotations.jsonl").open("a") as file:
        file.write('{"image": "crops/0001.jp')
    status, printed = place.run("", ANNOTATIONS)
    must(status == 0, f"the run ended with {status}: {told(printed)}")
    table = place.readers_find()["rejected_annotations"].file("rejected.parquet")
    must(b"json.syntax" in table.read_bytes(), "the half row is not named")


def fifo(place: Place) -> None:
    """A FIFO that nobody writes to has a JSONL file's name."""
    os.mkfifo(place.data / "train" / "pipe.jsonl")
    status, printed = place.run("", ANNOTATIONS)
    must(status == 1, f"the run ended with {status}: {told(printed)}")
    must("pipe.jsonl" in printed, "it does not name the file")
    (place.data / "train" / "pipe.jsonl").unlink()
    place.next_run_is_clean(ANNOTATIONS)


def trainings(instance: DagsterInstance) -> list[tuple[float, float]]:
    """When each training that succeeded began and ended, in order."""
    spans = [
        (step.start_time, step.end_time)
        for run in instance.get_runs()
        for step in instance.get_run_step_stats(run.run_id, ["trained_checkpoint"])
        if step.start_time and step.end_time
    ]
    return sorted(spans)


def two_at_once(place: Place) -> None:
    """Two people materialize everything at once, with different recipes."""
    runs = [place.start("", CHAIN, next(_seeds)) for _ in range(2)]
    printed = [run.communicate(timeout=900)[0] for run in runs]
    for run, said in zip(runs, printed, strict=True):
        must(run.returncode == 0, f"a run ended with {run.returncode}: {told(said)}")
    with place.instance() as instance:
        spans = trainings(instance)
    must(len(spans) == 3, f"{len(spans)} trainings ended, not 3")
    for (_, ended), (began, _) in pairwise(spans):
        must(ended <= began, "two trainings overlapped")
    list(walk_provenance(place.store, place.readers_find()["released_model"]))
    place.next_run_is_clean()


def holder_killed(place: Place) -> None:
    """Two trainings at once and no daemon; the one under way is killed."""
    first, second = next(_seeds), next(_seeds)
    with place.instance() as instance:
        holder = place.start("stand still in training", TRAINING, first)
        assert holder.stdout is not None
        must(any(WAITING in line for line in holder.stdout), "no training began")
        waiter = place.start("", TRAINING, second)
        ready = "rendered_crops"  # made last before the training
        until(lambda: ready in succeeded(instance), 120, "the second run got stuck")
        time.sleep(5)
        must(waiter.poll() is None, "the second run did not wait")
        holder.kill()
        printed, _ = waiter.communicate(timeout=600)
        holder.communicate()
    must(waiter.returncode == 0, f"it ended with {waiter.returncode}: {told(printed)}")
    trained = place.readers_find()["trained_checkpoint"]
    must(trained.manifest["settings"]["seed"] == second, "it trained something else")


def succeeded(instance: DagsterInstance) -> set[str]:
    """Steps of the newest run that are done."""
    stats = instance.get_run_step_stats(instance.get_runs(limit=1)[0].run_id)
    return {step.step_key for step in stats if step.end_time}


def until(holds: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Waits for something; raises Broken where it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        must(time.monotonic() < deadline, otherwise)
        time.sleep(0.5)


def few_descriptors(place: Place) -> None:
    """50 file descriptors for the whole graph."""
    limits = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (50, 50))
    seed = next(_seeds)
    status, printed = place.run("", CHAIN, seed, limits=limits)
    clear = status == 1 and "Too many open files" in printed
    must(status == 0 or clear, f"the run ended with {status}: {told(printed)}")
    place.readers_find()
    place.next_run_is_clean(CHAIN, seed)


def clock_set_back(place: Place) -> None:
    """The clock goes back a day between two runs."""
    before, seed = place.readers_find()["trained_checkpoint"], next(_seeds)
    status, printed = place.run("clock set back", TRAINING, seed)
    must(status == 0, f"the run ended with {status}: {told(printed)}")
    after = place.readers_find()["trained_checkpoint"]
    must(after.version < before.version, "the clock was not set back")
    must(after.manifest["settings"]["seed"] == seed, "the old checkpoint is current")
    place.next_run_is_clean(TRAINING, seed)


def damaged(asset: str, name: str, place: Place) -> None:
    """One byte of a stored file changes."""
    path = place.readers_find()[asset].file(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        place.store.require(asset)
    except StorageError as error:
        must("digest differs" in str(error), str(error))
    else:
        raise Broken("readers do not notice")
    place.next_run_is_clean()


def pointer_damaged(place: Place) -> None:
    """`current.json` of the release is cut."""
    before = place.readers_find()["released_model"]
    (Path(place.store.root) / "released_model" / "current.json").write_text('{"ver')
    place.next_run_is_clean()
    after = place.readers_find()["released_model"]
    must(after.version == before.version, "another version is released")


@contextmanager
def daemon(place: Place, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon, killed without warning at the end."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("dagster-daemon"), "run", *WORKSPACE],
        cwd=ROOT,
        env={**place.environment(), "JERSEY_TICK_S": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def queue_validation(place: Place) -> str:
    """Asks for a validation of the annotations; its run id."""
    queued = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "job", "launch"),
            *(*WORKSPACE, "-j", "validate_annotations"),
        ],
        cwd=ROOT,
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    must(queued.returncode == 0, queued.stderr[-600:])
    with place.instance() as instance:
        return instance.get_runs(limit=1)[0].run_id


def daemon_restarted(place: Place) -> None:
    """The daemon is killed with a run in its queue, and started again."""
    run = queue_validation(place)
    with place.instance() as instance:
        with daemon(place):  # killed as soon as it lives
            until(lambda: "SENSOR" in instance.get_daemon_statuses(), 60, "no daemon")
        with daemon(place):
            until(lambda: ended(instance, run), 300, "the run never ended")
        must(ended(instance, run) is DagsterRunStatus.SUCCESS, "the run failed")
        validations = [r for r in instance.get_runs() if r.job_name.startswith("valid")]
        must(len(validations) == 1, "it ran more often than it was asked for")


def webhook_down(place: Place) -> None:
    """A run fails, and nobody listens where the webhook should be."""
    pipe = place.data / "train" / "pipe.jsonl"
    webhook = {"JERSEY_ALERT_WEBHOOK": "http://127.0.0.1:9/"}
    with place.instance() as instance, daemon(place, **webhook) as process:
        until(lambda: ticks(instance, "failed_runs"), 120, "the sensor never ticked")
        os.mkfifo(pipe)
        failed = queue_validation(place)
        until(lambda: ended(instance, failed), 300, "the run never ended")
        must(ended(instance, failed) is DagsterRunStatus.FAILURE, "the run succeeded")
        until(
            lambda: any(
                failed in (tick.origin_run_ids or [])
                for tick in ticks(instance, "failed_runs")
            ),
            120,
            "no tick took the failed run",
        )
        pipe.unlink()
        run = queue_validation(place)
        until(lambda: ended(instance, run), 300, "the next run never ended")
        must(ended(instance, run) is DagsterRunStatus.SUCCESS, "the next run failed")
        must(process.poll() is None, "the daemon ended")


def ticks(instance: DagsterInstance, sensor: str) -> Sequence[InstigatorTick]:
    """The newest ticks of a sensor."""
    for state in instance.all_instigator_state():
        if state.instigator_name == sensor:
            return instance.get_ticks(
                state.instigator_origin_id, state.selector_id, limit=20
            )
    return []


def ended(instance: DagsterInstance, run_id: str) -> DagsterRunStatus | None:
    """How a run ended, or None."""
    run = instance.get_run_by_id(run_id)
    return run.status if run is not None and run.is_finished else None


OLD_STAYS = "readers find the old version, whole; the next run is clean"
FAULTS: dict[str, tuple[str, Callable[[Place], None]]] = {
    "kill -9 in training": (
        "old checkpoint stays; the next run resumes",
        partial(stopped, "kill in training", TRAINING, resumes=True),
    ),
    "kill -9 in checkpoint write": (
        "old checkpoint stays; the next run resumes from the save before",
        partial(stopped, "kill in checkpoint write", TRAINING, resumes=True),
    ),
    "kill -9 in checkpoint publishing": (
        OLD_STAYS,
        partial(stopped, "kill in checkpoint publishing", TRAINING),
    ),
    "kill -9 in ONNX write": (
        OLD_STAYS,
        partial(stopped, "kill in ONNX write", CHAIN),
    ),
    "kill -9 just before the release flip": (
        OLD_STAYS,
        partial(stopped, "kill before release flip", CHAIN),
    ),
    "kill -9 just after the release flip": (
        "readers find the new release, whole; the next run is clean",
        partial(stopped, "kill after release flip", CHAIN),
    ),
    "SIGTERM in training": (
        "exit code not 0; old checkpoint stays; the next run resumes",
        terminated,
    ),
    "disk full (ENOSPC)": (f"exit code 1, says why; {OLD_STAYS}", disk_full),
    "disk read-only (EROFS)": (f"exit code 1, says why; {OLD_STAYS}", disk_read_only),
    "JSONL file deleted between listing and reading": (
        "exit code 1, file named; nothing trained or released",
        file_deleted,
    ),
    "JSONL file swapped for a link to a file outside": (
        "exit code 1; nothing of that file in any artifact",
        link_swapped,
    ),
    "crop deleted between validation and training": (
        f"exit code 1, crop named; {OLD_STAYS}",
        crop_removed,
    ),
    "JSONL row half written": ("that row set aside and named", half_written_row),
    "FIFO among the JSONL files": (
        "exit code 1, FIFO named, no waiting on it",
        fifo,
    ),
    "two runs of everything at once": (
        "trainings do not overlap; the release's parts belong together",
        two_at_once,
    ),
    "kill -9 of the training that another one waits for": (
        "the waiting one trains, also where no daemon runs",
        holder_killed,
    ),
    "50 file descriptors": (
        "success, or exit code 1 that says why; artifacts whole",
        few_descriptors,
    ),
    "clock set back a day": (
        "the new version is current, the old one stays",
        clock_set_back,
    ),
    "daemon killed with a run queued, started again": (
        "the run succeeds, once",
        daemon_restarted,
    ),
    "webhook down when a run fails": (
        "the failure is taken note of; the daemon lives, the next run succeeds",
        webhook_down,
    ),
    "a bit of the checkpoint flipped on disk": (
        "readers refuse it; the next run makes it anew",
        partial(damaged, "trained_checkpoint", "model.ckpt"),
    ),
    "a bit of the released model flipped on disk": (
        "readers refuse it; the next run makes it anew",
        partial(damaged, "released_model", "model.onnx"),
    ),
    "`current.json` of the release cut": (
        "the next run points to the same release again",
        pointer_damaged,
    ),
}


def main() -> int:
    """Prints the table; faults can be chosen by their names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="regular expression of a name")
    wanted = parser.parse_args().only
    with tempfile.TemporaryDirectory(prefix="jersey-faults-") as folder:
        base = Place(Path(folder) / "base")
        (base.folder / "home").mkdir(parents=True)
        shutil.copy(ROOT / "dagster.yaml", base.folder / "home")
        draw_two_labels(base.data)
        status, printed = base.run()
        must(status == 0, f"the base run ended with {status}: {printed}")
        print("| fault | what must hold | held |\n|---|---|---|", flush=True)
        failed = 0
        for fault, (promise, inject) in FAULTS.items():
            if not re.search(wanted, fault):
                continue
            place = Place(Path(folder) / "place")
            shutil.copytree(base.folder, place.folder, symlinks=True)
            adopt(place.store, DatasetRoot(str(place.data)))
            try:
                inject(place)
                held = "yes"
            except (Broken, StorageError, subprocess.TimeoutExpired) as error:
                failed, held = failed + 1, "**no**"
                print(f"{fault}: {error}", file=sys.stderr, flush=True)
            print(f"| {fault} | {promise} | {held} |", flush=True)
            shutil.rmtree(place.folder)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
