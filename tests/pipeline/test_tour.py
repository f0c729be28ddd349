"""What the documents point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
QUOTED = re.compile(r"`((?:gamengen|stages|flows|tests|docs|launch)/[\w./-]+\w)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [path for path in QUOTED.findall(text) if not (ROOT / path).exists()]
    assert not missing


def test_the_tour_visits_every_layer() -> None:
    layers = {path.parent.name for path in (ROOT / "gamengen").glob("*/__init__.py")}
    linked = set(re.findall(r"\.\./gamengen/(\w+)/", (ROOT / "docs/tour.md").read_text()))
    assert layers - linked <= {"bench"}
