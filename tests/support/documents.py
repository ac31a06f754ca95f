"""The pages that people read, cut into what they are to run."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")),
]
_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: what language, the name of the file that it is, if any, and its text."""

    language: str
    title: str
    text: str


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page):
    """Return the fenced blocks of a page, in order."""
    return [Block(*match.groups("")) for match in _BLOCK.finditer(text_of(page))]


def commands(text):
    """Cut a shell block into its commands, each with all its lines and without comments."""
    found, waiting = [], ""
    text = re.sub(r"(?m)(^|\s+)# .*$", "", text.replace("<this repository>", "REPOSITORY"))
    for line in text.splitlines():
        waiting += line + "\n"
        if shlex_words(waiting) and _is_whole(waiting):
            found.append(waiting.strip())
            waiting = ""
    assert not waiting.strip(), f"no whole command: {waiting}"
    return found


def shlex_words(text):
    """Return the words of a command, without its comment; none if a quote is open."""
    try:
        return shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError:
        return []


def _is_whole(text):
    if text.endswith("\\\n"):
        return False
    read = subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False)
    return read.returncode == 0 and not read.stderr  # of a document that goes on it warns only
