"""SIM cards in and out as CSV (M4): each row is checked before anything is written, and all rows are or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import Project, User
from devices import import_file
from devices.import_file import FileUnreadable

from .forms import ICCID_IN_USE, ICCID_PROBLEMS
from .models import SimCard
from .numbers import e164, iccid_problem, only_digits

MAX_ROWS: Final = 20_000
HEADER: Final = ("ICCID", "MSISDN", "Status", "Rate plan", "Early access", "Activated", "Device", "IMEI", "Project")
# Columns that are read; those that are only written, such as the status, are the carrier's or the device's to say.
READ: Final = {"iccid": "iccid", "msisdn": "msisdn", "rateplan": "rate_plan", "earlyaccess": "early_access"}
YES, NO = frozenset({"yes", "ja", "true", "1", "x"}), frozenset({"", "no", "nee", "false", "0"})


@dataclass(slots=True)
class Report:
    """What a file would do or has done. ``problems``: (row as a spreadsheet counts, ICCID as written, sentence)."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    problems: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    number: int
    values: dict[str, Any]


def write(cards: Iterable[Mapping[str, Any]]) -> bytes:
    """The rows of :meth:`m2m.sim_list.Asked.cards`, with a header; times in UTC."""
    return import_file.write(
        HEADER,
        (
            (
                card["iccid"],
                card["msisdn"],
                card["status"],
                card["rate_plan"],
                "yes" if card["early_access"] else "no",
                f"{card['activated_at']:%Y-%m-%dT%H:%M:%SZ}" if card["activated_at"] else "",
                card["device__name"] or "",
                card["device__identifier"] or "",
                card["project__name"],
            )
            for card in cards
        ),
    )


def take_in(*, project: Project, content: bytes, actor: User) -> Report:
    """Add the cards of the file to the Project, and take over number, rate plan and early access of those that it has.

    Where any row has a problem nothing is written, and the report says which. Raises FileUnreadable.
    """
    report = Report()
    rows = _rows(content, report)
    iccids = [row.values["iccid"] for row in rows]
    with scopes_disabled():
        held = {card.iccid: card for card in SimCard.objects.filter(iccid__in=iccids)}
    for row in rows:
        card = held.get(row.values["iccid"])
        if card is not None and card.project_id != project.pk:
            report.problems.append((row.number, card.iccid, str(ICCID_IN_USE)))
    if report.problems:
        report.problems.sort()
        return report
    new = [SimCard(project=project, **row.values) for row in rows if row.values["iccid"] not in held]
    changed = [card for row in rows if (card := held.get(row.values["iccid"])) and _change(card, row.values)]
    try:
        with transaction.atomic():
            SimCard.objects.bulk_create(new, batch_size=1000)
            SimCard.objects.bulk_update(changed, ["msisdn", "rate_plan", "early_access"], batch_size=1000)
            if new or changed:
                told = {"added": len(new), "changed": len(changed)}
                audit.record(
                    project_id=project.pk, actor=actor, action="sims.imported", target=_("SIM cards"), after=told
                )
    except IntegrityError:
        report.problems.append((0, "", _("Somebody else has just added one of these SIM cards. Send the file again.")))
        return report
    report.added, report.changed = len(new), len(changed)
    report.unchanged = len(rows) - len(new) - len(changed)
    return report


def _rows(content: bytes, report: Report) -> list[Row]:
    table = import_file.read(content)
    columns = [READ.get("".join(name.lower().split()).replace("_", "").replace("-", "")) for name in table.header]
    if "iccid" not in columns:
        raise FileUnreadable(_("There is no column ICCID."))
    if len(table.rows) > MAX_ROWS:
        raise FileUnreadable(_("The file has too many rows. Divide it into several files."))
    rows, seen = [], set()
    for number, cells in table.rows:
        given = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if name}
        values, problem = _values(given)
        if not problem and values["iccid"] in seen:
            problem = _("This ICCID is in the file twice.")
        if problem:
            report.problems.append((number, given.get("iccid", "")[:40], problem))
            continue
        seen.add(values["iccid"])
        rows.append(Row(number, values))
    return rows


def _values(given: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What the row says, for the columns that are there and not empty, and what is wrong with it."""
    iccid = only_digits(given["iccid"])
    problem = iccid_problem(iccid)
    if problem:
        return {}, str(ICCID_PROBLEMS[problem])
    values: dict[str, Any] = {"iccid": iccid}
    if given.get("msisdn"):
        values["msisdn"] = e164(given["msisdn"])
        if not values["msisdn"]:
            return {}, _("This MSISDN is not a phone number with its country code, such as +31970123456.")
    if given.get("rate_plan"):
        if len(given["rate_plan"]) > 100:
            return {}, _("A rate plan has 100 characters at most.")
        values["rate_plan"] = given["rate_plan"]
    if "early_access" in given:
        said = given["early_access"].lower()
        if said not in YES | NO:
            return {}, _("Early access is yes or no.")
        values["early_access"] = said in YES
    return values, ""


def _change(card: SimCard, values: Mapping[str, Any]) -> bool:
    changed = False
    for name, value in values.items():
        if getattr(card, name) != value:
            setattr(card, name, value)
            changed = True
    return changed
