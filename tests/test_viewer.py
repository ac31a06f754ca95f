"""The viewer's server: what it answers, to whom, and that it answers nothing else."""

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from conftest import command
from diffusionblend.errors import OutputError, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.viewer import Shown, content, content_of, serve, show_volumes
from diffusionblend.viewer.server import Server
from diffusionblend.volume import Volume, write_volume

STATIC = Path(content.__file__).parent / "static"
FACTS = ["Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"]


def coded(shape=(4, 5, 6), spacing_mm=(3.0, 2.0, 1.5), plus=0.0, signs=(1, 1, 1)):
    """Each voxel says where it is: -1000 + 100 z + 10 y + x."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    grid = Grid.from_spacing(shape, spacing_mm)
    affine = np.array(grid.affine) @ np.diag([*signs, 1.0])
    # Turned in its place: the same box in space.
    for axis, sign in enumerate(signs):
        affine[axis, 3] += (sign < 0) * (shape[2 - axis] - 1) * spacing_mm[2 - axis]
    grid = Grid(shape, tuple(map(tuple, affine.tolist())))
    return Volume((100 * z + 10 * y + x + plus - 1000).astype(np.float32), grid)


@pytest.fixture(scope="module")
def server():
    shown = [Shown("a", coded()), Shown("b", coded(plus=7.4)), Shown("c", coded((3, 5, 6)))]
    with serve(content_of(shown)) as running:
        yield running


def ask(server, path, host=None, method="GET"):
    """Ask for a path as it stands, with a Host of one's own; return status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name in [f"127.0.0.1:{server.port}"] if host is None else host:
        connection.putheader("Host", name)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def named(server, name):
    return ask(server, f"/{server.token}/{name}")


def test_it_listens_on_this_machine_alone(server):
    assert server.url.startswith(f"http://127.0.0.1:{server.port}/")
    assert server._http.socket.getsockname()[0] == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1"}
    for address in others:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as outside:
            assert outside.connect_ex((address, server.port)) != 0


def test_each_server_has_a_token_of_its_own():
    with serve({}) as a, serve({}) as b:
        assert a.token != b.token
        assert len(a.token) >= 43  # 256 bits
        assert a.port != b.port


@pytest.mark.parametrize("name", ["", "app.js", "facts.json", "volume/0.nii", "nothing"])
@pytest.mark.parametrize("token", ["", "/", "/wrong", "/{short}", "/{token}x", "/{upper}"])
def test_without_the_token_nothing_is_answered(server, token, name):
    given = token.format(short=server.token[:-1], token=server.token, upper=server.token.swapcase())
    status, _, body = ask(server, f"{given}/{name}")
    assert (status, body) == (403, b"Forbidden")


@pytest.mark.parametrize(
    "host",
    [
        ["evil.example"], ["evil.example:{port}"], ["127.0.0.1"], ["127.0.0.1:1"], ["localhost"],
        ["localhost.evil.example:{port}"], ["[::1]:{port}"], ["0.0.0.0:{port}"], [""], [],
        ["127.0.0.1:{port}", "evil.example"], ["evil.example", "127.0.0.1:{port}"],
    ],
)  # fmt: skip
def test_another_host_is_not_answered(server, host):
    hosts = [name.format(port=server.port) for name in host]
    for path in ("", "facts.json", "volume/0.nii"):
        status, _, body = ask(server, f"/{server.token}/{path}", hosts)
        assert (status, body) == (403, b"Forbidden")


def test_localhost_is_this_machine(server):
    assert ask(server, f"/{server.token}/", [f"localhost:{server.port}"])[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "../server.py", "../../pyproject.toml", "%2e%2e/server.py", "..%2fserver.py", "/etc/passwd",
        "//etc/passwd", "volume/../facts.json", "volume/9.nii", "volume/-1.nii", "volume/0.nii/",
        "volume/0.nii?x", "difference/0/2.nii", "difference/0/0.nii", "step/0/1.nii",
        "niivue/LICENSE", "static/app.js", ".", "app.js%00", "scan.png", "\\..\\server.py",
    ],
)  # fmt: skip
def test_what_is_not_in_the_table_is_not_there(server, name):
    status, _, body = named(server, name)
    assert (status, body) == (404, b"Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_but_get_and_head(server, method):
    assert ask(server, f"/{server.token}/facts.json", method=method)[0] == 501


def test_a_head_has_no_body(server):
    status, headers, body = ask(server, f"/{server.token}/app.js", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == (STATIC / "app.js").stat().st_size


@pytest.mark.parametrize("path", ["/{token}/", "/{token}/volume/0.nii", "/{token}/nothing", "/x/"])
def test_every_answer_is_closed_to_other_pages(server, path):
    _, headers, _ = ask(server, path.format(token=server.token))
    assert all(name in headers for name in FACTS)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not any(name.startswith("Access-Control") for name in headers)


def test_a_request_that_is_no_request_does_not_end_the_server(server):
    for sent in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff" * 100, b"GET / HTTP/1.1\r\nHost", b""):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(sent)
    assert named(server, "facts.json")[0] == 200


def test_the_page_asks_for_nothing_from_elsewhere():
    for name in ("index.html", "app.js", "style.css"):
        text = (STATIC / name).read_text()
        assert not re.search(r"https?://|//[a-z]+\.", text), name
    assert "<script>" not in (STATIC / "index.html").read_text()
    assert " on" not in re.sub(r"<!--.*?-->", "", (STATIC / "index.html").read_text())


def test_niivue_is_the_one_that_is_named():
    said = (STATIC / "niivue" / "README.md").read_text()
    digest = hashlib.sha256((STATIC / "niivue" / "niivue.umd.js").read_bytes()).hexdigest()
    assert digest in said
    assert "BSD 2-Clause" in (STATIC / "niivue" / "LICENSE").read_text()


# What is shown


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_volume_is_served_as_it_is_to_one_hu(signs):
    volume = coded(plus=0.4, signs=signs)
    body = content_of([Shown("a", volume)])["volume/0.nii"].make()
    image = nibabel.Nifti1Image.from_bytes(body)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, np.rint(volume.hu))
    np.testing.assert_allclose(image.affine, volume.grid.affine, atol=1e-5)
    assert image.get_data_dtype() == np.int16
    assert image.header.get_xyzt_units()[0] == "mm"


def test_values_beyond_16_bits_are_clipped_not_wrapped():
    volume = coded()
    volume.hu[0, 0, :2] = 60000, -40000
    image = nibabel.Nifti1Image.from_bytes(content_of([Shown("a", volume)])["volume/0.nii"].make())
    assert np.asarray(image.dataobj)[:2, 0, 0].tolist() == [32767, -32768]


def test_a_difference_is_of_what_is_not_rounded(server):
    image = nibabel.Nifti1Image.from_bytes(named(server, "difference/1/0.nii")[2])
    assert (np.asarray(image.dataobj) == 7).all()
    other = nibabel.Nifti1Image.from_bytes(named(server, "difference/0/1.nii")[2])
    assert (np.asarray(other.dataobj) == -7).all()


def test_the_page_is_told_which_volumes_lie_alike(server):
    facts = json.loads(named(server, "facts.json")[2])
    assert [volume["alike"] for volume in facts["volumes"]] == [[1], [0], []]
    assert [volume["name"] for volume in facts["volumes"]] == ["a", "b", "c"]
    assert len(facts["difference"]["colours"]) == 256


def test_volumes_on_the_way_are_found(tmp_path):
    write_volume(coded(), tmp_path / "a.nii.gz")
    folder = tmp_path / "a.steps"
    folder.mkdir()
    write_volume(coded(plus=50), folder / "step-0003.nii.gz")
    entry = {"step": 3, "volume": "step-0003.nii.gz", "residual": 0.1}
    (folder / "steps.json").write_text(json.dumps([entry]))
    shown = show_volumes([tmp_path / "a.nii.gz"])
    assert [step for step, _ in shown[0].steps] == [3]
    body = content_of(shown)["step/0/3.nii"].make()
    values = np.asarray(nibabel.Nifti1Image.from_bytes(body).dataobj)
    np.testing.assert_array_equal(values.T, coded(plus=50).hu)


def test_too_many_or_too_large_is_refused_before_a_browser_sees_it(tmp_path, monkeypatch):
    write_volume(coded(), tmp_path / "a.nii.gz")
    with pytest.raises(UsageError, match="9 volumes: expected 1 to 8"):
        show_volumes([tmp_path / "a.nii.gz"] * 9)
    with pytest.raises(UsageError, match="0 volumes"):
        show_volumes([])
    monkeypatch.setattr(content, "MOST_VOXELS", 2 * 120 + 1)
    assert len(show_volumes([tmp_path / "a.nii.gz"] * 2)) == 2
    with pytest.raises(UnsupportedInput, match="show fewer at once"):
        show_volumes([tmp_path / "a.nii.gz"] * 3)


# The command


def test_a_taken_port_is_named(server):
    with pytest.raises(OutputError, match=f"--port {server.port}: cannot be taken"):
        Server({}, server.port)


def test_what_cannot_be_shown_is_said(data, tmp_path):
    assert command("view", tmp_path / "none.nii.gz", "--no-browser").code == 3
    assert command("view", data.volume, "--port", 99999, "--no-browser").code == 2
    assert command("view", data.volume, "--scan", data.volume, "--no-browser").code != 0


def test_the_command_serves_until_ctrl_c(data):
    options = ("--scan", str(data.scan), "--no-browser", "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "diffusionblend", "view", str(data.volume), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    url = json.loads(process.stdout.readline())["url"]
    port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", url).groups()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    connection.request("GET", f"/{token}/scan.png")
    assert connection.getresponse().read().startswith(b"\x89PNG")
    connection.close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert token not in err
