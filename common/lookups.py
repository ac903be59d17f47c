"""A lookup for long lists: ``field__any_of=numbers`` is ``field = ANY(array)`` with one parameter, where ``__in`` sends
one parameter for each (ten thousand take longer to parse than to find)."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.lookups import Lookup

from .arrays import array


class AnyOf(Lookup[Any]):
    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        lhs, parameters = self.process_lhs(compiler, connection)
        return f"{lhs} = ANY(%s::bigint[])", [*parameters, array(list(self.rhs))]


def register() -> None:
    """Called once, from ``AppConfig.ready``."""
    for field in (models.BigAutoField, models.BigIntegerField, models.ForeignKey, models.OneToOneField):
        field.register_lookup(AnyOf)
