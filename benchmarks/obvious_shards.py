"""Typical scripts that write a folder of gray images as normalised arrays to shards.

Arguments: the folder, the output folder, the number of processes, and whose writer: "webdataset" (a pool of processes
converts, and `webdataset.ShardWriter` writes) or "datasets" (`datasets.Dataset.map` with processes, then `to_parquet`).
"""

import os
import sys
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from benchmarks.obvious_conversion import normalised


def sample(path: Path) -> dict[str, Any]:
    return {"__key__": path.stem, "npy": normalised(path)}


def with_webdataset(folder: Path, out: Path, workers: int) -> None:
    from webdataset import ShardWriter

    pattern = f"{out}/shard-%06d.tar"
    with (
        Pool(workers) as pool,
        ShardWriter(pattern, maxcount=1000, verbose=0) as writer,
    ):
        for converted in pool.imap(sample, sorted(folder.iterdir()), chunksize=16):
            writer.write(converted)


def with_datasets(folder: Path, out: Path, workers: int) -> None:
    # Before the import: where `map` keeps its results, and no progress bars.
    os.environ["HF_DATASETS_CACHE"] = str(out / "cache")
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    from datasets import Array3D, Dataset, Features, Value

    paths = sorted(map(str, folder.iterdir()))
    height, width = normalised(Path(paths[0])).shape[1:]
    features = Features(
        {"image": Array3D((3, height, width), "float32"), "name": Value("string")}
    )
    table = Dataset.from_dict({"name": paths}).map(
        add_image, features=features, num_proc=workers, writer_batch_size=100
    )
    table.to_parquet(out / "shard-000000.parquet")


def add_image(row: dict[str, Any]) -> dict[str, Any]:
    return {"image": normalised(Path(row["name"]))}


WRITERS = {"webdataset": with_webdataset, "datasets": with_datasets}


def main(folder: str, out: str, workers: str, writer: str) -> None:
    Path(out).mkdir()
    WRITERS[writer](Path(folder), Path(out), int(workers))


if __name__ == "__main__":
    main(*sys.argv[1:])
