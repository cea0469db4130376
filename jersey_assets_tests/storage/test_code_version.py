"""What changes the version of an artifact's code, and what does not."""

import textwrap
from pathlib import Path

import pytest

from jersey_assets.storage import code_version as code_version_module
from jersey_assets.storage.code_version import code_version

SOURCES = {
    "__init__.py": "",
    "training/__init__.py": "",
    "training/fit.py": """
        from typing import TYPE_CHECKING

        import numpy as np

        from club.labels import CLASSES

        if TYPE_CHECKING:
            from club.unused import Hint


        def fit() -> int:
            from club.plots.curves import draw

            draw()
            return CLASSES * np.int64(2)
        """,
    "labels.py": """
        from club.contract import DIGITS

        CLASSES = 10**DIGITS
        """,
    "contract.py": "DIGITS = 2\n",
    "unused.py": "class Hint: ...\n",
    "plots/__init__.py": "",
    "plots/curves.py": "def draw() -> None: print('curve')\n",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jersey-assets" / "code"


@pytest.fixture
def club(tmp_path: Path) -> Path:
    return write(tmp_path / "before" / "club", SOURCES)


def write(folder: Path, sources: dict[str, str]) -> Path:
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(source))
    return folder


def version_with(club: Path, changes: dict[str, str]) -> str:
    """The version of the same package with some files changed."""
    changed = club.parents[1] / "after" / "club"
    write(changed, SOURCES | changes)
    return code_version("training.fit", package=changed)


def test_a_changed_constant_two_imports_away_is_another_version(club: Path) -> None:
    changed = version_with(club, {"contract.py": "DIGITS = 3\n"})
    assert changed != code_version("training.fit", package=club)


def test_a_changed_statement_inside_the_function_is_another_version(
    club: Path,
) -> None:
    source = SOURCES["training/fit.py"].replace("np.int64(2)", "np.int64(3)")
    changed = version_with(club, {"training/fit.py": source})
    assert changed != code_version("training.fit", package=club)


def test_another_name_from_the_same_module_is_another_version(club: Path) -> None:
    source = SOURCES["training/fit.py"].replace(
        "import CLASSES", "import OTHER as CLASSES"
    )
    changed = version_with(club, {"training/fit.py": source})
    assert changed != code_version("training.fit", package=club)


def test_a_library_more_is_another_version(club: Path) -> None:
    source = "import pandas\n" + SOURCES["contract.py"]
    assert version_with(club, {"contract.py": source}) != code_version(
        "training.fit", package=club
    )


def test_a_page_template_that_a_module_names_is_part_of_it(club: Path) -> None:
    page = {"labels.py": 'PAGE = "page.html.jinja"\n' + SOURCES["contract.py"]}
    sources = page | {"page.html.jinja": "<p>{{ one }}</p>"}
    one = version_with(club, {**sources, "labels.py": page["labels.py"] + "CLASSES=1"})
    other = club.parents[1] / "other" / "club"
    write(other, SOURCES | sources | {"page.html.jinja": "<b>{{ one }}</b>"})
    (other / "labels.py").write_text(page["labels.py"] + "CLASSES=1")
    assert code_version("training.fit", package=other) != one


def test_the_same_name_from_another_module_is_another_version(club: Path) -> None:
    both = {
        "labels.py": "from club.contract import DIGITS\nimport club.unused\n"
        "CLASSES = 10**DIGITS\n",
        "unused.py": "DIGITS = 3\n",
    }
    one = version_with(club, both)
    other = club.parents[1] / "other" / "club"
    swapped = (
        "from club.unused import DIGITS\nimport club.contract\nCLASSES = 10**DIGITS\n"
    )
    write(other, SOURCES | both | {"labels.py": swapped})
    assert code_version("training.fit", package=other) != one


def test_docstrings_comments_and_blank_lines_change_nothing(club: Path) -> None:
    source = '"""How many digits."""\n\n# Basketball has two.\n\nDIGITS = 2\n'
    unchanged = version_with(club, {"contract.py": source})
    assert unchanged == code_version("training.fit", package=club)


def test_the_help_of_a_setting_changes_nothing(club: Path) -> None:
    def setting(words: str) -> str:
        field = "def Field(x, description): return x"
        return f"{field}\n\n\nDIGITS = Field(2, description={words!r})\n"

    one = version_with(club, {"contract.py": setting("digits")})
    other = club.parents[1] / "other" / "club"
    write(other, SOURCES | {"contract.py": setting("how many digits")})
    assert code_version("training.fit", package=other) == one


def test_a_moved_file_changes_nothing(club: Path) -> None:
    sources = dict(SOURCES)
    sources["rules/__init__.py"] = ""
    sources["rules/contract.py"] = sources.pop("contract.py")
    sources["labels.py"] = sources["labels.py"].replace(
        "club.contract", "club.rules.contract"
    )
    moved = write(club.parents[1] / "moved" / "club", sources)
    assert code_version("training.fit", package=moved) == code_version(
        "training.fit", package=club
    )


def test_pictures_and_what_only_types_need_change_nothing(club: Path) -> None:
    unchanged = version_with(
        club,
        {
            "plots/curves.py": "def draw() -> None: print('a thicker curve')\n",
            "unused.py": "class Hint: size = 1\n",
        },
    )
    assert unchanged == code_version("training.fit", package=club)


def test_modules_that_nothing_imports_change_nothing(club: Path) -> None:
    unchanged = version_with(club, {"release.py": "GATE = 1\n"})
    assert unchanged == code_version("training.fit", package=club)


def test_a_module_that_does_not_exist_is_refused(club: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"training\.fitt"):
        code_version("training.fitt", package=club)


def forget() -> None:
    """What a new process does not know."""
    for remembered in vars(code_version_module).values():
        if clear := getattr(remembered, "cache_clear", None):
            clear()


def test_a_new_process_sees_what_changed_on_disk(club: Path) -> None:
    before = code_version("training.fit", package=club)
    forget()
    assert code_version("training.fit", package=club) == before  # from the cache folder
    (club / "contract.py").write_text("DIGITS = 3\n")
    forget()
    assert code_version("training.fit", package=club) != before


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"key": 1}', b"\xff"])
def test_a_damaged_cache_is_read_anew(club: Path, cache: Path, content: bytes) -> None:
    before = code_version("training.fit", package=club)
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    forget()
    assert code_version("training.fit", package=club) == before
