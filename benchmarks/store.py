"""What readers of the store find while its writers are killed and its disk fails.

    python -m benchmarks.store [--kills 600]

Two publishers and two pruners change one asset and are killed at random moments, again
and again, while two readers poll it. Then every call of a publish that changes the disk
is the one that fails with EIO, fails with ENOSPC, or is the last before a kill. Prints
what was found and exits with 1 where something was torn, lost, called incomplete
without being so, or left behind.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.inject import die
from jersey_assets.storage.answers import read_answers, write_answers
from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import MANIFEST, Origin
from jersey_assets.storage.owner import DatasetRoot, adopt, owner
from jersey_assets.storage.retention import CHECKS
from jersey_assets.storage.store import CURRENT, Store
from jersey_assets.verdict import Verdict

ASSET, NOTE = "thing", "dataset.json"
FILES = ("number.txt", "body.bin")
LOCKS = ".scratch"
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "kill": 0}
FAILED_CLEANLY, FAILED_OTHERWISE = 3, 4


def publish(store: Store, number: str) -> None:
    """Publishes content that can be told from any other: the number, in two files.

    Whose the root is, is noted anew each time, and what a check said about it.
    """

    def make(folder: Path) -> None:
        (folder / FILES[0]).write_text(number)
        (folder / FILES[1]).write_bytes(number.encode() * 5000)

    adopt(store, DatasetRoot(number))
    made = store.publish(ASSET, Origin("bench", settings={"number": number}), make)
    write_answers(store, made, [Verdict("has_a_number", True, number)])


def number_read(store: Store) -> str:
    """The number that readers find, both files and the manifest agreeing.

    Raises:
        StorageError: they cannot read it.
        ValueError: the files are of two versions, or there is none.
    """
    owner(store)
    artifact = store.current(ASSET)
    if artifact is None:
        raise ValueError("there is no current version")
    number = artifact.file(FILES[0]).read_text()
    body = artifact.file(FILES[1]).read_bytes()
    if artifact.manifest["settings"] != {"number": number} or (
        body != number.encode() * 5000
    ):
        raise ValueError(f"{artifact.version} mixes two versions")
    said = [answer.message for answer in read_answers(store, artifact).values()]
    if said not in ([], [number]):
        raise ValueError(f"the checks of {artifact.version} spoke of {said}")
    return number


def verdict_on(error: Exception) -> str:
    """What a reader's error means."""
    if "incomplete" in str(error):
        return "spurious incomplete"
    return "lost" if "no current version" in str(error) else "torn"


def left_behind(root: Path) -> list[str]:
    """Everything below the root that is of no whole version, and no lock."""
    store, found = Store(str(root)), []
    whole = {*FILES, MANIFEST}
    for path in (root / ASSET).iterdir():
        if path.name in store.versions(ASSET):
            if {file.name for file in path.iterdir()} != whole:
                found.append(str(path))
        elif path.name.removesuffix(CHECKS) in store.versions(ASSET):
            read_answers(store, store.read(ASSET, path.name.removesuffix(CHECKS)))
        elif path.name != CURRENT:
            found.append(str(path))
    known = (ASSET, LOCKS, NOTE)
    found += [str(path) for path in root.iterdir() if path.name not in known]
    locks = (path for path in (root / LOCKS).rglob("*") if path.is_file())
    return found + [str(path) for path in locks if path.name not in known]


def forked(work: Callable[[], object]) -> int:
    """Starts a process, whose number this is; it ends when the work does."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = FAILED_OTHERWISE
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work()
        status = 0
    except StorageError:
        status = FAILED_CLEANLY
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def change(root: Path, keep: int, log: Path, name: str) -> NoReturn:
    """Publishes without end: what it is about to, and then has, goes into its log.

    A pruner keeps one version and makes new ones; a publisher keeps three and every
    other time goes back to the oldest one, which the pruners are about to remove.
    """
    store = Store(str(root), keep=keep)
    noted = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for turn in range(sys.maxsize):
        number = f"{name}-{turn}"
        if keep > 1 and turn % 2:
            try:
                oldest = store.versions(ASSET)[0]
                manifest = root / ASSET / oldest / MANIFEST
                number = json.loads(manifest.read_bytes())["settings"]["number"]
            except (IndexError, FileNotFoundError):
                continue
        os.write(noted, f"about {number}\n".encode())
        publish(store, number)
        os.write(noted, f"done {number}\n".encode())
    raise AssertionError("unreachable")


def may_be_current(logs: list[Path], before: str) -> set[str]:
    """The numbers that the last pointing could have been for.

    Each process does one thing after the other, so the last of all was the last that
    one of them finished, or the one that it had begun.
    """
    allowed = set()
    finished = False
    for log in logs:
        lines = log.read_text().splitlines() if log.exists() else []
        done = [line for line in lines if line.startswith("done")]
        allowed.update(line.split()[1] for line in [*done[-1:], *lines[-1:]])
        finished = finished or bool(done)
    return allowed if finished else allowed | {before}


def read_until(root: Path, ended: Path, report: Path) -> None:
    """Polls, and writes what it found when told to stop."""
    store, found = Store(str(root)), Counter[str]()
    while not ended.exists():
        time.sleep(0.001)
        found["reads"] += 1
        try:
            number_read(store)
        except FileNotFoundError:
            # Removed after it was handed out whole: kept versions are for that.
            found["removed after reading"] += 1
        except (StorageError, ValueError) as error:
            found[verdict_on(error)] += 1
            print(f"a reader: {error}", flush=True)
    report.write_text(json.dumps(found))


def kills(folder: Path, wanted: int, seed: int) -> Counter[str]:
    """Kills publishers and pruners at random moments."""
    chance, root = random.Random(seed), folder / "killed"
    store, found = Store(str(root)), Counter[str]()
    publish(store, current := "first")
    ended, reports = folder / "ended", [folder / "reader0", folder / "reader1"]
    readers = [
        forked(lambda report=report: read_until(root, ended, report))  # type: ignore[misc]
        for report in reports
    ]
    for turn in range(-(-wanted // 4)):
        logs = [folder / f"log-{turn}-{place}" for place in range(4)]
        workers = [
            forked(
                lambda place=place, log=log, name=f"{turn}.{place}": change(  # type: ignore[misc]
                    root, 3 if place < 2 else 1, log, name
                )
            )
            for place, log in enumerate(logs)
        ]
        time.sleep(chance.uniform(0.0, 0.25))
        chance.shuffle(workers)
        for worker in workers:
            time.sleep(chance.uniform(0.0, 0.03))
            os.kill(worker, signal.SIGKILL)
        for worker in workers:
            _, status = os.waitpid(worker, 0)
            if status == signal.SIGKILL:
                found["kills"] += 1
            else:
                found["ended otherwise"] += 1
        try:
            now = number_read(store)
        except (StorageError, ValueError) as error:
            print(f"nobody writes: {error}", flush=True)
            found["lost"] += 1
            continue
        if now not in (allowed := may_be_current(logs, current)):
            print(f"{now} is current, not one of {allowed}", flush=True)
            found["lost"] += 1
        found["publishes"] += sum(
            log.read_text().count("done") for log in logs if log.exists()
        )
        current = now
    ended.touch()
    for reader, report in zip(readers, reports, strict=True):
        os.waitpid(reader, 0)
        found.update(json.loads(report.read_text()))
    publish(store, "the sweep")
    for path in left_behind(root):
        print(f"left behind: {path}", flush=True)
        found["left behind"] += 1
    return found


class Calls:
    """Counts the calls that change the disk; the one that is armed fails."""

    names = ("rename", "replace", "mkdir", "rmdir", "unlink", "remove", "fsync")

    def __init__(self, armed: int, fault: str) -> None:
        """Takes the place of the calls, in this process.

        Args:
            armed: which call fails, from 0; -1: none.
            fault: a key of FAULTS.
        """
        self._armed, self._fault = armed, fault
        self.made: list[str] = []
        for name in self.names:
            setattr(os, name, self._watched(name, getattr(os, name)))
        io.open = builtins.open = self._open  # type: ignore[assignment]

    def step(self, name: str) -> None:
        """Takes note of a call that is about to be made, unless it is to fail."""
        self.made.append(name)
        if len(self.made) - 1 == self._armed:
            number = FAULTS[self._fault] or die()
            raise OSError(number, os.strerror(number or 0))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*arguments: Any, **named: Any) -> Any:
            self.step(name)
            return call(*arguments, **named)

        return calling

    def _open(
        self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any
    ) -> Any:
        if not set(mode) & set("wax+"):
            return _real_open(file, mode, buffering, *rest, **named)
        self.step(f"open for {mode}")
        raw = _Watched(self, file, mode.replace("b", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **named)


class _Watched(io.FileIO):
    def __init__(self, calls: Calls, file: Any, mode: str) -> None:
        self._calls = calls
        super().__init__(file, mode)

    def write(self, content: Any) -> int:
        self._calls.step("write")
        return super().write(content)

    def truncate(self, size: int | None = None) -> int:
        self._calls.step("truncate")
        return super().truncate(size)


_real_open = io.open


def failed_calls(folder: Path) -> Counter[str]:
    """Lets each call of a publish fail in turn, with each fault."""
    base, found = folder / "base", Counter[str]()
    for number in ("0", "1", "2"):
        publish(Store(str(base)), number)
    # A new version, with old ones to remove; one that is there already.
    for number in ("new", "0"):
        listed = folder / f"calls-{number}"

        def list_calls(number: str = number, listed: Path = listed) -> None:
            root = shutil.copytree(base, folder / f"dry-{number}")
            calls = Calls(-1, "EIO")
            publish(Store(str(root), keep=1), number)
            made = json.dumps(calls.made)
            with _real_open(listed, "w") as file:
                file.write(made)

        os.waitpid(forked(list_calls), 0)
        made = json.loads(listed.read_text())
        for place, call in enumerate(made):
            for fault in FAULTS:
                found["failed calls"] += 1
                for what in one_failed_call(folder, base, number, place, fault):
                    print(f"call {place} ({call}), {fault}: {what}", flush=True)
                    found[what] += 1
    return found


def one_failed_call(
    folder: Path, base: Path, number: str, place: int, fault: str
) -> list[str]:
    """What went wrong when one call of a publish failed; nothing, as it must be."""
    root = shutil.copytree(base, folder / "once")
    store, wrong = Store(str(root), keep=1), []

    def fail() -> None:
        Calls(place, fault)
        try:
            publish(store, number)
        except StorageError:
            raise
        except OSError as error:  # from what makes the files
            if error.errno != FAULTS[fault]:
                raise
            os._exit(FAILED_CLEANLY)

    _, ended = os.waitpid(forked(fail), 0)
    published = ended == 0
    clean = ended in (0, FAILED_CLEANLY << 8) or (
        fault == "kill" and ended == signal.SIGKILL
    )
    try:
        if number_read(store) not in ({number} if published else {"2", number}):
            wrong.append("lost")
        publish(store, number)
        if number_read(store) != number:
            wrong.append("lost")
        publish(store, "the sweep")
    except (StorageError, ValueError) as error:
        print(error, flush=True)
        wrong.append(verdict_on(error))
    wrong += ["left behind" for _ in left_behind(root)]
    shutil.rmtree(root)
    return wrong + ([] if clean else ["ended otherwise"])


def main() -> int:
    """Runs both parts; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=600, help="at least so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # what a publish could not remove
    with tempfile.TemporaryDirectory() as name:
        found = kills(Path(name), options.kills, options.seed)
        found += failed_calls(Path(name))
    wrong = ("torn", "lost", "spurious incomplete", "left behind", "ended otherwise")
    done = ("kills", "publishes", "reads", "removed after reading", "failed calls")
    for what in (*done, *wrong):
        print(f"{found[what]:,} {what}")
    return int(any(found[what] for what in wrong) or found["kills"] < options.kills)


if __name__ == "__main__":
    sys.exit(main())
