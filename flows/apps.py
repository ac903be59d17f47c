from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class FlowsConfig(AppConfig):
    name = "flows"
    verbose_name = _("Flows")

    def ready(self) -> None:
        from common import partitions

        partitions.register("flows_delivery", keep_days=settings.DELIVERY_RETENTION_DAYS)
