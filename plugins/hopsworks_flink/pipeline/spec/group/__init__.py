"""Parts of a feature group: features of single events, times of a row, how the group is registered."""
