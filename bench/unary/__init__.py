"""The cost of unary calls, compared with servers that do less: ``python -m bench.unary``."""

from bench.unary.h2load import MissingToolError
from bench.unary.measure import measure_audit, measure_authenticate, measure_unary

__all__ = ["MissingToolError", "measure_audit", "measure_authenticate", "measure_unary"]
