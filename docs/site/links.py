"""Links between files of the repository, as links between pages of the site.

Files are named by their path in the repository, pages by theirs in the site.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.utils.meta import get_data

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
SOURCE = "source/"  # pages that show a file of the repository
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".js": "javascript"}

_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def page_of(file: str) -> str:
    """Return the page of a file or folder."""
    if file in PAGES:
        return PAGES[file]
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    return f"{SOURCE}{file}" if file.endswith(".md") else f"{SOURCE}{file}.md"


def file_of(page: str) -> str:
    """Return the file of a page; of one that shows source, that file if it is Markdown."""
    for file, known in PAGES.items():
        if page == known:
            return file
    return page.removeprefix(SOURCE) if page.startswith(SOURCE) else f"docs/{page}"


def targets(root: Path, file: str) -> Iterator[str]:
    """Yield the files and folders that a Markdown file or a folder's page links to."""
    if (root / file).is_dir():
        yield from (posixpath.join(file, name) for name in _listed(root / file))
    elif file.endswith(".md") and (root / file).is_file():
        for link in _LINK.findall((root / file).read_text(encoding="utf-8")):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(file), link))


def rewritten(root: Path, markdown: str, file: str, folder: str) -> str:
    """Return Markdown of a file with its links as those of a page in `folder`."""

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), match[1]))
        if not (root / target).exists():
            return match[1]
        if target.startswith("docs/") and (root / target).is_dir():
            target = posixpath.join(target, "README.md")
        return posixpath.relpath(page_of(target), folder or ".")

    return _LINK.sub(replaced, markdown)


def source_page(root: Path, file: str) -> str:
    """Return the page that shows a file of the repository, or lists a folder."""
    path = root / file
    if path.is_dir():
        text = f"# {file}\n\n" + "\n".join(f"- [{n}]({path.name}/{n})" for n in _listed(path))
    elif path.suffix == ".md":
        text, _ = get_data(path.read_text(encoding="utf-8"))
    else:
        code = path.read_text(encoding="utf-8")
        text = f"# {file}\n\n``````{LANGUAGES.get(path.suffix, 'text')}\n{code}\n``````"
    head = f"title: {path.name}\nsearch: {{exclude: true}}\nhide: [navigation, toc]"
    return f"---\n{head}\n---\n\n{text}\n"


def _listed(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix in LANGUAGES)
