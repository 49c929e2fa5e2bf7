-- title: Action by an unknown actor
-- severity: low
-- meaning: The actor has no id: a deleted user, an API key, SCIM, another service, or Sentry
--   itself.
-- false positives: Automation. Give it accounts or integrations of its own where you can.
-- events: every event (actor without id)
-- link: https://docs.sentry.io/account/auth-tokens/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(actorName, 'no actor') || coalesce(': ' || nullif(note, ''), '') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND actorId IS NULL
