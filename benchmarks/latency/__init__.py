"""The latency benchmark: the same scenarios, on the same simulators, for every contender in a process of its own."""
