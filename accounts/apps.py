from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("People and Projects")

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers the check that every address declares its access)
