
app_name = "internet"
urlpatterns: list = []
