"""The SIM cards that a person asks for: searched, filtered and sorted by the address (M4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import F, Q, QuerySet
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from .models import SimCard, SimStatus
from .numbers import only_digits

FIELDS: Final = (
    "pk", "iccid", "msisdn", "status", "rate_plan", "early_access", "activated_at", "trouble", "device_id",
    "device__name", "device__identifier", "project__name",
)  # fmt: skip
# key of a column → (its head, the field that it is sorted by)
COLUMNS: Final[Mapping[str, tuple[StrOrPromise, str]]] = {
    "iccid": ("ICCID", "iccid"),
    "msisdn": ("MSISDN", "msisdn"),
    "status": (_("Status"), "status"),
    "plan": (_("Rate plan"), "rate_plan"),
    "activated": (_("Activated"), "activated_at"),
    "device": (_("Device"), "device__name"),
}
LINKED: Final = {"linked": _("In a device"), "free": _("Free")}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for; what makes no sense in it counts as not there."""

    query: str = ""
    status: str = ""
    plan: str = ""
    linked: str = ""
    early: bool = False
    sort: str = "iccid"

    @classmethod
    def parse(cls, data: QueryDict) -> Asked:
        status, linked, sort = data.get("status", ""), data.get("linked", ""), data.get("sort", "")
        return cls(
            query=data.get("q", "").strip()[:200].replace("\0", ""),
            status=status if status in SimStatus.values else "",
            plan=data.get("plan", "")[:100].replace("\0", ""),
            linked=linked if linked in LINKED else "",
            early=data.get("early") == "1",
            sort=sort if sort.removeprefix("-") in COLUMNS else "iccid",
        )

    @property
    def filtered(self) -> bool:
        return bool(self.query or self.status or self.plan or self.linked or self.early)

    def pairs(self, **changes: str) -> dict[str, str]:
        """What the address holds, without what is as it is by itself."""
        held = {
            "q": self.query,
            "status": self.status,
            "plan": self.plan,
            "linked": self.linked,
            "early": "1" if self.early else "",
            "sort": "" if self.sort == "iccid" else self.sort,
        } | changes
        return {key: value for key, value in held.items() if value and (key, value) != ("sort", "iccid")}

    def address(self, **changes: str) -> str:
        return f"?{urlencode(self.pairs(**changes))}"

    def cards(self) -> QuerySet[SimCard, dict[str, Any]]:
        """Of the scope's Projects."""
        rows = SimCard.objects.all()
        if self.query:
            wanted = Q(device__name__icontains=self.query) | Q(rate_plan__icontains=self.query)
            digits = only_digits(self.query).lstrip("+")
            if digits.isdigit():
                wanted |= Q(iccid__contains=digits) | Q(msisdn__contains=digits)
                wanted |= Q(device__identifier__contains=digits)
            rows = rows.filter(wanted)
        if self.status:
            rows = rows.filter(status=self.status)
        if self.plan:
            rows = rows.filter(rate_plan=self.plan)
        if self.linked:
            rows = rows.filter(device__isnull=self.linked == "free")
        if self.early:
            rows = rows.filter(early_access=True)
        field = F(COLUMNS[self.sort.removeprefix("-")][1])
        order = field.desc(nulls_last=True) if self.sort.startswith("-") else field.asc(nulls_last=True)
        found: QuerySet[SimCard, dict[str, Any]] = rows.order_by(order, "iccid").values(*FIELDS)
        return found

    def heads(self) -> list[dict[str, Any]]:
        """The heads of the columns: label, how it is sorted now, and the address that sorts by it."""
        found = []
        for key, (label, _field) in COLUMNS.items():
            order = {key: "ascending", f"-{key}": "descending"}.get(self.sort, "none")
            url = self.address(sort=f"-{key}" if order == "ascending" else key)
            found.append({"key": key, "label": label, "order": order, "url": url})
        return found


def plans() -> list[str]:
    """The rate plans that occur in the scope's Projects."""
    rows = SimCard.objects.exclude(rate_plan="").order_by("rate_plan")
    return list(rows.values_list("rate_plan", flat=True).distinct()[:100])
