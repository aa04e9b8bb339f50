"""The workflows of GitHub: actionlint has nothing to say, and they test what we say we support."""

import re
import subprocess

import pytest
import yaml

from tests.deploy.shipped import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())


def actionlint(go_tools, *files):
    done = subprocess.run(
        [go_tools / "actionlint", "-no-color", *files],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_actionlint_has_nothing_to_say(go_tools):
    assert len(WORKFLOWS) == 3
    assert actionlint(go_tools, *WORKFLOWS) == (0, "")


def test_it_would_say_so_if_a_workflow_were_wrong(go_tools, tmp_path):
    text = WORKFLOWS[-1].read_text(encoding="utf-8")
    (tmp_path / "wrong.yml").write_text(text.replace("matrix.python", "matrix.pithon"))
    status, said = actionlint(go_tools, tmp_path / "wrong.yml")
    assert status == 1
    assert 'property "pithon" is not defined' in said


def test_the_versions_of_python_are_those_that_are_supported():
    (tests,) = [file for file in WORKFLOWS if file.name == "tests.yml"]
    workflow = yaml.safe_load(tests.read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert tested == re.findall(r"Python :: (3\.\d+)$", setup, re.MULTILINE)
    assert re.search(rf"^python_requires = >={re.escape(tested[0])}$", setup, re.MULTILINE)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_image_is_made_for(architecture):
    (image,) = [file for file in WORKFLOWS if file.name == "image.yml"]
    workflow = yaml.safe_load(image.read_text(encoding="utf-8"))
    made = workflow["jobs"]["build"]["strategy"]["matrix"]["include"]
    assert architecture in [each["architecture"] for each in made]
