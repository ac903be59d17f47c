from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class IngestConfig(AppConfig):
    name = "ingest"
    verbose_name = _("Ways in")

    def ready(self) -> None:
        from devices import messages

        from . import refusals

        messages.register_refused(refusals.of)
