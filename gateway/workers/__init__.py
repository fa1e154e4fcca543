"""Several processes that share the ports, and the supervisor that starts, watches and replaces them.

What runs in the supervisor imports neither grpc nor the gateway itself: it stays small, and starting a process from it
is safe.
"""
