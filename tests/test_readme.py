"""The README's Python runs, on a cube like the demo's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_world import World, esd

pytest_plugins = ["cli_fixtures"]

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "demo.esd.zarr").symlink_to(world.cube)
    longitude, latitude = world.point.split(",")
    code = code.replace("(14.5626, 48.0923)", f"({longitude}, {latitude})").replace("cube.image(2003)", "cube.image(2004)")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - the README's own code
    assert (tmp_path / "ndvi.tif").is_file()
    assert "peak memory" in capsys.readouterr().out


def test_every_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^esd (\w+)", README.read_text(), re.MULTILINE))
    assert len(verbs) >= 5
    for verb in verbs:
        assert esd(verb, "--help").code == 0
