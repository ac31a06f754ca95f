"""What mkdocs does beside its own work: pages made of the repository, and what is generated.

The pages in docs/ are read on the repository's page, too, so that their links are those of files.
"""

import posixpath
from pathlib import Path

import generated
import links
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README and its like, and a page for each file or folder that a page links to."""
    for name, page in links.PAGES.items():
        files.append(File.generated(config, page, content=_text(name)))
    waiting = [links.file_of(f.src_uri) for f in files.documentation_pages()]
    while waiting:
        for target in links.targets(ROOT, waiting.pop()):
            page = links.page_of(target)
            if files.get_file_from_path(page) is None and not target.startswith("docs/"):
                files.append(File.generated(config, page, content=links.source_page(ROOT, target)))
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files into links to their pages; put what is generated in its place."""
    uri = page.file.src_uri
    for name, text in generated.PARTS.items():
        mark = f"<!-- generated: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return links.rewritten(ROOT, markdown, links.file_of(uri), posixpath.dirname(uri))


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
