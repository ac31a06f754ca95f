"""What results show of themselves in a notebook."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from PIL import Image

from diffusionblend import Grid, Noise, Scan, Volume, reconstruct
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume
from diffusionblend.quality.record import Warn
from support.phantoms import placed

LIMIT = 300_000
EMPTY = {"img", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in turn; keeps pictures, text and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.text, self.values = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.values += [value for _, value in attrs]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def pixels(image):
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (int(image["width"]), int(image["height"]))
    return np.asarray(picture)


def page(shown):
    text = shown._repr_html_()
    assert len(text.encode()) < LIMIT
    found = Page(text)
    assert not re.search(r"https?:|<script|<link|url\(", text)  # self-contained
    # The text's colour and paper are the notebook's, in dark and light.
    assert not re.search(r"(?<!-)(?:color|background):(?!inherit|transparent)", text)
    return found


@pytest.fixture(scope="module")
def made(data):
    return reconstruct(data.scan, prior=data.prior, steps=2)


def test_a_volume_shows_three_planes_and_says_what_it_is(data):
    volume = read_volume(data.volume)
    found = page(volume)
    assert [i["alt"] for i in found.images] == [
        "axial, 7 of 12",
        "coronal, 33 of 64",
        "sagittal, 33 of 64",
    ]
    assert repr(volume) in found.text
    assert "black is -1000 HU, white 400 HU" in found.text
    assert repr(volume).startswith("Volume(12 x 64 x 64 voxels of 2.5 x ")
    assert "\n" not in repr(volume)
    # The picture is the slice: its bright pixels lie where the slice is dense.
    axial, slice_hu = pixels(found.images[0]), volume.as_seen()[6]
    shrunk = np.asarray(Image.fromarray(axial).resize((64, 64), Image.Resampling.BOX))
    assert np.corrcoef(shrunk.ravel(), slice_hu.clip(-1000, 400).ravel())[0, 1] > 0.99


def test_a_scan_shows_its_geometry_and_sinogram(data):
    scan = read_scan(data.scan)
    found = page(scan)
    assert len(found.images) == 2
    assert all(pixels(image).std() > 5 for image in found.images)
    assert "Parallel beam, 8 views" in found.text
    assert repr(scan) == "Scan(12 rows x 8 views x 91 bins, ParallelBeam, noise not stated)"


def test_a_reconstruction_shows_what_is_known_of_it(made):
    found = page(made)
    assert len(found.images) == 6  # the classical one, too
    assert "tv" in found.text
    assert f"{made.quality.residual.relative:.3g}" in found.text
    assert all(warning.text in found.text for warning in made.quality.warnings)
    assert "not for diagnosis" in found.text
    assert repr(made).startswith("Reconstruction(Volume(12 x 64 x 64")
    assert "few-views" in repr(made)
    assert "\n" not in repr(made)


def test_without_a_classical_one_it_shows_three_planes(data):
    assert len(page(reconstruct(data.scan, "fbp")).images) == 3


def test_what_others_wrote_is_escaped(made):
    evil = (Warn("x", "<script>alert(1)</script> & <b>"),)
    quality = msgspec.structs.replace(made.quality, warnings=evil)
    found = page(dataclasses.replace(made, quality=quality))
    assert "<script>alert(1)</script> & <b>" in found.text


def test_even_noise_stays_small(made):
    rng = np.random.default_rng(0)
    hu = rng.uniform(-1000, 400, (256, 256, 256))
    noise = Volume(hu, Grid.from_spacing(hu.shape))
    page(noise)
    page(dataclasses.replace(made, volume=noise, classical=noise))
    beam = placed(parallel_beam, Grid.from_spacing((1, 256, 256)), sparse_view(600))
    page(Scan(rng.uniform(0, 5, beam.sinogram_shape), beam, Noise(1e4)))
