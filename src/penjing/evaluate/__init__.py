"""Metrics, intervals, speed: functions of functions and arrays, never of models. Torch-free."""
