"""Chunks: the same files give the same chunks."""

from graypipe.batch_jobs import chunks


def sized(folder, sizes):
    paths = []
    for at, size in enumerate(sizes):
        paths.append(folder / f"{at:03}")
        with paths[-1].open("wb") as file:
            file.truncate(size)
    return paths


def test_small_files_come_sixteen_at_once_in_their_order(tmp_path):
    paths = sized(tmp_path, [10] * 35)
    found = list(chunks.split_into_chunks(paths))
    assert [len(chunk) for chunk in found] == [16, 16, 3]
    assert [path for chunk in found for path in chunk] == paths


def test_large_files_come_fewer_at_once_and_the_largest_alone(tmp_path):
    most = chunks.MAX_BYTES
    paths = sized(tmp_path, [most // 2, most // 2, 1, 3 * most, 1, 1])
    assert [len(chunk) for chunk in chunks.split_into_chunks(paths)] == [2, 1, 1, 2]


def test_a_file_that_is_gone_is_left_to_whoever_reads_it(tmp_path):
    assert list(chunks.split_into_chunks([tmp_path / "gone"])) == [[tmp_path / "gone"]]


def test_nothing_makes_no_chunk():
    assert list(chunks.split_into_chunks([])) == []
