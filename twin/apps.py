from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class TwinConfig(AppConfig):
    name = "twin"
    verbose_name = _("Device Twin")

    def ready(self) -> None:
        from common import partitions
        from devices import bulk, deletion, tabs, values
        from downlinks import queue

        from . import bulk as actions
        from . import columns, samples, services, sync, tab

        partitions.register("twin_sample", keep_days=settings.VALUE_RETENTION_DAYS)

        tabs.register(tab.TAB)
        bulk.register(actions.METADATA)
        values.provide(columns.PROVIDER)
        deletion.register(services.remove, early=True)
        queue.on_desired.append(sync.follow)
        deletion.register(samples.remove)
