"""The values of simple parameters, without the type adapters that Typer builds for all of them.

Importing pydantic and building them takes 0.15 s. Texts, what a setting's own parser reads, and what was not given
need none. A Typer that keeps its converters elsewhere builds its own, as ever.
"""

from __future__ import annotations

from typing import Any


def convert_quickly(parameters: list[Any]) -> list[Any]:
    """Return Typer's parameters, the simple ones with a quick converter."""
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", "") is None and hasattr(parameter, "type_descriptor"):
            parameter._runtime_param = _Quick()
    return parameters


class _Quick:
    """Stands for a converter until a value comes that needs Typer's own."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as its parameter takes it; see typer._coercion.RuntimeParam.coerce. Raises BadParameter."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        described = param.type_descriptor
        parser = described.parameter_info.parser
        if parser is not None and not several:
            return parser(value)
        if parser is None and described.annotation is str and isinstance(value, str) and not several:
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
