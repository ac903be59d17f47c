"""The bulk action that sends an instruction to many devices (D4, S2): one into the queue of each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_scopes import scopes_disabled

from devices import controls
from devices.bulk import ActionForm, Asked, BulkAction, Refusal, Result
from devices.capabilities import ALLOWED, Capability
from devices.controls import Command
from devices.models import Connection, Device, DeviceType, Encoder, Outcome, Processing
from lora import frames

from . import encoding, predefined, services
from .errors import InstructionRefused
from .forms import ConfirmedField, FPortField, HexadecimalField, SenmlField
from .models import Source

# The kinds of instruction, with the fields of each that must be filled in.
FIELDS: Final = {
    Encoder.COMMANDS: ("command",),
    Encoder.RAW_LORA: ("fport", "payload"),
    Encoder.RAW_SENML: ("senml",),
}
# Whatever a device's own is, it makes a pack neither right nor wrong.
SOME_BASE_NAME: Final = "urn:dev:IMEI:000000000000000:"
# The gateway that heard a device last, looked for no further back: after that it says little.
GATEWAY_KNOWN: Final = timedelta(days=7)
# One job makes one instruction for a device, however often its turn comes.
JOBS: Final = uuid.UUID("3e8f8a3c-4a0c-4b53-9c5e-0a6f6d1f7f11")


class InstructionForm(ActionForm):
    """The fields of the single forms, for the kinds that the types of the chosen devices take; commands where all are
    of one type. Where there are several kinds, those of the kinds that are not chosen are not looked at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.types = types_of(self.devices)
        self.kinds = offered(self.types)
        if len(self.kinds) > 1:
            self.fields["encoder"] = forms.ChoiceField(
                label=_("Kind of instruction"),
                choices=[(kind.value, kind.label) for kind in self.kinds],
                initial=self.kinds[0].value,
                widget=forms.RadioSelect,
            )
        if Encoder.COMMANDS in self.kinds:
            self.commands = controls.commands_of(self.types[0].commands)
            self.fields["command"] = forms.ChoiceField(label=_("Command"), choices=list(_choices(self.commands)))
        if Encoder.RAW_LORA in self.kinds:
            self.fields["fport"] = FPortField()
            self.fields["payload"] = HexadecimalField(help_text=_("Hexadecimal, such as 01 0A FF."))
            # Not "confirmed": so is called what starts the job.
            self.fields["acknowledged"] = ConfirmedField()
        if Encoder.RAW_SENML in self.kinds:
            help_text = _("A list of measurements in JSON. The portal adds each device's base name.")
            self.fields["senml"] = SenmlField(help_text=help_text)

    @property
    def encoder(self) -> str:
        return str(self.kinds[0].value if len(self.kinds) == 1 else self.cleaned_data.get("encoder", ""))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.kinds and any(Encoder.COMMANDS in each.encoders for each in self.types):
            raise forms.ValidationError(_("Choose devices of one type to send its commands."))
        if not self.kinds:
            raise forms.ValidationError(_("None of these devices takes instructions."))
        for kind, names in FIELDS.items():
            if kind != self.encoder:
                for name in names:
                    self.errors.pop(name, None)
        if not self.errors:
            self._check_content(cleaned)
        return cleaned

    def _check_content(self, cleaned: dict[str, Any]) -> None:
        """What is wrong for every device is said here; what fits one alone is found when its turn comes."""
        try:
            if self.encoder == Encoder.COMMANDS:
                cleaned["made"] = self._made(cleaned["command"])
            elif self.encoder == Encoder.RAW_SENML:
                encoding.packed(cleaned["senml"].encode(), SOME_BASE_NAME)
            else:
                encoding.check_lora(cleaned["fport"], cleaned["payload"], encoding.LARGEST_LORA)
        except InstructionRefused as error:
            places = {Encoder.RAW_SENML.value: "senml", Encoder.COMMANDS.value: "command"}
            self.add_error(places.get(self.encoder, error.field), str(error))

    def _made(self, chosen: str) -> dict[str, Any]:
        """The command as all devices get it: it is made once, here. Raises InstructionRefused."""
        index, _sep, text = chosen.partition(":")
        command = self.commands[int(index)]
        value = command.clean(text)
        made = predefined.make(self.types[0], command, value)
        if not made.senml:
            encoding.check_lora(made.fport, made.payload, encoding.LARGEST_LORA)
        return {
            "type": self.types[0].pk,
            "label": command.words(value),
            "payload": made.payload.hex(),
            "fport": made.fport,
            "confirmed": made.confirmed,
        }

    def parameters(self) -> dict[str, Any]:
        values = self.cleaned_data
        if self.encoder == Encoder.RAW_SENML:
            return {"encoder": self.encoder, "payload": values["senml"]}
        if self.encoder == Encoder.COMMANDS:
            return {"encoder": self.encoder, **values["made"]}
        return {
            "encoder": self.encoder,
            "payload": values["payload"].hex(),
            "fport": values["fport"],
            "confirmed": values["acknowledged"],
        }


def types_of(devices: QuerySet[Device]) -> list[DeviceType]:
    """The devices' types: one look-up by index per type, not per device."""
    return list(DeviceType.objects.filter(Exists(devices.order_by().filter(type_id=OuterRef("pk")))))


def offered(types: Sequence[DeviceType]) -> list[Encoder]:
    """The kinds of instructions that devices of these types take: commands of one type, raw ones of all."""
    taken = {encoder for each in types if each.category in ALLOWED[Capability.RAW] for encoder in each.encoders} - {
        Encoder.COMMANDS
    }
    if len(types) == 1 and types[0].commands and Encoder.COMMANDS in types[0].encoders:
        taken.add(Encoder.COMMANDS)
    return [kind for kind in FIELDS if kind in taken]


def _choices(commands: Sequence[Command]) -> Iterator[tuple[str, Any]]:
    """All values of all commands in one list, by command where there are several."""
    for index, command in enumerate(commands):
        values = [(f"{index}:{controls.text_of(each.value)}", each.label) for each in command.choices]
        yield from [(command.label, values)] if values else [(f"{index}:", command.label)]


def instruction(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What ``services.request_many`` takes, from what the form gave."""
    if parameters["encoder"] == Encoder.RAW_SENML:
        return {"encoder": Encoder.RAW_SENML.value, "payload": parameters["payload"].encode()}
    facts = {key: value for key, value in parameters.items() if key != "type"}
    return facts | {"payload": bytes.fromhex(parameters["payload"])}


def summary(parameters: Mapping[str, Any]) -> str:
    label = parameters.get("label") or Encoder(parameters["encoder"]).label
    if parameters["encoder"] == Encoder.RAW_SENML:
        return f"{label}: {Truncator(parameters['payload']).chars(200)}"
    if parameters["fport"] is None:
        return f"{label}: {Truncator(bytes.fromhex(parameters['payload']).decode()).chars(200)}"
    payload = bytes.fromhex(parameters["payload"]).hex(" ").upper()
    confirmed = f", {_('confirmed')}" if parameters["confirmed"] else ""
    return f"{label}: FPort {parameters['fport']}, {payload}{confirmed}"


def refusals(asked: Asked) -> Sequence[Refusal]:
    if asked.parameters["encoder"] == Encoder.COMMANDS:
        kind = Refusal(~Q(type_id=asked.parameters["type"]), gettext_lazy("It is of another device type."))
    else:
        kind = Refusal(
            ~Q(type__category__in=ALLOWED[Capability.RAW]),
            gettext_lazy("A managed device takes no raw instructions."),
        )
    return [
        kind,
        Refusal(
            ~Q(type__encoders__contains=[asked.parameters["encoder"]]),
            gettext_lazy("This kind of device does not take such instructions."),
        ),
        Refusal(
            Q(processing_status=Processing.DEACTIVATED),
            gettext_lazy("The device is deactivated: nothing is sent to it."),
        ),
        Refusal(
            ~Q(processing_status=Processing.ACTIVE),
            gettext_lazy("Link the device to a Flow first: instructions need one."),
        ),
        Refusal(
            ~Q(connection_status=Connection.ACTIVE),
            gettext_lazy("The device is not active on its network."),
        ),
    ]


def apply(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    with scopes_disabled():
        devices = list(Device.objects.select_related("type").filter(pk__in=ids))
    requested = services.request_many(
        devices=devices,
        **instruction(asked.parameters),
        actor=asked.actor,
        source=Source.BULK,
        token=uuid.uuid5(JOBS, str(asked.job_id)),
    )
    return {pk: Result(Outcome.FAILED, str(error)) for pk, error in requested.refused.items()}


def gateways(ids: Sequence[int]) -> Mapping[int, str]:
    """By device the gateway to spare; M2M and Internet devices have none."""
    return frames.last_gateways(ids, timezone.now() - GATEWAY_KNOWN)


INSTRUCTION = BulkAction(
    slug="instruction",
    label=gettext_lazy("Send instruction"),
    icon="send",
    question=gettext_lazy("Send an instruction to these devices?"),
    explanation=gettext_lazy(
        "Each device gets it at the end of its queue. The job is done when all queues have it; whether a device "
        "received it stands on its own Send instruction tab."
    ),
    paced=True,
    order=70,
    form=InstructionForm,
    refusals=refusals,
    apply=apply,
    pace_key=gateways,
    summary=summary,
)
