"""The form of a destination: where to, how it proves itself, in which layout (F5)."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from django import forms
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Project

from . import destination_inbox as inbox
from .models import Authentication, Destination, Kind, Layout

HOST: Final = re.compile(r"(?!-)[A-Za-z0-9.-]{1,253}(?<![-.])")
# RFC 9110, section 5.1: a token.
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# Said by the portal itself, or part of how the message travels.
OWN: Final = re.compile(
    r"(?i)things-.*|content-(length|type|encoding)|host|connection|transfer-encoding|te|trailer|upgrade|expect"
    r"|authorization|x-api-key|user-agent|proxy-.*|keep-alive"
)
SHORTEST_SECRET: Final = 32
MOST_HEADERS: Final = 20
PLACES: Final = re.compile(r"\{([^{}]*)\}")
KNOWN_PLACES: Final = ("project", "device", "identifier")


class DestinationForm(forms.Form):
    """Of one kind. Fields of secrets are empty when a destination is edited: what is left empty stays as it is."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    description = forms.CharField(
        label=gettext_lazy("Description"), max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    layout = forms.ChoiceField(
        label=gettext_lazy("Layout of the SenML pack"),
        choices=Layout.choices,
        help_text=gettext_lazy("The second rounds times to whole seconds; older receivers expect it."),
    )
    enabled = forms.BooleanField(
        label=gettext_lazy("Enabled"),
        required=False,
        help_text=gettext_lazy("While it is not, nothing new is kept for it, and nothing is sent."),
    )

    def __init__(
        self,
        data: Any = None,
        *,
        kind: Kind,
        destination: Destination | None = None,
        projects: list[Project] | None = None,
    ) -> None:
        self.kind, self.destination = kind, destination
        initial: dict[str, Any] = {
            "enabled": True,
            "layout": Layout.MERGED,
            "port": 8883,
            "topic": "things/{identifier}",
            "name": _("Test endpoint") if kind == Kind.TEST else "",
        }
        if destination is not None:
            initial = {each.name: getattr(destination, each.name) for each in Destination._meta.concrete_fields}
        super().__init__(data, initial=initial)
        self.projects = {str(project.pk): project for project in projects or []}
        if kind == Kind.HTTPS:
            self._https()
        elif kind == Kind.MQTT:
            self._mqtt()
        if destination is None and len(self.projects) > 1:
            choices = [("", _("Choose a Project")), *((key, row.name) for key, row in self.projects.items())]
            self.fields["project"] = forms.ChoiceField(label=_("Project"), choices=choices)
        proof = ("authentication", "username", "credential", "shared_secret", "headers", "expected_status")
        self.order_fields(["project", "name", "description", "url", "host", "port", "topic", *proof])

    def _secret(self, label: str, help_text: str = "") -> forms.CharField:
        told = _("Leave it empty to keep the present one.") if self.destination else ""
        return forms.CharField(
            label=label,
            required=False,
            max_length=500,
            help_text=" ".join(filter(None, (help_text, told))),
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        )

    def _https(self) -> None:
        self.fields["url"] = forms.CharField(
            label=_("Address"), max_length=2000, help_text=_("Begins with https://. A query is allowed.")
        )
        self.fields["shared_secret"] = self._secret(
            _("Shared secret"),
            _("Signs each message; 32 characters or more, of several kinds.")
            + ("" if self.destination else " " + _("Leave it empty, and the portal makes one.")),
        )
        self.fields["authentication"] = forms.ChoiceField(label=_("Authentication"), choices=Authentication.choices)
        self.fields["username"] = forms.CharField(label=_("User name"), max_length=200, required=False)
        self.fields["credential"] = self._secret(_("Password, token or key"))
        self.fields["headers"] = forms.CharField(
            label=_("Headers"),
            required=False,
            max_length=8000,
            widget=forms.Textarea(attrs={"rows": 3, "class": "hex", "spellcheck": "false", "autocomplete": "off"}),
            help_text=_("One a line, name and value with a colon between.")
            + (
                " " + _("Leave it empty to keep the present ones; a single dash removes them.")
                if self.destination
                else ""
            ),
        )
        self.fields["expected_status"] = forms.IntegerField(
            label=_("Expected answer"), required=False, min_value=100, max_value=599,
            help_text=_("An HTTP status. Empty: any of 200 to 299."),
        )  # fmt: skip

    def _mqtt(self) -> None:
        self.fields["host"] = forms.CharField(label=_("Host"), max_length=253)
        self.fields["port"] = forms.IntegerField(
            label=_("Port"), min_value=1, max_value=65535, help_text=_("Connections are encrypted (TLS).")
        )
        self.fields["topic"] = forms.CharField(
            label=_("Topic"),
            max_length=500,
            help_text=_("{project}, {device} and {identifier} are filled in for each message."),
        )
        self.fields["username"] = forms.CharField(label=_("User name"), max_length=200, required=False)
        self.fields["credential"] = self._secret(_("Password"))

    @property
    def project(self) -> Project:
        """The Project of a valid form for a new destination."""
        return self.projects[self.cleaned_data.get("project") or next(iter(self.projects))]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"].strip()
        try:
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname or ""
        except ValueError:
            port, host, parts = None, "", urlsplit("")
        # An address of the portal's own is never gone to: what is for it is taken here.
        if parts.scheme != "https" and not inbox.key_in(url):
            raise forms.ValidationError(_("The address begins with https://."))
        if not host or port == 0 or any(each.isspace() or ord(each) > 126 for each in url):
            raise forms.ValidationError(_("This is not a complete address."))
        if parts.username or parts.password or parts.fragment:
            raise forms.ValidationError(_("No user name, password or # here: use the fields below."))
        return url

    def clean_host(self) -> str:
        host: str = self.cleaned_data["host"].strip()
        if not HOST.fullmatch(host):
            raise forms.ValidationError(_("This is not the name of a host."))
        return host

    def clean_topic(self) -> str:
        topic: str = self.cleaned_data["topic"].strip()
        unknown = [name for name in PLACES.findall(topic) if name not in KNOWN_PLACES]
        if unknown:
            raise forms.ValidationError(_("Nothing is filled in for {%s}.") % unknown[0])
        if any(each in topic for each in "+#\0"):
            raise forms.ValidationError(_("A topic that is published to has no + and no #."))
        return topic

    def clean_shared_secret(self) -> str:
        secret: str = self.cleaned_data["shared_secret"]
        kinds = (str.isupper, str.islower, str.isdigit)
        if secret and (
            len(secret) < SHORTEST_SECRET
            or not secret.isascii()
            or not all(any(kind(each) for each in secret) for kind in kinds)
        ):
            raise forms.ValidationError(_("32 characters or more, with upper case, lower case and digits."))
        return secret

    def clean_headers(self) -> dict[str, str] | None:
        """None: as they are."""
        text: str = self.cleaned_data["headers"].strip()
        if not text:
            return None if self.destination else {}
        found: dict[str, str] = {}
        for number, line in enumerate([] if text == "-" else text.splitlines(), start=1):
            name, colon, value = line.partition(":")
            name, value = name.strip(), value.strip()
            if not colon or not HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise forms.ValidationError(_("Line %d is no header.") % number)
            if OWN.fullmatch(name):
                raise forms.ValidationError(_("Line %d: the portal says this header itself.") % number)
            found[name] = value
        if len(found) > MOST_HEADERS:
            raise forms.ValidationError(_("At most %d headers.") % MOST_HEADERS)
        return found

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        held = self.destination.get_secrets() if self.destination else {}
        if data.get("authentication") not in {None, Authentication.NONE} and not (
            data.get("credential") or held.get("credential")
        ):
            self.add_error("credential", _("This authentication needs it."))
        if data.get("authentication") == Authentication.BASIC and not data.get("username"):
            self.add_error("username", _("This authentication needs it."))
        return data

    def facts(self) -> dict[str, Any]:
        """What is stored in plain, of a valid form."""
        names = {each.name for each in Destination._meta.concrete_fields} - {"project"}
        return {key: value for key, value in self.cleaned_data.items() if key in names}

    def secrets(self) -> dict[str, Any]:
        """All secrets as they are from now on."""
        held = self.destination.get_secrets() if self.destination else {}
        if self.kind == Kind.TEST:
            return {"shared_secret": get_random_string(40)} | held
        data = self.cleaned_data
        if data.get("credential"):
            held["credential"] = data["credential"]
        if data.get("authentication") == Authentication.NONE:
            held.pop("credential", None)
        if self.kind == Kind.HTTPS:
            if data["headers"] is not None:
                held["headers"] = data["headers"]
            held["shared_secret"] = data["shared_secret"] or held.get("shared_secret") or get_random_string(40)
        return held
