"""What the gateway tells of itself: metrics, traces, whether it is ready."""
