
app_name = "m2m"
urlpatterns: list = []
