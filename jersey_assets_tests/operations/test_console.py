"""What a run prints: a file's words cannot write lines or colours of their own."""

import dagster as dg
import pytest

from jersey_assets.operations.console import console

HOSTILE = "name\x1b[2J\x1b[32m\r✓ all_checks: passed\u2028\u202eevil\x07"
ESCAPED = r"name\x1b[2J\x1b[32m\r✓ all_checks: passed\u2028\u202eevil\x07"


@dg.asset(check_specs=[dg.AssetCheckSpec("first", asset="told")])
def told(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info(f"first line: {HOSTILE}\nsecond line")
    answer = dg.AssetCheckResult(
        passed=False, check_name="first", description=f"{HOSTILE}\n✓ second: passed"
    )
    return dg.MaterializeResult(metadata={"path": HOSTILE}, check_results=[answer])


@dg.asset(deps=[told])
def failing() -> None:
    raise ValueError(f"{HOSTILE} cannot be read\nand more")


def test_control_characters_are_escaped_wherever_they_are_printed(
    capsys: pytest.CaptureFixture[str], instance: dg.DagsterInstance
) -> None:
    definitions = dg.Definitions([told, failing], loggers={"console": console})
    definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        run_config={"loggers": {"console": {"config": {}}}},
        instance=instance,
        raise_on_error=False,
    )
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.split("\n"))
    lines = printed.split("\n")
    assert f"    first line: {ESCAPED}" in lines
    assert "    second line" in lines
    # A message that is ours to print on one line stays on it.
    assert f"    ✗ first: {ESCAPED}\\n✓ second: passed" in lines
    assert not any(line.strip().startswith("✓ second") for line in lines)
    assert f"{ESCAPED} cannot be read" in printed
    assert any(ESCAPED in line for line in lines if line.strip().startswith("told"))
