"""The addresses of the M2M tab and of the SIM cards."""

from django.urls import path

from . import sim_views, views

app_name = "m2m"
urlpatterns = [
    path("devices/<int:device_id>/m2m/", views.tab, name="tab"),
    path("devices/<int:device_id>/m2m/secret/", views.secret, name="secret"),
    path("devices/<int:device_id>/m2m/old-secret/revoke/", views.revoke, name="revoke"),
    path("devices/<int:device_id>/m2m/base-name/", views.own_name, name="own_name"),
    path("devices/<int:device_id>/m2m/sim/", views.sim, name="sim"),
    path("devices/<int:device_id>/m2m/unlink/", views.unlink, name="unlink"),
    path("sims/", sim_views.sims, name="sims"),
    path("sims/sim-cards.csv", sim_views.export, name="sims_export"),
    path("sims/import/", sim_views.take_in, name="sims_import"),
    path("sims/add/", sim_views.add, name="sims_add"),
    path("sims/<int:sim_id>/", sim_views.sim_page, name="sim_page"),
    path("sims/<int:sim_id>/link/", sim_views.link, name="sim_link"),
    path("sims/<int:sim_id>/refresh/", sim_views.refresh, name="sim_refresh"),
    path("sims/<int:sim_id>/sms/", sim_views.sms, name="sim_sms"),
]
