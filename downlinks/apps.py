from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DownlinksConfig(AppConfig):
    name = "downlinks"
    verbose_name = _("Instructions")

    def ready(self) -> None:
        from devices import activity, bulk, deletion, tabs
        from lora import carried

        from . import bulk as actions
        from . import queue, reading, tab

        tabs.register(tab.TAB)
        bulk.register(actions.INSTRUCTION)
        deletion.register(queue.forget)
        activity.on_active.append(queue.release)
        carried.register(reading.carried)
