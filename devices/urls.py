"""The addresses of the device screens."""

from django.urls import path

from .views import all_devices, detail, flows, imports, network, wizard

app_name = "devices"
urlpatterns = [
    path("", all_devices.start, name="start"),
    path("devices/", all_devices.all_devices, name="list"),
    path("devices/add/", wizard.add, name="add"),
    path("devices/import/", imports.start, name="import"),
    path("devices/import/template.csv", imports.template, name="import_template"),
    path("devices/import/<int:upload_id>/", imports.show, name="import_file"),
    path("devices/import/<int:upload_id>/columns/", imports.columns, name="import_columns"),
    path("devices/import/<int:upload_id>/add/", imports.add, name="import_add"),
    path("devices/import/<int:upload_id>/secrets/", imports.keys, name="import_keys"),
    path("devices/import/<int:upload_id>/refused/", imports.refused, name="import_refused"),
    path("devices/import/<int:upload_id>/discard/", imports.discard, name="import_discard"),
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
