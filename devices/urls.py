"""The addresses of the device screens."""

from django.urls import path

from .views import all_devices, bulk, deletion, detail, export, flows, jobs, network, saved_views, wizard

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
    path("devices/bulk/<slug:action>/", bulk.bulk, name="bulk"),
    path("devices/jobs/", jobs.job_list, name="jobs"),
    path("devices/jobs/running/", jobs.running, name="running-jobs"),
    path("devices/jobs/<int:job_id>/", jobs.job, name="job"),
    path("devices/jobs/<int:job_id>/progress/", jobs.progress, name="job-progress"),
    path("devices/jobs/<int:job_id>/report.csv", jobs.report, name="job-report"),
    path("devices/jobs/<int:job_id>/pause/", jobs.pause, name="job-pause"),
    path("devices/jobs/<int:job_id>/resume/", jobs.resume, name="job-resume"),
    path("devices/jobs/<int:job_id>/cancel/", jobs.cancel, name="job-cancel"),
    path("devices/jobs/<int:job_id>/retry/", jobs.retry, name="job-retry"),
    path("devices/<int:device_id>/", detail.detail, name="detail"),
    path("devices/<int:device_id>/cards/", detail.cards, name="cards"),
    path("devices/<int:device_id>/device/", detail.device_tab, name="device"),
    path("devices/<int:device_id>/deactivate/", detail.deactivate, name="deactivate"),
    path("devices/<int:device_id>/activate/", detail.activate, name="activate"),
    path("devices/<int:device_id>/delete/", deletion.delete, name="delete"),
    path("devices/<int:device_id>/network/", network.step, name="network"),
    path("devices/<int:device_id>/register/", network.register, name="register"),
    path("devices/<int:device_id>/connectivity/", network.switch, name="connectivity"),
    path("devices/<int:device_id>/flows/", flows.flows, name="flows"),
    path("devices/<int:device_id>/flows/link/", flows.link, name="link"),
    path("devices/<int:device_id>/flows/unlink/", flows.unlink, name="unlink"),
]
