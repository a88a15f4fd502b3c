"""One file for each contender: what it costs to bring another library into the benchmark."""
