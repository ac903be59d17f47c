from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DevicesConfig(AppConfig):
    name = "devices"
    verbose_name = _("Devices")

    def ready(self) -> None:
        from django.conf import settings

        from common import partitions

        from . import bulk, bulk_actions, codecs, deletion, tab, tabs

        partitions.register("devices_senmlmessage", keep_days=settings.FRAME_RETENTION_DAYS)
        for entry in tab.TABS:
            tabs.register(entry)
        bulk.register(*bulk_actions.ACTIONS)
        deletion.register(codecs.forget_problem)
        deletion.on_finished.append(bulk_actions.deletion_finished)
