"""Priors of the Hugging Face hub, against a small hub in this process."""

import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from diffusionblend.errors import PriorError
from diffusionblend.prior import find_prior, from_pretrained, shipped_priors
from diffusionblend.prior.hub import FILES, push
from diffusionblend.prior.store import facts_of
from support.commands import command, contents, user_command
from support.small_data import save_tiny_prior

USAGE, PRIOR = 2, 7
NAME = "lab/chest"
ASKED = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<commit>[^/]+)/(?P<file>.+)")


@dataclass
class Hub:
    """What a hub holds: files of commits of repositories; and what it was asked for."""

    commits: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    asked: list[str] = field(default_factory=list)
    address: str = ""
    stop: Callable[[], None] = lambda: None

    def commit(self, name, files):
        """Take files in; return the pinned name."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name, commit] = files
        return f"{name}@{commit}"

    def find(self, name, commit, file):
        """Return a file, or the word for why there is none."""
        if self.gated:
            return "GatedRepo"
        if name not in {known for known, _ in self.commits}:
            return "RepoNotFound"
        if (name, commit) not in self.commits:
            return "RevisionNotFound"
        return self.commits[name, commit].get(file, "EntryNotFound")


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        asked = ASKED.fullmatch(self.path)
        if asked is None:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        self.server.hub.asked.append(asked["file"])
        found = self.server.hub.find(**asked.groupdict())
        if isinstance(found, str):
            return self.answer(404, {"X-Error-Code": found})
        tag = f'"{hashlib.sha256(found).hexdigest()}"'
        return self.answer(200, {"X-Repo-Commit": asked["commit"], "ETag": tag}, found)

    def do_GET(self):
        self.wfile.write(self.do_HEAD())

    def do_POST(self):
        """Refuse whatever is to be written."""
        self.answer(403, {})

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        return body

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, an empty cache, and no token."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = hub
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()
        huggingface_hub.close_session()

    hub.address, hub.stop = f"http://127.0.0.1:{server.server_port}", stop
    settings = {
        "ENDPOINT": hub.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    for name in [n for n in os.environ if n.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    huggingface_hub.close_session()
    yield hub
    stop()


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def folder(tmp_path):
    return save_tiny_prior(tmp_path / "run/prior")


class FakeApi:
    """Takes a folder into a hub as `HfApi` does, and remembers how it was made."""

    def __init__(self, hub, monkeypatch, public=True):
        self.hub, self.public, self.made = hub, public, []
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: self)

    def create_repo(self, name, *, private, exist_ok):
        assert exist_ok
        self.made.append((name, private))

    def model_info(self, name):
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        files = {f: (Path(folder_path) / f).read_bytes() for f in allow_patterns}
        pinned = self.hub.commit(repo_id, files)
        return SimpleNamespace(oid=pinned.partition("@")[2])


def assert_one_line(ended, code, words):
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1, ended.err
    for word in words:
        assert word in ended.err, ended.err


# Invariants


def test_what_is_pushed_is_what_is_fetched(hub, folder, monkeypatch):
    FakeApi(hub, monkeypatch)
    pinned = push(folder, NAME)
    found = find_prior(pinned)
    assert files_of(found) == files_of(folder)
    assert f"{NAME}@{found.name}" == pinned
    expected = from_pretrained(str(folder)).state_dict()
    for key, value in from_pretrained(pinned).state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_nothing_else_is_pushed_or_fetched(hub, folder, monkeypatch):
    (folder / "secret.txt").write_text("of the patient")
    FakeApi(hub, monkeypatch)
    find_prior(push(folder, NAME))
    (files,) = hub.commits.values()
    assert set(files) == set(hub.asked) == set(FILES)


def test_the_same_prior_pushed_twice_has_one_name(hub, folder, monkeypatch):
    FakeApi(hub, monkeypatch)
    assert push(folder, NAME) == push(folder, NAME)


def test_what_was_fetched_once_needs_no_network(hub, folder):
    pinned = hub.commit(NAME, files_of(folder))
    first = find_prior(pinned)
    hub.stop()
    assert find_prior(pinned) == first
    assert files_of(first) == files_of(folder)


def test_two_commits_of_one_repository_are_kept_apart(hub, folder, tmp_path):
    old = hub.commit(NAME, files_of(folder))
    new = hub.commit(NAME, files_of(save_tiny_prior(tmp_path / "new")) | {"README.md": b"# New"})
    assert (find_prior(new) / "README.md").read_bytes() == b"# New"
    assert files_of(find_prior(old)) == files_of(folder)


def test_the_network_is_asked_only_for_what_is_not_here(hub, folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    assert find_prior("run/prior") == Path("run/prior")
    assert find_prior("chest") == shipped_priors()["chest"]
    assert hub.asked == []


def test_only_a_hub_name_needs_the_client(hub, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert find_prior(str(folder)) == folder
    with pytest.raises(PriorError, match=r"lab/chest@1{40}: .*pip install 'huggingface.hub>="):
        find_prior(f"{NAME}@{'1' * 40}")


# Fetching that fails


def reconstruct(data, prior, place):
    out = place / "o.nii.gz"
    return command("reconstruct", data.scan, "--prior", prior, "--steps", 1, "-o", out)


COMMIT = "0123456789" * 4
UNUSABLE = {
    "no revision": (NAME, ["no such folder", "lab/chest@COMMIT", "40 digits"]),
    "empty revision": (NAME + "@", ["lab/chest@COMMIT"]),
    "branch": (NAME + "@main", ["main is not a whole commit", "branches and tags move"]),
    "tag": (NAME + "@v1.0", ["v1.0 is not a whole commit"]),
    "short commit": (NAME + "@0123456", ["0123456 is not a whole commit", "40 digits"]),
    "too long": (f"{NAME}@{COMMIT}0", ["is not a whole commit"]),
    "other digits": (f"{NAME}@{COMMIT[:-1]}g", ["is not a whole commit"]),
    "path in the revision": (NAME + "@../../etc", ["is not a whole commit"]),
    "folder above": (f"../x@{COMMIT}", ["no such prior", "owner/name@COMMIT"]),
    "folder below": (f"x/..@{COMMIT}", ["no such prior"]),
    "three parts": (f"a/b/c@{COMMIT}", ["no such prior"]),
    "absolute": (f"/etc/passwd@{COMMIT}", ["no such prior"]),
    "no owner": (f"chest@{COMMIT}", ["no such prior"]),
    "other letters": (f"läb/chest@{COMMIT}", ["no such prior"]),
    "forbidden on the hub": (f"lab/a--b@{COMMIT}", ["Cannot have -- or .."]),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_name_that_cannot_be_is_refused_without_asking(data, hub, place, case):
    name, words = UNUSABLE[case]
    assert_one_line(reconstruct(data, name, place), PRIOR, [name, *words])
    assert contents(place) == {}
    assert hub.asked == []


def without(file):
    def edit(hub, pinned):
        name, _, commit = pinned.partition("@")
        del hub.commits[name, commit][file]
        return pinned

    return edit


def gate(hub, pinned):
    hub.gated = True
    return pinned


def stop(hub, pinned):
    hub.stop()
    return pinned


def tamper(hub, pinned):
    (files,) = hub.commits.values()
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"!"
    return pinned


FAILURES = {
    "unknown repository": (lambda h, p: f"lab/head@{COMMIT}", ["no such repository", "hf auth"]),
    "unknown commit": (lambda h, p: f"{NAME}@{COMMIT}", ["no such commit", "40 digits"]),
    "gated": (gate, ["gated", "accept its terms", "hf auth login"]),
    "no config": (without("config.json"), ["lacks one of config.json", "choose another"]),
    "no weights": (without("model.safetensors"), ["lacks one of", "model.safetensors"]),
    "no card": (without("README.md"), ["lacks one of", "README.md"]),
    "no network": (stop, ["the hub cannot be used", "check the network"]),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_to_fetch_is_one_line(data, hub, folder, place, case):
    edit, words = FAILURES[case]
    name = edit(hub, hub.commit(NAME, files_of(folder)))
    assert_one_line(reconstruct(data, name, place), PRIOR, [name, *words])
    assert contents(place) == {}


def test_other_weights_than_the_configuration_names_are_refused(data, hub, folder, place):
    name = tamper(hub, hub.commit(NAME, files_of(folder)))
    words = ["models--lab--chest", "SHA-256", "delete it"]
    ended = reconstruct(data, name, place)
    assert_one_line(ended, PRIOR, words)
    assert contents(place) == {}


def test_the_file_to_delete_is_the_one_to_be_fetched_again(hub, folder):
    pinned = hub.commit(NAME, files_of(folder))
    weights = find_prior(pinned) / "model.safetensors"
    weights.write_bytes(b"damaged on the disk")
    with pytest.raises(PriorError, match="delete it") as refused:
        from_pretrained(pinned)
    Path(str(refused.value).partition(": ")[0]).unlink()
    from_pretrained(pinned)
    assert weights.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_branch_that_looks_like_a_commit_is_refused(hub, folder, monkeypatch):
    """The hub says which commit it gives."""
    hub.commits[NAME, COMMIT] = files_of(folder)
    monkeypatch.setattr(BaseHTTPRequestHandler, "send_header", other_commit)
    with pytest.raises(PriorError, match="is not a commit there"):
        find_prior(f"{NAME}@{COMMIT}")


def other_commit(self, key, value, send=BaseHTTPRequestHandler.send_header):
    send(self, key, "f" * 40 if key == "X-Repo-Commit" else value)


def test_a_cache_that_cannot_be_made_is_named(data, hub, folder, place, monkeypatch):
    (place.parent / "cache").write_text("a file")
    ended = reconstruct(data, hub.commit(NAME, files_of(folder)), place)
    assert_one_line(ended, PRIOR, [NAME, "cache", "HF_HOME"])


# As users run it


@pytest.fixture
def settings(hub, monkeypatch, tmp_path):
    """The same hub for a process of its own."""
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")


def test_a_user_reconstructs_with_a_prior_of_the_hub(data, hub, folder, place, settings):
    pinned = hub.commit(NAME, files_of(folder))
    arguments = ["reconstruct", data.scan, "--prior", pinned, "--steps", 1, "-o"]
    for out in (place / "1.nii.gz", place / "2.nii.gz"):
        ended = user_command(*arguments, out)
        assert ended.code == 0, ended.err
        assert "http" not in ended.err.lower()
        hub.stop()
    assert (place / "1.nii.gz").read_bytes() == (place / "2.nii.gz").read_bytes()
    config = json.loads((folder / "config.json").read_bytes())
    record = json.loads((place / "2.nii.gz.json").read_text(encoding="utf-8"))["prior"]
    assert record == {"name": pinned, "weights_sha256": config["weights_sha256"]}


def test_a_record_never_names_the_place_of_a_folder(folder):
    given = {"name": "prior", "weights_sha256": from_pretrained(folder).config.weights_sha256}
    assert facts_of(str(folder)) == facts_of(from_pretrained(folder)) == given


@pytest.mark.parametrize("offline", ["", "1"])
def test_a_user_without_network_reads_one_line(data, hub, place, settings, monkeypatch, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    hub.stop()
    name, out = f"{NAME}@{COMMIT}", place / "o.nii.gz"
    ended = user_command("reconstruct", data.scan, "--prior", name, "-o", out)
    assert_one_line(ended, PRIOR, [name, "check the network"])
    assert contents(place) == {}


# Pushing


def test_the_command_prints_the_pinned_name(hub, folder, monkeypatch):
    FakeApi(hub, monkeypatch)
    ended = command("push", folder, NAME)
    assert (ended.code, ended.err) == (0, "")
    assert find_prior(ended.out.strip()).is_dir()
    assert json.loads(command("push", folder, NAME, "--json").out) == {"prior": ended.out.strip()}


def test_only_private_asks_for_private(hub, folder, monkeypatch):
    """Without it the owner's own setting decides, which may be private as well."""
    api = FakeApi(hub, monkeypatch, public=False)
    assert command("push", folder, NAME).code == 0
    assert command("push", folder, NAME, "--private").code == 0
    assert api.made == [(NAME, None), (NAME, True)]


def test_what_is_to_be_private_is_not_put_into_a_public_place(hub, folder, monkeypatch):
    FakeApi(hub, monkeypatch, public=True)
    ended = command("push", folder, NAME, "--private")
    assert_one_line(ended, USAGE, ["--private", NAME, "public", "choose another name"])
    assert hub.commits == {}


@pytest.mark.parametrize("name", ["chest", "a/b/c", "../chest", f"{NAME}@main", "lab/", ""])
def test_a_name_that_no_repository_has_is_refused(hub, folder, name):
    assert_one_line(command("push", folder, name), USAGE, [name, "expected owner/name"])


def flip(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (flip, ["model.safetensors", "SHA-256"]),
        (lambda folder: (folder / "README.md").unlink(), ["README.md", "trained on"]),
        (lambda folder: (folder / "config.json").unlink(), ["no such prior"]),
    ],
)
def test_a_prior_that_nobody_could_use_is_not_pushed(hub, folder, monkeypatch, edit, words):
    api = FakeApi(hub, monkeypatch)
    edit(folder)
    assert_one_line(command("push", folder, NAME), PRIOR, words)
    assert api.made == []


def test_a_folder_is_pushed_even_where_a_shipped_prior_has_its_name(hub, monkeypatch, tmp_path):
    FakeApi(hub, monkeypatch)
    monkeypatch.chdir(tmp_path)
    save_tiny_prior(Path("chest"))
    assert files_of(find_prior(push(Path("chest"), NAME))) == files_of(Path("chest"))


def test_without_a_token_nothing_is_asked(hub, folder):
    assert_one_line(command("push", folder, NAME), PRIOR, [NAME, "no hub token", "hf auth login"])
    assert hub.asked == []


def test_a_push_that_is_not_permitted_is_one_line(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    words = [NAME, "the hub refused", "hf auth login"]
    ended = command("push", folder, NAME)
    assert_one_line(ended, PRIOR, words)
    assert "hf_x" not in ended.err


def test_a_push_without_network_is_one_line(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    hub.stop()
    assert_one_line(command("push", folder, NAME), PRIOR, [NAME, "check the network"])
