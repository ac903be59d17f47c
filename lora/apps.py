from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class LoraConfig(AppConfig):
    name = "lora"
    verbose_name = _("LoRa")

    def ready(self) -> None:
        from common import partitions
        from devices import connectivity, deletion, tabs
        from devices import health as device_health

        from . import diagnosis_words, frames, health, registration, tab

        partitions.register("lora_frame", keep_days=settings.FRAME_RETENTION_DAYS)
        device_health.register(diagnosis_words.TITLES)
        connectivity.register(registration.Lora())
        deletion.register(frames.remove)
        deletion.register(health.remove, early=True)
        for entry in tab.TABS:
            tabs.register(entry)
