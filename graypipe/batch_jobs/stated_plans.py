"""The plans of a job in which every file states its source."""

from typing import NamedTuple, TypeAlias

from ..plan import Plan, plan
from ..plans import Plans
from ..source import Source
from ..target import Target


class StatedPlans(NamedTuple):
    """The plan for each file from the source that the file itself states.

    Parameters
    ----------
    target : Target
        The target of all plans.
    via : str or None
        The JSON of the mapping for `graypipe.plan`, or None.
    """

    target: Target
    via: str | None = None

    @property
    def plans(self) -> tuple[Plan, ...]:
        """A plan with the target, for checks of the outputs."""
        return (plan(Source(self.target.bands), self.target),)

    def _with_layouts(self, source: None, target: str | None) -> "StatedPlans":
        """Return the plans with the layout of the output files."""
        return self._replace(target=self.plans[0].with_layouts(source, target).target)


# What converts the images of a job.
JobPlans: TypeAlias = Plans | StatedPlans
