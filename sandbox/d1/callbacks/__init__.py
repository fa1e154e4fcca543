"""What D1 calls at the gateway's edge: notifications and questions."""
