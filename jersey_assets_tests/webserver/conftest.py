"""A page without a password and one with it, each started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jersey_assets_tests.waiting import PATIENCE_S
from jersey_assets_tests.webserver.pages import Page, start


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A webserver as `make ui` starts it, less the daemon."""
    home = tmp_path_factory.mktemp("page") / "home"
    started = start(home, JERSEY_UI_HOSTS="numbers.example")
    yield started
    started.process.terminate()
    assert started.process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A webserver with a password and its daemon."""
    home = tmp_path_factory.mktemp("locked") / "home"
    started = start(home, "--daemon", JERSEY_UI_PASSWORD="pässword: with colon")
    yield started
    started.process.kill()
