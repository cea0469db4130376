"""Rules are declared once: what they refuse, and who offers them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets import cli
from jersey_assets.annotations.rules import OFFERED, Rules
from jersey_assets.crops import decode
from jersey_assets.graph.resources import Dataset


@pytest.mark.parametrize(
    "values",
    [
        {"label_pattern": "["},
        {"conflict_policy": "guess"},
        {"rejected_budget": 1.5},
        {"rejected_budget": -0.1},
        {"min_side": 0},
        {"min_sides": 8},
    ],
)
def test_rules_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Rules(**values)  # type: ignore[arg-type]


def test_equal_rules_are_one_key_and_survive_the_way_to_another_process() -> None:
    rules = Rules(rejected_budget=0.2)
    assert {rules: 1}[Rules(rejected_budget=0.2)] == 1
    assert rules != Rules()
    assert pickle.loads(pickle.dumps(rules)) == rules
    with pytest.raises(ValueError, match="frozen"):
        rules.min_side = 9  # type: ignore[misc]


def test_every_rule_says_what_it_is() -> None:
    assert all(field.description for field in Rules.model_fields.values())
    assert Rules().max_pixels == decode.MAX_PIXELS


def test_dagster_offers_the_rules_with_their_defaults_ranges_and_help() -> None:
    assert Dataset().rules() == Rules()
    fields = Dataset.to_config_schema().as_field().config_type.fields  # type: ignore[attr-defined]
    for name in OFFERED:
        rule = Rules.model_fields[name]
        assert fields[name].description == rule.description
        assert fields[name].default_value == rule.default
    changed = Dataset(rejected_budget=0.3, conflict_policy="prefer_number")
    assert changed.rules().conflict_policy == "prefer_number"
    for wrong in ({"rejected_budget": 2}, {"conflict_policy": "guess"}):
        with pytest.raises((ValueError, dg.DagsterError)):
            Dataset(**wrong)  # type: ignore[arg-type]


def test_the_command_line_offers_them_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["validate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for name in OFFERED:
        rule = Rules.model_fields[name]
        assert f"--{name.replace('_', '-')}" in shown
        assert f"{rule.description} (default: {rule.default})" in shown
    (tmp_path / "train").mkdir()
    assert cli.main(["validate", str(tmp_path), "--rejected-budget", "2"]) == 2
    assert "--rejected-budget: Input should be less" in capsys.readouterr().err
    assert cli.main(["validate", str(tmp_path), "--label-pattern", "["]) == 2
    assert "label_pattern does not compile" in capsys.readouterr().err


def test_rules_are_light_and_the_workers_that_decode_need_none() -> None:
    script = (
        "import sys\n"
        "import jersey_assets.annotations.rules\n"
        "print(*{'pandera', 'pandas', 'numpy', 'PIL'} & sys.modules.keys())\n"
        "del sys.modules['pydantic']\n"
        "import jersey_assets.annotations.images.measure\n"
        "print('pydantic' in sys.modules)\n"
        "import jersey_assets.cli\n"
        "jersey_assets.cli.main(['predict', 'none.onnx', 'none.png'])\n"
        "print('pydantic' in sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["", "False", "False"]
