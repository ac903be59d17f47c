from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TwinConfig(AppConfig):
    name = "twin"
    verbose_name = _("Device Twin")

    def ready(self) -> None:
        from devices import bulk, deletion, tabs, values
        from downlinks import queue

        from . import bulk as actions
        from . import columns, services, sync, tab

        tabs.register(tab.TAB)
        bulk.register(actions.METADATA)
        values.provide(columns.PROVIDER)
        deletion.register(services.remove, early=True)
        queue.on_desired.append(sync.follow)
