"""What workers do with a file of devices (D12): check its rows, then add those without errors, set by set.

Whoever has the file holds a lease, ``not_before`` moved ahead, and moved again by every set in the transaction of
its rows: a worker that died leaves no half set, one that lost its lease writes nothing, and each row's creation
token makes a second device impossible even so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from django.forms import Form
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts.models import Membership, Role, User
from common import doorbell, states

from . import connectivity, network, services
from .connectivity import NetworkForm, Secret
from .errors import DeviceError, IdentifierInUse
from .forms import DetailsForm
from .models import IMPORT_ALLOWED, Device, ImportFile, ImportRow, ImportState, Outcome
from .models.imports import KEEP

logger = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=30)
# The worker's other tasks (instructions, registrations) wait so long behind a file.
BUDGET: Final = timedelta(seconds=3)
CHECK_SET, ADD_SET = 1000, 50


class _Lost(Exception):
    """The file is not this worker's any more. What the set did is undone."""


def run(file_id: int, *, now: datetime | None = None, budget: timedelta = BUDGET) -> bool:
    """Go on with the file for about ``budget``, if there is work and nobody else has it; True where it was done.

    ``now``: when the lease starts. Where work is left, it is rung for again.
    """
    now = now or timezone.now()
    with scopes_disabled():
        rows = ImportFile.objects.filter(pk=file_id)
        if not rows.filter(state__in=[ImportState.CHECKING, ImportState.ADDING], not_before__lte=now).update(
            not_before=now + LEASE
        ):
            return False
        held = rows.select_related("project", "type", "created_by").get()
        person = held.created_by
        try:
            with translation.override((person and person.language) or settings.LANGUAGE_CODE):
                _Worker(held).work(time.monotonic() + budget.total_seconds())
        except _Lost:
            logger.info("import %s is not this worker's any more", file_id)
    return True


def due(now: datetime) -> list[int]:
    """Files whose worker or doorbell was lost."""
    with scopes_disabled():
        waiting = ImportFile.objects.filter(state__in=[ImportState.CHECKING, ImportState.ADDING], not_before__lte=now)
        return list(waiting.order_by("not_before").values_list("pk", flat=True)[:100])


class _Worker:
    def __init__(self, file: ImportFile) -> None:
        self.file = file
        self.network = connectivity.by_slug(file.type.connectivity)

    def work(self, until: float) -> None:
        from . import tasks

        step, end = (
            (self.check_set, self.checked) if self.file.state == ImportState.CHECKING else (self.add_set, self.finished)
        )
        while step():
            if time.monotonic() >= until:
                with transaction.atomic():
                    self.renew(not_before=timezone.now())
                    doorbell.ring(tasks.run_import, self.file.pk)
                return
        end()

    def renew(self, *, not_before: datetime | None = None, **changes: Any) -> None:
        """Write the counters and keep the lease, in the transaction of the set. Raises _Lost."""
        not_before = not_before or timezone.now() + LEASE
        rows = ImportFile.objects.filter(pk=self.file.pk, state=self.file.state, not_before=self.file.not_before)
        if not rows.update(not_before=not_before, **changes):
            raise _Lost
        self.file.not_before = not_before

    def values(self, row: ImportRow) -> dict[str, str]:
        """The row's cells by field, as the forms take them."""
        cells = row.open()
        return {key: cells[column] for key, column in self.file.mapping.items()}

    # --- checking ---

    def check_set(self) -> bool:
        with transaction.atomic():
            rows = list(ImportRow.objects.filter(file=self.file, checked=False).order_by("number")[:CHECK_SET])
            if not rows:
                return False
            self.check(rows)
            _write_checks(self.file.pk, rows)
            self.renew(checked=F("checked") + len(rows))
        return True

    def check(self, rows: Sequence[ImportRow]) -> None:
        """Set the errors, the claims and the label of each row."""
        device = Device(project=self.file.project, type=self.file.type)
        details, step = DetailsForm({}), self.network.import_form(device, {})
        inputs: list[dict[str, str]] = []
        for row in rows:
            values = self.values(row)
            details_errors, step_errors = _errors(details, values), _errors(step, values)
            row.errors = details_errors | step_errors
            row.label = values.get("name", "").strip()[:100]
            claims = step.claims()
            row.claims = list(claims.values())
            inputs.append({claim: key for key, claim in claims.items()})
        taken = self.network.taken({claim for row in rows for claim in row.claims}, self.file.project)
        for row, keys in zip(rows, inputs, strict=True):
            row.errors |= {keys[claim]: str(taken[claim]) for claim in row.claims if claim in taken}

    def checked(self) -> None:
        """All rows are looked at: now those that have the same identifier are known."""
        with transaction.atomic():
            with connection.cursor() as cursor:
                text = _("%(claim)s stands in row %(first)s too.")
                cursor.execute(DOUBLES, [self.file.pk])
                doubles = cursor.fetchall()
                numbers, errors = [], []
                for claim, found in doubles:
                    for number in found:
                        other = next(one for one in found if one != number)
                        kind, _colon, value = claim.partition(":")
                        name = {"DEVEUI": "DevEUI", "DVNUUID": "DvnUUID"}.get(kind, kind)
                        told = text % {"claim": f"{name} {value}", "first": other}
                        numbers.append(number)
                        errors.append(orjson.dumps({KEYS[kind]: told}).decode())
                if numbers:
                    cursor.execute(ADD_ERRORS, [numbers, errors, self.file.pk])
            faulty = ImportRow.objects.filter(file=self.file, faulty=True).count()
            self.renew(faulty=faulty)
            rows = ImportFile.objects.filter(pk=self.file.pk)
            states.move(rows, field="state", to=ImportState.CHECKED, allowed=IMPORT_ALLOWED)

    # --- adding ---

    def add_set(self) -> bool:
        with transaction.atomic():
            pending = ImportRow.objects.filter(file=self.file, outcome=Outcome.PENDING, faulty=False)
            rows = list(pending.order_by("number").select_for_update()[:ADD_SET])
            if not rows:
                return False
            apply_rows(self.file, rows)
            done = sum(row.outcome == Outcome.DONE for row in rows)
            ImportRow.objects.bulk_update(rows, ["outcome", "errors", "faulty", "cells", "secrets", "device_id"])
            if any(row.secrets for row in rows):
                ImportFile.objects.filter(pk=self.file.pk).update(has_keys=True)
            self.renew(
                done=F("done") + done,
                failed=F("failed") + len(rows) - done,
            )
        return True

    def finished(self) -> None:
        with transaction.atomic():
            self.renew(expires_at=timezone.now() + KEEP)
            rows = ImportFile.objects.filter(pk=self.file.pk)
            states.move(rows, field="state", to=ImportState.DONE, allowed=IMPORT_ALLOWED)


def apply_rows(file: ImportFile, rows: Sequence[ImportRow]) -> None:
    """Make a device of each row, with its network info and its request to register; whole, or not at all.

    Sets outcome and errors of the rows, which are not saved. In a transaction, with rows that are locked.
    """
    worker = _Worker(file)
    actor = file.created_by
    why_not = "" if actor and _operates(actor, file.project_id) else _("You are not an operator of this Project.")
    why_not = why_not or str(worker.network.types_ready(file.project, file.type))
    for row in rows:
        if why_not or actor is None:
            _refuse(row, {"": why_not})
            continue
        try:
            with transaction.atomic():
                device, secrets = _save_row(worker, row, actor)
        except SoftTimeLimitExceeded:
            raise
        except IdentifierInUse as error:
            _refuse(row, {error.field: str(error)})
        except (DeviceError, _RowErrors) as error:
            _refuse(row, error.errors if isinstance(error, _RowErrors) else {"": str(error)})
        except ValidationError as error:
            _refuse(row, {"": " ".join(error.messages)})
        except states.StateConflict:
            _refuse(row, {"": _("Somebody else has changed the device at the same moment.")})
        except Exception as error:
            # One row must not keep the others from being added.
            logger.error("row %s of import %s", row.number, file.pk, exc_info=error)
            _refuse(row, {"": _("An error of the portal; it is logged.")})
        else:
            row.outcome, row.device_id = Outcome.DONE, device.pk
            # The keys stand in the cells: they are not needed any more.
            row.cells = b""
            if secrets:
                shown = {one.label: one.value for one in secrets}
                row.secrets = ImportRow.seal_secrets(file.pk, row.number, shown)


class _RowErrors(Exception):
    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("row with errors")
        self.errors = errors


def _save_row(worker: _Worker, row: ImportRow, actor: User) -> tuple[Device, list[Secret]]:
    file, values = worker.file, worker.values(row)
    details = DetailsForm(values)
    errors = _errors(details, values)
    if errors:
        raise _RowErrors(errors)
    device = services.add_device(
        project=file.project,
        device_type=file.type,
        actor=actor,
        token=row.creation_token(file.token),
        **{key: details.cleaned_data[key] for key in ("name", "barcode", "description")},
    )
    step = worker.network.import_form(device, values)
    errors = _errors(step, values)
    if errors:
        raise _RowErrors(errors)
    secrets = step.save(actor=actor)
    network.request_registration(device=device, actor=actor)
    return device, secrets


def _refuse(row: ImportRow, errors: dict[str, str]) -> None:
    row.outcome, row.errors, row.faulty = Outcome.FAILED, errors, True


def _operates(actor: User, project_id: int) -> bool:
    held = Membership.objects.filter(user=actor, project=project_id, user__is_active=True).first()
    return held is not None and Role(held.role).covers(Role.OPERATOR)


def _errors(form: Form | NetworkForm, values: Mapping[str, str]) -> dict[str, str]:
    """Clean the values with the form, which can be used again; input → sentence."""
    form.data = values
    form.full_clean()
    return {("" if key == "__all__" else key): " ".join(map(str, told)) for key, told in form.errors.items()}


# kind of what a row claims → the input of the network forms that it is entered in
KEYS: Final = services.FIELDS | {"ICCID": "iccid"}

WRITE_CHECKS: Final = """
UPDATE devices_importrow AS one
SET checked = true, label = new.label, errors = new.errors, faulty = new.errors <> '{}'::jsonb,
    claims = ARRAY(SELECT jsonb_array_elements_text(new.claims))
FROM unnest(%s::int[], %s::text[], %s::jsonb[], %s::jsonb[]) AS new (number, label, errors, claims)
WHERE one.file_id = %s AND one.number = new.number
"""
DOUBLES: Final = """
SELECT claim, array_agg(number ORDER BY number) FROM devices_importrow, unnest(claims) AS claim
WHERE file_id = %s GROUP BY claim HAVING count(*) > 1
"""
ADD_ERRORS: Final = """
UPDATE devices_importrow AS one SET errors = one.errors || new.errors, faulty = true
FROM (
    SELECT number, jsonb_object_agg(told.key, told.value) AS errors
    FROM unnest(%s::int[], %s::jsonb[]) AS each (number, error), jsonb_each(each.error) AS told GROUP BY number
) AS new
WHERE one.file_id = %s AND one.number = new.number
"""


def _write_checks(file_id: int, rows: Sequence[ImportRow]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            WRITE_CHECKS,
            [
                [row.number for row in rows],
                [row.label for row in rows],
                [orjson.dumps(row.errors).decode() for row in rows],
                [orjson.dumps(row.claims).decode() for row in rows],
                file_id,
            ],
        )
