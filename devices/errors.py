"""What can go wrong with devices and networks, as errors that pages and the API turn into sentences."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django_stubs_ext import StrOrPromise


class DeviceError(Exception):
    """A change that cannot be made; the text is a sentence for the person."""


class IdentifierInUse(DeviceError):
    """The identifier belongs to a device, here or elsewhere, or belonged to a deleted one. Says no more (D9).

    ``field``: the input of the network form that it was entered in; "" means the form's first.
    """

    def __init__(self, message: StrOrPromise, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NetworkRefused(Exception):
    """The network's final no: wrong or already used info, something it cannot do. Ends in Failed."""


class NetworkUnavailable(Exception):
    """The network did not answer or is not well: try again later."""


def in_use(kind: str) -> str:
    """The sentence for an identifier that is or was somebody's; it never says whose (D9)."""
    return _("This %(kind)s cannot be used: it is in use already, or belonged to a deleted device.") % {
        "kind": {"DEVEUI": "DevEUI", "DVNUUID": "DvnUUID"}.get(kind, kind)
    }
