"""Formats of files that contain many images each, with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .output_format import DataSet, OutputFormat, check_unicode

DEFAULT_SHARD_IMAGES = 1000


@dataclass(frozen=True)
class Shards(OutputFormat):
    """Files ``shard-000000``, ``shard-000001``, ... of consecutive images.

    Parameters
    ----------
    shard_images : int
        The number of images of a shard. The last shard may have fewer.
    """

    shard_images: int = DEFAULT_SHARD_IMAGES

    suffix: ClassVar[str]
    has_labels = True
    is_numbered = True

    def settings(self, data_set: DataSet) -> dict[str, Any]:
        """Return what shards depend on besides their images."""
        settings: dict[str, Any] = {
            "shard_images": self.shard_images,
            # Another list of classes would change the labels.
            "classes": list(data_set.classes),
        }
        if data_set.shape is not None:
            settings["shape"] = list(data_set.shape)
        return settings

    def check_names(self, paths: Sequence[str]) -> None:
        """Check that the names can be stored."""
        check_unicode(paths)

    def assign(
        self,
        paths: Sequence[str],
        data_set: DataSet,  # noqa: ARG002
    ) -> dict[str, tuple[str, ...]]:
        """Assign consecutive images to a shard."""
        shards: dict[str, tuple[str, ...]] = {}
        for first in range(0, len(paths), self.shard_images):
            name = f"shard-{first // self.shard_images:06}{self.suffix}"
            shards[name] = tuple(paths[first : first + self.shard_images])
        return shards
