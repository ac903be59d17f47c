"""The addresses of the Device Twin tab."""

from django.urls import path

from . import views

app_name = "twin"
urlpatterns = [
    path("devices/<int:device_id>/twin/", views.tab, name="tab"),
    path("devices/<int:device_id>/twin/values/", views.values, name="values"),
    path("devices/<int:device_id>/twin/metadata/", views.metadata, name="metadata"),
    path("devices/<int:device_id>/twin/metadata/remove/", views.remove, name="remove"),
]
