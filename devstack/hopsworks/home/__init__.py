"""What every process of the local Hopsworks shares: places, certificates, files, log, refusals."""
