"""The URL configuration that Django asks for by name; imported after its settings are made."""

from django.urls import path

from ._drf import PATH, view

urlpatterns = [path(PATH.lstrip("/"), view())]
