-- title: Organization scheduled for deletion
-- severity: critical
-- meaning: Everything will be deleted after 24 hours, unless an owner restores the organization
--   first.
-- false positives: An organization that is really being given up.
-- events: org.remove (data.slug)
-- link: https://docs.sentry.io/api/organizations/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  data->>'slug' AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event = 'org.remove'
