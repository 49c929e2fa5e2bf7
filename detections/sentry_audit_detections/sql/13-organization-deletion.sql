-- title: Organization scheduled for deletion
-- severity: critical
-- meaning: Everything is deleted 24 hours later, unless an owner restores the organization
--   before.
-- false positives: An organization that is really given up.
-- events: org.remove (data.slug)
-- link: https://docs.sentry.io/api/organizations/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  data->>'slug' AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event = 'org.remove'
