"""`jersey-assets check-onnx`."""

from __future__ import annotations

from pathlib import Path

from jersey_assets_tests.commands.processes import run


def test_check_onnx_prints_a_line_a_check(released: Path, tmp_path: Path) -> None:
    labels = released / "labels_mapping.json"
    ended = run(
        "jersey-assets", "check-onnx", released / "model.onnx", "--labels", labels
    )
    assert ended.returncode == 0, ended.stdout
    names = [line.split()[1].rstrip(":") for line in ended.stdout.splitlines()]
    assert {"output_is_logits", "batch_axis_is_dynamic"} <= set(names)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((released / "model.onnx").read_bytes()[:1000])
    assert run("jersey-assets", "check-onnx", broken).returncode == 1
