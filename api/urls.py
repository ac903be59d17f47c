from django.urls import path

from . import twin, views

app_name = "api"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("api/v1/devices/<int:device_id>/twin", twin.twin, name="twin"),
]
