"""The root addresses. Programs' ways in (``/ingestion/``, ``/live/``) are raw ASGI in ``things_portal.asgi``."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("devices.urls")),
    path("", include("flows.urls")),
    path("", include("lora.urls")),
    path("", include("m2m.urls")),
    path("", include("internet.urls")),
    path("", include("downlinks.urls")),
    path("", include("twin.urls")),
    path("", include("api.urls")),
    path("account/", include("accounts.urls")),
    path("admin/", admin.site.urls),
]
