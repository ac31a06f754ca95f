"""The viewer's server, without a browser: what it gives, and to whom."""

import contextlib
import hashlib
import http.client
import importlib.resources
import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import nibabel
import numpy as np
import pathspec
import pytest
import SimpleITK
from PIL import Image

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import sha256
from diffusionblend.show.viewer import ViewerServer, Viewing, gather, view
from diffusionblend.show.viewer.contents import MAX_VOLUMES, MAX_VOXELS, check_size
from support.commands import command
from support.small_volumes import (
    ORIGIN,
    SPACING,
    datasets,
    lps,
    ras,
    save,
    stored_values,
    write_nrrd,
)

PAGE = importlib.resources.files("diffusionblend.show.viewer") / "page"
ROOT = Path(__file__).parents[2]
CANARY = b"the canary that no request may reach"


@contextlib.contextmanager
def serving(paths, scan=None, **options):
    """Serve volumes for as long as the block runs."""
    with ViewerServer(gather(paths, scan, **options).routes) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, method="GET", host=None, headers=()):
    """Send one request exactly as given; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for value in [f"127.0.0.1:{server.server_port}"] if host is None else host:
        connection.putheader("Host", value)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def told(server):
    status, _, body = ask(server, f"/{server.token}/session.json")
    assert status == 200
    return json.loads(body)


def got_nifti(server, file, place):
    status, _, body = ask(server, f"/{server.token}/{file}")
    assert status == 200, body
    path = place / "got.nii"
    path.write_bytes(body)
    return nibabel.load(path)


def small(path, offset=0.0, affine=None):
    """Write 8 x 6 x 4 voxels whose values differ all, with fractions."""
    hu = -1000 + 10.3 * np.arange(192, dtype=np.float32).reshape(8, 6, 4) + offset
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([2, 2, 3, 1]) if affine is None else affine), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("view")
    (place / "canary.txt").write_bytes(CANARY)
    small(place / "a.nii.gz")
    small(place / "b.nii.gz", 20)
    return place


@pytest.fixture(scope="module")
def server(folder):
    with serving([folder / "a.nii.gz", folder / "b.nii.gz"]) as running:
        yield running


# To whom


def test_every_file_needs_the_token(server):
    whole = server.token
    wrong = ["", "x", whole[:-1], whole + "x", whole.swapcase(), whole[:-1] + "%61"]
    for name in server.routes:
        assert ask(server, f"/{whole}/{name}")[0] == 200
        for token in wrong:
            status, _, body = ask(server, f"/{token}/{name}")
            assert (status, body) == (403, b"no token; open the address that was printed\n"), token
        assert ask(server, f"/{name}")[0] == 403
        assert ask(server, f"/{name}?token={whole}")[0] == 403
        assert ask(server, f"/{name}", headers=[("Cookie", f"token={whole}")])[0] == 403


def test_the_token_cannot_be_guessed_and_is_new_each_time(server):
    with ViewerServer({}) as another:
        assert another.token != server.token
    assert len(server.token) >= 43  # 256 bits


def test_another_host_gets_nothing(server):
    port = server.server_port
    path = f"/{server.token}/session.json"
    tunnel = port + 1 if port < 65535 else port - 1  # ssh -L: the port of its other end
    for good in (f"127.0.0.1:{port}", f"localhost:{port}", f"localhost:{tunnel}"):
        assert ask(server, path, host=[good])[0] == 200
    foreign = [
        f"evil.example:{port}",
        "evil.example",
        "127.0.0.1",
        f"127.0.0.1:{port}x",
        f"127.0.0.1:{port}.evil.example",
        f"evil.example@127.0.0.1:{port}",
        f"[::1]:{port}",
        "",
    ]
    for host in [[], [f"127.0.0.1:{port}", "evil.example"], *([name] for name in foreign)]:
        for method in ("GET", "HEAD"):
            status, _, body = ask(server, path, method, host=host)
            assert status == 403, host
            assert b"volumes" not in body


def test_only_reading(server):
    page = f"/{server.token}/"
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        status, headers, _ = ask(server, page, method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert ask(server, page, "BREW")[0] == 501
    _, headers, whole = ask(server, page)
    status, head, nothing = ask(server, page, "HEAD")
    assert (status, nothing, head["Content-Length"]) == (200, b"", headers["Content-Length"])
    assert int(headers["Content-Length"]) == len(whole)


@pytest.mark.parametrize(
    "name",
    [
        "../canary.txt",
        "..%2fcanary.txt",
        "%2e%2e/canary.txt",
        "niivue/../../canary.txt",
        "niivue/../app.js",
        "niivue/",
        "niivue/LICENSE",
        "./app.js",
        "app.js/",
        "app.js?x",
        "app%2ejs",
        "APP.JS",
        "//app.js",
        "app.js%00",
        "..\\canary.txt",
        "{folder}/canary.txt",
        "/{folder}/canary.txt",
        "file://{folder}/canary.txt",
        "a.nii.gz",
        "volume-2.nii",
        "volume-0-step-1.nii",
        "scan.png",
    ],
)
def test_nothing_outside_the_table(server, folder, name):
    for path in (f"/{server.token}/{name}", f"/{name}", name, f"http://x/{server.token}/{name}"):
        status, _, body = ask(server, path.format(folder=folder))
        assert status in (400, 403, 404), path
        assert CANARY not in body
        assert len(body) < 500


def test_headers_keep_the_page_to_itself(server):
    for path in (f"/{server.token}/", f"/{server.token}/none", "/"):
        _, headers, _ = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert "Set-Cookie" not in headers


def test_it_listens_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    # All of 127/8 is this machine's: a server on every address would answer on this one, too.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=5)


def test_a_client_that_says_nothing_keeps_nobody_waiting(server):
    with socket.create_connection(("127.0.0.1", server.server_port)) as silent:
        silent.send(b"GET /")
        assert ask(server, f"/{server.token}/")[0] == 200


def test_a_hundred_at_once_all_get_their_answer(server):
    found = []

    def get():
        found.append(ask(server, f"/{server.token}/volume-0.nii"))

    threads = [threading.Thread(target=get) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 100
    assert {status for status, _, _ in found} == {200}
    assert len({body for _, _, body in found}) == 1


def test_a_request_of_odd_bytes_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as raw:
        host = f"Host: 127.0.0.1:{server.server_port}"
        raw.send(b"GET /\xff\xfe\x00/app.js HTTP/1.0\r\n" + host.encode() + b"\r\n\r\n")
        assert raw.makefile("rb").readline().split()[1] == b"403"


# What


def test_the_page_is_the_packages_files(server):
    for name in ("app.js", "pane.js", "style.css", "niivue/index.js"):
        status, headers, body = ask(server, f"/{server.token}/{name}")
        assert (status, body) == (200, (PAGE / name).read_bytes())
        assert headers["Content-Type"].startswith(("text/javascript", "text/css"))
    assert ask(server, f"/{server.token}/")[2] == (PAGE / "index.html").read_bytes()


@pytest.mark.parametrize(
    "signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)], ids=lambda s: f"{s}"
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)], ids=lambda o: f"{o}")
def test_values_lie_where_nibabel_says(tmp_path, signs, order):
    hu = -1000 + 2.6 * np.arange(336, dtype=np.float32).reshape(8, 6, 7)
    affine = np.diag([*np.array([0.7, 0.8, 2.5]) * signs, 1])[:, [*order, 3]]
    affine[:3, 3] = 5, -60, 300
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "a.nii.gz")
    with serving([tmp_path / "a.nii.gz"]) as server:
        got, [shown] = got_nifti(server, "volume-0.nii", tmp_path), told(server)["volumes"]
    assert got.get_data_dtype() == np.int16
    assert tuple(shown["shape"]) == got.shape
    values = np.asarray(got.dataobj)
    for voxel in np.ndindex(hu.shape):
        mm = affine @ [*voxel, 1]
        index = np.linalg.solve(got.affine, mm)[:3]
        assert values[tuple(index.round().astype(int))] == np.rint(hu[voxel])
        np.testing.assert_allclose(np.array(shown["firstMm"]) + index * shown["stepMm"], mm[:3])


def test_every_format_is_the_same(tmp_path):
    hu = 2.0 * stored_values() - 1024
    nibabel.save(nibabel.Nifti1Image(hu.astype(np.float32), ras(lps())), tmp_path / "a.nii")
    write_nrrd(tmp_path / "a.nrrd", hu, lps())
    image = SimpleITK.GetImageFromArray(hu.T)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    save(tmp_path / "series", datasets(stored_values()))
    names = ["a.nii", "a.nrrd", "a.mha", "series"]
    with serving([tmp_path / name for name in names]) as server:
        assert [shown["name"] for shown in told(server)["volumes"]] == names
        for index in range(4):
            got = got_nifti(server, f"volume-{index}.nii", tmp_path)
            values = np.asarray(got.dataobj)
            for voxel in np.ndindex(hu.shape):
                mm = ras(lps()) @ [*voxel, 1]
                at = np.linalg.solve(got.affine, mm)[:3].round().astype(int)
                assert values[tuple(at)] == hu[voxel]


def test_what_int16_cannot_hold_is_clipped(tmp_path):
    hu = np.linspace(-1000, 60000, 192, dtype=np.float32).reshape(8, 6, 4)
    nibabel.save(nibabel.Nifti1Image(hu, np.eye(4)), tmp_path / "a.nii")
    with serving([tmp_path / "a.nii"]) as server:
        got = np.asarray(got_nifti(server, "volume-0.nii", tmp_path).dataobj)
    assert got.max() == 32767
    np.testing.assert_array_equal(got, np.rint(hu).clip(max=32767))


def test_equal_names_are_told_apart(tmp_path):
    paths = [tmp_path / part / "a.nii" for part in "xy"] + [tmp_path / "<b>.nii"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        small(path)
    names = [shown.name for shown in gather(paths).shown]
    assert names == [str(paths[0]), str(paths[1]), "<b>.nii"]


def test_a_folder_is_the_volumes_in_it_with_the_truth_as_reference(tmp_path):
    for name in ("b", "truth", "a", "a.std", "a.classical"):
        small(tmp_path / f"{name}.nii.gz")
    with serving([tmp_path]) as running:
        said = told(running)
    assert [volume["name"] for volume in said["volumes"]] == [
        "a.nii.gz",
        "b.nii.gz",
        "truth.nii.gz",
    ]
    assert said["reference"] == 2


def test_shrinking_takes_means(folder, tmp_path):
    volume = nibabel.load(folder / "a.nii.gz")
    hu = volume.get_fdata()
    with serving([folder / "a.nii.gz"], shrink=3) as server:
        got = got_nifti(server, "volume-0.nii", tmp_path)
        assert told(server)["shrink"] == 3
    assert got.shape == (2, 2, 4)
    np.testing.assert_array_equal(
        np.asarray(got.dataobj)[1, 0], np.rint(hu[3:6, :3].mean(axis=(0, 1)))
    )
    np.testing.assert_allclose(got.affine @ [1, 0, 2, 1], volume.affine @ [4, 1, 2, 1])


# What lies around a volume


def recorded(path, **facts):
    facts |= {"schema": "diffusionblend-run/1", "sha256": sha256(path)}
    path.with_name(path.name + ".json").write_text(json.dumps(facts))


def listed(folder, **residuals):
    """Write the list of the intermediate volumes; return the folder."""
    entries = [
        {"step": int(name[1:]), "volume": f"step-{int(name[1:]):04}.nii.gz", "residual": residual}
        for name, residual in residuals.items()
    ]
    (folder / "steps.json").write_text(json.dumps(entries))
    return folder


def test_steps_are_found_and_read_when_asked_for(tmp_path):
    volume = small(tmp_path / "a.nii.gz")
    steps = tmp_path / "a.steps"
    steps.mkdir()
    for number in (5, 10, 100):
        small(steps / f"step-{number:04}.nii.gz", number)
    for other in ("step-x.nii.gz", "step-0007.nii.gz.part", "note.txt"):
        (steps / other).write_bytes(CANARY)
    listed(steps, _5=0.25, _10=0.125, _100=0.0625)
    (steps / "step-0010.nii.gz").write_bytes(b"damaged")
    small(steps / "step-0100.nii.gz", affine=None)
    with serving([volume]) as server:
        found = told(server)["volumes"][0]["steps"]
        assert [(s["name"], s["residual"]) for s in found] == [
            ("5", 0.25),
            ("10", 0.125),
            ("100", 0.0625),
        ]
        got = np.asarray(got_nifti(server, found[0]["file"], tmp_path).dataobj)
        np.testing.assert_array_equal(got, np.rint(nibabel.load(volume).get_fdata() + 5))
        status, _, body = ask(server, f"/{server.token}/{found[1]['file']}")
        assert status == 500
        assert b"step-0010.nii.gz" in body


def test_a_step_on_another_grid_is_refused_in_words(tmp_path):
    volume = small(tmp_path / "a.nrrd.nii")
    (tmp_path / "a.nrrd.steps").mkdir()
    hu = np.linspace(-1000, 0, 64, dtype=np.float32).reshape(4, 4, 4)
    image = nibabel.Nifti1Image(hu, np.eye(4))
    nibabel.save(image, tmp_path / "a.nrrd.steps" / "step-0001.nii.gz")
    listed(tmp_path / "a.nrrd.steps", _1=0.5)
    with serving([volume]) as server:
        status, _, body = ask(server, f"/{server.token}/volume-0-step-1.nii")
    assert status == 500
    assert b"(4, 4, 4) voxels; expected (4, 6, 8)" in body


def test_the_scan_is_drawn(data, tmp_path):
    with serving([data.volume], data.scan) as server:
        assert told(server)["scan"] == {"name": "chest.h5", "file": "scan.png"}
        status, headers, body = ask(server, f"/{server.token}/scan.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(body)).size == (1192, 648)


def test_the_scan_of_the_record_is_found_if_it_is_the_same(data, tmp_path):
    volume, scan = small(tmp_path / "a.nii.gz"), tmp_path / "s.h5"
    scan.write_bytes(data.scan.read_bytes())
    for named, digest, expected in [
        ("s.h5", sha256(scan), scan),
        ("/etc/../s.h5", sha256(scan), scan),
        ("s.h5", "0" * 64, None),
        ("other.h5", sha256(scan), None),
        ("", "", None),
        ("..", "", None),
    ]:
        recorded(volume, scan={"name": named, "sha256": digest})
        assert gather([volume]).scan == expected
    aside = tmp_path / "aside"
    aside.mkdir()
    recorded(small(aside / "a.nii.gz"), scan={"name": "../s.h5", "sha256": sha256(scan)})
    assert gather([aside / "a.nii.gz"]).scan is None


@pytest.mark.parametrize("record", ["", "[]", '{"scan": 3}', '{"steps": [{}]}', "[" * 100_000])
def test_a_damaged_record_is_named(tmp_path, record):
    volume = small(tmp_path / "a.nii.gz")
    volume.with_name("a.nii.gz.json").write_text(record)
    with pytest.raises(CorruptInput, match=r"a\.nii\.gz\.json"):
        gather([volume])


# Limits and failures


def hollow(path, slices):
    """Write a volume of 512 x 512 voxels whose zeros take no place on the disk."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, slices))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    with open(path, "wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 512 * 512 * slices * 2)
    return path


def test_five_large_volumes_pass_and_more_are_refused_unread(tmp_path):
    large = hollow(tmp_path / "large.nii", 300)
    check_size([large] * 5)
    with pytest.raises(UsageError, match="add `shrink=2`") as caught:
        gather([large] * 6)  # as all zeros it would be refused in other words, were it read
    assert str(MAX_VOXELS) in str(caught.value)
    check_size([large] * 6, shrink=2)
    with pytest.raises(UsageError, match="add `shrink=3`"):
        check_size([hollow(tmp_path / "larger.nii", 2000)] * 4)
    check_size([tmp_path / "larger.nii"] * 4, shrink=3)


def test_there_must_be_something_to_view(tmp_path):
    a, empty = small(tmp_path / "a.nii"), tmp_path / "empty"
    empty.mkdir()
    for paths, cure in (([], "name one"), ([a] * (MAX_VOLUMES + 1), f"name fewer, such as {a}")):
        with pytest.raises(UsageError) as refused:
            gather(paths)
        told = f"{len(paths)} volumes to view; expected 1 to {MAX_VOLUMES}; {cure}"
        assert str(refused.value) == told
    for arguments, code, words in [
        ([], 2, "view: needs VOLUMES"),
        ([tmp_path / "none.nii"], 3, "no such file"),
        ([empty], 3, "no DICOM"),
        ([a, "--scan", tmp_path / "none.h5"], 3, "none.h5"),
        ([a, "--port", 70000], 2, "--port 70000"),
        ([a, "--shrink", 0], 2, "--shrink 0"),
    ]:
        ended = command("view", *arguments, "--no-browser")
        assert ended.code == code, ended.err
        assert words in ended.err
        assert ended.err.count("\n") == 1
        assert ended.out == ""


def test_a_port_that_is_taken_is_refused(server, folder):
    ended = command("view", folder / "a.nii.gz", "--no-browser", "--port", server.server_port)
    assert ended.code == 2
    assert f"--port {server.server_port}: cannot listen there" in ended.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_as_a_user_runs_it(folder, number, code):
    start = [sys.executable, "-m", "diffusionblend", "view", str(folder / "a.nii.gz")]
    process = subprocess.Popen(
        [*start, "--no-browser", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        line = json.loads(process.stdout.readline())
        assert line["volumes"] == ["a.nii.gz"]
        with urllib.request.urlopen(line["url"] + "session.json") as answer:
            assert answer.status == 200
        # One that says nothing must not hold the end up.
        with socket.create_connection(("127.0.0.1", int(line["url"].split(":")[2][:5]))):
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    error = json.loads(out)["error"] if number == signal.SIGTERM else None
    assert (out == "") == (error is None)
    assert error is None or (error["code"], error["kind"]) == (143, "Ended")
    assert "Traceback" not in err
    assert ("closed" in err) == (code == 0)
    assert line["url"] not in err
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(line["url"])


def test_the_browser_is_given_a_file_that_others_cannot_read(folder, monkeypatch):
    given, opened = [], threading.Event()

    def browse(uri):
        path = Path(urllib.parse.unquote(urllib.parse.urlparse(uri).path))
        given.append((uri, path, path.read_text(encoding="utf-8"), path.parent.stat().st_mode))
        opened.set()
        return True

    def stop(self):
        assert opened.wait(10)

    monkeypatch.setattr("webbrowser.open", browse)
    monkeypatch.setattr(Viewing, "wait", stop)
    ended = command("view", folder / "a.nii.gz")
    assert ended.code == 0
    url = ended.out.strip()
    token = url.rstrip("/").rpartition("/")[2]
    (uri, path, page, mode), *more = given
    assert not more
    assert uri.startswith("file:///")
    assert token not in uri
    assert f"url={url}" in page
    assert stat.S_IMODE(mode) == 0o700
    assert not path.exists()


def test_a_browser_in_the_terminal_does_not_hold_the_server_up(folder, monkeypatch):
    """The page is served while such a browser runs, which comes back when it is closed."""
    got, closed = [], threading.Event()

    def browse(uri):
        page = Path(urllib.parse.urlparse(uri).path).read_text(encoding="utf-8")
        url = re.search(r"url=(http[^\"]*)", page)[1]
        got.append(urllib.request.urlopen(url, timeout=20).read())
        closed.set()
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    monkeypatch.setattr(Viewing, "wait", lambda self: closed.wait(20))
    assert command("view", folder / "a.nii.gz").code == 0
    assert b"<!doctype html>" in got[0]


def test_a_program_views_as_long_as_its_block_runs(folder):
    with view(folder / "a.nii.gz", browser=False) as viewing:
        assert viewing.volumes == ("a.nii.gz",)
        with urllib.request.urlopen(viewing.url, timeout=20) as answer:
            assert b"<!doctype html>" in answer.read()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(viewing.url, timeout=20)


# The package


def test_niivue_is_the_one_that_was_taken():
    taken = (PAGE / "niivue" / "take.sh").read_text(encoding="utf-8")
    digest = hashlib.sha256((PAGE / "niivue" / "index.js").read_bytes()).hexdigest()
    assert digest in taken
    assert "@niivue/niivue@0.69.0" in taken
    assert "BSD 2-Clause" in (PAGE / "niivue" / "LICENSE").read_text(encoding="utf-8")
    parts = (PAGE / "niivue" / "LICENSES-of-its-parts").read_text(encoding="utf-8")
    for part in ("gl-matrix", "fflate", "nifti-reader-js", "zarrita", "numcodecs", "Roboto"):
        assert f" {part}" in parts


def test_nothing_of_the_page_is_kept_out_of_the_wheel():
    # hatchling packs what lies in the package, but for what .gitignore names.
    ignored = pathspec.GitIgnoreSpec.from_lines(
        (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    )
    files = [path for path in (ROOT / "src/diffusionblend/show/viewer/page").rglob("*")]
    assert len(files) > 10
    assert not [path for path in files if ignored.match_file(path.relative_to(ROOT))]


def test_the_page_asks_for_nothing_elsewhere():
    for file in PAGE.iterdir():
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]", text), file.name
            assert "innerHTML" not in text
            assert not re.findall(r"\son\w+=|style=", text), file.name
