"""The addresses of the Flow screens, and among them those that show or change the devices of a Flow."""

from django.urls import path

from flows import urls

from .views import flow_page

app_name = urls.app_name
urlpatterns = [
    *urls.urlpatterns,
    path("flows/<int:flow_id>/", flow_page.flow_page, name="flow"),
    path("flows/<int:flow_id>/messages/", flow_page.messages_through, name="messages"),
    path("flows/<int:flow_id>/devices/link/", flow_page.link_devices, name="link_devices"),
    path("flows/<int:flow_id>/devices/unlink/", flow_page.unlink_devices, name="unlink_devices"),
    path("flows/<int:flow_id>/enable/", flow_page.enable, name="enable"),
    path("flows/<int:flow_id>/disable/", flow_page.disable, name="disable"),
    path("flows/<int:flow_id>/delete/", flow_page.delete, name="delete"),
    path("flows/<int:flow_id>/deletion/", flow_page.deletion, name="deletion"),
]
