"""The bulk actions of the devices themselves (D4, D9): activate, deactivate, link, unlink, move to another Project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from django import forms
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Membership, Project, Role, User
from flows.models import Flow
from flows.services import create_flow

from . import deletion, job_runner, many
from .bulk import ActionForm, Asked, BulkAction, Refusal, Result
from .errors import DeviceError
from .forms import FLOWS_TO_CHOOSE, ProjectField
from .models import Category, DeviceType, FlowLink, NetworkTask, Outcome, Processing

ALL: Final = Q(pk__isnull=False)
DEACTIVATED: Final = Q(processing_status=Processing.DEACTIVATED)


def _operates(actor: User | None, project_id: int) -> bool:
    roles = [role for role in Role if role.covers(Role.OPERATOR)]
    return Membership.objects.filter(user=actor, project=project_id, role__in=roles).exists()


# --- activate, deactivate ---


def _activate(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    many.activate(ids, asked.actor)
    return {}


def _deactivate(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    many.deactivate(ids, asked.actor)
    return {}


# --- Flows ---


def _grouped(flows: Iterable[Flow]) -> list[Any]:
    """Flows as option groups by Project; only the Flows where there is one Project."""
    groups = [
        (project.name, [(flow.pk, flow.name if flow.enabled else _("%s (disabled)") % flow.name) for flow in rows])
        for project, rows in groupby(flows, key=lambda flow: flow.project)
    ]
    return groups[0][1] if len(groups) == 1 else groups


class _FlowForm(ActionForm):
    """Chooses one of ``flows``, which a subclass gives."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        rows = self.offered().filter(project__in=self.projects).select_related("project")
        ordered = rows.order_by("project__name", "project_id", "name", "pk")[:FLOWS_TO_CHOOSE]
        self.flows = {str(flow.pk): flow for flow in ordered}
        self.fields["flow"] = forms.ChoiceField(
            label=_("Flow"),
            required=self.must_choose,
            choices=[("", _("Choose a Flow") if self.flows else self.none), *_grouped(self.flows.values())],
        )

    must_choose = True
    none: Any = ""

    def offered(self) -> Any:
        raise NotImplementedError

    def parameters(self) -> dict[str, Any]:
        flow = self.flows[self.cleaned_data["flow"]]
        return {"flow": flow.pk, "name": flow.name}


class LinkForm(_FlowForm):
    """A Flow of a Project in which the person is operator, or the name of a new one and its Project."""

    must_choose = False
    none = gettext_lazy("There is no Flow yet")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["new_flow"] = forms.CharField(
            label=_("New Flow"),
            max_length=100,
            required=False,
            help_text=_("Or give a name, and a new Flow is made with these devices in it."),
        )
        if len(self.projects) > 1:
            self.fields["project"] = ProjectField(self.projects, required=False, help_text=_("Of the new Flow."))

    def offered(self) -> Any:
        return Flow.objects.filter(deletion_asked_at=None)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        name = data["new_flow"] = data.get("new_flow", "").strip()
        if "flow" in data and bool(data["flow"]) == bool(name):
            self.add_error("flow", _("Choose a Flow or name a new one, not both."))
        elif name and self.project is None:
            self.add_error("project", _("Choose the Project of the new Flow."))
        elif name and Flow.objects.filter(project=self.project, name__iexact=name).exists():
            self.add_error("new_flow", _("This Project has a Flow of this name already."))
        return data

    @property
    def project(self) -> Project | None:
        return self.projects[0] if len(self.projects) == 1 else self.cleaned_data.get("project") or None

    def parameters(self) -> dict[str, Any]:
        if self.cleaned_data["flow"]:
            return super().parameters()
        project = self.project
        return {"project": project.pk if project else 0, "name": self.cleaned_data["new_flow"]}


class UnlinkForm(_FlowForm):
    """One of the Flows that the chosen devices are in."""

    none = gettext_lazy("These devices are in no Flow")

    def offered(self) -> Any:
        chosen = self.devices.order_by().values("pk")
        return Flow.objects.filter(Exists(FlowLink.objects.filter(flow=OuterRef("pk"), device__in=chosen)))


def _flow(asked: Asked) -> Flow | None:
    """The Flow that was chosen, or that is made (or was, by the first set) under the name that was given."""
    chosen, name = asked.parameters.get("flow"), asked.parameters["name"]
    if chosen is not None:
        return Flow.objects.filter(pk=chosen, deletion_asked_at=None).first()
    return Flow.objects.filter(project=asked.parameters["project"], name__iexact=name).first()


def _flow_refusals(asked: Asked) -> tuple[Flow | None, list[Refusal]]:
    """What holds for all devices: the Flow is gone, or its Project is not the person's any more."""
    flow = _flow(asked)
    if flow is None and "flow" in asked.parameters:
        return None, [Refusal(ALL, gettext_lazy("The Flow is not there any more."))]
    if not _operates(asked.actor, flow.project_id if flow else asked.parameters["project"]):
        return flow, [Refusal(ALL, gettext_lazy("You are not an operator of the Flow's Project any more."))]
    return flow, []


def _inside(flow: Flow | None) -> Q:
    return Q(Exists(FlowLink.objects.filter(device=OuterRef("pk"), flow=flow)))


def _link_refusals(asked: Asked) -> list[Refusal]:
    flow, refusals = _flow_refusals(asked)
    if flow is not None:
        refusals.append(Refusal(_inside(flow), gettext_lazy("It is in this Flow already.")))
    return refusals


def _link(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    flow = _flow(asked)
    if flow is None:
        project = Project.objects.get(pk=asked.parameters["project"])
        flow = create_flow(project=project, name=asked.parameters["name"], actor=asked.actor)
    many.link(ids, flow, asked.actor)
    return {}


def _unlink_refusals(asked: Asked) -> list[Refusal]:
    flow, refusals = _flow_refusals(asked)
    if flow is not None:
        refusals.append(Refusal(~_inside(flow), gettext_lazy("It is not in this Flow.")))
    return refusals


def _unlink(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    flow = _flow(asked)
    if flow is None:
        raise DeviceError(_("The Flow is not there any more."))
    many.unlink(ids, flow, asked.actor)
    return {}


# --- another Project ---


class MoveForm(ActionForm):
    """The Project that the devices go to: one in which the person is operator."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["project"] = ProjectField(self.projects)

    def parameters(self) -> dict[str, Any]:
        project = self.cleaned_data["project"]
        return {"project": project.pk, "name": project.name}


def _move_refusals(asked: Asked) -> list[Refusal]:
    project = Project.objects.filter(pk=asked.parameters["project"]).first()
    if project is None or not _operates(asked.actor, project.pk):
        return [Refusal(ALL, gettext_lazy("You are not an operator of the Project that it would go to any more."))]
    return move_refusals(project)


def move_refusals(project: Project) -> list[Refusal]:
    """Which devices cannot go to the Project."""
    types = DeviceType.objects.filter(project=None, subscriptions=project.subscription_id).values("pk")
    return [
        Refusal(Q(project=project), gettext_lazy("It is in this Project already.")),
        # Its answer is written in the Project that asked.
        Refusal(
            Q(Exists(NetworkTask.objects.filter(device=OuterRef("pk")))),
            gettext_lazy("The network is still at work on it."),
        ),
        Refusal(
            Q(type__project__isnull=False) & ~Q(type__project=project),
            gettext_lazy("Its device type belongs to the Project that it is in."),
        ),
        Refusal(
            Q(type__project=None) & ~Q(type__category=Category.MANAGED) & ~Q(type__in=types),
            gettext_lazy("Its device type is not in the subscription of the Project that it would go to."),
        ),
    ]


def _move(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    many.move(ids, Project.objects.get(pk=asked.parameters["project"]), asked.actor)
    return {}


# --- delete ---


def _delete(ids: Sequence[int], asked: Asked) -> Mapping[int, Result]:
    """Begun here; each device's end is told by :func:`deletion_finished`, when its network has answered."""
    deletion.request_many(ids, asked.actor)
    return {pk: Result(Outcome.WAITING) for pk in ids}


def deletion_finished(device_id: int, refused: str) -> None:
    """Called in the transaction that removed the device, or that kept it because its network refused."""
    job_runner.settle([device_id], Outcome.FAILED if refused else Outcome.DONE, refused, action=DELETE.slug)


ACTIVATE: Final = BulkAction(
    slug="activate",
    label=gettext_lazy("Activate"),
    icon="player-play",
    question=gettext_lazy("Activate devices"),
    explanation=gettext_lazy(
        "Their data is processed and forwarded again, and instructions are sent. A device without a Flow becomes"
        " “Not yet linked”."
    ),
    order=10,
    refusals=lambda asked: [Refusal(~DEACTIVATED, gettext_lazy("It is not deactivated."))],
    apply=_activate,
)
DEACTIVATE: Final = BulkAction(
    slug="deactivate",
    label=gettext_lazy("Deactivate"),
    icon="player-pause",
    question=gettext_lazy("Deactivate devices"),
    explanation=gettext_lazy(
        "Their data is kept in the history, but not processed or forwarded, and no instruction is sent. They stay"
        " connected to the network, and can be activated again at any time."
    ),
    order=20,
    refusals=lambda asked: [Refusal(DEACTIVATED, gettext_lazy("It is deactivated already."))],
    apply=_deactivate,
)
LINK: Final = BulkAction(
    slug="link",
    label=gettext_lazy("Link to a Flow"),
    icon="link",
    question=gettext_lazy("Link devices to a Flow"),
    explanation=gettext_lazy(
        "Their data goes to the destinations of the Flow from now on, beside those of the Flows that they are in."
    ),
    order=30,
    form=LinkForm,
    refusals=_link_refusals,
    apply=_link,
    summary=lambda parameters: _("Link to the Flow “%(name)s”") % {"name": parameters["name"]},
)
UNLINK: Final = BulkAction(
    slug="unlink",
    label=gettext_lazy("Unlink from a Flow"),
    icon="unlink",
    question=gettext_lazy("Unlink devices from a Flow"),
    explanation=gettext_lazy(
        "Their data does not go to the destinations of the Flow any more. A device that is in no other Flow becomes"
        " “Not yet linked”: its data is kept, but not processed."
    ),
    order=40,
    form=UnlinkForm,
    refusals=_unlink_refusals,
    apply=_unlink,
    summary=lambda parameters: _("Unlink from the Flow “%(name)s”") % {"name": parameters["name"]},
)
MOVE: Final = BulkAction(
    slug="move",
    label=gettext_lazy("Move to another Project"),
    icon="folder",
    question=gettext_lazy("Move devices to another Project"),
    explanation=gettext_lazy(
        "The people of the new Project see them from then on, and those of the old one do not. The devices leave the"
        " Flows of the old Project and stay in those of the new one. Their data history, Device Twin, identifiers and"
        " SIM cards go along; what the audit trail of the old Project says of them stays there."
    ),
    order=80,
    form=MoveForm,
    refusals=_move_refusals,
    apply=_move,
    summary=lambda parameters: _("Move to the Project “%(name)s”") % {"name": parameters["name"]},
)
DELETE: Final = BulkAction(
    slug="delete",
    label=gettext_lazy("Delete"),
    icon="trash",
    question=gettext_lazy("Delete devices for good"),
    explanation=gettext_lazy(
        "Their network registration goes first, then the devices with their data, instructions and links to Flows."
        " Their identifiers can never be added again."
    ),
    explanation_template="devices/_difference.html",
    danger=True,
    typed_number=True,
    order=90,
    refusals=lambda asked: [
        Refusal(
            Q(type__category=Category.MANAGED),
            gettext_lazy("A managed device is deleted by the service desk, not here."),
        ),
        Refusal(
            Q(Exists(NetworkTask.objects.filter(device=OuterRef("pk"), operation=NetworkTask.Operation.DELETE))),
            gettext_lazy("It is being deleted already."),
        ),
        Refusal(
            Q(Exists(NetworkTask.objects.filter(device=OuterRef("pk")))),
            gettext_lazy("The network is still at work on it."),
        ),
    ],
    apply=_delete,
)
ACTIONS: Final = (ACTIVATE, DEACTIVATE, LINK, UNLINK, MOVE, DELETE)
