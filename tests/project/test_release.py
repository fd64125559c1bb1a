"""What a release consists of agrees with itself; `make release-check` builds and installs it."""

import re
import sys
from pathlib import Path

import pytest

import rmp_lava

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_changelog_has_sections_as_keep_a_changelog_wants_them():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "") and all(date for _, date in versions[1:])
    assert versions[1][0] == rmp_lava.__version__
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_is_written_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "rmp_lava/__init__.py"
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_containerfile_installs_what_exists():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    assert re.search(r"^FROM docker.io/library/python:3\.10-", text, re.MULTILINE)
    (extras,) = re.findall(r"/opt/rmp-lava\[(.*?)\]", text)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    (constraints,) = re.findall(r"--constraint /opt/rmp-lava/(\S+)", text)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert constraints in kept and all((ROOT / each).exists() for each in kept)
    # The wheel is built from these alone.
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = [*included["packages"], *included["force-include"], PROJECT["project"]["readme"]]
    for path in sources:
        assert any(path == each or path.startswith(f"{each}/") for each in kept), path


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_into_the_source_distribution(document):
    sources = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / document).read_text(encoding="utf-8")):
        top = f"/{link.split('/')[0]}"
        assert top in sources or (top.endswith(".md") and "/*.md" in sources), link
