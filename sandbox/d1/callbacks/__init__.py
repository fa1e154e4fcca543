"""What D1 sends to the gateway's edge: notifications and callback requests."""
