"""`jersey-assets predict`."""

from __future__ import annotations

from pathlib import Path

from jersey_assets_tests.commands.processes import run


def test_predict_reads_a_crop(released: Path, rendered: Path) -> None:
    crop = next((rendered / "test" / "crops").iterdir())
    ended = run("jersey-assets", "predict", released / "model.onnx", crop)
    assert ended.returncode == 0
    image, label, confidence = ended.stdout.rstrip("\n").split("\t")
    assert image == str(crop)
    assert label == "(none)" or label.isdigit()
    assert 0 < float(confidence) <= 1
