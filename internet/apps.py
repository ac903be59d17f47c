from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InternetConfig(AppConfig):
    name = "internet"
    verbose_name = _("Internet")

    def ready(self) -> None:
        from devices import connectivity, tabs

        from . import registration, tab

        connectivity.register(registration.Internet())
        for entry in tab.TABS:
            tabs.register(entry)
