"""Devices from a file (D12): sent, its columns chosen, checked, agreed to, added. What workers do with it is in
:mod:`devices.import_runner`. Nothing is written to devices before a person has agreed to the number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_scopes import scopes_disabled

from accounts import audit
from accounts.models import Project, User
from common import doorbell, states

from . import connectivity, import_columns, import_runner
from .errors import DeviceError
from .import_file import ERROR_COLUMN, read, write
from .models import (
    IMPORT_ALLOWED,
    Device,
    DeviceType,
    ImportFile,
    ImportRow,
    ImportState,
    Outcome,
)

# So many rows are checked while the person waits.
AT_ONCE: Final = 500
READ_SET: Final = 2000
COPY_ROWS: Final = """
COPY devices_importrow (file_id, number, cells, label, claims, errors, faulty, checked, outcome) FROM STDIN
"""


class CountChanged(Exception):
    """Not as many rows are ready as the person agreed to: nothing was done. ``found``: how many there are."""

    def __init__(self, found: int) -> None:
        super().__init__(f"{found} rows now")
        self.found = found


def upload(*, project: Project, device_type: DeviceType, name: str, content: bytes, actor: User) -> ImportFile:
    """Keep the file, each row encrypted. Raises FileUnreadable, DeviceError (P3)."""
    if not DeviceType.objects.offered_in(project).filter(pk=device_type.pk).exists():
        raise DeviceError(_("This device type is not in the Project's subscription."))
    table = read(content)
    with transaction.atomic():
        made = ImportFile.objects.create(
            project=project,
            type=device_type,
            created_by=actor,
            name=name[-200:] or "devices.csv",
            delimiter=table.delimiter,
            header=table.header,
            rows=len(table.rows),
        )
        # COPY: a person waits for it, and a hundred thousand objects take ten times as long.
        with connection.cursor() as cursor, cursor.copy(COPY_ROWS) as copy:
            for number, cells in table.rows:
                sealed = ImportRow.seal(made.pk, number, cells)
                copy.write_row((made.pk, number, sealed, "", "{}", "{}", False, False, Outcome.PENDING.value))
    return made


def choose_columns(*, upload: ImportFile, mapping: dict[str, int], actor: User) -> None:
    """Check the rows with these columns: at once where they are few, else in the background. Also again, with other
    columns. Raises StateConflict once devices are being added."""
    with transaction.atomic():
        states.move(
            ImportFile.objects.filter(pk=upload.pk),
            field="state",
            to=ImportState.CHECKING,
            allowed=IMPORT_ALLOWED,
            mapping=mapping,
            checked=0,
            faulty=0,
            not_before=timezone.now(),
        )
        ImportRow.objects.filter(file=upload).update(checked=False, faulty=False, errors={}, claims=[], label="")
        upload.mapping = mapping
        import_columns.remember(upload, actor)
        if upload.rows > AT_ONCE:
            _ring(upload)
    if upload.rows <= AT_ONCE:
        import_runner.run(upload.pk)


def accept(*, upload: ImportFile, agreed: int, actor: User) -> None:
    """Add the rows without errors. ``agreed``: how many the person saw. Raises CountChanged, StateConflict."""
    with transaction.atomic():
        states.move(
            ImportFile.objects.filter(pk=upload.pk),
            field="state",
            to=ImportState.ADDING,
            allowed=IMPORT_ALLOWED,
            created_by=actor,
            not_before=timezone.now(),
        )
        held = ImportFile.objects.get(pk=upload.pk)
        if held.ready != agreed or not held.ready:
            raise CountChanged(held.ready)
        ImportRow.objects.filter(file=held, faulty=True).update(outcome=Outcome.SKIPPED)
        audit.record(
            project_id=held.project_id,
            actor=actor,
            action="import.accepted",
            target=held.name,
            after={"import": held.pk, "rows": held.rows, "devices": held.ready, "with_errors": held.faulty},
        )
        _ring(held)


def refused_file(upload: ImportFile) -> bytes:
    """The rows that were left out or refused, in the file's own columns, with what is wrong: to mend and send."""
    labels = {field.key: str(field.label) for field in import_columns.fields(upload.type)}
    header = list(upload.header)
    at = header.index(ERROR_COLUMN) if ERROR_COLUMN in header else len(header)

    def rows() -> Iterator[list[str]]:
        refused = ImportRow.objects.filter(file=upload, faulty=True).order_by("number")
        for row in refused.iterator(chunk_size=READ_SET):
            cells = row.open()
            yield [*cells[:at], _told(row.errors, labels), *cells[at + 1 :]]

    return write([*header[:at], ERROR_COLUMN, *header[at + 1 :]], rows(), upload.delimiter)


def _told(errors: dict[str, str], labels: dict[str, str]) -> str:
    return " ".join(f"{labels[key]}: {text}" if key in labels else text for key, text in errors.items())


def take_keys(*, upload: ImportFile, actor: User) -> bytes:
    """What the portal made for the devices, as a file: this once (L1). Raises StateConflict where it was taken."""
    with transaction.atomic():
        taken = ImportFile.objects.filter(
            pk=upload.pk, state=ImportState.DONE, has_keys=True, keys_taken_at=None
        ).update(keys_taken_at=timezone.now())
        if not taken:
            raise states.StateConflict("no secrets to take")
        rows = ImportRow.objects.filter(file=upload).exclude(secrets=None)
        opened = [(row, row.open_secrets()) for row in rows.order_by("number")]
        devices = Device.objects.in_bulk([row.device_id for row, _secrets in opened])
        labels = list(dict.fromkeys(label for _row, secrets in opened for label in secrets))
        network = connectivity.by_slug(upload.type.connectivity)
        head = [_("Row"), _("Name")] + ([] if network.identifier_label in labels else [network.identifier_label])
        lines = []
        for row, secrets in opened:
            device = devices.get(row.device_id)
            identifier = network.identifier_for_reading(device.identifier) if device else ""
            own = [] if network.identifier_label in labels else [identifier]
            lines.append([str(row.number), row.label, *own, *(secrets.get(label, "") for label in labels)])
        rows.update(secrets=None)
        audit.record(
            project_id=upload.project_id,
            actor=actor,
            action="import.secrets_taken",
            target=upload.name,
            after={"import": upload.pk, "devices": len(lines)},
        )
    return write([*head, *labels], lines)


def discard(*, upload: ImportFile) -> None:
    """Drop the file before anything was added from it. Raises StateConflict."""
    with transaction.atomic():
        rows = ImportFile.objects.filter(pk=upload.pk, state__in=[ImportState.UPLOADED, ImportState.CHECKED])
        if not rows.select_for_update().exists():
            raise states.StateConflict("devices are added from it")
        ImportRow.objects.filter(file=upload).delete()
        rows.delete()


def drop_expired(now: datetime) -> int:
    """Drop files, and the secrets in them, that were kept long enough; how many."""
    with scopes_disabled():
        old = list(
            ImportFile.objects.filter(expires_at__lte=now)
            .exclude(state=ImportState.ADDING)
            .values_list("pk", flat=True)
        )
        for pk in old:
            with transaction.atomic():
                ImportRow.objects.filter(file=pk).delete()
                ImportFile.objects.filter(pk=pk).delete()
        return len(old)


def _ring(upload: ImportFile) -> None:
    from . import tasks

    doorbell.ring(tasks.run_import, upload.pk)
