"""The Device Twin tab of the detail page (W1)."""

from django.utils.translation import gettext_lazy as _

from devices.tabs import Tab

TAB = Tab(slug="twin", label=_("Device Twin"), url_name="twin:tab", order=30)
