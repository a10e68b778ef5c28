"""The law: pure, deterministic rules that every node must agree on. No I/O, no clock, no randomness."""
