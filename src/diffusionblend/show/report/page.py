"""Pages: HTML that holds its own pictures, needs no network, and is readable without scripts.

The only script is our own `page.js`, allowed by its hash; it sorts tables and enlarges pictures.
"""

import base64
import functools
import hashlib
import importlib.resources
import re
from pathlib import Path

import jinja2
import markupsafe

from diffusionblend.geometry.planes import PLANES
from diffusionblend.io.files import atomic
from diffusionblend.pictures.colours import (
    DEVIATION_HU,
    DIFFERENCE_HU,
    HEART,
    WINDOWS,
    deviation_bar,
    difference_bar,
    grey_bar,
)
from diffusionblend.pictures.png import coloured_uri, data_uri
from diffusionblend.show.report.model import Report
from diffusionblend.show.report.planes import lead_of, section_of
from diffusionblend.show.report.plots import plots_of
from diffusionblend.show.report.stack import stack_of
from diffusionblend.show.report.tables import figures_table, quality_table
from diffusionblend.show.report.warned import warned_of

MOST_BYTES = 9_000_000
"""Size of a page up to which all slices are in it."""


def render(report: Report) -> str:
    """Return the page of a report as HTML, with all slices while that keeps it small."""
    values = _values(report)
    page = render_page("report.html", **values, stack=())
    stack = stack_of(report, MOST_BYTES - len(page))
    return render_page("report.html", **values, stack=stack) if stack else page


def _values(report: Report) -> dict[str, object]:
    return {
        "title": report.title,
        "report": report,
        "figures": figures_table(report),
        "quality": quality_table(report),
        "warnings": warned_of(report.entries),
        "lead": lead_of(report),
        "heart": HEART,
        "sections": [section_of(report, plane) for plane in PLANES],
        "plots": plots_of(report),
        "scan": None if report.scan is None else data_uri(report.scan),
        "windows": WINDOWS,
        "difference_hu": DIFFERENCE_HU,
        "deviation_hu": DEVIATION_HU,
        "grey_bar": data_uri(grey_bar()),
        "difference_bar": coloured_uri(difference_bar()),
        "deviation_bar": coloured_uri(deviation_bar()),
    }


def write_report(report: Report, path: Path) -> None:
    """Write the page of a report to a file: whole or not at all."""
    write_page(render(report), path)


def render_page(template: str, **values: object) -> str:
    """Return a page as HTML, in the look of all pages.

    Args:
        template: One of the folder `templates`, which extends page.html.
        values: What it shows.
    """
    digest = hashlib.sha256(script().encode()).digest()
    return _environment().get_template(template).render(
        script=markupsafe.Markup(script()),  # noqa: S704 - a file of this package
        script_hash=base64.b64encode(digest).decode(),
        **values,
    )  # fmt: skip


def write_page(page: str, path: Path) -> None:
    """Write HTML to a file: whole or not at all."""
    # A command may contain bytes of a file name that are not text.
    content = page.encode("utf-8", "backslashreplace")
    with atomic(path, check=lambda back: back.read_bytes() == content) as temporary:
        temporary.write_bytes(content)


@functools.cache
def script() -> str:
    """Return the script of all pages."""
    return (importlib.resources.files(__package__) / "templates" / "page.js").read_text(
        encoding="utf-8"
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diffusionblend.show.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    return environment


def _with_code(text: str) -> markupsafe.Markup:
    """Return text as HTML, in which what stands in backquotes is code."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text)))
    return markupsafe.Markup(marked)  # noqa: S704 - escaped above
