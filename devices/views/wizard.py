"""The Add Device wizard, step 1 (D5): a device without network info. Step 2 is ``views/network.py``."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from accounts.access import PersonRequest, in_projects
from accounts.models import Project, Role
from common.htmx import page
from devices import codes, connectivity, services
from devices.errors import DeviceError
from devices.forms import AddDeviceForm
from devices.models import Device


@in_projects(Role.OPERATOR, methods=("GET", "POST"))
def add(request: PersonRequest) -> HttpResponse:
    """Ask for the device; only Projects in which the person is operator are offered. A GET with ``project``
    brings that Project's types (htmx asks so when another one is chosen)."""
    projects = request.person.projects_with(Role.OPERATOR)
    if request.method == "POST" and codes.asked(request.POST):
        return read_code(request, projects)
    data = request.POST if request.method == "POST" else None
    form = AddDeviceForm(data, projects=projects, chosen=request.GET.get("project", ""))
    if request.method == "POST" and form.is_valid():
        device = create(request, form)
        if device is not None:
            if (device.name, device.type_id) != (form.cleaned_data["name"], form.cleaned_data["device_type"].pk):
                # The same page again with something changed: it names the device that is there.
                text = _("The device was added already, as %(name)s. Change it on its Device tab.")
                messages.warning(request, text % {"name": device.name})
            query = urlencode({"new": "1"} | codes.carried(form.cleaned_data))
            return HttpResponseRedirect(f"{reverse('devices:network', kwargs={'device_id': device.pk})}?{query}")
    context = {"nav": "devices", "form": form, "code_form": codes.CodeForm(), "filled": codes.carried(request.POST)}
    return page(request, "devices/add.html", context, partial="device-type-field", status=422 if form.errors else 200)


def read_code(request: PersonRequest, projects: list[Project]) -> HttpResponse:
    """The same page with what the QR code says filled in, or with what is wrong beside it. Nothing is saved."""
    entered = {name: str(value) for name, value in request.POST.items()}
    code_form = codes.CodeForm(request.POST)
    status = 200
    if code_form.is_valid():
        # A code without a serial number leaves the barcode that somebody typed.
        entered |= {name: value for name, value in code_form.fills().items() if value}
        code_form = codes.CodeForm()
    else:
        status = 422
    form = AddDeviceForm(projects=projects, filled=entered)
    context = {"nav": "devices", "form": form, "code_form": code_form, "filled": codes.carried(entered)}
    return page(request, "devices/add.html", context, status=status)


def create(request: PersonRequest, form: AddDeviceForm) -> Device | None:
    """The device; None: ``form`` says why not."""
    data = form.cleaned_data
    why_not = connectivity.by_slug(data["device_type"].connectivity).types_ready(form.project, data["device_type"])
    if why_not:
        form.add_error("device_type", why_not)
        return None
    try:
        return services.add_device(
            project=form.project,
            device_type=data["device_type"],
            name=data["name"],
            barcode=data["barcode"],
            description=data["description"],
            actor=request.user,
            token=data["token"],
        )
    except DeviceError as error:
        form.add_error("device_type", str(error))
    except ValidationError as error:
        form.add_error(None, error)
    return None
