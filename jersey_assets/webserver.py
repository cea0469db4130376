"""Serves Dagster's web page behind the guard, and runs the daemon: `make ui`.

    python -m jersey_assets.webserver [--host HOST] [--port PORT] [--daemon]

Dagster's webserver runs in this process and listens nowhere else, so nothing bypasses
the guard. `JERSEY_UI_PASSWORD` sets a password, `JERSEY_UI_HOSTS` adds host names under
which the page is opened. One code server, on a socket in the file system, loads the
graph for page and daemon: a daemon that has to load it itself starts a new one every
minute. All processes end together. The page opens on the lineage.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

import uvicorn
import yaml
from dagster import DagsterInstance

from jersey_assets.materialize import read_run_config
from jersey_assets.operations.connections import MOST_HEADER_BYTES, LimitedProtocol
from jersey_assets.operations.guard import (
    LOOPBACK_NAMES,
    MOST_BODY_BYTES,
    Application,
    Guard,
    Receive,
    Scope,
    Send,
)
from jersey_assets.runs.dagster_internals import page_of, wait_for_code_server

FIRST_PAGE = "/asset-groups"
_DEFINITIONS, _LOCATION = "jersey_assets.definitions", "jersey_assets"
_POLL_RATE_MS = 2000
_LOOK_AT_RUNS_S = 2.0
_STOPS_WITHIN_S = 30
# Requests SIGTERM for when the parent, whose process id is the first argument, is gone
# (prctl's PR_SET_PDEATHSIG is 1), and becomes the program that the rest names. Between
# fork and exec it could wait forever for a lock of another thread.
_ENDING_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is asked to stop.

    Args:
        arguments: the command line without the program's name; the process's own
            by default.

    Returns:
        The exit status: 0 if it was asked to stop, 1 if the daemon ended, 2 if it
        cannot start.
    """
    options = _parser().parse_args(arguments)
    # Removed, so that no process started here inherits it.
    password = os.environ.pop("JERSEY_UI_PASSWORD", "") or None
    named = os.environ.get("JERSEY_UI_HOSTS", "").replace(",", " ").split()
    retraining = os.environ.get("JERSEY_RETRAIN_CONFIG")
    try:
        if retraining:  # fail now, not when annotations change
            read_run_config([Path(retraining)])
        _refuse_open_door(options.host, password)
        listening = _listen(options.host, options.port)
    except (OSError, ValueError) as error:
        print(f"webserver: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts background jobs with SIGINT ignored; here both end the server.
        signal.signal(number, _interrupt)
    try:
        hosts = {*LOOPBACK_NAMES, *named, _host_name(options.host)}
        return _serve(options, listening, hosts, password)
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jersey_assets.webserver",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=3000, help="0 picks a free one")
    parser.add_argument(
        "--daemon", action="store_true", help="run Dagster's daemon as well"
    )
    return parser


def _refuse_open_door(host: str, password: str | None) -> None:
    """Raises ValueError if other machines can connect and no password is set."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0])) for entry in found]
    if password is None and not all(address.is_loopback for address in addresses):
        raise ValueError(
            f"{host} can be reached from other machines, and everyone who opens the "
            "page can start runs: set JERSEY_UI_PASSWORD, or listen on 127.0.0.1"
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error}") from error


def _host_name(host: str) -> str:
    """Returns an address as it is written in `Host` headers."""
    return f"[{host}]" if ":" in host else host


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve(
    options: argparse.Namespace,
    listening: socket.socket,
    hosts: set[str],
    password: str | None,
) -> int:
    with ExitStack() as stack:
        instance = stack.enter_context(DagsterInstance.get())
        # Not below the Dagster home: a socket's path may have at most 100 characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = [stack.enter_context(_code_server(folder / "code"))]
        workspace = folder / "workspace.yaml"
        server = {"socket": str(folder / "code"), "location_name": _LOCATION}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        page = stack.enter_context(page_of(instance, workspace, _POLL_RATE_MS))
        web = _server(Guard(_opening_on(FIRST_PAGE, page), hosts, password))
        if options.daemon:
            daemon = ["dagster-daemon", "run", "-w", str(workspace)]
            daemon += ["--log-level", "warning"]
            processes.append(stack.enter_context(_running(daemon)))
        for process in processes:
            threading.Thread(
                target=_stop_after, args=(process, web), daemon=True
            ).start()
        where = f"http://{_host_name(options.host)}:{listening.getsockname()[1]}"
        threading.Thread(target=_tell_runs, args=(instance, where), daemon=True).start()
        asks = "needs the password" if password else "open to this machine only"
        print(f"Dagster's page: {where} ({asks}; Ctrl-C ends it)", flush=True)
        web.run(sockets=[listening])
        # A signal that stopped the server was raised again; so it was a process.
        print("webserver: stopping, since another process ended", file=sys.stderr)
        return 1


def _server(page: Guard) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            page,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            http=LimitedProtocol,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
            ws_max_size=MOST_BODY_BYTES,
        )
    )


def _opening_on(first: str, page: Application) -> Application:
    """Redirects requests for `/` to this page."""

    async def opening(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await page(scope, receive, send)
            return
        headers = [(b"location", first.encode()), (b"content-length", b"0")]
        start = {"type": "http.response.start", "status": 307}
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return opening


def _tell_runs(instance: DagsterInstance, where: str) -> None:
    """Prints a line when a run changes its state, as long as this process lives."""
    known = {run.run_id: run.status for run in instance.get_runs(limit=20)}
    pause = threading.Event()
    while not pause.wait(_LOOK_AT_RUNS_S):
        try:
            runs = instance.get_runs(limit=20)
        except Exception as error:  # a busy database; the next look may succeed
            print(f"webserver: cannot read the runs: {error}", file=sys.stderr)
            continue
        for run in reversed(runs):
            if known.get(run.run_id) is not run.status:
                known[run.run_id] = run.status
                state = run.status.value.lower().replace("_", " ")
                page = f"{where}/runs/{run.run_id}"
                print(f"run {run.run_id[:8]} is {state}: {page}", flush=True)


@contextmanager
def _code_server(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs the process that loads the graph, and waits until it answers.

    Args:
        path: its socket.
    """
    command = ["dagster", "code-server", "start", "-s", str(path), "-m", _DEFINITIONS]
    command += ["--location-name", _LOCATION, "--log-level", "warning"]
    with _running(command) as process:
        wait_for_code_server(process, path, command)
        yield process


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Runs a program that is installed beside this one, and ends it on exit."""
    terminal = sys.stdout.isatty()
    program = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    if sys.platform == "linux":
        launcher = [sys.executable, "-IS", "-c", _ENDING_WITH_PARENT, str(os.getpid())]
        program = [*launcher, *program]
    process = subprocess.Popen(
        program,
        stdout=None if terminal else subprocess.PIPE,
        stderr=None if terminal else subprocess.STDOUT,
        text=True,
        errors="replace",
        # Ctrl-C in a terminal goes to the whole group: this process passes it on.
        start_new_session=True,
    )
    if process.stdout is not None:
        lines = process.stdout
        threading.Thread(target=_print_plain, args=(lines,), daemon=True).start()
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _print_plain(lines: IO[str]) -> None:
    """Passes lines on without colours, which Dagster writes into files as well."""
    for line in lines:
        print(re.sub(r"\x1b\[[0-9;]*m", "", line), end="", flush=True)


def _stop_after(process: subprocess.Popen[str], server: uvicorn.Server) -> None:
    process.wait()
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
