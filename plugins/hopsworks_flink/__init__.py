"""Streaming features on Hopsworks, computed by Apache Flink, orchestrated by Apache Airflow.

This module stays free of imports: Airflow loads it while its own configuration is still initialising
(provider discovery), and whatever it would pull in here could break ``import airflow`` itself.
"""

__version__ = "0.1.0"
