"""Measurements of a single gateway, a module for each scenario or part of one."""
