"""NumPy files: memory-mapped unless compressed, never unpickled, with declared axes."""

import zipfile

import numpy as np
import pytest

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(6)
DEEP = RNG.integers(0, 4096, (21, 34), dtype=np.uint16)
CUBE = RNG.random((13, 7, 9), dtype=np.float32)
THIRTEEN = tuple(f"B{number:02}" for number in range(1, 14))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "<u2", ">u2", "<f4", ">f8", "float16"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_two_axes_are_mapped(tmp_path, dtype, order):
    expected = np.asarray(
        DEEP % 2 if dtype == "bool" else DEEP % 256, dtype, order=order
    )
    np.save(tmp_path / "image.npy", expected)
    image, source = gp.read(
        tmp_path / "image.npy", range=(0, 1) if dtype == "bool" else (0, 255)
    )
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, type(image)) == (expected.dtype, np.ndarray)
    assert not image.flags.writeable
    assert source.dtype == expected.dtype.name
    assert gp.plan(source, "imagenet")(image).shape == (3, 21, 34)
    header = facts(tmp_path / "image.npy")
    assert (header["format"], header["height"], header["width"], header["dtype"]) == (
        "NPY",
        21,
        34,
        source.dtype,
    )


def test_a_mapped_array_follows_its_file(tmp_path):
    np.save(tmp_path / "image.npy", DEEP)
    image, _ = gp.read(tmp_path / "image.npy")
    with (tmp_path / "image.npy").open("r+b") as file:
        file.seek(-2, 2)
        file.write((DEEP[-1, -1] ^ 1).tobytes())
    assert image[-1, -1] == DEEP[-1, -1] ^ 1


def test_axes_must_be_declared(tmp_path):
    path = tmp_path / "cube.npy"
    np.save(path, CUBE)
    with pytest.raises(gp.LayoutError, match=r"cube\.npy: .*\(13, 7, 9\).*HWC.*CHW"):
        gp.read(path)
    with pytest.raises(gp.ChannelError, match=r"cube\.npy: .*13 bands.*'CHW'"):
        gp.read(path, bands=THIRTEEN)
    image, source = gp.read(path, bands=THIRTEEN, layout="CHW")
    np.testing.assert_array_equal(image, CUBE)
    assert source == gp.Source(THIRTEEN, "CHW", dtype="float32")
    assert gp.read(path, layout="NHW")[1].layout == "NHW"
    assert facts(path)["width"] is None


def test_integers_without_implied_range_require_one(tmp_path):
    path = tmp_path / "scan.npy"
    for dtype in ("int8", "int16", "int32", "uint32", "int64"):
        np.save(path, (DEEP % 100).astype(dtype))
        with pytest.raises(
            gp.ReadError, match=rf"scan\.npy: the file holds {dtype}.*range=.*bits="
        ):
            gp.read(path)
        image, source = gp.read(path, bits=7)
        assert (image.dtype, source.bits) == (np.dtype(dtype), 7)


def test_npz_arrays_are_chosen_by_key_or_index(tmp_path):
    path = tmp_path / "pair.npz"
    for save, mapped in ((np.savez, True), (np.savez_compressed, False)):
        save(path, image=DEEP, mask=DEEP > 9, turned=np.asfortranarray(DEEP))
        with pytest.raises(
            gp.ReadError, match=r"pair\.npz: .*\['image', 'mask', 'turned'\].*frame="
        ):
            gp.read(path)
        for key, expected in (
            ("image", DEEP),
            ("mask", DEEP > 9),
            (0, DEEP),
            (1, DEEP > 9),
            ("turned", DEEP),
        ):
            image, source = gp.read(path, frame=key)
            np.testing.assert_array_equal(image, expected)
            assert image.flags.writeable is not mapped
            assert source.dtype == expected.dtype.name
        for wrong in ("other", 3, -1, True):
            with pytest.raises(gp.ReadError, match="frame="):
                gp.read(path, frame=wrong)
        save(path, DEEP)
        np.testing.assert_array_equal(gp.read(path)[0], DEEP)
        assert facts(path)["mode"] == "uint16 (21, 34)"


def test_objects_and_records_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was unpickled",))

    for array in (
        np.array([[Trap()]]),
        np.zeros((2, 2), "u1,u2"),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), "M8[s]"),
    ):
        np.save(tmp_path / "other.npy", array)
        np.savez(tmp_path / "other.npz", array)
        for name in ("other.npy", "other.npz"):
            with pytest.raises(gp.ReadError, match=rf"{name}: "):
                gp.read(tmp_path / name)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_arrays_are_refused_with_a_cure(tmp_path, dtype):
    np.save(tmp_path / "other.npy", np.zeros((2, 2), dtype))
    with pytest.raises(
        gp.ReadError, match=f"holds {dtype}: save the real part or the magnitude"
    ):
        gp.read(tmp_path / "other.npy")


def test_arrays_of_the_wrong_size_are_damage(tmp_path):
    np.save(tmp_path / "image.npy", DEEP)
    whole = (tmp_path / "image.npy").read_bytes()
    for content in (
        whole[:-1],
        whole + b"\0",
        whole[:100],
        whole.replace(b"(21, 34)", b"(21, 35)"),
    ):
        (tmp_path / "image.npy").write_bytes(content)
        with pytest.raises(gp.ReadError, match=r"image\.npy: .*damaged"):
            gp.read(tmp_path / "image.npy")
    np.save(tmp_path / "image.npy", np.zeros((0, 4)))
    with pytest.raises(gp.ReadError, match=r"shape \(.*\) is empty"):
        gp.read(tmp_path / "image.npy")
    np.save(tmp_path / "image.npy", np.full((3, 4), 7, np.uint8).view(bool))
    with pytest.raises(
        gp.ReadError, match="boolean array contains bytes other than 0 and 1"
    ):
        gp.read(tmp_path / "image.npy")


def test_archives_without_arrays_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        archive.writestr("words.txt", "no image")
    with pytest.raises(gp.ReadError, match=r"words\.zip: expected arrays"):
        gp.read(tmp_path / "words.zip")


def test_compressed_bombs_are_refused(tmp_path, monkeypatch):
    from PIL import Image

    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((2000, 2000), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(gp.ReadError, match=r"bomb\.npz: .*MAX_IMAGE_PIXELS"):
        gp.read(tmp_path / "bomb.npz")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert gp.read(tmp_path / "bomb.npz")[0].shape == (2000, 2000)


def test_the_crc_of_a_mapped_array_is_checked(tmp_path):
    path = tmp_path / "large.npz"
    np.savez(path, np.zeros((300, 400), np.uint16))
    data = bytearray(path.read_bytes())
    data[200_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(gp.ReadError, match=r"large\.npz: .*checksum differs"):
        gp.read(path)
