"""The addresses of the Flow screens."""

from django.urls import path

from . import views

app_name = "flows"
urlpatterns = [
    path("flows/", views.flow_list, name="list"),
    path("flows/add/", views.add, name="add"),
    path("flows/<int:flow_id>/", views.flow_page, name="flow"),
    path("flows/<int:flow_id>/edit/", views.edit, name="edit"),
]
