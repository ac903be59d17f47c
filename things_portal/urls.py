"""The root addresses. Programs' ways in (``/ingestion/``, ``/live/``) are raw ASGI in ``things_portal.asgi``."""

from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", include("devices.urls")),
    path("", include("devices.flow_urls")),
    path("", include("lora.urls")),
    path("", include("m2m.urls")),
    path("", include("internet.urls")),
    path("", include("downlinks.urls")),
    path("", include("twin.urls")),
    path("", include("api.urls")),
    path("account/", include("accounts.urls")),
    path("language/", views.language, name="set_language"),
    path("favicon.ico", views.favicon),
    path("styleguide/", views.styleguide, name="styleguide"),
    path("admin/", admin.site.urls),
]
