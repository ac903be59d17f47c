"""The addresses of the Flow and destination screens; ``devices.flow_urls`` adds those with devices in them."""

from django.urls import path

from . import destination_views as destinations
from . import views

app_name = "flows"
urlpatterns = [
    path("flows/", views.flow_list, name="list"),
    path("flows/add/", views.add, name="add"),
    path("flows/<int:flow_id>/edit/", views.edit, name="edit"),
    path("flows/<int:flow_id>/destinations/link/", destinations.link, name="link_destination"),
    path("flows/<int:flow_id>/destinations/unlink/", destinations.unlink, name="unlink_destination"),
    path("destinations/", destinations.destination_list, name="destinations"),
    path("destinations/add/", destinations.add, name="add_destination"),
    path("destinations/<int:destination_id>/", destinations.show, name="destination"),
    path("destinations/<int:destination_id>/edit/", destinations.edit, name="edit_destination"),
    path("destinations/<int:destination_id>/delete/", destinations.delete, name="delete_destination"),
    path("destinations/<int:destination_id>/test/", destinations.test, name="test_destination"),
    path("destinations/<int:destination_id>/address/", destinations.new_address, name="new_address"),
    path("test-endpoints/<str:key>/", destinations.arrive, name="arrive"),
    path("destinations/<int:destination_id>/again/", destinations.again, name="send_again"),
]
