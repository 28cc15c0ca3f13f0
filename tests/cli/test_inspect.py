"""``graypipe inspect``: the records, notes and summary of files made for the tests."""

import json
import os
import sys
import termios
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from image_sets import process, save
from PIL import Image
from sentinel2 import sentinel_2

import graypipe as gp
from graypipe.batch_jobs.chunks import MAX_FILES
from graypipe.cli import inspect, main
from graypipe.serialization import to_record

RNG = np.random.default_rng(3)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
GRAY12 = RNG.integers(0, 4096, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


@pytest.fixture
def inspect_json(capsys):
    """Return a function that runs ``inspect --json``.

    It returns the exit code, the records by the name of the file, and the summary.
    """

    def inspect_json(*paths):
        exit_code = main(["inspect", "--json", *map(str, paths)])
        document = json.loads(capsys.readouterr().out)
        records = {Path(record["path"]).name: record for record in document["files"]}
        return exit_code, records, document["summary"]

    return inspect_json


def inspect_in_process(*argv, **options):
    """Run the command in a process in which warnings are errors; its output is bytes."""
    options = {"text": False, **options}
    return process("inspect", *argv, python_options=("-W", "error"), **options)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.png", GRAY8),
        ("b.png", GRAY16),
        ("c.jpg", RGB8),
        ("d.tif", GRAY16),
        ("e.npy", GRAY12),
        ("f.png", GRAY8 > 99),
    ],
)
def test_record_describes_the_file_and_how_it_is_read(
    tmp_path, inspect_json, name, array
):
    path = save(tmp_path / name, array)
    code, records, summary = inspect_json(path)

    record = records[name]
    image, source = gp.read(path)
    assert (code, record["kind"], record["error"]) == (0, "image", None)
    assert record["source"] == json.loads(json.dumps(to_record(source)))
    assert record["values"] == [image.min(), image.max()]
    assert (record["width"], record["height"], record["frames"]) == (34, 21, 1)
    assert (record["dtype"], record["alpha"], record["orientation"]) == (
        array.dtype.name,
        False,
        1,
    )
    assert summary["kinds"] == {"image": 1}
    assert summary["errors"] == 0


def floats(low, high, *others):
    image = np.linspace(low, high, 20 * 30, dtype=np.float32).reshape(20, 30)
    image.flat[5 : 5 + len(others)] = others
    return image


def up_to(high, dtype):
    image = np.zeros((20, 30), dtype)
    image[3, 4] = high
    return image


@pytest.mark.parametrize(
    ("name", "array", "note"),
    [
        ("a.png", up_to(4095, "uint16"), "bits=12"),
        ("a.png", up_to(4096, "uint16"), "bits=14"),
        ("a.tif", up_to(1023, "uint16"), "bits=10"),
        ("a.npy", up_to(255, "uint16"), "bits=8"),
        ("a.png", up_to(16384, "uint16"), None),
        ("a.png", up_to(63, "uint8"), "low dynamic range: maximum 63 of 255"),
        ("a.png", up_to(64, "uint8"), None),
        ("a.png", up_to(1, "uint8"), None),
        ("a.png", np.full((5, 6), 7, np.uint8), "constant: all pixels are 7"),
        ("a.png", np.zeros((5, 6, 3), np.uint8), "all bands are constant"),
        ("a.png", RGB8 * np.array([1, 0, 1], np.uint8), "constant bands: G"),
        ("a.tif", floats(0, 1), None),
        ("a.tif", floats(0, 255), "from 0 to 255, not from 0 to 1"),
        ("a.tif", floats(-2, 1), "range="),
        ("a.tif", floats(0, 1, np.nan), "nodata"),
        ("a.tif", floats(0, 1, np.inf), "infinite"),
        ("a.tif", np.full((4, 5), np.nan, np.float32), "all values are NaN"),
        ("a.tif", np.full((4, 5), np.inf, np.float32), "contains infinite values"),
        ("a.png", np.dstack([RGB8, np.full((21, 34), 255, np.uint8)]), "opaque"),
    ],
)
def test_notes_name_only_what_looks_wrong(tmp_path, inspect_json, name, array, note):
    code, records, _ = inspect_json(save(tmp_path / name, array))

    notes = records[name]["notes"]
    assert (code, records[name]["error"]) == (0, None)
    if note:
        assert note in " | ".join(notes)
    else:
        assert notes == []


@pytest.mark.parametrize(
    ("values", "notes"),
    [
        ([np.nan, np.nan], ["all values are NaN"]),
        ([0, np.inf], ["contains infinite values"]),
        (
            [np.nan, np.inf],
            [
                "contains NaN, which propagates to the output unless "
                "nodata=float('nan') is declared",
                "contains infinite values",
            ],
        ),
    ],
)
def test_notes_distinguish_nan_and_infinity(tmp_path, inspect_json, values, notes):
    _, records, _ = inspect_json(
        save(tmp_path / "a.npy", np.array([values], np.float32))
    )
    assert records["a.npy"]["notes"] == notes


def transparent(path):
    save(path, np.dstack([RGB8, GRAY8]))


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(path, GRAY8, exif=exif)


def moving(path):
    Image.fromarray(GRAY8).save(
        path, format="GIF", save_all=True, append_images=[Image.fromarray(GRAY8[::-1])]
    )


def cut(path):
    data = save(path, GRAY16).read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("make", "kind", "facts"),
    [
        (transparent, "image", {"alpha": True, "mode": "RGBA"}),
        (turned, "image", {"orientation": 6}),
        (moving, "image", {"frames": 2, "format": "GIF"}),
        (cut, None, {}),
        (lambda path: path.write_bytes(b""), "unreadable", {}),
        (lambda path: path.write_text("no image"), "unreadable", {}),
    ],
)
def test_an_unreadable_file_gives_the_reason_and_exits_with_1(
    tmp_path, capsys, make, kind, facts
):
    path = tmp_path / "odd.png"
    make(path)
    with pytest.raises(gp.ReadError) as caught:
        gp.read(path)

    assert main(["inspect", "--json", str(tmp_path)]) == 1

    printed = capsys.readouterr()
    assert (
        printed.err
        == "graypipe: error: 1 of 1 files cannot be read with the default options\n"
    )
    (record,) = json.loads(printed.out)["files"]
    assert kind in (None, record["kind"])
    assert f"{path}: {record['error']}" == " ".join(str(caught.value).split())
    assert record.items() >= facts.items()
    assert not {"source", "values"} & set(record)


def test_other_files_are_errors_only_as_arguments(tmp_path, inspect_json):
    save(tmp_path / "image.png", GRAY8)
    text = tmp_path / "labels.csv"
    jp2 = tmp_path / "set" / "of a kind that is not read.JP2"
    text.write_text("image.png,1\n")

    code, records, summary = inspect_json(tmp_path)
    assert (code, records["labels.csv"]["kind"]) == (0, "no image")
    assert summary["kinds"] == {"image": 1, "no image": 1}

    jp2.parent.mkdir()
    jp2.write_bytes(b"\0\0\0\x0cjP  ")
    code, records, _ = inspect_json(text, tmp_path / "missing.png", jp2.parent)
    assert (code, len(records)) == (1, 3)
    assert {record["kind"] for record in records.values()} == {"unreadable"}
    assert "No such file" in records["missing.png"]["error"]


def test_dicom_files_are_recognised_and_get_advice(tmp_path, inspect_json):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(50))
    code, records, _ = inspect_json(tmp_path)
    assert (code, records["IM0001"]["kind"]) == (0, "DICOM")
    assert "CT needs window=" in records["IM0001"]["notes"][0]


def test_header_of_a_dicom_file_is_listed(tmp_path, capsys):
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.set_pixel_data(GRAY12, "MONOCHROME1", bits_stored=12)
    dataset.save_as(tmp_path / "IM0001", enforce_file_format=True)
    assert main(["inspect", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split()[:5] == ["DICOM", "MONOCHROME1", "34x21", "uint16", "1"]


def test_summary_notes_different_modes_sizes_and_dtypes(tmp_path, inspect_json):
    for at in range(5):
        save(tmp_path / "gray" / f"{at}.png", GRAY8)
    save(tmp_path / "rgb" / "odd one.png", RGB8)
    save(tmp_path / "turned" / "tall.png", GRAY16.T)

    _, _, summary = inspect_json(tmp_path)
    assert summary["modes"] == {"L": 5, "RGB": 1, "I;16": 1}
    assert summary["sizes"] == {"34x21": 6, "21x34": 1}
    assert summary["dtypes"] == {"uint8": 6, "uint16": 1}
    assert summary["bands"] == {"gray": 6, "R,G,B": 1}
    modes, sizes, dtypes, bands = summary["notes"]
    assert modes.startswith("modes differ: L in 5, RGB in 1 (first ")
    assert "odd one.png" in modes
    assert "tall.png" in sizes
    assert "uint16 in 1" in dtypes
    assert "R,G,B in 1" in bands

    assert inspect_json(tmp_path / "gray")[2]["notes"] == []


def test_bit_depth_advice_is_about_all_files(tmp_path, inspect_json):
    for at, high in enumerate((900, 4095, 300)):
        save(tmp_path / f"{at}.png", up_to(high, "uint16"))
    assert ["bits=12" in note for note in inspect_json(tmp_path)[2]["notes"]] == [True]
    save(tmp_path / "full.png", up_to(65535, "uint16"))
    assert inspect_json(tmp_path)[2]["notes"] == []


def test_table_has_a_line_per_file_with_notes_below(tmp_path, capsys):
    save(tmp_path / "a.png", up_to(4095, "uint16"))
    save(tmp_path / "b.jpg", RGB8)
    transparent(tmp_path / "c.png")
    (tmp_path / "notes.txt").write_text("no image")

    assert main(["inspect", str(tmp_path)]) == 1

    (
        head,
        deep,
        advice,
        options,
        colour,
        odd,
        reason,
        others,
        blank,
        counts,
        *summary,
    ) = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "FORMAT",
        "MODE",
        "SIZE",
        "DTYPE",
        "BANDS",
        "VALUES",
        "FILE",
    ]
    assert deep.split() == [
        "PNG",
        "I;16",
        "30x20",
        "uint16",
        "gray",
        "0..4095",
        str(tmp_path / "a.png"),
    ]
    assert advice.strip().endswith("declare bits=12 if the device delivers 12 bits")
    assert options.strip() == "try: --source gray:12"
    assert others.strip() == "try: --alpha white or --alpha black or --alpha drop"
    assert colour.split()[:5] == ["JPEG", "RGB", "34x21", "uint8", "RGB"]
    assert odd.split() == [
        "PNG",
        "RGBA",
        "34x21",
        "uint8",
        "3",
        "-",
        str(tmp_path / "c.png"),
    ]
    assert reason.strip().startswith("error: ")
    assert "alpha=" in reason
    assert (blank, counts) == ("", "image: 3, no image: 1")
    assert "modes differ" in summary[0]
    assert (
        len(head) - len("FILE")
        == deep.index(str(tmp_path))
        == colour.index(str(tmp_path))
    )


def test_folders_are_sorted_and_cycles_of_links_are_left_out(tmp_path, inspect_json):
    names = ["10.png", "9.png", "b/1.png", "b/c/2.png", "é/3.png"]
    for name in reversed(names):
        save(tmp_path / name, GRAY8)
    (tmp_path / "b" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "broken.png").symlink_to(tmp_path / "nowhere")

    exit_code, records, _ = inspect_json(tmp_path)
    assert exit_code == 1
    assert "No such file" in records.pop("broken.png")["error"]
    assert [record["path"] for record in records.values()] == [
        str(tmp_path / name) for name in names
    ]


def test_links_to_folders_are_followed(tmp_path, inspect_json):
    save(tmp_path / "elsewhere" / "a.png", GRAY8)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train").symlink_to(
        tmp_path / "elsewhere", target_is_directory=True
    )
    assert set(inspect_json(tmp_path / "set")[1]) == {"a.png"}


def test_an_empty_folder_has_no_files(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("\nno files\n")


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    done = inspect_in_process("--json", tmp_path)
    assert done.returncode == 1
    assert "pipe" in json.loads(done.stdout)["files"][0]["error"]


def test_unprintable_file_names_are_escaped(tmp_path):
    for name in (b"caf\xc3\xa9.png", b"line\nbreak.png", b"not-utf8-\xff.png"):
        data = save(tmp_path / "plain.png", GRAY8).read_bytes()
        (tmp_path / os.fsdecode(name)).write_bytes(data)

    table = inspect_in_process(
        tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (table.returncode, table.stderr) == (0, b"")
    for shown in (rb"caf\xe9.png", rb"line\nbreak.png", rb"not-utf8-\udcff.png"):
        assert shown in table.stdout
    paths = [
        record["path"]
        for record in json.loads(inspect_in_process("--json", tmp_path).stdout)["files"]
    ]
    assert all(Path(path).exists() for path in paths)
    assert len(paths) == 4


def test_a_closed_pipe_ends_the_command_silently(tmp_path):
    for at in range(3):
        save(tmp_path / f"{at}.png", GRAY8)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed_pipe:
        done = inspect_in_process(tmp_path, stdout=closed_pipe)
    assert (done.returncode, done.stderr) == (1, b"")


def test_files_are_printed_before_all_of_them_are_read(tmp_path, capsys, monkeypatch):
    for at in range(2 * MAX_FILES + 1):
        save(tmp_path / f"{at:02}.png", GRAY8)
    printed = []
    examine_files = inspect.examine_files

    def recording_examine(job, paths):
        printed.append(capsys.readouterr().out)
        return examine_files(job, paths)

    monkeypatch.setattr(inspect, "examine_files", recording_examine)
    assert main(["inspect", "--workers", "1", str(tmp_path)]) == 0
    assert ["00.png" in text for text in printed] == [False, True, False]
    assert ["16.png" in text for text in printed] == [False, False, True]


def test_memory_does_not_grow_with_the_number_of_files(tmp_path, capsys):
    for at in range(24):
        save(tmp_path / "many" / f"{at}.npy", np.full((512, 1024), at, np.uint16))
        save(tmp_path / "few" / f"{at % 2}.npy", np.full((512, 1024), at, np.uint16))

    peaks = []
    # The first run pays for imports.
    for folder in ("few", "few", "many"):
        tracemalloc.start()
        assert main(["inspect", str(tmp_path / folder)]) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 2**20
    assert len(capsys.readouterr().out) > 24


def test_progress_bar_is_not_part_of_the_output(tmp_path):
    for at in range(3):
        save(tmp_path / f"{at}.png", GRAY8)
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 80))
    done = inspect_in_process("--json", tmp_path, stderr=end)
    os.close(end)
    shown = b""
    # At its end the terminal raises OSError.
    while b"3/3" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert len(json.loads(done.stdout)["files"]) == 3


def test_missing_tqdm_names_the_extra_and_the_work_is_done(
    tmp_path, capsys, monkeypatch
):
    for at in range(2):
        save(tmp_path / f"{at}.png", GRAY8)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["inspect", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert 'pip install "graypipe[io]"' in printed.err
    assert "1.png" in printed.out
    assert main(["inspect", str(tmp_path / "0.png")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("array", "options", "note"),
    [
        (GRAY12, {"bitspersample": 12}, None),
        (GRAY8 >> 4, {"bitspersample": 4}, None),
        (up_to(3, "uint8"), {"bitspersample": 4}, "low dynamic range: maximum 3 of 15"),
        (
            np.full((8, 8), 7, np.uint32),
            {"bitspersample": 24},
            "constant: all pixels are 7",
        ),
        (
            floats(0, 1, -9999, -9999),
            {"extratags": [(42113, "s", 0, "-9999", True)]},
            None,
        ),
        (
            np.where(GRAY12 > 4000, 65535, GRAY12).astype("uint16"),
            {"extratags": [(42113, "s", 0, "65535", True)]},
            "bits=12",
        ),
        (
            np.full((8, 8), 3, np.uint8),
            {"extratags": [(42113, "s", 0, "3", True)]},
            "all pixels are nodata",
        ),
    ],
)
def test_advice_respects_the_metadata_of_the_file(
    tmp_path, inspect_json, array, options, note
):
    code, records, _ = inspect_json(
        save(tmp_path / "a.tif", array, photometric="minisblack", **options)
    )
    notes = records["a.tif"]["notes"]
    assert (code, records["a.tif"]["error"]) == (0, None)
    if note:
        assert note in " | ".join(notes)
    else:
        assert notes == []
    if "extratags" in options and note != "all pixels are nodata":
        assert (
            min(map(abs, records["a.tif"]["values"]))
            < max(map(abs, records["a.tif"]["values"]))
            <= 4095
        )


def test_no_bit_depth_advice_if_the_files_declare_it(tmp_path, inspect_json):
    for at in range(2):
        save(tmp_path / f"{at}.tif", GRAY12, bitspersample=12)
    assert inspect_json(tmp_path)[2]["notes"] == []


def test_nodata_in_one_band_excludes_the_pixel(tmp_path, inspect_json):
    image = RGB8.copy()
    image[0, 0] = (0, 9, 255)
    image[1:] = np.maximum(image[1:], 10)
    image[0, 1:] = np.maximum(image[0, 1:], 10)
    options = {"photometric": "rgb", "extratags": [(42113, "s", 0, "9", True)]}
    _, records, _ = inspect_json(save(tmp_path / "a.tif", image, **options))
    kept = image.reshape(-1, 3)[1:]
    assert records["a.tif"]["values"] == [kept.min(), kept.max()]


def test_a_link_to_a_parent_folder_is_not_followed(tmp_path, inspect_json):
    save(tmp_path / "above.png", GRAY8)
    save(tmp_path / "sub" / "in.png", GRAY8)
    (tmp_path / "sub" / "loop").symlink_to("..", target_is_directory=True)
    assert set(inspect_json(tmp_path / "sub")[1]) == {"in.png"}


def test_overlapping_arguments_list_each_file_once(tmp_path, inspect_json):
    for name in ("a.png", "sub/b.png"):
        save(tmp_path / name, GRAY8)
    for arguments in (
        [tmp_path, tmp_path / "sub"],
        [tmp_path / "sub", tmp_path],
        [tmp_path / "a.png", tmp_path, tmp_path],
    ):
        assert inspect_json(*arguments)[2]["kinds"] == {"image": 2}


def test_an_unreadable_file_is_reported_once(tmp_path, capsys):
    (tmp_path / "broken.bmp").write_bytes(b"BM" + bytes(60))
    assert main(["inspect", str(tmp_path / "broken.bmp")]) == 1
    assert capsys.readouterr().out.count("error: ") == 1


@pytest.fixture
def inspect_sensor(inspect_json):
    """Return a function that returns the notes of the summary for a sensor."""

    def inspect_sensor(sensor, *paths):
        exit_code, records, summary = inspect_json("--sensor", sensor, *paths)
        notes = [note for note in summary["notes"] if note.startswith(sensor)]
        return exit_code, records, notes

    return inspect_sensor


def test_sensor_finds_labels_that_are_rotated_from_the_ninth_band_on(
    tmp_path, inspect_sensor
):
    bands = gp.sensor("sentinel-2-l1c").bands
    held = (*bands[:8], "B09", "B10", "B11", "B12", "B8A")
    for name, order in {"right": bands, "rotated": held}.items():
        (tmp_path / name).mkdir()
        image = sentinel_2(order)
        for number, half in enumerate((image[:45], image[45:])):
            tifffile.imwrite(
                tmp_path / name / f"{number}.tif",
                half,
                photometric="minisblack",
                planarconfig="contig",
            )
    sensor = "sentinel-2-l1c-before-04.00"

    exit_code, records, notes = inspect_sensor(sensor, tmp_path / "right")
    assert exit_code == 0
    assert notes == [
        f"{sensor}: the statistics are plausible (files: 2, compared with the preset "
        "ssl4eo-s12-stats)"
    ]
    assert [record["notes"] for record in records.values()] == [[], []]

    exit_code, _, notes = inspect_sensor(sensor, tmp_path / "rotated")
    assert exit_code == 0
    assert "B8A, B09, B10, B11, B12 look like B09, B10, B11, B12, B8A" in notes[0]
    assert len(notes) == 3


def test_sensor_reads_dtypes_without_an_implied_range_and_skips_other_files(
    tmp_path, inspect_sensor
):
    hls = np.full((6, 13, 10, 12), 900, np.int16)[0]
    hls[:, 1] = -9999
    hls[:, 2:] = np.random.default_rng(1).integers(100, 5000, (13, 8, 12))
    tifffile.imwrite(
        tmp_path / "a.tif", hls, photometric="minisblack", planarconfig="separate"
    )
    save(tmp_path / "b.png", GRAY8)
    exit_code, records, notes = inspect_sensor("hls-s30", tmp_path)
    assert exit_code == 0
    assert records["a.tif"]["source"]["range"] == [0, 10000]
    [note] = records["b.png"]["notes"]
    assert note.startswith("not compared with the sensor: ")
    assert notes == [
        "hls-s30: the statistics are plausible (files: 1, compared with the preset "
        "prithvi-eo-2)"
    ]


def test_sensor_without_statistics_is_a_usage_error(tmp_path, capsys):
    for name, message in {"nikon": "gp.sensors()", "landsat-8-c2-l2": "naip"}.items():
        assert main(["inspect", str(tmp_path), "--sensor", name]) == 2
        assert message in capsys.readouterr().err


def test_sensor_of_another_level_names_the_one_that_fits(tmp_path, inspect_sensor):
    l1c = sentinel_2(gp.sensor("sentinel-2-l1c").bands)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    save(tmp_path / "a.tif", l1c, **options)

    _, records, notes = inspect_sensor("sentinel-2-l2a", tmp_path)
    [note] = records["a.tif"]["notes"]
    sibling = "sentinel-2-l1c-before-04.00"
    assert note == f"not compared with the sensor: the bands are those of {sibling}"
    assert notes == [
        "sentinel-2-l2a: there are files with the bands of another product: --sensor "
        f"{sibling} (files: 1)",
        "sentinel-2-l2a: no file could be compared",
    ]

    names = gp.sensor("sentinel-2-l2a").bands
    save(tmp_path / "a.tif", sentinel_2(names) + 1000, **options, **descriptions(names))
    _, _, notes = inspect_sensor("sentinel-2-l1c", tmp_path)
    assert "--sensor sentinel-2-l2a (files: 1)" in notes[0]


def descriptions(names):
    """Return the option of tifffile that stores band names as GDAL does."""
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{at}" role="description">{name}</Item>'
        for at, name in enumerate(names)
    )
    text = f"<GDALMetadata>{items}</GDALMetadata>"
    return {"extratags": [(42112, "s", None, text, True)]}


L2A = gp.sensor("sentinel-2-l2a").bands


@pytest.mark.parametrize(
    ("names", "offset", "expected"),
    [
        (L2A, 1000, ["sentinel-2-l2a"]),
        (L2A, 0, ["sentinel-2-l2a-before-04.00"]),
        (gp.sensor("sentinel-2-l1c").bands, 1000, ["sentinel-2-l1c"]),
        (("B02", "B03", "B04"), 1000, ["sentinel-2-l1c", "sentinel-2-l2a"]),
    ],
)
def test_sentinel_2_is_recognised(tmp_path, inspect_json, names, offset, expected):
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    if len(names) < len(L2A):
        options |= descriptions(names)
    path = save(tmp_path / "a.tif", sentinel_2(names) + offset, **options)
    code, records, summary = inspect_json(tmp_path)
    record = records["a.tif"]
    assert code == 0
    assert record["sensors"][: len(expected)] == expected
    assert " or ".join(expected) in record["notes"][0]
    assert "bits" not in "".join((*record["notes"], *summary["notes"]))
    # Advice does not change how the file is read.
    assert record["source"] == json.loads(json.dumps(to_record(gp.read(path)[1])))
    for option in record["options"]:
        argv = ["inspect", *option.split(), str(path)]
        assert main(argv) == 0, option


@pytest.mark.parametrize("option", [(), ("--sensor", "sentinel-2-l2a")])
def test_next_command_names_the_sensor_with_these_bands(tmp_path, capsys, option):
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    image = sentinel_2(L2A) + 1000
    path = save(tmp_path / "a.tif", image, **options, **descriptions(L2A))
    assert main(["inspect", str(path), *option]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert " --source sentinel-2-l2a --via R=B04,G=B03,B=B02 " in command
    assert main(command.split()[2:]) == 0


def test_next_command_does_not_name_an_implausible_sensor(tmp_path, capsys):
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    path = save(tmp_path / "a.tif", sentinel_2(L2A), **options, **descriptions(L2A))
    assert main(["inspect", str(path), "--sensor", "sentinel-2-l2a"]) == 0
    assert "--source sentinel-2" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (np.dstack([GRAY16] * 12), None),  # the median is no reflectance
        (np.dstack([GRAY12] * 11), None),
        (np.dstack([GRAY12] * 3), "RGB"),
        (np.dstack([GRAY12 >> 4] * 12), None),
        (np.dstack([GRAY12 >> 4] * 12).astype(np.uint8), None),
    ],
)
def test_other_images_are_not_taken_for_those_of_a_sensor(
    tmp_path, inspect_json, array, names
):
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    if names:
        options |= descriptions(names)
    _, records, _ = inspect_json(save(tmp_path / "a.tif", array, **options))
    assert "sensors" not in records["a.tif"]


def test_names_of_ome_channels_are_shown(tmp_path, capsys):
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP (488)"]}}
    stack = np.stack([GRAY8, GRAY8])
    options = {"photometric": "minisblack", "metadata": metadata, "ome": True}
    save(tmp_path / "a.tif", stack, **options)
    assert main(["inspect", str(tmp_path)]) == 0
    assert "bands: DAPI,GFP (488) in 1" in capsys.readouterr().out.splitlines()
