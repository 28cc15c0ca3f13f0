"""How files are split into chunks."""

import tracemalloc

from graypipe.batch_jobs import chunks
from graypipe.cli.image_files import list_images


def files_of_size(folder, sizes):
    paths = []
    for index, size in enumerate(sizes):
        paths.append(folder / f"{index:03}")
        with paths[-1].open("wb") as file:
            file.truncate(size)
    return paths


def test_a_chunk_has_at_most_16_small_files_in_order(tmp_path):
    paths = files_of_size(tmp_path, [10] * 35)
    result = list(chunks.split_into_chunks(paths))
    assert [len(chunk) for chunk in result] == [16, 16, 3]
    assert [path for chunk in result for path in chunk] == paths


def test_a_chunk_of_large_files_is_limited_by_size(tmp_path):
    limit = chunks.MAX_BYTES
    paths = files_of_size(tmp_path, [limit // 2, limit // 2, 1, 3 * limit, 1, 1])
    assert [len(chunk) for chunk in chunks.split_into_chunks(paths)] == [2, 1, 1, 2]


def test_a_missing_file_is_part_of_a_chunk(tmp_path):
    assert list(chunks.split_into_chunks([tmp_path / "gone"])) == [[tmp_path / "gone"]]


def test_no_files_give_no_chunks():
    assert list(chunks.split_into_chunks([])) == []


def test_the_names_of_many_files_take_little_memory(tmp_path):
    count = 2000
    for index in range(count):
        (tmp_path / f"{index:030}.png").touch()
    tracemalloc.start()
    try:
        result = list(chunks.split_into_chunks(list_images(tmp_path), tmp_path))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, result)) == count
    assert size < 200 * count  # a Path takes 400 bytes
