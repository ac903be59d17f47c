"""The addresses of the Device Twin tab."""

from django.urls import path

from . import desired_views, history_views, views

app_name = "twin"
urlpatterns = [
    path("devices/<int:device_id>/twin/", views.tab, name="tab"),
    path("devices/<int:device_id>/twin/values/", views.values, name="values"),
    path("devices/<int:device_id>/twin/recent/", history_views.last_day, name="recent"),
    path("devices/<int:device_id>/twin/history/", history_views.value, name="history"),
    path("devices/<int:device_id>/twin/history/figures/", history_views.figures, name="history-figures"),
    path("devices/<int:device_id>/twin/history/data/", history_views.data, name="history-data"),
    path("devices/<int:device_id>/twin/history/csv/", history_views.download, name="history-csv"),
    path("devices/<int:device_id>/twin/clear/", views.clear, name="clear"),
    path("devices/<int:device_id>/twin/desired/", desired_views.desired, name="desired"),
    path("devices/<int:device_id>/twin/desired/again/", desired_views.again, name="desired-again"),
    path("devices/<int:device_id>/twin/desired/remove/", desired_views.remove, name="desired-remove"),
    path("devices/<int:device_id>/twin/metadata/", views.metadata, name="metadata"),
    path("devices/<int:device_id>/twin/metadata/remove/", views.remove, name="remove"),
]
