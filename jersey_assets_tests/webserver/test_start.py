"""With which settings the page does not start, and which it refuses for a run."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from jersey_assets import webserver
from jersey_assets_tests.webserver.pages import Page, launch


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"trained_checkpoint": {"config": {"epochs": 900000}}}, "must be at least 1"),
        (
            {
                "trained_checkpoint": {
                    "config": {"sampler": "sqrt", "class_weights": "sqrt"}
                }
            },
            "would correct the imbalance twice",
        ),
        ({"trained_checkpoint": {"config": {"epoch": 3}}}, "epoch"),
        ({"trained_checkpont": {"config": {"epochs": 3}}}, "trained_checkpont"),
    ],
)
def test_the_launchpad_starts_no_run_with_wrong_settings(
    page: Page, section: object, said: str
) -> None:
    assert said in launch(page, "retrain", {"ops": section})
    assert page.ask("{ runsOrError { ... on Runs { results { runId } } } }") == {
        "runsOrError": {"results": []}
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("password", [None, ""])
def test_it_does_not_listen_to_other_machines_without_a_password(
    host: str,
    password: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("JERSEY_UI_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("JERSEY_UI_PASSWORD", password)
    assert webserver.main(["--host", host, "--port", "0"]) == 2
    assert "set JERSEY_UI_PASSWORD" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert webserver.main(["--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_wrong_settings_of_the_sensors_runs_are_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "retrain.yaml"
    config.write_text("ops:\n  trained_checkpoint:\n    config: {epoch: 3}\n")
    monkeypatch.setenv("JERSEY_RETRAIN_CONFIG", str(config))
    assert webserver.main(["--port", "0"]) == 2
    assert f"{config}:3: `epoch` is not a setting" in capsys.readouterr().err
