"""What each part of the Device Twin tab shows. A page of all of them reads the twin once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpResponse

from accounts.access import PersonRequest
from common.htmx import page
from devices import capabilities
from devices.capabilities import Capability
from devices.models import Device, Processing
from devices.views import detail

from . import desired, loop, reading
from .forms import DesiredForm, PropertyForm
from .models import Twin

TEMPLATE: Final = "twin/tab.html"
# So many measurements are named in the question before they are cleared.
MOST_NAMED: Final = 12
PARTS: Final = ("reported", "desired", "metadata", "updated_at")
Row = Mapping[str, Any]


def read(device: Device) -> Row:
    """The twin's parts, empty ones where nothing has been written yet."""
    empty: Row = {"reported": {}, "desired": {}, "metadata": {}, "updated_at": None}
    return Twin.objects.filter(pk=device.pk).values(*PARTS).first() or empty


def whole(
    request: PersonRequest,
    device: Device,
    panel: Mapping[str, Any] | None = None,
    *,
    edit: str = "",
    desire: str = "",
    status: int = 200,
) -> HttpResponse:
    """The tab. ``panel``: what one of its parts shows otherwise than by itself; ``edit``, ``desire``: what is opened,
    of the metadata and of the desired values."""
    twin = read(device)
    context = detail.frame(device, request, active="twin") | of_values(request, device, twin)
    context |= of_desired(request, device, twin, edit=desire) | of_metadata(request, device, twin, edit=edit)
    context |= panel or {}
    return page(request, TEMPLATE, context, partial="twin-values", status=status)


def of_values(request: PersonRequest, device: Device, twin: Row) -> dict[str, Any]:
    """The reported and the observed state."""
    reported = reading.reported(twin["reported"])
    return {
        "device": device,
        "reported": reported,
        "count": reading.count_of(reported),
        "updated_at": twin["updated_at"],
        "interval": reading.send_interval(device.state.last_message_at, device.state.previous_message_at),
        "in_no_flow": device.flow_count == 0,
        "deactivated": device.processing_status == Processing.DEACTIVATED,
        "may_clear": bool(reported) and request.can_change and capabilities.has(device, Capability.TWIN_CLEAR),
    }


def of_clearing(request: PersonRequest, device: Device, twin: Row) -> dict[str, Any]:
    """The question before the measurements are cleared: what goes."""
    values = of_values(request, device, twin)
    names = [one.label for one in (*values["reported"].device, *values["reported"].other)]
    return values | {"names": names[:MOST_NAMED], "unnamed": max(0, len(names) - MOST_NAMED)}


def of_desired(
    request: PersonRequest,
    device: Device,
    twin: Row,
    *,
    edit: str = "",
    form: DesiredForm | None = None,
    focus: str = "",
) -> dict[str, Any]:
    """``edit``: the name of the control to open; ``form``: what was sent and is shown again in its place; ``focus``:
    the name of the value that gets the focus."""
    controls = desired.controls(device.type)
    ways = loop.states_of(device.pk) if controls or twin["desired"] else {}
    rows = desired.wanted(controls, twin["desired"], ways, twin["reported"])
    may_edit = request.can_change and capabilities.has(device, Capability.TWIN_DESIRED)
    opened = next((row for row in rows if row.name == edit and row.control is not None), None) if may_edit else None
    if opened is not None and opened.control is not None:
        way = ways.get(opened.name)
        value = "" if way is None else desired.text_to_edit(way.value)
        form = DesiredForm(initial={"name": opened.name, "value": value, "seen": opened.seen}, control=opened.control)
    return {
        "device": device,
        "wanted": rows,
        "may_desire": may_edit,
        "desiring": form,
        "held_desired": None,
        "desired_focus": focus,
    }


def of_metadata(
    request: PersonRequest,
    device: Device,
    twin: Row,
    *,
    edit: str = "",
    form: PropertyForm | None = None,
    focus: str = "",
) -> dict[str, Any]:
    """``edit``: the key of the property to open; ``form``: what was sent and is shown again, in its property or as
    the new one; ``focus``: the key of the property that gets the focus."""
    properties = reading.properties(twin["metadata"])
    has_metadata = capabilities.has(device, Capability.TWIN_METADATA)
    may_edit = request.can_change and has_metadata
    opened = next((one for one in properties if one.key == edit), None) if may_edit else None
    if opened is not None:
        form = PropertyForm(initial={"key": opened.key, "value": opened.text, "seen": opened.seen}, editing=opened.key)
    editing = form if form is not None and form.editing else None
    return {
        "device": device,
        "properties": properties,
        "has_metadata": has_metadata,
        "may_edit": may_edit,
        "editing": editing,
        # Removed by somebody else while its value was edited: it has no line of its own to be shown in.
        "editing_removed": editing is not None and all(one.key != editing.editing for one in properties),
        "adding": form if form is not None and not form.editing else PropertyForm(),
        "held": None,
        "focus": focus,
    }
