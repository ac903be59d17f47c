"""Which devices a bulk action is for (D4): ticked rows, or all that match an address of All Devices.

What a browser sends is a wish: ids outside the person's Projects and nonsense are as if they were not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet
from django.http import QueryDict
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.access import Person

from .asked import Asked
from .chips import chips
from .filters import all_matching
from .models import Device

# More rows than this are not on one page: whoever wants more asks for all that match.
MOST_IDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """``devices``: inside the person's scope. ``description``: them in words, for the page and for the job.

    ``fields``: (name, value) of the hidden inputs that carry the selection on. ``seen``: how many the person saw when
    choosing "all that match"; None where the list did not count them. ``back``: the list as it was.
    """

    devices: QuerySet[Device]
    description: str
    fields: list[tuple[str, str]]
    back: str
    empty: bool = False
    seen: int | None = None

    @classmethod
    def parse(cls, data: QueryDict, person: Person) -> Selection:
        """From the fields of the list: ``device`` (repeated), or ``all=1`` with ``query`` and ``count``.

        ``query`` is the list's address after the path. One query for ticked rows; for all that match, those that put
        its filters into words.
        """
        projects = {project.pk: project.name for project in person.projects}
        asked = Asked.parse(QueryDict(data.get("query", "").removeprefix("?")), projects)
        kept = [("query", asked.address())]
        back = reverse("devices:list") + asked.address().removesuffix("?")
        if data.get("all") == "1":
            seen = _number(data.get("count", ""))
            fields = [("all", "1"), *kept, *([("count", str(seen))] if seen is not None else [])]
            return cls(all_matching(asked, projects), _in_words(asked, projects), fields, back, seen=seen)
        ids = _there(data.getlist("device"))
        fields = [*(("device", str(pk)) for pk in ids), *kept]
        text = ngettext("%(number)s chosen device", "%(number)s chosen devices", len(ids))
        description = text % {"number": number_format(len(ids), force_grouping=True)}
        return cls(Device.objects.filter(pk__in=ids), description, fields, back, empty=not ids)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None


def _there(given: Iterable[str]) -> list[int]:
    """The ids that are there for this person, in order."""
    wanted = {int(text) for text in given if text.isascii() and text.isdecimal() and len(text) < 19}
    return sorted(Device.objects.filter(pk__any_of=sorted(wanted)[:MOST_IDS]).values_list("pk", flat=True))


def _in_words(asked: Asked, projects: Mapping[int, str]) -> str:
    """What "all that match" means: the search, and the filters as their chips say them."""
    text = _("all devices that match “%(query)s”") % {"query": asked.query} if asked.query else _("all devices")
    filters = "; ".join(f"{chip.name}: {chip.value}" for chip in chips(asked, projects))
    return f"{text} ({filters})" if filters else text
