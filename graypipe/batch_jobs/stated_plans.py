"""The plans of a job in which every file states its source."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from ..plan import Plan, plan
from ..plans import Plans
from ..source import Source
from ..target import Target


@dataclass(frozen=True)
class StatedPlans:
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

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """A plan with the target, for checks of the outputs."""
        return (plan(Source(self.target.bands), self.target),)

    def _with_layouts(self, source: None, target: str | None) -> "StatedPlans":
        """Return the plans with the layout of the output files."""
        plan = self.plans[0].with_layouts(source, target)
        return replace(self, target=plan.target)


# What converts the images of a job.
JobPlans: TypeAlias = Plans | StatedPlans
