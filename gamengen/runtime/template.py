"""A page's template, read as strictly as it can be."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def read_template(path: Path) -> Template:
    """A Jinja template, and those beside it; a name that it is not given is an error."""
    templates = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(path.name)
