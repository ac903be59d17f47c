"""The addresses of the Device Twin tab."""

from django.urls import path

from . import desired_views, views

app_name = "twin"
urlpatterns = [
    path("devices/<int:device_id>/twin/", views.tab, name="tab"),
    path("devices/<int:device_id>/twin/values/", views.values, name="values"),
    path("devices/<int:device_id>/twin/clear/", views.clear, name="clear"),
    path("devices/<int:device_id>/twin/desired/", desired_views.desired, name="desired"),
    path("devices/<int:device_id>/twin/desired/again/", desired_views.again, name="desired-again"),
    path("devices/<int:device_id>/twin/desired/remove/", desired_views.remove, name="desired-remove"),
    path("devices/<int:device_id>/twin/metadata/", views.metadata, name="metadata"),
    path("devices/<int:device_id>/twin/metadata/remove/", views.remove, name="remove"),
]
