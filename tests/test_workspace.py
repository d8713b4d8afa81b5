"""Workspaces: names are looked up in the user's folders first, then among the bundled ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotalab.errors import InputError, WorkspaceError
from quotalab.workspace import Workspace

ROOT = Path(__file__).parents[1]


def make(folder: Path, **files: str) -> Path:
    """A folder with files, by path."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_the_nearest_marked_folder_above_is_the_workspace(tmp_path: Path) -> None:
    """A pyproject.toml without [tool.quotalab] marks nothing."""
    make(
        tmp_path,
        **{"pyproject.toml": "[tool.quotalab]\nx = 1\n", "a/pyproject.toml": "[project]\n", "a/b/c": ""},
    )
    found = Workspace.find(tmp_path / "a" / "b")
    assert found.root == tmp_path
    assert found.settings == {"x": 1}


def test_without_a_mark_the_folder_itself_serves_with_the_bundled_files(tmp_path: Path) -> None:
    """quotalab works in any folder."""
    found = Workspace.find(tmp_path)
    assert found.root == tmp_path
    assert found.file("scenario", "overload") == ROOT / "locustfiles" / "overload.py"
    assert {"temporary-production", "strava"} <= set(found.names("provider"))
    assert found.names("policy") == ["naive", "obedient", "polite"]


def test_a_file_of_the_same_name_in_the_users_workspace_wins(tmp_path: Path) -> None:
    """A user's own scenario or profile replaces the bundled one; others stay."""
    make(
        tmp_path,
        **{
            "pyproject.toml": "[tool.quotalab]\n",
            "profiles/policies/polite.toml": "",
            "locustfiles/mine.py": "",
        },
    )
    found = Workspace.find(tmp_path)
    assert found.file("policy", "polite") == tmp_path / "profiles/policies/polite.toml"
    assert found.file("policy", "naive") == ROOT / "profiles/policies/naive.toml"
    assert {"mine", "overload", "temporary_access"} <= set(found.names("scenario"))


def test_rule_files_only_add(tmp_path: Path) -> None:
    """A user's quota.py stands beside the bundled one; underscored files are left alone."""
    make(
        tmp_path, **{"pyproject.toml": "[tool.quotalab]\n", "analysis/quota.py": "", "analysis/_draft.py": ""}
    )
    files = Workspace.find(tmp_path).rule_files()
    assert ROOT / "analysis" / "quota.py" in files
    assert files[-1] == tmp_path / "analysis" / "quota.py"
    assert tmp_path / "analysis" / "_draft.py" not in files


def test_a_path_names_a_file_directly(tmp_path: Path) -> None:
    """A name with a suffix or a slash is a path; one that is not there is said so."""
    make(tmp_path, **{"own.toml": ""})
    workspace = Workspace.find(tmp_path)
    assert workspace.file("provider", str(tmp_path / "own.toml")) == tmp_path / "own.toml"
    with pytest.raises(InputError, match=r"provider './none.toml': there is no such file"):
        workspace.file("provider", "./none.toml")


@pytest.mark.parametrize("content", ["[tool\n", "[tool]\nquotalab = 3\n"])
def test_a_broken_pyproject_is_named(tmp_path: Path, content: str) -> None:
    """The message begins with the file."""
    make(tmp_path, **{"pyproject.toml": content})
    with pytest.raises(WorkspaceError) as caught:
        Workspace.find(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "pyproject.toml"))


def test_a_named_workspace_must_be_a_folder(tmp_path: Path) -> None:
    """--workspace with a wrong path is an error, not another workspace."""
    with pytest.raises(WorkspaceError, match="no such workspace folder"):
        Workspace.find(tmp_path, tmp_path / "none")


def test_an_unmarked_folder_has_no_rules_of_its_own(tmp_path: Path) -> None:
    """A stranger's run folder, or any folder with an analysis/ in it, runs no code."""
    make(tmp_path, **{"analysis/theirs.py": ""})
    assert tmp_path / "analysis" / "theirs.py" not in Workspace.find(tmp_path).rule_files()
    assert tmp_path / "analysis" / "theirs.py" in Workspace.find(tmp_path, tmp_path).rule_files()
