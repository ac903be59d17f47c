from django.urls import path

from . import views

app_name = "downlinks"
urlpatterns = [
    path("devices/<int:device_id>/send/", views.send, name="send"),
    path("devices/<int:device_id>/send/table/", views.table, name="table"),
    path("devices/<int:device_id>/send/cancel/", views.cancel, name="cancel"),
    path("devices/<int:device_id>/send/cancel-all/", views.cancel_all, name="cancel-all"),
    path("devices/<int:device_id>/send/<int:number>/", views.instruction, name="instruction"),
    path("devices/<int:device_id>/send/<int:number>/again/", views.again, name="again"),
]
