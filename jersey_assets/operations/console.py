"""The console logger: progress lines and the summary of a run in the terminal.

Selected by `loggers: {console: {}}` in run config, as in the presets: a line when an
asset starts and ends, progress messages between, the checks, and a summary.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.storage.errors import StorageError
from jersey_assets.text import readable

# Dagster's message about a step that is skipped.
_SKIPPED_STEP = re.compile(r"Dependencies for step (\w+) ")
_LINE_WIDTH = 150


@dg.logger(
    config_schema={
        "log_level": dg.Field(
            dg.Enum(
                "Level", [dg.EnumValue(name) for name in ("DEBUG", "INFO", "WARNING")]
            ),
            default_value="INFO",
            description="lowest level of the log lines shown between Dagster's events",
        )
    },
    description="Progress and a summary for a person at a terminal.",
)
def console(context: dg.InitLoggerContext) -> logging.Logger:
    """Makes the logger of one run."""
    logger = logging.Logger("console", logging.DEBUG)
    level = logging.getLevelNamesMapping()[context.logger_config["log_level"]]
    logger.addHandler(_handler_of_run(context.run_id, level))
    return logger


@functools.cache
def _handler_of_run(run_id: str, level: int) -> logging.Handler:
    """One handler per run: Dagster makes a logger for the run and one for its steps."""
    return _ConsoleHandler(level)


class _ConsoleHandler(logging.Handler):
    """Prints what a person wants to see of a run."""

    def __init__(self, level: int) -> None:
        super().__init__(logging.DEBUG)
        self._line_level = level
        self._color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._start = time.monotonic()
        self._step_start = self._start
        self._facts: dict[str, dict[str, Any]] = {}
        self._checks: list[tuple[str, Any]] = []
        self._failed: list[tuple[str, str]] = []
        self._skipped: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None:
            self._on_line(str(meta.get("orig_message", record.msg)), record.levelno)
            return
        show = getattr(self, f"_on_{event.event_type_value.lower()}", None)
        if show is not None:
            show(event)

    def _on_line(self, text: str, level: int) -> None:
        skipped = _SKIPPED_STEP.match(text)
        if skipped is not None:
            self._skipped.append(skipped[1])
        elif level >= self._line_level:
            self._say("\n".join(f"    {line}" for line in text.split("\n")))

    def _on_step_start(self, event: dg.DagsterEvent) -> None:
        self._step_start = time.monotonic()
        self._say(f"▶ {event.step_key}", "bold")

    def _on_asset_materialization(self, event: dg.DagsterEvent) -> None:
        data = event.step_materialization_data.materialization
        facts = {key: value.value for key, value in data.metadata.items()}
        self._facts[data.asset_key.to_user_string()] = facts

    def _on_asset_check_evaluation(self, event: dg.DagsterEvent) -> None:
        data = event.asset_check_evaluation_data
        self._checks.append((data.asset_key.to_user_string(), data))
        mark = _mark(data)
        line = readable(f"{mark} {data.check_name}: {data.description}")
        color = {"✓": "green", "!": "yellow", "✗": "red"}[mark]
        self._say(f"    {line if mark == '✗' else _cut(line)}", color)

    def _on_step_success(self, event: dg.DagsterEvent) -> None:
        seconds = time.monotonic() - self._step_start
        self._say(f"  done in {seconds:.1f} s", "dim")

    def _on_step_failure(self, event: dg.DagsterEvent) -> None:
        text = _reason(event.step_failure_data.error) or "failed"
        self._failed.append((str(event.step_key), text))
        self._say(f"  failed: {text}", "red")

    def _on_pipeline_success(self, event: dg.DagsterEvent) -> None:
        self._summarize("Done", "green")

    def _on_pipeline_failure(self, event: dg.DagsterEvent) -> None:
        if not self._failed:  # before the first step, or between two
            text = _reason(event.job_failure_data.error) or event.message or "failed"
            self._failed.append(("the run", text))
        self._summarize("Failed", "red")

    def _on_pipeline_canceled(self, event: dg.DagsterEvent) -> None:
        self._summarize("Canceled", "yellow")

    def _summarize(self, word: str, color: str) -> None:
        self._say(f"\n{word} in {time.monotonic() - self._start:.0f} s", color)
        for asset, facts in self._facts.items():
            shown = facts.get("headline", "")
            if facts.get("unchanged") and "decision" not in facts:
                shown += " (unchanged)"
            self._say(f"  {asset:<24} {shown}")
        passed = sum(data.passed for _, data in self._checks)
        self._say(f"\nChecks: {passed} of {len(self._checks)} passed")
        for asset in dict.fromkeys(asset for asset, _ in self._checks):
            results = [data for owner, data in self._checks if owner == asset]
            marks = "  ".join(f"{_mark(data)} {data.check_name}" for data in results)
            self._say(f"  {asset:<24} {marks}")
        for step, text in self._failed:
            self._say(f"  {step} failed: {text.splitlines()[0]}", "red")
        if self._skipped:
            self._say(f"  {'not run':<24} {', '.join(self._skipped)}", "red")
        self._say_where()

    def _say_where(self) -> None:
        self._say("\nWhere things are")
        for asset, facts in self._facts.items():
            self._say(f"  {asset:<24} {facts['path']}")
        places = _places()
        for name, place in places.items():
            self._say(f"  {name:<24} {place}")
        self._say("\nWhat to do next")
        program = Path(sys.executable).with_name("jersey-assets")
        if program.is_relative_to(Path.cwd()):
            program = program.relative_to(Path.cwd())
        failed = {step for step, _ in self._failed}
        if "annotation_checks" in failed:
            root = places["JERSEY_DATA_ROOT"]
            command = shlex.join([str(program), "validate", root])
            self._say(f"  {command}    lists every fault by line")
        elif failed:
            self._say("  read the first line marked ✗ or failed above, and run again")
        if "released_model" in self._facts:
            model = f"{self._facts['released_model']['path']}/model.onnx"
            command = shlex.join([str(program), "predict", model, "CROP.jpg"])
            self._say(f"  {command}    reads a crop")
        self._say("  make ui    shows the graph, the curves and the reports")

    def _say(self, text: str, style: str | None = None) -> None:
        """Prints lines; control characters in text from files are escaped."""
        text = "\n".join(map(readable, text.split("\n")))
        codes = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}
        if style is not None and self._color:
            text = f"\033[{codes[style]}m{text}\033[0m"
        print(text, flush=True)


def _reason(error: Any) -> str:
    """The message of our own error, which says what to do.

    Args:
        error: Dagster's record of an exception (`SerializableErrorInfo`) or None. What
            Dagster wraps around an error is left out, but not the error's own causes.
    """
    if error is None:
        return ""
    if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        return "the run was terminated"
    while error.cause is not None and (error.cls_name or "").startswith(
        ("Dagster", "Retry")
    ):
        error = error.cause
    # The class names of our own errors mean nothing to users.
    return re.sub(r"^jersey_assets[\w.]*: ", "", str(error.message).strip())


def _places() -> dict[str, str]:
    """Where data, artifacts and runs are, by environment variable."""
    artifacts = Artifacts()
    try:
        data = Dataset().used_with(artifacts).root
    except StorageError:  # the reason has been printed above
        data = "(unknown)"
    return {
        "JERSEY_DATA_ROOT": data,
        "JERSEY_ARTIFACT_ROOT": artifacts.root,
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME", "(default)"),
    }


def _mark(data: Any) -> str:
    if data.passed:
        return "✓"
    return "!" if data.severity == dg.AssetCheckSeverity.WARN else "✗"


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_WIDTH else line[: _LINE_WIDTH - 2] + " …"
