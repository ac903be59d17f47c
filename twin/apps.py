from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TwinConfig(AppConfig):
    name = "twin"
    verbose_name = _("Device Twin")

    def ready(self) -> None:
        from devices import tabs, values

        from . import columns, tab

        tabs.register(tab.TAB)
        values.provide(columns.PROVIDER)
