from django.apps import AppConfig


class M2mConfig(AppConfig):
    name = "m2m"
    verbose_name = "M2M"

    def ready(self) -> None:
        from devices import connectivity, tabs

        from . import registration, tab

        connectivity.register(registration.M2m())
        for entry in tab.TABS:
            tabs.register(entry)
