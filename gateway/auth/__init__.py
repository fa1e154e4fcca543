"""Access: client certificates, bearer tokens, and the policy."""
