"""Read plans from the dicts in which host libraries save them."""

import json

from ...errors import DTypeError
from ...messages import describe_value
from ...plan import Plan


def plan_from_record(record: object) -> Plan:
    """Return the plan that a dict describes, the parsed result of `Plan.to_json`.

    Raises
    ------
    DTypeError
        If JSON cannot represent ``record``.
    ChannelError
        If it is not the JSON of a plan.
    """
    try:
        text = json.dumps(record)
    except (TypeError, ValueError):
        raise DTypeError(
            "expected a dict that json.loads(plan.to_json()) returns, got "
            f"{describe_value(record)}: pass the plan itself"
        ) from None
    return Plan.from_json(text)
