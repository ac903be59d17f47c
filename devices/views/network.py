"""The network step (D5, L1, M1, I1): network info for a new, failed or not yet linked device; switching it there."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from accounts.access import PersonRequest
from accounts.models import Role
from common.htmx import page
from common.states import StateConflict
from devices import capabilities, codes, connectivity, network
from devices.access import device_view
from devices.capabilities import Capability, NotAllowedForType
from devices.connectivity import NetworkForm, Secret
from devices.errors import DeviceError, IdentifierInUse
from devices.models import CONNECTION_ALLOWED, Connection, Device, NetworkTask

from .detail import changed, conflict, question

# The statuses in which network info can be entered or corrected.
OPEN = {source for source, targets in CONNECTION_ALLOWED.items() if Connection.PENDING_CREATE.value in targets}


@device_view("GET", "POST", see=Role.OPERATOR)
@sensitive_post_parameters("app_key", "secret", "qr")
def step(request: PersonRequest, device: Device) -> HttpResponse:
    """Step 2 of the wizard, and the same page later. The answer to the POST is the only one with the secrets."""
    if not capabilities.has(device, Capability.SECRETS) or device.connection_status not in OPEN:
        messages.warning(request, _("This device needs no network info now."))
        return redirect("devices:detail", device_id=device.pk)
    reading = request.method == "POST" and codes.asked(request.POST)
    data = request.POST if request.method == "POST" and not reading else None
    form = connectivity.of(device).network_form(device, data)
    code_form = codes.CodeForm() if form.reads_codes else None
    context = question(device) | {
        "form": form,
        "code_form": code_form,
        "in_wizard": "new" in request.GET,
        "generated": not form.fields,
    }
    if reading and form.reads_codes:
        return read_code(request, form, context)
    if data is None:
        form.initial.update(codes.carried(request.GET) if form.reads_codes else {})
        return page(request, "devices/network.html", context)
    try:
        secrets = save(request, device, form) if form.is_valid() else None
    except StateConflict as error:
        messages.warning(request, conflict(error))
        return redirect("devices:detail", device_id=device.pk)
    if secrets is None:
        return page(request, "devices/network.html", context, status=422)
    if not secrets:
        messages.success(request, _("The network info is saved, and the device is being registered."))
        return redirect("devices:detail", device_id=device.pk)
    return page(request, "devices/network_done.html", context | {"secrets": {one.label: one.value for one in secrets}})


def read_code(request: PersonRequest, form: NetworkForm, context: dict[str, Any]) -> HttpResponse:
    """The same page with what the QR code says filled in, or with what is wrong beside it. Nothing is saved."""
    code_form = codes.CodeForm(request.POST)
    form.initial.update({name: request.POST[name] for name in form.fields if name in request.POST})
    if not code_form.is_valid():
        return page(request, "devices/network.html", context | {"code_form": code_form}, status=422)
    form.initial.update({name: value for name, value in code_form.fills().items() if name in form.fields})
    return page(request, "devices/network.html", context | {"filled": code_form.fills()})


def save(request: PersonRequest, device: Device, form: NetworkForm) -> list[Secret] | None:
    """Network info, identifiers and the request to register stand or fall together. None: ``form`` says why not.

    Raises StateConflict where somebody else was first (or the same person, with a second click).
    """
    try:
        with transaction.atomic():
            # A second submit waits here, and then finds the device registered: it makes no second identity.
            held = Device.objects.select_for_update(of=("self",)).filter(pk=device.pk, connection_status__in=OPEN)
            if not held.exists():
                raise StateConflict("network info is there already")
            secrets = form.save(actor=request.user)
            network.request_registration(device=device, actor=request.user)
            return secrets
    except DeviceError as error:
        form.add_error(field_of(error, form), str(error))
        return None


def field_of(error: DeviceError, form: NetworkForm) -> str | None:
    """The input beside which the error belongs: the one it names, else the first (the primary identifier)."""
    if not isinstance(error, IdentifierInUse):
        return None
    return error.field if error.field in form.fields else next(iter(form.fields), None)


@device_view("POST")
def register(request: PersonRequest, device: Device) -> HttpResponse:
    """Ask the network with the info that is there: from Inventory, or again after Failed (D8)."""
    try:
        capabilities.require(device, Capability.SWITCH)
        network.request_registration(device=device, actor=request.user)
    except (StateConflict, NotAllowedForType, DeviceError) as error:
        return changed(request, device, conflict(error), tone="warn")
    return changed(request, device, _("The network is asked to register the device."))


@device_view("GET", "POST", see=Role.OPERATOR)
def switch(request: PersonRequest, device: Device) -> HttpResponse:
    """Have the network accept or refuse the device. GET asks first; the status follows the network's answer."""
    if request.method != "POST":
        return page(request, "devices/switch.html", question(device, active=request.GET.get("tab", "")))
    operation = request.POST.get("operation", "")
    if operation not in network.FROM_TO:
        return changed(request, device, _("Choose whether to activate or to deactivate."), tone="warn")
    try:
        capabilities.require(device, Capability.SWITCH)
        network.request_switch(device=device, operation=operation, actor=request.user)
    except (StateConflict, NotAllowedForType) as error:
        return changed(request, device, conflict(error), tone="warn")
    texts = {
        NetworkTask.Operation.ACTIVATE.value: _("The network is asked to accept the device."),
        NetworkTask.Operation.DEACTIVATE.value: _("The network is asked to refuse the device."),
    }
    return changed(request, device, texts[operation])
