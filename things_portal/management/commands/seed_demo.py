"""Fills an empty portal with a demo that is in use: people, Projects, Flows, devices with two days of history.

Runs at the first start of ``things up``; a portal that has any Project is left as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from django_scopes import scopes_disabled

from accounts.models import Membership, Project, Role, Subscription, User
from codec import senml, tokens
from codec.measurements import Measurement
from devices import network, services
from devices.models import Category, Device, DeviceType
from flows import destination_services
from flows.models import Flow, Kind
from flows.services import create_flow
from ingest import simulated, stream
from internet.forms import InternetNetworkForm
from internet.models import InternetIdentity
from lora.forms import save_identity
from lora.models import SimulatedDevice
from lora.networks.simulated.runner import Runner
from m2m.forms import M2mNetworkForm
from m2m.models import M2mIdentity, SimCard
from m2m.numbers import with_check_digit

HISTORY = timedelta(days=2)
SEND_EVERY = timedelta(minutes=5)
PASSWORD = "things-demo"  # noqa: S105 - the demo's, printed at the start and in the README
PEOPLE = [
    ("operator@example.com", "Olga Operator", Role.OPERATOR, "changes devices, sends instructions"),
    ("administrator@example.com", "Adam Administrator", Role.ADMINISTRATOR, "administers the Projects"),
    ("viewer@example.com", "Vera Viewer", Role.VIEWER, "read-only"),
]
SUPPORT = ("support@example.com", "Sam Support", "support staff: the admin at /admin/")


def _bytes(fport: int, template: str = "") -> dict[str, Any]:
    return {"by": "bytes", "fport": fport, "template": template, "confirmed": True}


# The Project's own device types. The simulated device sets its send interval by FPort 10 and reports it; the other
# controls it acknowledges.
TYPES: list[dict[str, Any]] = [
    {
        "slug": "greenhouse-node",
        "name": "Greenhouse node",
        "description": "Our own climate sensor, with a send interval, a light and a frost alarm that can be set.",
        "connectivity": "lora",
        "key_source": "portal",
        "decoders": ["thingsml-lora", "cayenne-lpp"],
        "encoders": ["raw-lora", "commands"],
        "measurements": [{"name": "temperature", "unit": "Cel"}, {"name": "humidity", "unit": "%RH"}],
        "controls": [
            {
                "name": "interval",
                "label": "Send interval",
                "kind": "number",
                "unit": "min",
                "minimum": 1,
                "maximum": 1440,
                "reported": "interval",
                "way": _bytes(10, "{value:u16}"),
            },
            {
                "name": "light",
                "label": "Status light",
                "kind": "enum",
                "way": _bytes(11),
                "choices": [
                    {"label": "Off", "value": 0, "bytes": "00"},
                    {"label": "At each message", "value": 1, "bytes": "01"},
                    {"label": "Always", "value": 2, "bytes": "02"},
                ],
            },
            {"name": "frostAlarm", "label": "Frost alarm", "kind": "boolean", "way": _bytes(12, "{value:u8}")},
        ],
    },
    {
        "slug": "weather-station",
        "name": "Weather station",
        "description": "Our own station on the roof, which fetches its settings in the answer to its messages.",
        "connectivity": "internet",
        "key_source": "customer",
        "decoders": ["senml"],
        "encoders": ["raw-senml", "commands"],
        "measurements": [{"name": "temperature", "unit": "Cel"}, {"name": "humidity", "unit": "%RH"}],
        "controls": [
            {
                "name": "interval",
                "label": "Send interval",
                "kind": "number",
                "unit": "min",
                "minimum": 1,
                "maximum": 1440,
                "reported": "interval",
                "way": {"by": "senml"},
            },
            {
                "name": "mode",
                "label": "Mode",
                "kind": "enum",
                "reported": "mode",
                "way": {"by": "senml"},
                "choices": [{"label": "Day and night", "value": "always"}, {"label": "Days only", "value": "days"}],
            },
            {"name": "label", "label": "Text on the display", "kind": "text", "way": {"by": "senml"}},
        ],
    },
]


@dataclass(frozen=True)
class Lora:
    """A demo device on the simulated network."""

    name: str
    flow: str
    profile: str
    minutes: int
    description: str = ""
    faults: tuple[str, ...] = ()
    type: str = "own-lora-preset"


GREENHOUSES, HARBOUR = "Westland Greenhouses", "Harbour Logistics"
FLOWS = {
    GREENHOUSES: [("Climate", "Climate sensors in the houses"), ("Doors and vents", "")],
    HARBOUR: [("Yard", "Trackers and parking places on the yard")],
}
LORA = {
    GREENHOUSES: [
        Lora("House 1 – north bed", "Climate", "climate", 10, type="greenhouse-node"),
        Lora("House 1 – south bed", "Climate", "climate", 10, type="greenhouse-node"),
        Lora("House 2 – north bed", "Climate", "climate", 15, "At the edge of coverage.", ("heavy_loss",)),
        Lora("House 2 – boiler room", "Climate", "climate", 15, "", ("mac_silent",)),
        Lora(
            "House 3 – nursery",
            "Climate",
            "climate",
            10,
            "Firmware asks an answer to each message.",
            ("always_confirmed",),
        ),
        Lora("Loading door 1", "Doors and vents", "door", 30),
        Lora("Roof vent 4", "Doors and vents", "door", 30, "Battery contact is loose.", ("power_cycle",)),
        Lora("Pump house", "Climate", "climate", 20, "At the far end of the land.", ("far_away",)),
        Lora("Cold store", "Climate", "climate", 15, "Listens at the wrong data rate for its join.", ("join_unheard",)),
        Lora("Gate counter", "Doors and vents", "door", 2, "Set to two minutes for a test, and forgotten."),
        Lora("Roof vent 5", "", "door", 30, "New: the keys were typed over by hand.", ("wrong_app_key",)),
        Lora("Office air", "Climate", "climate", 15, "Bought with the portal.", type="kpn-conditionsensor-co2"),
    ],
    HARBOUR: [
        Lora("Trailer 0417", "Yard", "tracker", 10),
        Lora("Trailer 0532", "Yard", "tracker", 10),
        Lora("Parking place A1", "Yard", "parking", 20),
        Lora("Parking place A2", "Yard", "parking", 20),
        Lora("Pallet tag 07", "Yard", "tracker", 30, "Bought with the portal.", type="kpn-locationtag-ii-v2"),
    ],
}


class Command(BaseCommand):
    help = "Fill an empty portal with a demo."

    def handle(self, *args: Any, **options: Any) -> None:
        with scopes_disabled():
            self.seed()

    secrets: dict[int, str]

    def seed(self) -> None:
        if Project.objects.exists():
            return
        now = timezone.now()
        self.secrets = {}
        with transaction.atomic():
            self.people()
            devices = self.devices()
        # The simulated past goes through the same door as the present: the consumers read it when they start.
        runner = Runner(seed=settings.SIMULATED_SEED, now=now - HISTORY, sink=stream.accept_events)
        runner.step(now - HISTORY)
        runner.step(now)
        self.senml_history(devices, now)
        self.senders(devices, now)
        self.sign_ins()

    def people(self) -> None:
        modular = Subscription.objects.get(slug="modular")
        self.projects = {
            name: Project.objects.create(name=name, subscription=modular) for name in (GREENHOUSES, HARBOUR)
        }
        for email, name, role, _what in PEOPLE:
            person = User.objects.create_user(email, PASSWORD, name=name)
            for project in self.projects.values():
                Membership.objects.create(user=person, project=project, role=role)
        User.objects.create_superuser(SUPPORT[0], PASSWORD, name=SUPPORT[1])
        self.operator = User.objects.get(email=PEOPLE[0][0])
        for fields in TYPES:
            DeviceType.objects.create(**fields, category=Category.OWN, project=self.projects[GREENHOUSES])

    def devices(self) -> list[Device]:
        """Flows, SIM cards and devices, registered; gives the M2M and Internet ones."""
        flows: dict[str, Flow] = {
            name: create_flow(project=self.projects[project], name=name, description=description, actor=self.operator)
            for project, rows in FLOWS.items()
            for name, description in rows
        }
        for flow in flows.values():
            facts = {"name": f"Test endpoint of {flow.name}", "description": "Shows what a receiver would get."}
            secrets = {"shared_secret": tokens.new_secret()}
            made = destination_services.create(
                project=flow.project, kind=Kind.TEST, facts=facts, secrets=secrets, actor=self.operator
            )
            destination_services.link(flow=flow, destination=made, actor=self.operator)
        for project, entries in LORA.items():
            for index, entry in enumerate(entries):
                self.lora_device(self.projects[project], entry, index, flows.get(entry.flow))
        for number in range(8):
            SimCard.objects.create(
                project=self.projects[HARBOUR if number % 2 else GREENHOUSES],
                iccid=with_check_digit(f"893108880000{number:06d}"),
                msisdn=f"+3197000000{number:03d}",
                rate_plan="Things M2M 5 MB" if number % 3 else "Things M2M 50 MB",
            )
        return [self.m2m_device(flows["Yard"]), self.internet_device(flows["Climate"])]

    def add(self, project: Project, type_slug: str, name: str, flow: Flow | None, description: str = "") -> Device:
        device = services.add_device(
            project=project,
            device_type=DeviceType.objects.get(slug=type_slug),
            name=name,
            description=description,
            actor=self.operator,
            by_support=True,
        )
        if flow is not None:
            services.link_flow(device=device, flow=flow, actor=self.operator)
        return device

    def register(self, device: Device) -> None:
        network.request_registration(device=device, actor=self.operator)
        network.run(device.pk)

    def lora_device(self, project: Project, entry: Lora, index: int, flow: Flow | None) -> None:
        device = self.add(project, entry.type, entry.name, flow, entry.description)
        dev_eui = f"0059AC00{project.pk:04X}{0x1000 + index:04X}"
        save_identity(device, dev_eui, "70B3D57ED0001234", settings.SECRET_KEY.encode()[:8] + dev_eui.encode()[-8:])
        self.register(device)
        SimulatedDevice.objects.filter(pk=dev_eui).update(
            profile=entry.profile, interval_seconds=entry.minutes * 60, faults=list(entry.faults)
        )

    def m2m_device(self, flow: Flow) -> Device:
        device = self.add(flow.project, "own-m2m", "Reefer 20-114", flow, "Cooled container with its own SIM.")
        sim = SimCard.objects.filter(project=flow.project, device=None).earliest("pk")
        form = M2mNetworkForm({"imei": with_check_digit("35693803564380"), "sim": str(sim.pk)}, device=device)
        self.save(form)
        return device

    def internet_device(self, flow: Flow) -> Device:
        device = self.add(flow.project, "weather-station", "Weather station", flow, "Sends over the Internet.")
        form = InternetNetworkForm({"dvn_uuid": "0f8fad5b-d9cb-469f-a165-70867728950e"}, device=device)
        self.save(form)
        return device

    def save(self, form: M2mNetworkForm | InternetNetworkForm) -> None:
        if not form.is_valid():
            raise RuntimeError(f"demo data: {form.errors.as_json()}")
        [secret] = form.save(actor=self.operator)
        self.register(form.device)
        self.secrets[form.device.pk] = secret.value

    def senml_history(self, devices: list[Device], now: datetime) -> None:
        """Half-hourly packs of the M2M and the Internet device, newest half an hour ago at most."""
        for device in devices:
            if device.type.connectivity == "m2m":
                base_name, way = f"urn:dev:IMEI:{M2mIdentity.objects.get(pk=device.pk).imei}:", "m2m"
            else:
                base_name, way = InternetIdentity.objects.get(pk=device.pk).base_name, "internet"
            for step in range(24, 0, -1):
                at = (now - timedelta(minutes=30 * step)).timestamp()
                warm = (step % 12) / 4
                pack = [
                    Measurement(name="temperature", value=round(4.0 + warm, 1), unit="Cel", time=at),
                    Measurement(name="humidity", value=round(70.0 - 2 * warm, 1), unit="%RH", time=at),
                    Measurement(name="batteryLevel", value=88.0, unit="%EL", time=at),
                    Measurement(name="firmware", value="2.4.1", time=at),
                ]
                body = senml.dump_json(pack, base_name=base_name, base_time=at)
                stream.accept_senml(way, device.pk, body, received_at=at)

    def senders(self, devices: list[Device], now: datetime) -> None:
        """From now on the same devices send by themselves, over HTTP."""
        for device in devices:
            identity = device.m2m if device.type.connectivity == "m2m" else device.internet
            secret = self.secrets[device.pk]
            simulated.add(device, base_name=identity.base_name, secret=secret, interval=SEND_EVERY, next_at=now)

    def sign_ins(self) -> None:
        rows = [{"email": email, "password": PASSWORD, "what": what} for email, _name, _role, what in PEOPLE]
        rows.append({"email": SUPPORT[0], "password": PASSWORD, "what": SUPPORT[2]})
        home = Path(settings.THINGS_HOME)
        home.mkdir(parents=True, exist_ok=True)
        (home / "demo.json").write_text(json.dumps({"sign_ins": rows}, indent=1))
