"""A PyFlink job of a few numbers a second: endless, or ended after ``--rows``."""

import argparse

from pyflink.table import EnvironmentSettings, TableEnvironment

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=0)
parser.add_argument("--version", default="1")
options = parser.parse_args()

bound = f", 'number-of-rows' = '{options.rows}'" if options.rows else ""
table_env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
table_env.execute_sql(f"CREATE TABLE numbers (x BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '5'{bound})")
table_env.execute_sql("CREATE TABLE nowhere (x BIGINT) WITH ('connector' = 'blackhole')")
table_env.execute_sql("INSERT INTO nowhere SELECT x FROM numbers")
