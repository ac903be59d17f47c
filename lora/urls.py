app_name = "lora"
urlpatterns: list = []
