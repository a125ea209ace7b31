"""Speed beside the usual tools: `uv run --group bench python -m tests.benchmarks [NAME ...] [--json FILE]`."""
