"""Formats of files that contain one image each."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ...errors import GraypipeError, LayoutError
from ..stated_plans import JobPlans
from .output_format import DataSet, OutputFormat, extra_axes


class SingleImages(OutputFormat):
    """One file per image, with the same name except for the suffix."""

    suffix: ClassVar[str]

    def check_names(self, paths: Sequence[str]) -> None:
        """Check that no two images have the same output, or that of a folder."""
        sources: dict[str, str] = {}
        for path in paths:
            output = self._output_name(path)
            first_path = sources.setdefault(output, path)
            if first_path != path:
                raise GraypipeError(
                    f"{first_path} and {path} would both be written to {output}: "
                    "rename one of them, or convert them from separate folders"
                )
        folders = {folder for path in paths for folder in Path(path).parents}
        for folder in folders:
            if str(folder) in sources:
                raise GraypipeError(
                    f"{sources[str(folder)]} would be written to {folder}, which is "
                    "the name of a folder with images: rename one of them"
                )

    def assign(
        self,
        paths: Sequence[str],
        data_set: DataSet,  # noqa: ARG002
    ) -> dict[str, tuple[str, ...]]:
        """Assign every image to a file of its own."""
        return {self._output_name(path): (path,) for path in paths}

    def _output_name(self, path: str) -> str:
        """Return the name of the file of an image."""
        return str(Path(path).with_suffix(self.suffix))


class ImageFiles(SingleImages):
    """Files of the layout (H, W) or (H, W, C)."""

    def check(self, plans: JobPlans) -> None:
        """Check that a file can store a single image with the bands of the target."""
        axes = extra_axes(plans)
        if axes:
            raise LayoutError(
                f"a {self.suffix} file stores a single image, but the source also has "
                f"the axes {axes!r}: use --to npy"
            )

    def holds_stacks(self, plans: JobPlans) -> bool:  # noqa: ARG002
        """Return False: a file stores a single image."""
        return False

    def layout(self, plans: JobPlans) -> str | None:
        """Return "HW" for one band, otherwise "HWC"."""
        return picture_layout(plans)


def picture_layout(plans: JobPlans) -> str:
    """Return the layout of image files: "HW" for one band, otherwise "HWC"."""
    if len(plans.target.bands) == 1:
        return "HW"
    return "HWC"
