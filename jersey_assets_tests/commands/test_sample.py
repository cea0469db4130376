"""`jersey-assets sample`."""

from __future__ import annotations

from pathlib import Path

from jersey_assets_tests.commands.processes import run


def test_the_sample_is_drawn_only_where_it_is_the_dataset_in_use(
    rendered: Path, tmp_path: Path
) -> None:
    sample = tmp_path / "data" / "sample"

    def draw(data: Path | str, artifacts: str) -> str:
        roots = {"JERSEY_DATA_ROOT": str(data), "JERSEY_ARTIFACT_ROOT": artifacts}
        ended = run("jersey-assets", "sample", cwd=tmp_path, **roots)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert draw(rendered, "nobody's") == ""
    adopted = tmp_path / "rendered's"
    run("jersey-assets", "adopt", rendered, "--artifacts", adopted)
    assert draw("", str(adopted)) == ""
    assert not sample.exists()
    assert "Drawing" in draw("", "nobody's")
    assert (sample / "test" / "annotations.jsonl").is_file()
    assert draw("", "nobody's") == ""
