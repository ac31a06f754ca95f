"""The site of the documentation: it builds without a warning, is whole, and asks no other host."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser

import pytest

import diffusionblend
from diffusionblend.cli.main import COMMANDS
from support.documents import PAGES, ROOT

# What makes a browser fetch something; `a href` does not.
FETCHED = {"src", "srcset", "poster", "data", "action"}
OUTSIDE = re.compile(r"^\s*(?:https?:)?//")
# Scripts of the theme know these addresses: credits in comments, widgets that no page here has,
# and mermaid, for diagrams that no page here has. The content security policy forbids them all.
KNOWN_TO_SCRIPTS = {"api.github.com", "clipboardjs.com", "unpkg.com", "lunrjs.com", "tartarus.org"}
KNOWN_TO_SCRIPTS |= {"bit.ly", "www.w3.org"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


class Page(HTMLParser):
    """What a page makes a browser fetch, its classes, and its content security policy."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.classes, self.policy = [], set(), None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.fetched += [values[name] for name in FETCHED & values.keys()]
        if tag == "link" and values.get("rel") not in {"canonical", "next", "prev"}:
            self.fetched.append(values["href"])
        self.fetched += re.findall(r"url\((.*?)\)", values.get("style") or "")
        self.classes |= set((values.get("class") or "").split())
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]


def test_pages_ask_no_other_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        page = Page(path.read_text(encoding="utf-8"))
        assert page.fetched, path
        assert not [url for url in page.fetched if OUTSIDE.match(url or "")], path
        assert page.policy == "default-src 'self' 'unsafe-inline' data: blob:", path
        assert "mermaid" not in page.classes, path


def test_style_sheets_and_scripts_ask_no_other_host(site):
    sheets, scripts = list(site.rglob("*.css")), list(site.rglob("*.min.js"))
    assert sheets
    assert scripts
    for path in sheets:
        text = path.read_text(encoding="utf-8")
        urls = re.findall(r"url\([\"']?(.*?)[\"']?\)", text)
        assert not [url for url in urls if OUTSIDE.match(url)], path
        assert not re.search(r"@import\s", text), path
    for path in (p for p in scripts if "lunr" not in p.parts):  # of languages other than English
        hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text(encoding="utf-8")))
        assert hosts <= KNOWN_TO_SCRIPTS, path


def test_every_page_is_in_the_site(site):
    for page in PAGES:
        name = (
            page.removeprefix("docs/").removesuffix(".md").replace("CONTRIBUTING", "contributing")
        )
        assert (site / name.removesuffix("README") / "index.html").exists(), page


def test_links_to_source_lead_to_pages_that_show_it(site):
    text = (site / "geometries/index.html").read_text(encoding="utf-8")
    assert "../source/src/diffusionblend/geometry/__init__.py/" in text
    shown = (site / "source/src/diffusionblend/geometry/__init__.py/index.html").read_text(
        encoding="utf-8"
    )
    assert "ConeBeam" in shown
    assert "<title>__init__.py" in shown


def test_the_reference_has_every_command_and_every_public_name(site):
    commands = (site / "reference/commands/index.html").read_text(encoding="utf-8")
    for verb in COMMANDS:
        assert f'<h2 id="{verb}">' in commands
        assert f"usage: diffusionblend {verb}" in commands
    names = (site / "reference/python/index.html").read_text(encoding="utf-8")
    for name in diffusionblend.__all__:
        assert name.startswith("_") or f'id="diffusionblend.{name}"' in names, name
    records = (site / "reference/records/index.html").read_text(encoding="utf-8")
    assert "diffusionblend-quality/1" in records


def test_nothing_that_was_to_be_generated_is_left(site):
    for path in (site / "reference").rglob("*.html"):
        assert "<!-- generated" not in path.read_text(encoding="utf-8"), path


@pytest.fixture
def served(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium")
def test_in_a_browser_search_finds_and_no_other_host_is_asked(served):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{served}/tutorial/")
        page.fill("input.md-search__input", "axis of rotation")
        page.wait_for_selector(".md-search-result__item a")
        page.goto(f"{served}/reference/python/")
        browser.close()
    assert asked
    assert all(url.startswith((served, "data:", "blob:")) for url in asked), asked
    assert not said
