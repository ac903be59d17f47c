"""The language, the icon, and the styleguide: every piece of the design language on one page, for support staff."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.views.i18n import set_language

from accounts.access import public, support_staff

language = public("people choose a language before they sign in", methods=("POST",))(set_language)


@public("browsers ask for it on pages that name no icon, such as the admin")
def favicon(request: HttpRequest) -> HttpResponse:
    return redirect(static("portal/img/mark.svg"))


class SampleForm(forms.Form):
    fport = forms.IntegerField(label="FPort", min_value=1, max_value=223, help_text="1 to 223.")
    payload = forms.CharField(label="Payload (hexadecimal)")
    type = forms.ChoiceField(label="Device type", choices=[("", "Choose…"), ("own", "Own LoRa device")])
    note = forms.CharField(label="Description", required=False, widget=forms.Textarea(attrs={"rows": 2}))
    mode = forms.ChoiceField(label="Command", widget=forms.RadioSelect, choices=[("a", "Reset"), ("b", "Set interval")])
    confirmed = forms.BooleanField(label="Ask the device to confirm", required=False)


SAMPLE_ROWS = [
    ("Cold store 12 · north wall", "Own LoRa (programmable)", "0059AC00001B2F4E", "active", 4, ["Cold chain"]),
    ("Bin 0417", "Smart waste sensor", "0059AC00001B2F50", "active", 180, ["Waste"]),
    ("Truck DX-33-LP", "Own M2M", "356938035643809", "deactivated", 18_000, ["Fleet"]),
    ("Pump station Oost, pump 2", "Own Internet", "8f14e45f-ceea-467f-a8d5-9a0e6f3b2c11", "not_linked", None, []),
]


@support_staff()
def styleguide(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    rows = [
        {
            "name": name,
            "type": kind,
            "identifier": identifier,
            "status": status,
            "seen": None if ago is None else now - timedelta(seconds=ago),
            "project": "Cold chain",
            "flows": flows,
            "managed": name.startswith("Bin"),
        }
        for name, kind, identifier, status, ago, flows in SAMPLE_ROWS
    ]
    moments = {
        "now": now,
        "minute": now - timedelta(minutes=3),
        "hour": now - timedelta(hours=2),
        "day": now - timedelta(days=3),
    }
    context = {
        "nav": "devices",
        "moments": moments,
        "rows": rows,
        "wrong_form": SampleForm({"fport": "300", "mode": "b", "confirmed": "on"}),
        "sort": "-seen",
        "secrets": {"DevEUI": "0059AC00001B2F4E", "AppKey": "2B7E151628AED2A6ABF7158809CF4F3C"},
    }
    return render(request, "styleguide.html", context)
