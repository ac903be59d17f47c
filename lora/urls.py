"""The addresses of the LoRa tabs. ``when`` is a frame's ``received_at`` in microseconds since 1970,
``seq`` its sequence number, which may be negative."""

from django.urls import path

from .views import charts, diagnosis, export, history, message, tab

app_name = "lora"
urlpatterns = [
    path("devices/<int:device_id>/lora/", tab.tab, name="tab"),
    path("devices/<int:device_id>/lora/diagnosis/", diagnosis.diagnosis, name="diagnosis"),
    path("devices/<int:device_id>/lora/history/", history.history, name="history"),
    path("devices/<int:device_id>/lora/history/charts/", charts.charts, name="charts"),
    path("devices/<int:device_id>/lora/history/charts/<slug:chart>.csv", charts.charts_csv, name="charts-csv"),
    path("devices/<int:device_id>/lora/history/newer/", history.newer, name="newer"),
    path("devices/<int:device_id>/lora/history/export/", export.export, name="export"),
    path("devices/<int:device_id>/lora/history/export/<slug:file_format>/", export.download, name="download"),
    path("devices/<int:device_id>/lora/history/<int:when>-<str:seq>/", message.message, name="message"),
]
