"""``graypipe inspect --html``: what the page says, and that it is self-contained."""

import base64
import io
import os
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from image_sets import images, process, save
from PIL import Image

import graypipe as gp
from graypipe.cli import main
from graypipe.cli.pictures import (
    MAX_BANDS,
    MAX_GROUPS,
    MAX_THUMBNAILS,
    THUMBNAIL_SIZE,
    Pictures,
    draw_thumbnail,
    sample,
)

RANDOM = np.random.default_rng(13)
GRAY8 = RANDOM.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY12 = RANDOM.integers(0, 4096, (21, 34), dtype=np.uint16)
RGBA = RANDOM.integers(0, 256, (21, 34, 4), dtype=np.uint8)


class Page(HTMLParser):
    """The elements of a page: tags with attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def images(self):
        """Return the media type and the content of each image."""
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                head, content = attributes["src"].split(";base64,")
                found.append((head.removeprefix("data:"), base64.b64decode(content)))
        return found


def report(tmp_path, *argv):
    """Run the command; return its exit code and the page."""
    path = tmp_path / "report.html"
    exit_code = main(["inspect", *map(str, argv), "--html", str(path)])
    return exit_code, Page(path.read_text("utf-8"))


@pytest.fixture
def folder(tmp_path):
    """Return a folder of images of several kinds, some of which are wrong."""
    folder = tmp_path / "in"
    save(folder / "a.png", GRAY8)
    save(folder / "b.png", GRAY12)
    save(folder / "c.png", GRAY12 // 2)
    save(folder / "d.png", RGBA)
    save(folder / "e.jpg", RGBA[..., :3])
    (folder / "f.png").write_bytes(b"")
    (folder / "labels.csv").write_text("a,1\n")
    return folder


def test_page_says_what_is_wrong_and_what_to_type(folder, tmp_path, capsys):
    code, page = report(tmp_path, folder)
    assert code == 1
    printed = capsys.readouterr().out
    following = printed.splitlines()[-1].removeprefix("next: ")
    assert following in " ".join(page.text.replace("\\\n", " ").split())
    for text in (
        "parts of the image are transparent",
        "--alpha white",
        "Note in 2 files",
        "look like 12 bits",
        "b.png, c.png",
        "an empty file",
        "bands differ: gray in 3, R,G,B in 1",
        "4 of 6 files",
    ):
        assert text in page.text, text


def test_page_is_one_file_whose_images_can_be_decoded(folder, tmp_path):
    _, page = report(tmp_path, folder)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "audio", "video", "a"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    text = (tmp_path / "report.html").read_text()
    assert "url(" not in text
    assert "@import" not in text
    sizes = []
    for media_type, content in page.images():
        if media_type == "image/svg+xml":
            assert ET.fromstring(content).tag.endswith("svg")
        else:
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                sizes.append(picture.size)
    assert sizes == [(34, 21)] * 4


def test_histograms_describe_all_pixels(tmp_path):
    arrays = images(tmp_path / "in", 20, dtype="uint16").values()
    values = np.stack(list(arrays))
    _, page = report(tmp_path, tmp_path / "in")
    assert f"{values.size:,} pixels per band" in page.text
    caption = (
        f"gray from {values.min():.6g} to {values.max():.6g}, median "
        f"{np.median(values):.6g}"
    )
    assert caption in page.text
    svgs = [content for kind, content in page.images() if "svg" in kind]
    assert len(svgs) == 1


def test_images_with_nan_are_left_out_of_the_histograms(tmp_path):
    save(tmp_path / "in" / "a.npy", np.array([[0, np.nan]], np.float32))
    save(tmp_path / "in" / "b.npy", np.array([[0.25, 0.75]], np.float32))
    code, page = report(tmp_path, tmp_path / "in")
    assert code == 0
    assert "Not counted: 1 image with NaN" in page.text
    assert "gray from 0.25 to 0.75" in page.text


def test_names_of_files_are_not_markup(tmp_path):
    folder = tmp_path / "in"
    names = [
        "<script>alert(1)<script>.png",
        "<img src=x onerror=alert(1)>.png",
        "\" onload='alert(1)'.png",
        "{{ 7 * 7 }}&amp;.png",
        "right-to-left \u202egnp.png",
    ]
    for name in names:
        save(folder / name, GRAY12)
    broken = os.fsdecode(b"not utf-8 \xff <b>.png")
    (folder / broken).write_bytes(b"")
    for name in ("a.png", "b.png"):
        save(tmp_path / "plain" / name, GRAY12)
    (tmp_path / "plain" / "broken.png").write_bytes(b"")
    _, plain = report(tmp_path, tmp_path / "plain")
    code, page = report(tmp_path, folder)
    assert code == 1
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    allowed = {name for _, attributes in plain.tags for name in attributes}
    assert {name for _, attributes in page.tags for name in attributes} <= allowed
    for name in names[:4]:
        assert name in page.text
    assert "\u202e" not in page.text
    assert r"right-to-left \u202egnp.png" in page.text
    assert r"not utf-8 \udcff <b>.png" in page.text


def test_names_of_bands_are_not_markup(tmp_path):
    metadata = {"axes": "CYX", "Channel": {"Name": ["<script>", "</style><b>"]}}
    options = {"photometric": "minisblack", "metadata": metadata, "ome": True}
    save(tmp_path / "in" / "a.tif", np.stack([GRAY8, GRAY8]), **options)
    code, page = report(tmp_path, tmp_path / "in")
    assert code == 0
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>" in page.text
    assert "</style><b>" in page.text


def test_thumbnails_are_sampled_evenly(tmp_path):
    count = 3 * MAX_THUMBNAILS
    for at in range(count):
        save(tmp_path / "in" / f"{at:03}.png", np.full((2, 3), at, np.uint8))
    _, page = report(tmp_path, tmp_path / "in", "--workers", "1")
    thumbnails = [content for kind, content in page.images() if kind == "image/jpeg"]
    assert len(thumbnails) == MAX_THUMBNAILS
    assert f"{MAX_THUMBNAILS} of {count} files" in page.text
    levels = [np.asarray(Image.open(io.BytesIO(each)))[0, 0] for each in thumbnails]
    steps = np.diff(np.array(levels, int))
    assert (levels[0], levels[-1]) == (0, count - 1)
    assert (steps.min(), steps.max()) == (3, 4)


def test_a_page_does_not_depend_on_the_number_of_workers(tmp_path):
    images(tmp_path / "in", 40, dtype="uint16")
    pages = []
    for workers in (1, 2):
        path = tmp_path / f"{workers}.html"
        options = ("--workers", workers, "--html", path)
        done = process("inspect", tmp_path / "in", *options)
        assert (done.returncode, done.stderr) == (0, "")
        pages.append(path.read_bytes())
    assert pages[0] == pages[1]


def test_kinds_and_bands_beyond_the_bounds_are_left_out():
    pictures = Pictures()
    for at in range(MAX_GROUPS + 3):
        bands = tuple(f"X{number}" for number in range(at + 1))
        image = np.zeros((2, 2, at + 1), np.uint8)
        pictures.add(Path(f"{at}"), image, gp.Source(bands, "HWC"))
    many = tuple(f"X{number}" for number in range(99))
    other = Pictures()
    other.add(Path("z"), np.zeros((2, 2, 99), np.uint8), gp.Source(many, nodata=7))
    assert [len(bands) for bands, _, _ in other.groups] == [MAX_BANDS]
    pictures.merge(other)
    assert len(pictures.groups) == MAX_GROUPS
    assert pictures.left_out == 4


def decode(content):
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def test_thumbnails_of_8_bits_are_not_stretched():
    ramp = np.repeat(np.linspace(50, 90, 16).astype(np.uint8), 16).reshape(16, 16)
    assert abs(decode(draw_thumbnail(ramp, gp.Source("gray"))) - ramp).max() <= 3
    bgr = np.stack([ramp, ramp + 50, ramp + 100], -1)
    shown = decode(draw_thumbnail(bgr, gp.Source("BGR")))
    assert abs(shown - bgr[..., ::-1]).max() <= 8


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_other_thumbnails_are_stretched(dtype):
    ramp = np.linspace(1000, 9000, 101 * 8).astype(dtype).reshape(101, 8)
    low, high = np.percentile(ramp, (2, 98))
    expected = np.clip((ramp - low) / (high - low), 0, 1) * 255
    bounds = {"range": (0, 10000)}
    shown = decode(draw_thumbnail(ramp, gp.Source("gray", **bounds)))
    assert abs(shown - expected).max() <= 4
    inverted = decode(draw_thumbnail(ramp, gp.Source("gray", range=(10000, 0))))
    assert abs(inverted - (255 - expected)).max() <= 4


def test_thumbnails_of_a_sensor_are_in_colour_and_without_nodata():
    source = gp.Source.from_sensor("sentinel-2-l2a", layout="CHW")
    image = np.zeros((12, 16, 16), np.uint16)
    ramp = np.repeat(np.linspace(1000, 9000, 15).astype(np.uint16), 16).reshape(15, 16)
    for band in ("B02", "B03", "B04"):
        image[source.bands.index(band), 1:] = ramp
    image[:, 1:][image[:, 1:] == 0] = 1
    shown = decode(draw_thumbnail(image, source))
    assert shown.shape == (16, 16, 3)
    assert shown[-1].min() >= 250  # not as dark as with nodata in the percentiles
    assert abs(shown[8].mean() - 255 * 0.5) < 12


def test_thumbnails_are_small_and_of_any_shape():
    for shape, source in [
        ((1, 900), gp.Source("gray")),
        ((1500, 700), gp.Source("gray")),
        ((3, 40, 50), gp.Source("gray", "NHW")),
        ((5, 40, 50), gp.Source(("a", "b", "c", "d", "e"), "CHW")),
    ]:
        shown = decode(draw_thumbnail(np.zeros(shape, np.uint8), source))
        assert max(shown.shape) <= THUMBNAIL_SIZE
    source = gp.Source("gray", nodata=0)
    assert not decode(draw_thumbnail(np.zeros((4, 4), np.uint16), source)).any()
    broken = np.full((4, 4), np.nan, np.float32)
    assert not decode(draw_thumbnail(broken, gp.Source("gray"))).any()


def test_sample_takes_the_first_and_the_last():
    paths = [Path(str(number)) for number in range(1000)]
    chosen = sample(paths)
    assert (len(chosen), chosen[0], chosen[-1]) == (MAX_THUMBNAILS, paths[0], paths[-1])
    assert sample(paths[:3]) == paths[:3]
    assert sample([]) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.png", "ends in .html"),
        ("report", "ends in .html"),
        ("missing/report.html", "does not exist"),
        ("folder.html", "it is a folder"),
        ("link.html", "ends in .html"),
    ],
)
def test_names_that_cannot_be_a_page_are_refused(tmp_path, capsys, name, message):
    image = save(tmp_path / "a.png", GRAY8)
    content = image.read_bytes()
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "link.html").symlink_to(image)
    argv = ["inspect", str(tmp_path), "--html", str(tmp_path / name)]
    assert main(argv) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert image.read_bytes() == content


def test_missing_jinja_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    argv = ["inspect", str(tmp_path), "--html", str(tmp_path / "a.html")]
    assert main(argv) == 1
    assert 'pip install "graypipe[demo]"' in capsys.readouterr().err


def test_a_page_of_a_preview_says_what_convert_writes(folder, tmp_path):
    (folder / "IM1.dcm").write_bytes(bytes(128) + b"DICM" + bytes(50))
    plan = ("--source", "gray:dtype=uint8", "--target", "imagenet")
    _, page = report(tmp_path, folder, *plan)
    assert "cannot be converted" in page.text
    assert "convert writes: 3x21x34 (CHW) float32 in 1" in page.text


def test_a_page_of_a_folder_without_images_can_be_written(tmp_path):
    (tmp_path / "in").mkdir()
    code, page = report(tmp_path, tmp_path / "in")
    assert code == 0
    assert page.images() == []
    assert "No file has an error or a note." in page.text
