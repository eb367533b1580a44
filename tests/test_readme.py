"""The README's picture of the tree is true."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _tree() -> set[str]:
    """Files that the README's tree lists, as paths."""
    block = README.split("## The tree")[1].split("```")[1]
    found, folder = set(), ""
    for line in block.strip().splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = name
        elif name.endswith((".py", ".sh", ".css")):
            found.add(folder + name)
    return found


def test_the_tree_lists_every_module_and_script_and_nothing_else():
    there = {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "aplantida_jax/**/*.py",
            "configs/*.py",
            "scripts/*.sh",
            "scripts/*.py",
        )
        for path in ROOT.glob(pattern)
        if path.name != "__init__.py" and "node_modules" not in path.parts
    }
    listed = {path for path in _tree() if not path.endswith(".css")}
    assert listed == there


def test_every_path_that_the_readme_names_exists():
    pattern = r"\b(?:aplantida_jax|configs|scripts)/[\w/.-]+\.(?:py|sh|png|css)\b"
    named = set(re.findall(pattern, README))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
