"""Who calls, and what they may do: certificates, bearer tokens, the policy file."""
