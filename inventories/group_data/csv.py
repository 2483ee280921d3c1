"""Hosts whose containers get what the CSV files name."""

toolkit_mode = "csv"
