"""The Send instruction tab of the detail page (S1)."""

from django.utils.translation import gettext_lazy as _

from devices.tabs import Tab

TAB = Tab(slug="send", label=_("Send instruction"), url_name="downlinks:send", order=10)
