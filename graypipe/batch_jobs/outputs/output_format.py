"""What every value of ``graypipe convert --to`` defines.

An output file is made of one or several images. Which ones depends only on the sorted
list of the images, so that the outputs are the same for any number of workers.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from ...errors import GraypipeError
from ...target import Target
from ..stated_plans import JobPlans

if TYPE_CHECKING:
    from ..folders import OutputFolder

RGB = ("R", "G", "B")


class Sample(NamedTuple):
    """A converted image.

    Parameters
    ----------
    path : str
        The image file, relative to the folder of the images.
    array : numpy.ndarray
        The output of the plan, C-contiguous.
    label : int or None
        The index of its class; None if it lies directly in the folder of the images.
    """

    path: str
    array: NDArray[Any]
    label: int | None


class DataSet(NamedTuple):
    """What the images of a job have in common.

    Parameters
    ----------
    plans : Plans or StatedPlans
        The plans. Their target is in the layout of the output format.
    classes : tuple of str
        The names of the classes, see `list_classes`.
    shape : tuple of int or None
        The shape of every converted image; None if they may differ.
    """

    plans: JobPlans
    classes: tuple[str, ...]
    shape: tuple[int, ...] | None


class OutputFormat(ABC):
    """A value of ``--to``. Instances are picklable."""

    # Whether outputs contain labels.
    has_labels = False

    # Whether outputs are numbered. Then an image belongs to another output when images
    # before it are added or removed.
    is_numbered = False

    # Whether a place is reserved for every image, so that none can be left out.
    needs_every_image = False

    @abstractmethod
    def check(self, plans: JobPlans) -> None:
        """Check that the outputs can store what the plans produce.

        Raises
        ------
        GraypipeError
            If they cannot; the message names a format that can.
        """

    @abstractmethod
    def layout(self, plans: JobPlans) -> str | None:
        """Return the layout of the outputs, or None for that of the target."""

    def holds_stacks(self, plans: JobPlans) -> bool:  # noqa: ARG002
        """Return whether an image may have one more axis in front, of its frames."""
        return True

    def needs_one_shape(self, plans: JobPlans) -> bool:  # noqa: ARG002
        """Return whether all converted images must have the same shape."""
        return False

    def check_shape(self, shape: tuple[int, ...], target: Target) -> None:  # noqa: B027
        """Check that the outputs can store images of one shape.

        Raises
        ------
        LayoutError
            If the images are too large; the message names a format for them.
        """

    def settings(self, data_set: DataSet) -> dict[str, Any]:  # noqa: ARG002
        """Return what outputs depend on apart from plans, options and their images."""
        return {}

    @abstractmethod
    def check_names(self, paths: Sequence[str]) -> None:
        """Check the names of the images, relative to their folder.

        Raises
        ------
        GraypipeError
            If names would collide in the outputs, or the format cannot store a name.
        """

    @abstractmethod
    def assign(
        self, paths: Sequence[str], data_set: DataSet
    ) -> dict[str, tuple[str, ...]]:
        """Assign every image to an output.

        Parameters
        ----------
        paths : sequence of str
            All images, relative to their folder and sorted.
        data_set : DataSet
            What they have in common.

        Returns
        -------
        dict
            The images of each output. The keys are the names of the outputs, relative
            to the output folder.
        """

    @abstractmethod
    def write(
        self, file: BinaryIO, samples: Iterable[Sample], data_set: DataSet
    ) -> None:
        """Write an output; the same samples always give the same bytes.

        Parameters
        ----------
        file : binary file object
            An empty file, open for writing. It may not support ``seek``.
        samples : iterable of Sample
            The images of the output, at least one. Each is converted when it is
            requested, so keeping several in memory should be avoided.
        data_set : DataSet
            What all images have in common.

        Raises
        ------
        OSError
            If the file cannot be written.
        MissingExtraError
            If the format needs a package that is not installed.
        """

    def start(self, out: "OutputFolder") -> None:  # noqa: B027
        """Remove what `finish` has written, before outputs are added or replaced."""

    def finish(  # noqa: B027
        self,
        out: "OutputFolder",
        paths: Sequence[str],
        data_set: DataSet,
        settings: dict[str, Any],
    ) -> None:
        """Complete the folder when all outputs have been written.

        Parameters
        ----------
        out : OutputFolder
            The folder with all outputs.
        paths : sequence of str
            All images.
        data_set : DataSet
            What they have in common.
        settings : dict
            The first line of the manifest, with the plans and their fingerprints.
        """


def list_classes(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the classes, sorted; the index of a name is its label.

    The class of an image is the path of its folder. Images that lie directly in the
    folder of all images have no class.
    """
    names = {class_name(path) for path in paths}
    return tuple(sorted(name for name in names if name is not None))


def class_name(path: str) -> str | None:
    """Return the name of the class of an image, such as "cats" for "cats/1.png"."""
    folder = PurePath(path).parent.as_posix()
    if folder == ".":
        return None
    return folder


def label_of(path: str, classes: Sequence[str]) -> int | None:
    """Return the index of the class of an image, or None if it has none."""
    name = class_name(path)
    if name is None:
        return None
    return bisect_left(classes, name)


def check_unicode(paths: Iterable[str]) -> None:
    """Check that all names are valid Unicode.

    Raises
    ------
    GraypipeError
        If a name has bytes that are not UTF-8, which Python represents by surrogates.
    """
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise GraypipeError(
                f"{path!a}: expected a name in UTF-8, which the output stores: rename "
                "it, or use --to npy"
            ) from None


def extra_axes(plans: JobPlans) -> str:
    """Return the axes of the sources that a single image does not have."""
    axes = "".join(plan.source.layout for plan in plans.plans)
    return "".join(sorted(set(axes) - set("HWC")))
