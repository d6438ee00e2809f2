"""Measuring: interleaved latency, the noise floor, foreign load, and memory."""
