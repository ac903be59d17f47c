"""The addresses of the Internet tab."""

from django.urls import path

from . import views

app_name = "internet"
urlpatterns = [
    path("devices/<int:device_id>/internet/", views.tab, name="tab"),
    path("devices/<int:device_id>/internet/secret/", views.secret, name="secret"),
    path("devices/<int:device_id>/internet/old-secret/revoke/", views.revoke, name="revoke"),
]
