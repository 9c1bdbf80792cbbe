"""What a running pipeline is held to, and what happens when it does not keep to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.durations import Duration, format_duration


class Supervision(Model):
    """Bounds on the streaming job, and the policy when it breaks them. Not part of the job's identity.

    :param policy: ``alert``: the task fails with the reasons; ``redeploy``: the pipeline is deployed again where that
        can help, and the task fails where it cannot, or did not.
    :param max_attempts: of ``redeploy``: so many deployments within ``attempt_window``, then the task fails.
    :param attempt_window: the time in which these are counted.
    :param max_checkpoint_age: since the last completed checkpoint, or since the start.
    :param max_restarts: so many failures within ``restart_window`` are a nuisance, more are a sickness.
    :param restart_window: the time in which these are counted.
    :param max_lag: so many events may wait in the topic; None: any number, as long as the watermark moves.
    :param max_silence: how long the job may write nothing while it reads; None: for ever. A window that is longer
        writes nothing either.
    """

    policy: Literal["alert", "redeploy"] = "alert"
    max_attempts: int = Field(default=3, ge=1, le=100)
    attempt_window: Duration = timedelta(hours=1)
    max_checkpoint_age: Duration = timedelta(minutes=5)
    max_restarts: int = Field(default=3, ge=0, le=15)
    restart_window: Duration = timedelta(minutes=10)
    max_lag: int | None = Field(default=None, ge=0)
    max_silence: Duration | None = None

    @field_validator("attempt_window", "max_checkpoint_age", "restart_window", "max_silence")
    @classmethod
    def _positive(cls, value: timedelta | None, info: Any) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError(f"{info.field_name} is {format_duration(value)}; it must be 1s or more")
        return value

    @model_validator(mode="after")
    def _of_redeploy(self) -> Supervision:
        for name in ("max_attempts", "attempt_window") if self.policy == "alert" else ():
            if name in self.model_fields_set:
                raise ValueError(f"{name} is about policy: redeploy, and policy is alert; remove it, or write redeploy")
        return self
