"""SIM cards in and out as CSV (M4): each row is checked before anything is written, and all rows are or none."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import Project, User
from common.states import StateConflict
from devices import import_file
from devices.capabilities import NotAllowedForType
from devices.errors import DeviceError
from devices.export.writers import Head, csv_stream
from devices.export.writers import Row as Cells
from devices.import_file import FileUnreadable
from devices.models import Device

from . import services
from .forms import ICCID_IN_USE, ICCID_PROBLEMS
from .models import M2mIdentity, SimCard
from .numbers import e164, iccid_problem, only_digits

MAX_ROWS: Final = 20_000
# Each is a registration of its own.
MAX_LINKS: Final = 1_000
ROWS_AT_ONCE: Final = 1_000
HEADER: Final = ("ICCID", "MSISDN", "Status", "Rate plan", "Early access", "Activated", "Device", "IMEI", "Project")
# Columns that are read; those that are only written, such as the status, are the carrier's or the device's to say.
READ: Final = {
    "iccid": "iccid", "msisdn": "msisdn", "rateplan": "rate_plan", "earlyaccess": "early_access", "device": "device",
    "imei": "imei",
}  # fmt: skip
YES, NO = frozenset({"yes", "ja", "true", "1", "x"}), frozenset({"", "no", "nee", "false", "0"})


@dataclass(slots=True)
class Report:
    """What a file would do or has done. ``problems``: (row as a spreadsheet counts, ICCID as written, sentence)."""

    added: int = 0
    changed: int = 0
    linked: int = 0
    unchanged: int = 0
    problems: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Row:
    """``values``: of the card. ``imei`` and ``device``: which device it is in, "" where the row does not say."""

    number: int
    values: dict[str, Any]
    imei: str = ""
    device: str = ""


def stream(cards: QuerySet[SimCard, dict[str, Any]]) -> Iterator[bytes]:
    """The rows of :meth:`m2m.sim_list.Asked.cards` with a header, however many, in their order; times in UTC. Which
    they are is read now, and what they say while the file is taken."""
    pks = array("q", cards.values_list("pk", flat=True).iterator(10_000))
    rows = cards.order_by()
    return csv_stream([Head(name, name) for name in HEADER], _cells(rows, pks), ZoneInfo("UTC"))


def _cells(rows: QuerySet[SimCard, dict[str, Any]], pks: array[int]) -> Iterator[Cells]:
    for start in range(0, len(pks), ROWS_AT_ONCE):
        asked = pks[start : start + ROWS_AT_ONCE]
        found = {card["pk"]: card for card in rows.filter(pk__in=asked)}
        for card in filter(None, map(found.get, asked)):
            yield (
                card["iccid"],
                card["msisdn"],
                card["status"],
                card["rate_plan"],
                "yes" if card["early_access"] else "no",
                _moment(card["activated_at"]),
                card["device__name"] or "",
                card["device__identifier"] or "",
                card["project__name"],
            )


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at else ""


def take_in(*, project: Project, content: bytes, actor: User) -> Report:
    """Add the cards of the file to the Project, take over number, rate plan and early access of those that it has, and
    put those whose row names a device into it.

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
    links = _links(project, rows, held, report)
    if report.problems:
        report.problems.sort()
        return report
    new = [SimCard(project=project, **row.values) for row in rows if row.values["iccid"] not in held]
    changed = [card for row in rows if (card := held.get(row.values["iccid"])) and _change(card, row.values)]
    try:
        with transaction.atomic():
            SimCard.objects.bulk_create(new, batch_size=1000)
            SimCard.objects.bulk_update(changed, ["msisdn", "rate_plan", "early_access"], batch_size=1000)
            held |= {card.iccid: card for card in new}
            _put_in(links, held, report, actor)
            if new or changed or links:
                told = {"added": len(new), "changed": len(changed), "linked": len(links)}
                audit.record(
                    project_id=project.pk, actor=actor, action="sims.imported", target=_("SIM cards"), after=told
                )
    except IntegrityError:
        report.problems.append((0, "", _("Somebody else has just added one of these SIM cards. Send the file again.")))
        return report
    except _NotLinked:
        return report
    report.added, report.changed, report.linked = len(new), len(changed), len(links)
    touched = {card.iccid for card in (*new, *changed)} | {row.values["iccid"] for row, _device in links}
    report.unchanged = len(rows) - len(touched)
    return report


class _NotLinked(Exception):
    """A card could not be put into its device: nothing of the file is written. The report says which."""


def _links(project: Project, rows: list[Row], held: Mapping[str, SimCard], report: Report) -> list[tuple[Row, Device]]:
    """The rows whose card is to be put into a device, with it; what cannot be is added to the problems."""
    named = [row for row in rows if row.imei or row.device]
    by_imei, by_name = _devices(project, named)
    with scopes_disabled():
        devices = {device.pk for found in (*by_imei.values(), *by_name.values()) for device in found}
        inside = dict(SimCard.objects.filter(device__in=devices).values_list("device_id", "iccid"))
    found: dict[int, tuple[Row, Device]] = {}
    for row in named:
        candidates = by_imei[row.imei] if row.imei else by_name[row.device]
        device, card = candidates[0] if len(candidates) == 1 else None, held.get(row.values["iccid"])
        if device is not None and card is not None and card.device_id == device.pk:
            continue
        problem = _why_not(device, bool(candidates), card, inside)
        if not problem and device is not None and device.pk in found:
            problem = _("The file puts two SIM cards into this device.")
        if problem or device is None:
            report.problems.append((row.number, row.values["iccid"], problem))
        else:
            found[device.pk] = (row, device)
    if len(found) > MAX_LINKS:
        raise FileUnreadable(_("The file puts more than 1,000 SIM cards into devices. Divide it into several files."))
    return list(found.values())


def _why_not(device: Device | None, several: bool, card: SimCard | None, inside: Mapping[int, str]) -> str:
    if device is None:
        if several:
            return _("Several M2M devices have this name: say which with a column IMEI.")
        return _("The Project has no M2M device of this name or IMEI with its network info.")
    if card is not None and card.device_id is not None:
        return _("This SIM card is in another device: unlink it first.")
    if device.pk in inside:
        return _("The device has the SIM card %s: switch it on its M2M tab.") % inside[device.pk]
    return ""


def _devices(
    project: Project, rows: list[Row]
) -> tuple[defaultdict[str, list[Device]], defaultdict[str, list[Device]]]:
    """The Project's M2M devices that the rows name, by IMEI and by name."""
    by_imei: defaultdict[str, list[Device]] = defaultdict(list)
    by_name: defaultdict[str, list[Device]] = defaultdict(list)
    identities = M2mIdentity.objects.filter(device__project=project).select_related("device__type", "device__project")
    for identity in identities.filter(imei__in={row.imei for row in rows if row.imei}).defer("secret", "old_secret"):
        by_imei[identity.imei].append(identity.device)
    names = {row.device for row in rows if not row.imei}
    for identity in identities.filter(device__name__in=names).defer("secret", "old_secret"):
        by_name[identity.device.name].append(identity.device)
    return by_imei, by_name


def _put_in(links: list[tuple[Row, Device]], cards: Mapping[str, SimCard], report: Report, actor: User) -> None:
    """In the transaction of the file. Raises _NotLinked."""
    for row, device in links:
        try:
            services.switch_sim(device=device, sim_id=cards[row.values["iccid"]].pk, actor=actor)
        except (DeviceError, NotAllowedForType) as error:
            report.problems.append((row.number, row.values["iccid"], str(error)))
        except StateConflict:
            sentence = _("The network is still at work on this device. Try again in a moment.")
            report.problems.append((row.number, row.values["iccid"], sentence))
    if report.problems:
        raise _NotLinked


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
        rows.append(Row(number, values, only_digits(given.get("imei", "")), given.get("device", "")))
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
