"""The addresses of the M2M tab and of the SIM cards."""

from django.urls import path

from . import views

app_name = "m2m"
urlpatterns = [
    path("devices/<int:device_id>/m2m/", views.tab, name="tab"),
    path("devices/<int:device_id>/m2m/secret/", views.secret, name="secret"),
    path("devices/<int:device_id>/m2m/sim/", views.sim, name="sim"),
    path("devices/<int:device_id>/m2m/unlink/", views.unlink, name="unlink"),
    path("sims/", views.sims, name="sims"),
]
