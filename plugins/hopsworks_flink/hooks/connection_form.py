"""The connection form for Airflow before 3.2, made from the metadata that later versions read directly."""

from __future__ import annotations

from typing import Any

from hopsworks_flink.get_provider_info import connection_type


def form_widgets(conn_type: str) -> dict[str, Any]:
    """WTForms fields for a connection type's ``conn-fields``: name -> field."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, StringField

    widgets: dict[str, Any] = {}
    for name, field in connection_type(conn_type)["conn-fields"].items():
        label, description = lazy_gettext(field["label"]), field["description"]
        if "boolean" in field["schema"]["type"]:
            default = field["schema"].get("default", False)
            widgets[name] = BooleanField(label, default=default, description=description)
        else:
            widgets[name] = StringField(label, widget=BS3TextFieldWidget(), description=description)
    return widgets


class ConnectionForm:
    """Gives a hook the form of its ``conn_type``, by the methods that Airflow before 3.2 calls."""

    conn_type: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Those versions look into the hook's own class only, and pass over what it inherits.
        for name in ("get_ui_field_behaviour", "get_connection_form_widgets"):
            setattr(cls, name, vars(ConnectionForm)[name])

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels of the connection form (later versions of Airflow read the provider's metadata)."""
        behaviour = connection_type(cls.conn_type)["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Fields of the connection form (later versions of Airflow read the provider's metadata)."""
        return form_widgets(cls.conn_type)
