"""The addresses of the device screens."""

from django.urls import path

from .views import all_devices, detail, export, flows, network, saved_views, wizard

app_name = "devices"
urlpatterns = [
    path("", all_devices.start, name="start"),
    path("devices/", all_devices.all_devices, name="list"),
    path("devices/add/", wizard.add, name="add"),
    path("devices/views/add/", saved_views.keep, name="keep_view"),
    path("devices/views/<int:view_id>/", saved_views.show, name="view"),
    path("devices/views/<int:view_id>/edit/", saved_views.edit, name="edit_view"),
    path("devices/export/", export.export, name="export"),
    path("devices/export/devices.<slug:file_format>", export.download, name="download"),
    path("devices/<int:device_id>/", detail.detail, name="detail"),
    path("devices/<int:device_id>/cards/", detail.cards, name="cards"),
    path("devices/<int:device_id>/device/", detail.device_tab, name="device"),
    path("devices/<int:device_id>/deactivate/", detail.deactivate, name="deactivate"),
    path("devices/<int:device_id>/activate/", detail.activate, name="activate"),
    path("devices/<int:device_id>/network/", network.step, name="network"),
    path("devices/<int:device_id>/register/", network.register, name="register"),
    path("devices/<int:device_id>/connectivity/", network.switch, name="connectivity"),
    path("devices/<int:device_id>/flows/", flows.flows, name="flows"),
    path("devices/<int:device_id>/flows/link/", flows.link, name="link"),
    path("devices/<int:device_id>/flows/unlink/", flows.unlink, name="unlink"),
]
