"""People, Projects, memberships and roles, and the audit trail of every change."""
