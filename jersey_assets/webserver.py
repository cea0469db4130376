"""Dagster's web page behind the guard, with the daemon beside it.

    python -m jersey_assets.webserver [--host 127.0.0.1] [--port 3000] [--daemon]

Dagster's webserver runs in this process and listens nowhere else, so nothing goes round
the guard. `JERSEY_UI_PASSWORD` asks for a password, `JERSEY_UI_HOSTS` names further
hosts under which the page is opened. Both processes end together.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import (
    DEFAULT_DB_STATEMENT_TIMEOUT,
    DEFAULT_POOL_MAX_OVERFLOW,
    DEFAULT_POOL_RECYCLE,
)

from jersey_assets.connections import MOST_HEADER_BYTES, LimitedProtocol
from jersey_assets.guard import LOOPBACK_NAMES, MOST_BODY_BYTES, Guard

_POLL_RATE_MS = 2000
_DAEMON_STOPS_WITHIN_S = 30
_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop.

    Args:
        arguments: the command line without the program's name; the process's own
            by default.

    Returns:
        The exit status: 0 where it was told to stop, 1 where the daemon ended, 2 where
        it will not start.
    """
    options = _parser().parse_args(arguments)
    # Taken away, so that no process started here inherits it.
    password = os.environ.pop("JERSEY_UI_PASSWORD", "") or None
    named = os.environ.get("JERSEY_UI_HOSTS", "").replace(",", " ").split()
    try:
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
    parser.add_argument("--port", type=int, default=3000, help="0 takes a free one")
    parser.add_argument("--workspace", default="workspace.yaml", help="what to load")
    parser.add_argument(
        "--daemon", action="store_true", help="run Dagster's daemon as well"
    )
    return parser


def _refuse_open_door(host: str, password: str | None) -> None:
    """Raises ValueError where strangers could connect and no password stops them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0])) for entry in found]
    if password is None and not all(address.is_loopback for address in addresses):
        raise ValueError(
            f"{host} can be reached from other machines, and whoever opens the page "
            "can start runs: set JERSEY_UI_PASSWORD, or listen on 127.0.0.1"
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error}") from error


def _host_name(host: str) -> str:
    """An address as `Host` headers write it."""
    return f"[{host}]" if ":" in host else host


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve(
    options: argparse.Namespace,
    listening: socket.socket,
    hosts: set[str],
    password: str | None,
) -> int:
    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(
            instance, WorkspaceFileTarget(paths=[options.workspace])
        ) as workspace,
    ):
        instance.optimize_for_webserver(
            DEFAULT_DB_STATEMENT_TIMEOUT,
            DEFAULT_POOL_RECYCLE,
            DEFAULT_POOL_MAX_OVERFLOW,
        )
        page = create_app_from_workspace_process_context(
            workspace, live_data_poll_rate=_POLL_RATE_MS
        )
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(page, hosts, password),
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=2,
                http=LimitedProtocol,
                h11_max_incomplete_event_size=MOST_HEADER_BYTES,
                ws_max_size=MOST_BODY_BYTES,
            )
        )
        daemon = _daemon(options.workspace) if options.daemon else nullcontext()
        with daemon as process:
            if process is not None:
                threading.Thread(
                    target=_stop_after, args=(process, server), daemon=True
                ).start()
            port = listening.getsockname()[1]
            where = f"http://{_host_name(options.host)}:{port}"
            asks = "asks for the password" if password else "open to this machine only"
            print(f"Dagster's page: {where} ({asks}; Ctrl-C ends it)", flush=True)
            server.run(sockets=[listening])
            # A signal that stopped the server was raised again; so it was the daemon.
            print("webserver: the daemon ended, so does the page", file=sys.stderr)
            return 1


@contextmanager
def _daemon(workspace: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the daemon, and ends it on the way out."""
    command = str(Path(sys.executable).with_name("dagster-daemon"))
    process = subprocess.Popen(
        [command, "run", "-w", workspace],
        # Ctrl-C in a terminal goes to the whole group: this process passes it on.
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_DAEMON_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """Asks the kernel for SIGTERM when the parent is gone, killed without a word."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop_after(process: subprocess.Popen[bytes], server: uvicorn.Server) -> None:
    process.wait()
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
