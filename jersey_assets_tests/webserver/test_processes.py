"""Page and daemon: what they start, what they listen to, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from jersey_assets_tests.waiting import PATIENCE_S, wait_until
from jersey_assets_tests.webserver.pages import Page, launch, linux, start


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that they did."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # threads come and go
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_daemon(pid: int) -> bool:
    return b"dagster-daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()


def listening(pid: int) -> set[int]:
    """TCP ports that a process listens on."""
    held = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in held:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


@linux
def test_nothing_else_listens_and_no_other_process_knows_the_password(
    locked: Page,
) -> None:
    own = locked.process.pid
    children = descendants(own)
    assert any(map(is_daemon, children))
    assert set().union(*map(listening, [own, *children])) == {locked.port}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes()
        assert b"DAGSTER_HOME" in environment
        assert b"JERSEY_UI_PASSWORD" not in environment


@linux
def test_the_page_ends_with_its_daemon(tmp_path: Path) -> None:
    process = start(tmp_path / "home", "--daemon").process
    (daemon,) = filter(is_daemon, descendants(process.pid))
    os.kill(daemon, signal.SIGKILL)
    assert process.wait(PATIENCE_S) == 1


@linux
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_daemon_ends_with_the_page(tmp_path: Path, number: signal.Signals) -> None:
    started = start(tmp_path / "home", "--daemon")
    children = descendants(started.process.pid)
    assert any(map(is_daemon, children))
    started.process.send_signal(number)
    assert started.process.wait(PATIENCE_S) == (-9 if number is signal.SIGKILL else 0)
    wait_until(
        lambda: not any(Path(f"/proc/{child}").exists() for child in children),
        "the end of all processes",
    )


@pytest.mark.slow
def test_it_says_nothing_but_what_becomes_of_runs(tmp_path: Path) -> None:
    environment = {
        "JERSEY_DATA_ROOT": str(tmp_path / "none"),
        "JERSEY_ARTIFACT_ROOT": str(tmp_path / "artifacts"),
        "JERSEY_TICK_S": "1",
    }
    started = start(
        tmp_path / "home", "--daemon", errors=subprocess.STDOUT, **environment
    )
    time.sleep(150)  # the daemon looks at the graph anew every minute
    assert "LaunchRunSuccess" in launch(started, "validate_annotations", {})
    assert started.process.stdout is not None
    told = []
    for line in started.process.stdout:
        told.append(line)
        if " is failure: " in line:
            break
    assert all(line.startswith("run ") for line in told), told
    assert not any("\x1b" in line for line in told)
    started.process.terminate()
    assert started.process.wait(PATIENCE_S) == 0
