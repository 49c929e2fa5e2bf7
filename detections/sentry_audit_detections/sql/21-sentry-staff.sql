-- title: Action by a Sentry superuser or Sentry staff
-- severity: high
-- meaning: Somebody with power over the whole server acted in this organization, or its staff was
--   given access.
-- false positives: On a self-hosted server, your own administrators are superusers. The two flags
--   are as they were when the entry was read, not when it was written.
-- events: every event (actor.isSuperuser, actor.isStaff); data-secrecy.waived
-- note: Sentry 23.7.1 does not have data-secrecy.waived.
-- link: https://docs.sentry.io/security-legal-pii/security/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(nullif(note, ''), event) AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND ((actor->>'isSuperuser') = 'true'
    OR (actor->>'isStaff') = 'true'
    OR event = 'data-secrecy.waived')
